-- Any call is a heartbeat; an ended session holds nothing; dead ones are reaped.
begin;
\ir ../helpers.sql
select no_plan();

select is(tests.pick(tests.as_agent('agent-a', $$coord_v1.acquire_lock('{a,b}')$$, '{"x-session-id": "s1"}'), 'outcome'), 'acquired', 'a session opens by its first call');
select is((select live || ' ' || epoch || ' ' || agent_type from coord.sessions where agent = 'agent-a' and id = 's1'), 'true 1 test', 'as the token and the header say');

-- Renewal is written when a tenth of the lease has passed.
update coord.sessions set renewed_at = clock_timestamp() - interval '80 seconds' where agent = 'agent-a' and id = 's1';
create temp table seen as select renewed_at from coord.sessions where agent = 'agent-a' and id = 's1';
select ok(tests.as_agent('agent-a', 'coord_v1.health()', '{"x-session-id": "s1"}') is not null, 'a call');
select is(s.renewed_at, seen.renewed_at, 'soon after a renewal, none is written') from coord.sessions s, seen where s.agent = 'agent-a' and s.id = 's1';
update coord.sessions set renewed_at = clock_timestamp() - interval '100 seconds' where agent = 'agent-a' and id = 's1';
select ok(tests.as_agent('agent-a', 'coord_v1.health()', '{"x-session-id": "s1"}') is not null, 'a call');
select cmp_ok(clock_timestamp() - s.renewed_at, '<', interval '10 seconds', 'later any call renews') from coord.sessions s where s.agent = 'agent-a' and s.id = 's1';
select is(tests.pick(tests.as_agent('agent-a', 'coord_v1.heartbeat(3600)', '{"x-session-id": "s1"}'), 'outcome', 'session_id', 'lease_seconds'), 'alive s1 900', 'a heartbeat says so');

-- Ending.
select throws_ok($$update coord.sessions set live = false, ended_at = now(), end_reason = 'ended' where agent = 'agent-a' and id = 's1'; set constraints all immediate$$,
  '23503', null, 'ended and still holding is impossible');
set constraints all deferred;
select is(jsonb_array_length(tests.as_agent('agent-a', $$coord_v1.end_session('done')$$, '{"x-session-id": "s1"}') -> 'released'), 2, 'ending releases all');
set constraints all immediate;
set constraints all deferred;
select is((select count(*) from coord.locks where agent = 'agent-a' and released_at is null), 0::bigint, 'nothing is held');
select is(tests.pick(tests.as_agent('agent-a', $$coord_v1.check_locks()$$, '{"x-session-id": "s1"}'), 'total'), '0', 'the next call under the id is let in');
select is((select live || ' ' || epoch from coord.sessions where agent = 'agent-a' and id = 's1'), 'true 2', 'as the next epoch');

-- Reaping: not while it holds, not while busy, then with what it held.
select is(tests.pick(tests.as_agent('agent-b', $$coord_v1.acquire_lock('{c}')$$, '{"x-session-id": "s2"}'), 'outcome'), 'acquired', 's2 holds');
update coord.sessions set renewed_at = clock_timestamp() - interval '1 day' where agent = 'agent-b' and id = 's2';
select is(tests.as_operator('coord_v1.maintain()') ->> 'sessions_ended', '0', 'a session that holds is not dead');
update coord.locks set acquired_at = clock_timestamp() - interval '2 hours', expires_at = clock_timestamp() - interval '10 minutes' where agent = 'agent-b';
update coord.sessions set busy_until = clock_timestamp() + interval '1 minute' where agent = 'agent-b' and id = 's2';
select is(tests.as_operator('coord_v1.maintain()') ->> 'sessions_ended', '0', 'nor is one that said it is busy');
update coord.sessions set busy_until = null where agent = 'agent-b' and id = 's2';
select is(tests.as_operator('coord_v1.maintain()') ->> 'sessions_ended', '1', 'then it is reaped');
set constraints all immediate;
set constraints all deferred;
select is((select live || ' ' || end_reason from coord.sessions where agent = 'agent-b' and id = 's2'), 'false dead', 'as dead');
select is((select release_reason from coord.locks where agent = 'agent-b' and path = 'c'), 'expired', 'its lock is stamped');
select is((select count(*) from coord_v1.audit where function = 'maintain' and agent = 'agent-b' and reason = 'session_dead'), 1::bigint, 'and the audit says why');
update coord.locks set released_at = clock_timestamp() - interval '2 hours' where path = 'c';
select is(tests.as_operator('coord_v1.maintain()') ->> 'locks_purged', '1', 'released locks are forgotten after an hour');

