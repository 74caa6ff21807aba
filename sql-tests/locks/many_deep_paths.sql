-- A call may name 64 paths, each as deep as a path can be, and a session may hold many: the server's lock table suffices.
begin;
\ir ../helpers.sql
select no_plan();

create temp table deep as select array(select i || repeat('/d', 400) from generate_series(1, 64) i)::text as paths;
select is(tests.as_agent('agent-a', format('coord_v1.acquire_lock(%L)', paths)) ->> 'outcome', 'acquired', '64 deep paths') from deep;
select is(tests.as_agent('agent-b', format('coord_v1.acquire_lock(%L)', paths)) ->> 'outcome', 'held', 'are refused') from deep;
select is(tests.as_agent('agent-b', format('coord_v1.acquire_lock(%L, wait_seconds => 60)', paths)) ->> 'outcome', 'queued', 'and waited for') from deep;
select is(jsonb_array_length(tests.as_operator(format('coord_v1.force_release_lock(%L, $$test$$, $$github.com/acme/app$$)', paths)) -> 'released'), 64, 'and broken') from deep;
select is(tests.as_agent('agent-b', format('coord_v1.acquire_lock(%L)', paths)) ->> 'outcome', 'acquired', 'and given to who waited') from deep;
select is(jsonb_array_length(tests.as_agent('agent-b', format('coord_v1.release_lock(%L)', paths)) -> 'released'), 64, 'and released') from deep;

-- Few advisory locks stand for many places, those of resources too.
select is((select count(*) from generate_series(0, 4) n
    where tests.as_agent('agent-a', format('coord_v1.acquire_lock(array(select %L || i from generate_series(1, 60) i))', 'port:' || n)) ->> 'outcome' = 'acquired'),
  5::bigint, 'a session holds 300 resources');
create temp table before as select count(*) as n from pg_locks where locktype = 'advisory';
select is(jsonb_array_length(tests.as_agent('agent-a', 'coord_v1.release_lock()') -> 'released'), 300, 'and releases them');
select cmp_ok((select count(*) from pg_locks where locktype = 'advisory'), '<=', n + 2, 'by locks on all files and all resources') from before;


-- Ten thousand are released well before a call is stopped (8 s): nothing grows with their square.
insert into coord.locks (place, repo, path, agent, session_id, agent_type, mode, fence, acquired_at, expires_at)
select 'github.com/acme/app many/' || i, 'github.com/acme/app', 'many/' || i, 'agent-a', 'jti-agent-a', 'test', 'exclusive', nextval('coord.fences'),
  clock_timestamp(), clock_timestamp() + interval '1 hour'
from generate_series(1, 10000) i;
create temp table began as select clock_timestamp() as at;
select is(jsonb_array_length(tests.as_agent('agent-a', 'coord_v1.release_lock()') -> 'released'), 10000, '10,000 locks are released');
select cmp_ok(clock_timestamp() - at, '<', interval '5 seconds', 'in time') from began;

select * from finish();
rollback;
