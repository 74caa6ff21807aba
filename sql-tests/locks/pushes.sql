-- The repository takes commits under fences that are live, or were released before a higher one arrived.
begin;
\ir ../helpers.sql
select no_plan();
select tests.as_operator($q$coord_v1.register_agent('server', 'git-server', 'agent', '{github.com/acme/app}')$q$) ->> 'outcome';

-- Locks paths in a session of agent-a or agent-b and remembers the commit that it allows.
create temp table made (name text, commit jsonb);
create function tests.work(p_name text, p_agent text, p_session text, p_lock text, p_file text) returns text language plpgsql as $$
declare
  v_answer jsonb := tests.as_agent(p_agent, format('coord_v1.acquire_lock(array[%L])', p_lock), jsonb_build_object('x-session-id', p_session));
begin
  insert into made values (p_name, jsonb_build_object('id', md5(p_name), 'agent', p_agent, 'sessions', jsonb_build_array(p_session),
    'locks', (select jsonb_agg(jsonb_build_object('fence', l -> 'fence', 'path', l -> 'path')) from jsonb_array_elements(v_answer -> 'locks') l),
    'paths', jsonb_build_array(p_file)));
  return v_answer ->> 'outcome';
end
$$;
create function tests.push(variadic p_names text[]) returns text language sql
return (select tests.pick(a, 'outcome', 'problems.0.problem') from (select tests.as_claims(
  tests.claims('server') || '{"agent_type": "git-server"}', format('coord_v1.verify_push(%L)', (select jsonb_agg(commit) from made where name = any (p_names)))) as a) x);
create function tests.done(p_agent text, p_session text) returns text language sql
return tests.as_agent(p_agent, 'coord_v1.release_lock()', jsonb_build_object('x-session-id', p_session)) ->> 'outcome';

select is(tests.work('a1', 'agent-a', 's', 'src/', 'src/x'), 'acquired', 'a works on src/');
select is(tests.push('a1'), 'accepted -', 'a live fence passes');
select is(tests.push('a1'), 'accepted -', 'and again');
select is(tests.done('agent-a', 's'), 'released', 'a is done');
select is(tests.push('a1'), 'accepted -', 'released by its owner, nothing newer arrived');
select is(tests.work('b1', 'agent-b', 's', 'src/x', 'src/x'), 'acquired', 'b works on the file');
select is(tests.push('a1'), 'accepted -', 'its higher fence has not reached the repository yet');
select is(tests.push('b1'), 'accepted -', 'now it has');
select is(tests.push('a1'), 'refused fence_superseded', 'so a comes too late');
select is(tests.push('b1', 'a1'), 'refused fence_superseded', 'in a push with others as well');

-- The same session again.
select is(tests.done('agent-b', 's'), 'released', 'b is done');
select is(tests.work('a2', 'agent-a', 's', 'src/', 'src/y'), 'acquired', 'a works on src/ again');
select is(tests.push('a1'), 'refused fence_superseded', 'which does not help the older commit');
select is(tests.work('a3', 'agent-a', 's', 'src/x', 'src/x'), 'acquired', 'nor does a lock on the file');
select is(tests.push('a1'), 'refused fence_superseded', 'the commit itself has to be made anew');
select is(tests.push('a3', 'a2'), 'accepted -', 'like this');
select is(tests.done('agent-a', 's'), 'released', 'a is done');
select is(tests.work('a4', 'agent-a', 's', 'src/y', 'src/y'), 'acquired', 'a file, under a fence');
select is(tests.done('agent-a', 's'), 'released', 'released');
select is(tests.work('a5', 'agent-a', 's', 'src/y', 'src/y'), 'acquired', 'and again, which uses its row');
select is(tests.push('a4'), 'accepted -', 'a session vouches for its own earlier fence');