-- Housekeeping stamps what expired and nobody took over.
select is(tests.pick(tests.as_agent('agent-a', $$coord_v1.acquire_lock('{lapsed,alive}')$$), 'outcome'), 'acquired', 'two locks');
update coord.locks set acquired_at = clock_timestamp() - interval '2 hours', expires_at = clock_timestamp() - interval '2 minutes' where path = 'lapsed';
select is(tests.as_operator('coord_v1.maintain()') ->> 'locks_lapsed', '1', 'one has expired');
select is((select string_agg(path || ' ' || coalesce(release_reason, 'held'), ', ' order by path) from coord.locks where path in ('lapsed', 'alive')),
  'alive held, lapsed expired', 'and is stamped, the other not');

-- Session ids of two agents never meet.
select is(tests.pick(tests.as_agent('agent-a', $$coord_v1.acquire_lock('{d}')$$, '{"x-session-id": "same"}'), 'outcome'), 'acquired', 'agent-a, session same');
select is(tests.pick(tests.as_agent('agent-b', $$coord_v1.acquire_lock('{d}')$$, '{"x-session-id": "same"}'), 'outcome'), 'held', 'agent-b with the same id is somebody else');
select throws_ok($$select tests.as_agent('agent-a', 'coord_v1.health()', '{"x-session-id": ""}')$$, 'PT400', 'session_id_invalid', 'an empty session id is refused');
select throws_ok($$select tests.as_agent('agent-a', 'coord_v1.health()', jsonb_build_object('x-session-id', repeat('x', 129)))$$, 'PT400', 'session_id_invalid', 'a long one too');

-- Who is disabled holds nothing.
select is(tests.as_agent('agent-b', $$coord_v1.acquire_lock('{gone}')$$, '{"x-session-id": "one"}') ->> 'outcome', 'acquired', 'agent-b holds a lock');
select is(tests.as_agent('agent-b', $$coord_v1.acquire_lock('{too}')$$, '{"x-session-id": "two"}') ->> 'outcome', 'acquired', 'in two sessions');
create temp table disabled as select tests.as_operator($$coord_v1.disable_agent('agent-b', 'lost its laptop')$$) as answer;
select is((select string_agg((s ->> 'session_id') || ' ' || (s #>> '{released,0,path}'), ', ' order by s ->> 'session_id') from jsonb_array_elements(answer -> 'sessions_ended') s
  where s #>> '{released,0,path}' is not null), 'one gone, two too', 'disabling ends its sessions') from disabled;
select is(tests.as_agent('agent-a', $$coord_v1.acquire_lock('{gone,too}')$$) ->> 'outcome', 'acquired', 'what it held is free at once');
select throws_ok($$select tests.as_agent('agent-b', 'coord_v1.check_locks()')$$, 'PT403', 'agent_disabled', 'and it is not let in');
select is(tests.as_operator($$coord_v1.enable_agent('agent-b')$$) ->> 'outcome', 'enabled', 'until it is enabled');
select is(tests.as_agent('agent-b', 'coord_v1.release_lock()') ->> 'released', '[]', 'holding nothing');

select * from finish();
rollback;
