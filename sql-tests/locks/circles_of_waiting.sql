-- A wait that would never end is refused at once, with the circle it would close.
begin;
\ir ../helpers.sql
select no_plan();
select tests.as_operator($q$coord_v1.register_agent('agent-d', 'test', 'agent', '{github.com/acme/app,github.com/acme/other}')$q$) ->> 'outcome';
select tests.as_operator($q$coord_v1.register_agent('agent-e', 'test', 'agent', '{github.com/acme/app,github.com/acme/other}')$q$) ->> 'outcome';

create function tests.s(p_session text, p_paths text, p_wait integer default 0, p_mode text default 'exclusive') returns jsonb language sql
return tests.as_agent('agent-b', format('coord_v1.acquire_lock(%L, wait_seconds => %s, mode => %L)', p_paths, p_wait, p_mode), jsonb_build_object('x-session-id', p_session));

-- Three in a circle, by locks.
select is(tests.s('one', '{a}') ->> 'outcome', 'acquired', 'one has a');
select is(tests.s('two', '{b}') ->> 'outcome', 'acquired', 'two has b');
select is(tests.s('three', '{dir/}') ->> 'outcome', 'acquired', 'three has dir/');
select is(tests.s('one', '{b}', 60) ->> 'outcome', 'queued', 'one waits for two');
select is(tests.s('two', '{x,dir/file}', 60) ->> 'outcome', 'queued', 'two waits for three');
create temp table told as select tests.s('three', '{a}', 60) as answer;
select is(tests.pick(answer, 'ok', 'outcome', 'blockers.0.session_id'), 'false deadlock one', 'three is told') from told;
select is((select string_agg(format('%s: %s held as %s by %s', c ->> 'session_id', c ->> 'path', c ->> 'held_path', c ->> 'holder'), ', ') from jsonb_array_elements(answer -> 'cycle') c),
  'three: a held as a by agent-b, one: b held as b by agent-b, two: dir/file held as dir/ by agent-b', 'the whole circle') from told;
select is((select count(*) from coord.lock_tickets where session_id = 'three'), 0::bigint, 'and does not wait');
select is(tests.s('three', '{a}') ->> 'outcome', 'held', 'without waiting it is only held');
select is(tests.s('three', '{free}', 60) ->> 'outcome', 'acquired', 'what is free is given to whoever others wait for');
select is(tests.as_agent('agent-b', 'coord_v1.release_lock()', '{"x-session-id": "three"}') ->> 'outcome', 'released', 'three gives way');
select is(tests.s('two', '{x,dir/file}', 60) ->> 'outcome', 'acquired', 'two goes on');
select is(tests.s('three', '{a}', 60) ->> 'outcome', 'queued', 'now three may wait');

-- Two, by one''s own place in the line.
select is(tests.s('six', '{q/a}') ->> 'outcome', 'acquired', 'six has a file');
select is(tests.s('seven', '{q/}', 60) ->> 'outcome', 'queued', 'seven waits for the directory');
select is(tests.pick(tests.s('six', '{q/b}', 60), 'outcome', 'cycle.0.waiting', 'cycle.0.held_path', 'cycle.1.path', 'cycle.1.held_path'), 'deadlock true q/ q/ q/a',
  'six would wait for seven''s turn, which waits for six');

-- Upgrades of two readers.
select is(tests.s('eight', '{u}', 0, 'shared') ->> 'outcome', 'acquired', 'a reader');
select is(tests.s('nine', '{u}', 0, 'shared') ->> 'outcome', 'acquired', 'another');
select is(tests.s('eight', '{u}', 60) ->> 'outcome', 'queued', 'the first wants to write');
select is(tests.pick(tests.s('nine', '{u}', 60), 'outcome', 'cycle.1.waiter'), 'deadlock agent-b', 'the second cannot want it too');

-- Through a repository that the caller does not see.
create function tests.in_other(p_agent text, p_repo text, p_paths text, p_wait integer default 0) returns jsonb language sql
return tests.as_agent(p_agent, format('coord_v1.acquire_lock(%L, repo => %L, wait_seconds => %s)', p_paths, 'github.com/acme/' || p_repo, p_wait));
select is(tests.in_other('agent-d', 'other', '{secret}') ->> 'outcome', 'acquired', 'd has a secret file elsewhere');
select is(tests.in_other('agent-e', 'app', '{m}') ->> 'outcome', 'acquired', 'e has m');
select is(tests.as_agent('agent-a', $$coord_v1.acquire_lock('{n}')$$) ->> 'outcome', 'acquired', 'a has n');
select is(tests.in_other('agent-e', 'other', '{secret}', 60) ->> 'outcome', 'queued', 'e waits for d, elsewhere');
select is(tests.in_other('agent-d', 'app', '{n}', 60) ->> 'outcome', 'queued', 'd waits for a');
create temp table hidden as select tests.as_agent('agent-a', $$coord_v1.acquire_lock('{m}', wait_seconds => 60)$$) as answer;
select is(tests.pick(answer, 'outcome', 'cycle.0.holder', 'cycle.1', 'cycle.2.holder'), 'deadlock agent-e {"elsewhere": true} agent-a', 'a is told of the circle, not of the other repository') from hidden;
select unalike(answer::text, '%secret%', 'nothing of it') from hidden;