-- A lock that nobody released.
update coord.locks set expires_at = clock_timestamp() - interval '1 second', acquired_at = clock_timestamp() - interval '1 hour' where path = 'src/y';
select is(tests.push('a5'), 'refused fence_expired', 'an expired fence does not pass');
select is(tests.work('b2', 'agent-b', 's', 'src/y', 'src/y'), 'acquired', 'b takes over');
select is(tests.push('a5'), 'refused fence_expired', 'still not');
select is(tests.done('agent-b', 's'), 'released', 'b is done');
update coord.locks set released_at = released_at - interval '2 hours' where released_at is not null;
select is(tests.as_operator('coord_v1.maintain()') ->> 'locks_purged' <> '0', true, 'the rows move to past_locks');
select is(tests.push('a5'), 'refused fence_expired', 'where they are found');
select is(tests.push('b2'), 'accepted -', 'with how they ended');
select is(tests.push('a3'), 'accepted -', 'all of them');
select is(tests.work('b3', 'agent-b', 's', 'src/z', 'src/z'), 'acquired', 'b works on z');
select is(tests.as_operator($$coord_v1.force_release_lock('{src/z}', 'stuck', 'github.com/acme/app')$$) ->> 'outcome', 'released', 'an operator breaks the lock');
select is(tests.push('b3'), 'refused fence_broken', 'which does not pass');

-- Commits that say nothing, or not enough.
insert into made select 'none', '{"id": "abcdef1", "paths": ["src/q"]}';
insert into made select 'nulls', '{"id": "abcdef1", "agent": null, "locks": null, "paths": ["src/q"]}';
insert into made select 'wrong file', commit || '{"paths": ["lib/q"]}' from made where name = 'a3';
insert into made select 'wrong agent', commit || '{"agent": "agent-b", "sessions": ["s"]}' from made where name = 'a3';
insert into made select 'invented', '{"id": "abcdef1", "agent": "agent-a", "sessions": ["s"], "locks": [{"fence": 9999999, "path": "src/q"}], "paths": ["src/q"]}';
insert into made select 'odd names', '{"id": "abcdef1", "agent": "agent-a", "locks": [{"fence": 1, "path": "x"}], "paths": ["a*b ", "port:1", "x\ty"]}';
select is(tests.push('none'), 'refused no_fence', 'no trailers');
select is(tests.push('nulls'), 'refused no_fence', 'nor here');
select is(tests.push('wrong file'), 'refused not_covered', 'a fence for other files');
select is(tests.push('wrong agent'), 'refused not_covered', 'a fence of somebody else');
select is(tests.push('invented'), 'refused not_covered', 'a fence that never was');
select is(tests.push('odd names'), 'refused not_covered', 'names that could not be locked');
insert into made select 'empty', '{"id": "abcdef1", "paths": []}';
select is(tests.push('empty'), 'accepted -', 'a commit that changes nothing');

-- Shared locks are no licence to write.
select is(tests.pick(tests.as_agent('agent-a', $$coord_v1.acquire_lock('{doc}', mode => 'shared')$$), 'outcome'), 'acquired', 'a reads');
select is(tests.pick(tests.as_agent('agent-a', $$coord_v1.verify_locks('{doc}')$$), 'ok', 'decision', 'problems.0.problem'), 'false deny only_shared', 'and may not commit');

-- Policies.
select is(tests.pick(tests.as_agent('agent-a', $$coord_v1.verify_locks('{lib/x}')$$), 'decision', 'policy', 'problems.0.problem'), 'deny enforce not_held', 'a repository enforces by itself');
select is(tests.pick(tests.as_operator($$coord_v1.set_lock_policy('warn', 'github.com/acme/app')$$), 'ok', 'outcome', 'policy'), 'true set warn', 'an operator may relax it');
select is(tests.pick(tests.as_agent('agent-a', $$coord_v1.verify_locks('{lib/x}')$$), 'decision', 'ok'), 'warn false', 'to a warning');
select is(tests.push('none'), 'accepted no_fence', 'for pushes too');
select is(tests.as_operator($$coord_v1.set_lock_policy('off', 'github.com/acme/app')$$) ->> 'outcome', 'set', 'or off');
select is(tests.pick(tests.as_agent('agent-a', $$coord_v1.verify_locks('{lib/x}')$$), 'decision', 'ok'), 'allow false', 'which allows');
select throws_ok($$select tests.as_operator($q$coord_v1.set_lock_policy('maybe', 'github.com/acme/app')$q$)$$, 'PT400', 'argument_invalid', 'three words');

