-- One holder a path: the second is told who, why and for how long.
begin;
\ir ../helpers.sql
select no_plan();

select is(tests.pick(tests.as_agent('agent-a', $$coord_v1.acquire_lock('{src/a.rs}', reason => 'refactor')$$),
    'ok', 'outcome', 'repo', 'locks.0.path', 'locks.0.mode', 'locks.0.seconds_left'),
  'true acquired github.com/acme/app src/a.rs exclusive 1800', 'a free path is acquired');

create temp table refusal as
  select tests.as_agent('agent-b', $$coord_v1.acquire_lock('{src/a.rs}')$$) as answer;
select is(tests.pick(answer, 'ok', 'outcome', 'blockers.0.path', 'blockers.0.held_path', 'blockers.0.holder',
    'blockers.0.agent_type', 'blockers.0.session_id', 'blockers.0.reason', 'blockers.0.seconds_left'),
  'false held src/a.rs src/a.rs agent-a test jti-agent-a refactor 1800', 'a held one names holder, type, session, reason and seconds (L3)')
from refusal;
select matches(answer ->> 'next', 'agent-a holds src/a.rs', 'and says what to do') from refusal;
select is((select count(*) from coord.locks where agent = 'agent-b'), 0::bigint, 'a refusal holds nothing');

select is(tests.pick(tests.as_agent('agent-b', format($$coord_v1.acquire_lock(array[%L])$$, spelling)), 'outcome'), 'held',
  'one lock for all spellings: ' || spelling)
from unnest(array['./src//a.rs', 'src/./a.rs', 'src/b/../a.rs', './/src/a.rs', 'x/../src/a.rs']) spelling;
select is(tests.pick(tests.as_agent('agent-b', $$coord_v1.acquire_lock(array[e'caf\u00e9'])$$), 'outcome'), 'acquired', 'composed é');
select is(tests.pick(tests.as_agent('agent-a', $$coord_v1.acquire_lock(array[e'cafe\u0301'])$$), 'outcome'), 'held', 'is decomposed é');

select is(tests.pick(tests.as_agent('agent-c', $$coord_v1.acquire_lock('{src/a.rs}')$$), 'outcome', 'repo'),
  'acquired github.com/acme/other', 'another repo is free (R1)');
select is(tests.pick(tests.as_agent('agent-b', $$coord_v1.acquire_lock('{src/a.rs}')$$, '{"x-session-id": "other"}'), 'outcome'), 'held',
  'another session of the refused agent is refused too');
select is(tests.pick(tests.as_agent('agent-a', $$coord_v1.acquire_lock('{src/a.rs}')$$, '{"x-session-id": "other"}'),
  'outcome', 'blockers.0.holder', 'blockers.0.session_id'), 'held agent-a jti-agent-a', 'a second session of the holder is somebody else');

-- All or nothing.
select is(tests.pick(tests.as_agent('agent-b', $$coord_v1.acquire_lock('{z/1,src/a.rs,z/2}')$$), 'outcome', 'blockers.0.path'), 'held src/a.rs',
  'one held path refuses the whole set');
select is((select count(*) from coord.locks where path like 'z/%'), 0::bigint, 'and takes none of it');
select is(jsonb_array_length(tests.as_agent('agent-b', $$coord_v1.acquire_lock('{z/2,z/1,./z/1}')$$) -> 'locks'), 2, 'a path named twice is one lock');

select tests.as_agent('agent-b', $$coord_v1.acquire_lock(array(select 'crowd/' || i from generate_series(1, 60) i))$$) is not null as quiet \gset
select is(jsonb_array_length(tests.as_agent('agent-a', $$coord_v1.acquire_lock('{crowd/}')$$) -> 'blockers'), 20, 'a refusal does not list a whole crowd');

-- Fences rise with every holder, and a renewal keeps its own (L2).
create temp table fence as
  select (tests.as_agent('agent-a', $$coord_v1.acquire_lock('{src/a.rs}')$$) #>> '{locks,0,fence}')::bigint as a;
select is(tests.pick(tests.as_agent('agent-a', $$coord_v1.acquire_lock('{src/a.rs}', ttl_seconds => 30)$$), 'outcome', 'locks.0.fence', 'locks.0.seconds_left'),
  'renewed ' || a || ' 1800', 'a renewal keeps the fence and never shortens') from fence;
select is(tests.pick(tests.as_agent('agent-a', $$coord_v1.acquire_lock('{src/a.rs}', ttl_seconds => 3600)$$), 'outcome', 'locks.0.seconds_left'),
  'renewed 3600', 'a renewal extends');
select is(tests.pick(tests.as_agent('agent-a', $$coord_v1.release_lock('{src/a.rs}')$$), 'outcome', 'released.0.path'), 'released src/a.rs', 'release frees it');
select cmp_ok((tests.as_agent('agent-b', $$coord_v1.acquire_lock('{src/a.rs}')$$) #>> '{locks,0,fence}')::bigint, '>', a, 'the next holder has a higher fence') from fence;

-- Expiry.
update coord.locks set acquired_at = clock_timestamp() - interval '2 hours', expires_at = clock_timestamp() - interval '1 second'
where agent = 'agent-b' and path = 'src/a.rs';
select is(tests.as_agent('agent-a', $$coord_v1.check_locks('{src/a.rs}')$$) ->> 'total', '0', 'an expired lock is not shown');
select is(tests.pick(tests.as_agent('agent-a', $$coord_v1.acquire_lock('{src/a.rs}')$$), 'outcome'), 'acquired', 'an expired lock is free for others');
select is((select release_reason from coord.locks where agent = 'agent-b' and path = 'src/a.rs'), 'expired', 'and stamped as expired');
select is(tests.pick(tests.as_agent('agent-b', $$coord_v1.release_lock('{src/a.rs}')$$), 'outcome', 'not_held.0.holder'), 'not_held agent-a',
  'who slept through its lease releases nothing and is told who has it');
update coord.locks set acquired_at = clock_timestamp() - interval '2 hours', expires_at = clock_timestamp() - interval '1 second'
where agent = 'agent-a' and path = 'src/a.rs' and released_at is null;
select is(tests.pick(tests.as_agent('agent-a', $$coord_v1.acquire_lock('{src/a.rs}')$$), 'outcome'), 'acquired', 'an own expired lock begins anew');

select throws_ok($$insert into coord.locks (place, repo, path, agent, session_id, agent_type, mode, fence, acquired_at, expires_at)
  values ('github.com/acme/app src/a.rs', 'github.com/acme/app', 'src/a.rs', 'agent-b', 'jti-agent-b', 't', 'exclusive', 1, now(), now() + interval '1 hour')$$,
  '23505', null, 'a unique index is the last word on exclusive locks (L1)');

select * from finish();
rollback;