-- A long line is no circle, and costs no more than its length.
select is((select count(*) from generate_series(1, 150) i where tests.s('queue-' || i, '{a}', 60) ->> 'outcome' = 'queued'), 150::bigint, '150 wait in one line');


-- What a session covers by its own locks it does not wait for, and nobody waits for it there.
select is(tests.s('ten', '{c/1}') ->> 'outcome', 'acquired', 'ten has the first file');
select is(tests.s('eleven', '{c/2,c/3}') ->> 'outcome', 'acquired', 'eleven has two others');
select is(tests.s('twelve', '{c/4}') ->> 'outcome', 'acquired', 'twelve has the last');
select is(tests.s('thirteen', '{c/2}', 60) ->> 'outcome', 'queued', 'somebody waits for one of eleven');
select is(tests.pick(tests.s('eleven', '{c/1,c/2}', 60), 'outcome', 'position', 'blockers.0.session_id', 'blockers.1'), 'queued 1 ten -',
  'eleven waits for ten, not for who waits for itself');
select is(tests.s('twelve', '{c/2,c/4}', 60) ->> 'outcome', 'queued', 'twelve waits behind');
select is(tests.as_agent('agent-b', $$coord_v1.release_lock('{c/4}')$$, '{"x-session-id": "twelve"}') ->> 'outcome', 'released', 'gives up waiting and its file');
select is(tests.s('twelve', '{c/5}') ->> 'outcome', 'acquired', 'has another');
select is(tests.s('fourteen', '{c/2,c/5}', 60) ->> 'outcome', 'queued', 'which is waited for, before eleven''s file');
select is(tests.pick(tests.s('twelve', '{c/3}', 60), 'outcome', 'cycle'), 'queued -', 'no circle: eleven does not wait for those who want what it has');

-- A lock that covered a part of what its owner waits for goes away: who wanted that part goes first.
create function tests.lose_cover(p_how text) returns jsonb language plpgsql as $$
declare
  v_answers jsonb := jsonb_build_array(
    tests.s('left-' || p_how, array[p_how || '/cover/', p_how || '/k']::text) ->> 'outcome',
    tests.s('right-' || p_how, array[p_how || '/a']::text) ->> 'outcome',
    tests.s('first-' || p_how, array[p_how || '/cover/b', p_how || '/k']::text, 60) ->> 'outcome',
    tests.s('left-' || p_how, array[p_how || '/a', p_how || '/cover/b']::text, 60) ->> 'outcome');
begin
  case p_how
    when 'released' then
      perform tests.as_agent('agent-b', $q$coord_v1.release_lock('{released/cover/}')$q$, '{"x-session-id": "left-released"}');
    when 'forced' then
      perform tests.as_operator($q$coord_v1.force_release_lock('{forced/cover/}', 'test', 'github.com/acme/app')$q$);
    when 'expired' then
      update coord.locks set acquired_at = acquired_at - interval '1 hour', expires_at = clock_timestamp() - interval '1 second' where path = 'expired/cover/';
  end case;
  perform tests.as_agent('agent-b', 'coord_v1.release_lock()', jsonb_build_object('x-session-id', 'right-' || p_how));
  v_answers := v_answers || jsonb_build_array(
    tests.s('left-' || p_how, array[p_how || '/a', p_how || '/cover/b']::text, 60) ->> 'outcome');
  return v_answers || jsonb_build_array(
    (select count(*) from coord.lock_tickets where session_id = 'left-' || p_how),
    tests.s('left-' || p_how, array[p_how || '/a']::text) ->> 'outcome',
    tests.as_agent('agent-b', 'coord_v1.release_lock()', jsonb_build_object('x-session-id', 'left-' || p_how)) ->> 'outcome',
    tests.s('first-' || p_how, array[p_how || '/cover/b', p_how || '/k']::text, 60) ->> 'outcome');
end
$$;
select is(tests.lose_cover(how), '["acquired", "acquired", "queued", "queued", "deadlock", 0, "acquired", "released", "acquired"]',
  'a circle that closes when a cover is ' || how || ' is told at the next call')
from unnest(array['released', 'forced', 'expired']) how;

select * from finish();
rollback;