select is(tests.as_operator($$coord_v1.set_lock_policy('enforce', 'github.com/acme/app')$$) ->> 'outcome', 'set', 'back to enforcing');

-- One session's work may come in any order, from the same path at different times.
select is(tests.work('c1', 'agent-a', 'c', 'own', 'own'), 'acquired', 'a session takes a file');
select is(tests.done('agent-a', 'c'), 'released', 'releases it');
select is(tests.work('c2', 'agent-a', 'c', 'own', 'own'), 'acquired', 'and takes it again');
select is(tests.push('c2'), 'accepted -', 'the later work goes first');
select is(tests.push('c1'), 'accepted -', 'the earlier may follow');
select is(tests.done('agent-a', 'c'), 'released', 'done');
update coord.locks set released_at = released_at - interval '2 hours' where path = 'own';
select is(tests.as_operator('coord_v1.maintain()') ->> 'outcome', 'maintained', 'an hour later');
select is(tests.push('c1'), 'accepted -', 'still');
select is(tests.push('c2'), 'accepted -', 'both');

-- Who may ask, and what.
select is(tests.pick(tests.as_agent('agent-a', $$coord_v1.verify_push('[]')$$), 'ok', 'code'), 'false insufficient_trust_level', 'an agent may not');
select is(tests.pick(tests.as_operator($$coord_v1.verify_push('[]', 'github.com/acme/app')$$), 'ok', 'outcome'), 'true accepted', 'an operator may');
select throws_ok(format($q$select tests.as_operator($$coord_v1.verify_push(%L, 'github.com/acme/app')$$)$q$, c), 'PT400', 'commits_invalid', 'no commits: ' || c)
from unnest(array['{}', '[1]', '[{}]', '[{"id": "xyz", "paths": []}]', '[{"id": "abcdef1"}]', '[{"id": "abcdef1", "paths": [1]}]', '[{"id": "abcdef1", "paths": [], "agent": 1}]',
  '[{"id": "abcdef1", "paths": [], "sessions": "s"}]', '[{"id": "abcdef1", "paths": [], "sessions": [1]}]', '[{"id": "abcdef1", "paths": [], "locks": {}}]', '[{"id": "abcdef1", "paths": [], "locks": [1]}]',
  '[{"id": "abcdef1", "paths": [], "locks": [{"fence": 1.5, "path": "a"}]}]', '[{"id": "abcdef1", "paths": [], "locks": [{"fence": "1", "path": "a"}]}]', '[{"id": "abcdef1", "paths": [], "locks": [{"fence": 1}]}]',
  '[{"id": "abcdef1", "paths": [], "locks": [{"fence": 1e30, "path": "a"}]}]', 'null']) c;
select throws_ok($q$select tests.as_operator($$coord_v1.verify_push((select jsonb_agg('{"id": "abcdef1", "paths": []}'::jsonb) from generate_series(1, 2001)), 'github.com/acme/app')$$)$q$, 'PT422', 'too_many_commits', 'too many');

-- Forgetters.
select is(tests.as_operator($$(select jsonb_agg(f.agent || ' ' || f.expired order by f.agent) from coord_v1.lock_forgetters f)$$), '["agent-a 1"]', 'who lets locks expire');
select is(tests.as_agent('agent-c', $$(select coalesce(jsonb_agg(f.agent), '[]') from coord_v1.lock_forgetters f)$$), '[]', 'not shown to other repositories');
select is(tests.as_agent('agent-a', $$coord_v1.acquire_lock('{soon}', ttl_seconds => 30)$$) ->> 'outcome', 'acquired', 'a short lock');
select is(tests.as_agent('agent-b', $$(select jsonb_agg(l.path) from coord_v1.locks_expiring l)$$), '["soon"]', 'is about to expire');

select * from finish();
rollback;
