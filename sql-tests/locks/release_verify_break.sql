-- Release, verify, break: each touches what it should and says what it found.
begin;
\ir ../helpers.sql
select no_plan();

create temp table mine as select tests.as_agent('agent-a', $$coord_v1.acquire_lock('{a,b,src/}')$$) as answer;
create temp table fences as select (answer #>> '{locks,0,fence}')::bigint as a, (answer #>> '{locks,2,fence}')::bigint as src from mine;

select is(tests.pick(tests.as_agent('agent-a', format($$coord_v1.verify_locks('{a,src/deep/x.rs}', '{%s,%s}')$$, a, src)), 'ok', 'outcome'),
  'true covered', 'a lock on the path or on a directory above covers it') from fences;
select is(tests.pick(tests.as_agent('agent-a', $$coord_v1.verify_locks('{a,other}')$$), 'ok', 'outcome', 'problems.0.path', 'problems.0.problem'),
  'false not_covered other not_held', 'what is not held is named');
select is(tests.pick(tests.as_agent('agent-a', format($$coord_v1.verify_locks('{a}', '{%s}')$$, a - 1)), 'problems.0.problem', 'problems.0.newest_fence'),
  'stale_fence ' || a, 'an old fence is named with the newest') from fences;
select is(tests.pick(tests.as_agent('agent-b', $$coord_v1.verify_locks('{a}')$$), 'problems.0.problem', 'problems.0.holder'),
  'held_by_other agent-a', 'another''s lock does not cover');
select is(tests.pick(tests.as_agent('agent-a', $$coord_v1.verify_locks('{a}')$$, '{"x-session-id": "second"}'), 'outcome'), 'covered',
  'any session of the agent is covered');

select is(tests.pick(tests.as_agent('agent-b', $$coord_v1.release_lock('{a}')$$), 'ok', 'outcome', 'not_held.0.holder'), 'false not_held agent-a', 'nobody releases for another');
select is(tests.pick(tests.as_agent('agent-a', $$coord_v1.release_lock('{b,zzz}')$$), 'ok', 'outcome', 'released.0.path', 'not_held.0.path'),
  'true released b zzz', 'the rest of a release is told');
select is(tests.as_agent('agent-b', 'coord_v1.check_locks()') ->> 'total', '2', 'two left');
select is(tests.pick(tests.as_agent('agent-b', $$coord_v1.check_locks('{src/x}')$$), 'total', 'locks.0.path', 'locks.0.holder'), '1 src/ agent-a', 'an overlapping directory is shown');

select is(tests.pick(tests.as_agent('agent-b', $$coord_v1.force_release_lock('{a}', 'mine now')$$), 'ok', 'outcome', 'code'),
  'false denied insufficient_trust_level', 'an agent may not break a lock');
select is(current_setting('response.status'), '403', 'which is HTTP 403');
select throws_ok($$select tests.as_operator($q$coord_v1.force_release_lock('{a}', ' ', 'github.com/acme/app')$q$)$$, 'PT400', 'reason_required', 'breaking needs a reason');
select is(tests.pick(tests.as_operator($$coord_v1.force_release_lock('{a}', 'stuck', 'github.com/acme/app')$$), 'ok', 'outcome', 'released.0.holder'),
  'true released agent-a', 'an operator breaks it and is told whose it was');
select is(tests.pick(tests.as_agent('agent-a', $$coord_v1.verify_locks('{a}')$$), 'problems.0.problem'), 'not_held', 'its holder finds out by verify');
select is(tests.pick(tests.as_agent('agent-a', 'coord_v1.release_lock()'), 'ok', 'outcome', 'released.0.path'), 'true released src/', 'release without paths is all of the session');
select is(tests.pick(tests.as_agent('agent-a', 'coord_v1.release_lock()'), 'ok', 'outcome', 'released'), 'true released []', 'and again is no error');

-- The views show live locks of granted repositories.
select tests.as_agent('agent-c', $$coord_v1.acquire_lock('{secret}')$$) is not null as quiet \gset
select is(tests.as_agent('agent-a', $$(select coalesce(jsonb_agg(l.path), '[]') from coord_v1.locks l)$$), '[]', 'the view hides another repo');
select is(tests.as_agent('agent-c', $$(select jsonb_agg(l.path || ' ' || l.holder) from coord_v1.locks l)$$), '["secret agent-c"]', 'and shows one''s own');
select is(tests.as_operator($$(select jsonb_agg(l.path) from coord_v1.locks l)$$), '["secret"]', 'an operator of all repos sees all');

-- More than one call may name.
do $$
begin
  for i in 1..3 loop
    perform tests.as_agent('agent-a', format('coord_v1.acquire_lock(array(select %L || i from generate_series(1, 60) i))', 'many/' || i || '/'));
  end loop;
end
$$;
select is(jsonb_array_length(tests.as_agent('agent-a', 'coord_v1.release_lock()') -> 'released'), 180, 'release without paths has no limit');

select * from finish();
rollback;
