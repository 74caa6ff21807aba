-- A refused request may wait: first come, first served, until it is granted, given up or forgotten.
begin;
\ir ../helpers.sql
select no_plan();

-- The same agent in several sessions is several owners.
create function tests.ask(p_session text, p_expression text) returns jsonb language sql
return tests.as_agent('agent-b', 'coord_v1.' || p_expression, jsonb_build_object('x-session-id', p_session));
-- Time passes for the tickets.
create function tests.pass(p_seconds integer) returns void language sql
begin atomic
  update coord.lock_tickets set expires_at = expires_at - make_interval(secs => p_seconds), asked_at = asked_at - make_interval(secs => p_seconds);
end;

select is(tests.pick(tests.as_agent('agent-a', $$coord_v1.acquire_lock('{src/a}')$$), 'outcome'), 'acquired', 'agent-a holds src/a');
select is(tests.pick(tests.ask('one', $$acquire_lock('{src/a}', wait_seconds => 60)$$), 'ok', 'outcome', 'position', 'retry_after_seconds', 'blockers.0.holder'),
  'false queued 1 5 agent-a', 'one waits for it');
select matches(tests.ask('one', $$acquire_lock('{src/a}', wait_seconds => 60)$$) ->> 'ticket', '^W-[0-9]+$', 'and keeps its ticket by asking again');
select is((select count(*) from coord.lock_tickets), 1::bigint, 'which is one ticket');
select is(tests.pick(tests.ask('two', $$acquire_lock('{src/}', wait_seconds => 60)$$), 'outcome', 'position', 'blockers.0.holder', 'blockers.1.waiting', 'blockers.1.session_id'),
  'queued 2 agent-a true one', 'two wants the directory and is behind one');
select is(tests.pick(tests.ask('three', $$acquire_lock('{src/b}')$$), 'outcome', 'blockers.0.waiting', 'blockers.0.session_id', 'blockers.0.held_path'),
  'held true two src/', 'a free file in the awaited directory is reserved for two');
select matches(tests.ask('three', $$acquire_lock('{src/b}')$$) ->> 'next', 'waits in line for src/', 'which next says');
select is(tests.pick(tests.ask('three', $$acquire_lock('{lib/b}')$$), 'outcome'), 'acquired', 'others are free');
select is(tests.pick(tests.as_agent('agent-a', $$coord_v1.acquire_lock('{src/a}')$$), 'outcome'), 'renewed', 'the holder may extend what it has');
select is(tests.pick(tests.as_agent('agent-a', $$coord_v1.check_locks('{src/a}')$$), 'locks.0.waiters'), '2', 'and sees that two wait');
select is(tests.as_agent('agent-b', $$(select jsonb_agg(q.session_id || ' ' || q.paths[1] order by substr(q.ticket, 3)::bigint) from coord_v1.lock_queue q)$$),
  '["one src/a", "two src/"]', 'the view shows the line');
select is(tests.as_agent('agent-c', $$(select coalesce(jsonb_agg(q.ticket), '[]') from coord_v1.lock_queue q)$$), '[]', 'to those of the repository');

select is(tests.pick(tests.as_agent('agent-a', $$coord_v1.release_lock('{src/a}')$$), 'outcome'), 'released', 'released');
select is(tests.pick(tests.ask('two', $$acquire_lock('{src/}', wait_seconds => 60)$$), 'outcome', 'position', 'blockers.0.session_id'), 'queued 2 one',
  'two does not pass one, though all is free');
select is(tests.pick(tests.as_agent('agent-a', $$coord_v1.acquire_lock('{src/a}')$$), 'outcome', 'blockers.0.session_id'), 'held one', 'nor does the former holder');
select is(tests.pick(tests.ask('one', $$acquire_lock('{src/a}', wait_seconds => 60)$$), 'outcome'), 'acquired', 'one is served');
select is((select string_agg(session_id, ' ') from coord.lock_tickets), 'two', 'and has left the line');
select is(tests.pick(tests.ask('one', $$release_lock()$$), 'outcome', 'cancelled'), 'released -', 'one releases');
select is(tests.pick(tests.ask('two', $$acquire_lock('{src/}')$$), 'outcome'), 'acquired', 'two is served, even by a call that does not wait');
select is((select count(*) from coord.lock_tickets), 0::bigint, 'the line is empty');

-- Ways out of the line.
select is(tests.pick(tests.ask('one', $$acquire_lock('{src/a}', wait_seconds => 60)$$), 'outcome'), 'queued', 'one waits');
select is(tests.pick(tests.ask('one', $$acquire_lock('{src/a}')$$), 'outcome'), 'held', 'asking without waiting gives up');
select is((select count(*) from coord.lock_tickets), 0::bigint, 'the ticket is gone');
select is(tests.pick(tests.ask('one', $$acquire_lock('{src/a,src/b}', wait_seconds => 60)$$), 'outcome'), 'queued', 'one waits for two files');
select is(tests.pick(tests.ask('one', $$release_lock('{src/b}')$$), 'ok', 'outcome', 'released'), 'true released []', 'release_lock cancels tickets that name the path');
select is((select count(*) from coord.lock_tickets), 0::bigint, 'both files');
select is(tests.pick(tests.ask('one', $$acquire_lock('{src/a}', wait_seconds => 60)$$), 'outcome'), 'queued', 'one waits');
create temp table ticket as select 'W-' || number as id from coord.lock_tickets;
select is(tests.pick(tests.ask('three', format('cancel_wait(%L)', id)), 'ok', 'outcome'), 'false not_waiting', 'nobody cancels for another') from ticket;
select is(tests.pick(tests.ask('one', format('cancel_wait(%L)', lower(id))), 'ok', 'outcome', 'ticket'), 'true cancelled ' || id, 'cancel_wait leaves the line') from ticket;
select is(tests.pick(tests.ask('one', $$acquire_lock('{src/a}', wait_seconds => 60)$$), 'outcome'), 'queued', 'one waits');
select tests.pass(61);
select is(tests.pick(tests.ask('one', $$acquire_lock('{src/a}', wait_seconds => 60)$$), 'outcome'), 'held', 'when the time is over, it is held');
select is(tests.pick(tests.ask('one', $$acquire_lock('{src/a}', wait_seconds => 60)$$), 'outcome'), 'queued', 'and one may wait anew');
select is(tests.ask('one', $$end_session()$$) #>> '{cancelled,0}' ~ '^W-', true, 'one ends its session');
select is((select count(*) from coord.lock_tickets), 0::bigint, 'and its ticket with it');

-- Silence loses the place.
select is(tests.pick(tests.ask('one', $$acquire_lock('{src/a}', wait_seconds => 600)$$), 'outcome'), 'queued', 'one waits');
select is(tests.pick(tests.ask('four', $$acquire_lock('{src/a}', wait_seconds => 600)$$), 'outcome', 'position'), 'queued 2', 'four is next');
update coord.lock_tickets set expires_at = clock_timestamp() - interval '1 second' where session_id = 'one';
select is(tests.pick(tests.ask('four', $$acquire_lock('{src/a}', wait_seconds => 600)$$), 'position'), '1', 'one was silent for too long');
select is(tests.pick(tests.ask('one', $$acquire_lock('{src/a}', wait_seconds => 600)$$), 'outcome', 'position'), 'queued 2', 'and is last now');
select is(tests.ask('two', $$end_session()$$) #>> '{released,0,path}', 'src/', 'the holder ends');
select is(tests.pick(tests.ask('one', $$acquire_lock('{src/a}', wait_seconds => 600)$$), 'outcome'), 'queued', 'one is not served');
select is(tests.pick(tests.ask('four', $$acquire_lock('{src/a}', wait_seconds => 600)$$), 'outcome'), 'acquired', 'four is');
select is(tests.ask('four', $$end_session()$$) ->> 'outcome', 'ended', 'four is done');
select is(tests.ask('one', $$end_session()$$) ->> 'outcome', 'ended', 'one as well');

-- Shared requests pass shared ones, never an exclusive one that waits.
select is(tests.pick(tests.as_agent('agent-a', $$coord_v1.acquire_lock('{doc}', mode => 'shared')$$), 'outcome'), 'acquired', 'a reader');
select is(tests.pick(tests.ask('one', $$acquire_lock('{doc}', mode => 'shared')$$), 'outcome'), 'acquired', 'another');
select is(tests.pick(tests.ask('two', $$acquire_lock('{doc}', wait_seconds => 60)$$), 'outcome'), 'queued', 'a writer waits');
select is(tests.pick(tests.ask('three', $$acquire_lock('{doc}', mode => 'shared', wait_seconds => 60)$$), 'outcome', 'blockers.0.session_id'), 'queued two', 'later readers wait behind it');
select is(tests.pick(tests.ask('five', $$acquire_lock('{doc}', mode => 'shared', wait_seconds => 60)$$), 'outcome', 'position'), 'queued 2', 'but not behind each other');
select is(tests.pick(tests.ask('one', $$acquire_lock('{doc}', mode => 'shared')$$), 'outcome'), 'renewed', 'a reader that holds may extend');

-- Whoever covers a path already takes nothing from the line.
select is(tests.pick(tests.as_agent('agent-a', $$coord_v1.acquire_lock('{pkg/}')$$), 'outcome'), 'acquired', 'agent-a has the directory');
select is(tests.pick(tests.ask('two', $$acquire_lock('{pkg/x}', wait_seconds => 60)$$), 'outcome'), 'queued', 'two waits for a file in it');
select is(tests.pick(tests.as_agent('agent-a', $$coord_v1.acquire_lock('{pkg/x}')$$), 'outcome'), 'acquired', 'agent-a may lock it by itself');

-- The same request in two repositories is two, each with a ticket of its own.
select tests.as_operator($q$coord_v1.register_agent('agent-b', 'codex-cloud', 'agent', '{github.com/acme/other}')$q$) ->> 'outcome' as quiet \gset
create function tests.twice(p_session text, p_expression text) returns text language sql
return tests.ask(p_session, format(p_expression, 'github.com/acme/app')) ->> 'outcome' || ' ' || (tests.ask(p_session, format(p_expression, 'github.com/acme/other')) ->> 'outcome');
select is(tests.twice('six', $$acquire_lock('{both}', %L)$$), 'acquired acquired', 'six holds the same path of two repositories');
select is(tests.twice('seven', $$acquire_lock('{both}', %L, wait_seconds => 60)$$), 'queued queued', 'seven waits for both');
select is((select count(distinct repo) from coord.lock_tickets where session_id = 'seven'), 2::bigint, 'with two tickets');
select is(tests.ask('six', $$release_lock(null, 'github.com/acme/app')$$) ->> 'outcome', 'released', 'one is released');
select is(tests.twice('seven', $$acquire_lock('{both}', %L, wait_seconds => 60)$$), 'acquired queued', 'seven is served there and waits for the other');
select is(tests.ask('seven', $$end_session()$$) #>> '{cancelled,0}' ~ '^W-', true, 'until it ends');

-- The reaper.
update coord.lock_tickets set expires_at = clock_timestamp() - interval '2 minutes';
select is(tests.as_operator('coord_v1.maintain()') ->> 'outcome', 'maintained', 'housekeeping runs');
select is((select count(*) from coord.lock_tickets), 0::bigint, 'and forgets tickets that nobody polls');
select throws_ok($$insert into coord.lock_tickets (repo, paths, uncovered, mode, agent, session_id, agent_type, request, asked_at, expires_at)
    values ('r/r', '{a}', '{a}', 'exclusive', 'agent-b', 'four', 't', gen_random_uuid(), clock_timestamp(), clock_timestamp()); set constraints all immediate$$,
  '23503', null, 'a ticket of an ended session cannot be');

select * from finish();
rollback;
