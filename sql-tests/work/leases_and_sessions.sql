-- Q1, Q3: a claim belongs to a live session, any call renews it, and what is lost comes back or dies.
begin;
\ir ../helpers.sql
\ir ../work_helpers.sql
select no_plan();

select tests.task('{"title": "one", "paths": ["src/one"]}');
select tests.b('get_work(lease_seconds => 300)', 'worker');

-- Any call renews the claim with its lock; not every call writes.
select tests.pass(40);
select tests.b('check_locks()', 'worker');
select is((select ceil(extract(epoch from lease_until - clock_timestamp())) from coord.tasks), 260::numeric, 'a call within a quarter of the lease writes nothing');
select tests.pass(40);
select tests.b('check_locks()', 'worker');
select is((select round(extract(epoch from lease_until - clock_timestamp())) from coord.tasks), 300::numeric, 'the next one renews');
select is((select round(extract(epoch from expires_at - clock_timestamp())) from coord.locks), 300::numeric, 'the lock too');
select tests.b('check_locks()', 'another');
select tests.pass(100);
select is(tests.pick(tests.b('heartbeat(2000)', 'worker'), 'outcome'), 'alive', 'a long build is announced');
select ok((select min(t) > 1990 from (select extract(epoch from lease_until - clock_timestamp()) as t from coord.tasks union all select extract(epoch from expires_at - clock_timestamp()) from coord.locks) x), 'task and lock last as long');
select tests.pass(1900);
select ok((tests.as_operator('coord_v1.maintain()') ->> 'sessions_ended')::integer > 0, 'other sessions die of it');
select is((select string_agg(id, ' ') from coord.sessions where live and agent = 'agent-b'), 'worker', 'as it said');
select is((select state from coord.tasks), 'claimed', 'with its task');

-- A lease that runs out while its session lives.
select tests.pass(200);
select is(tests.pick(tests.a('get_work()'), 'tasks.0.attempt', 'tasks.0.failures', 'tasks.0.last_failure.error', 'tasks.0.last_failure.agent', 'tasks.0.locks.0.path'), '2 1 its lease ran out agent-b src/one',
  'who asks next takes it back and gets it, with its lock');
select is(tests.pick(tests.b(format('complete_work(%L, true, attempt => 1)', tests.t(1)), 'worker'), 'outcome', 'holder', 'attempt'), 'not_yours agent-a 2', 'the late one is told');
select is(tests.b('read_notices()', 'worker') #>> '{notices,0,text}', tests.t(1) || ' (one) was taken back: you were silent for longer than its lease.', 'and why');
select is(tests.b('read_notices()', 'worker') -> 'notices', '[]', 'once');
select is((select outcome from coord.audit_log where outcome = 'task_lost'), 'task_lost', 'which is audited');
select tests.pass(1000);
select is(tests.pick(tests.as_operator('coord_v1.maintain()'), 'tasks_lost', 'tasks_dead'), '0 0', 'a dead session''s tasks go with it');
select is((select state || ' ' || failures || ' ' || (history #>> '{-1,error}') from coord.tasks), 'pending 2 its session died', 'back to the queue');
select ok((select bool_and(released_at is not null) from coord.locks), 'and its locks');
select ok(exists (select from coord.audit_log a join coord.audit_details d using (at, id) where a.outcome = 'ended' and a.agent = 'agent-a' and d.content #>> '{tasks,0,state}' = 'pending'), 'in one audited step');
select tests.b('get_work(lease_seconds => 60)', 'third');
select tests.pass(61);
select is(tests.pick(tests.a('get_work()'), 'outcome'), 'none', 'a claim fails nothing: not the last attempt');
select is(tests.pick(tests.as_operator('coord_v1.maintain()'), 'tasks_lost', 'tasks_dead'), '1 1', 'housekeeping does');
select is((select reason || ' ' || error from coord.past_tasks), 'attempts its lease ran out', 'three times is enough');

-- Ending gives back, and does not count.
select tests.task('{"title": "two", "paths": ["two"], "max_attempts": 1}');
select tests.b('get_work()', 'fourth');
select is(tests.pick(tests.b('end_session()', 'fourth'), 'outcome', 'returned.0.task', 'returned.0.state', 'released.0.path'), 'ended ' || tests.t(2) || ' pending two', 'the end of a session');
select tests.b('get_work()', 'fifth');
select is(tests.pick(tests.as_operator($$coord_v1.disable_agent('agent-b', 'enough')$$), 'outcome'), 'disabled', 'an agent is disabled');
select is((select state || ' ' || failures || ' ' || attempt from coord.tasks), 'pending 0 2', 'its tasks are back, and nothing counted');
select is((select string_agg(release_reason, ' ') from coord.locks where session_id = 'fifth'), 'forced', 'its locks are broken');
select tests.as_operator($$coord_v1.enable_agent('agent-b')$$);
select throws_ok($$insert into coord.tasks select (jsonb_populate_record(t, '{"number": 0, "id": "00000000-0000-0000-0000-000000000000", "state": "claimed", "session_id": "fifth", "agent": "agent-b"}')).* from coord.tasks t; set constraints all immediate$$,
  null, null, 'nothing else lets an ended session claim');

-- Deadlines: for beginning.
select tests.a('submit_work(''urgent'', deadline => (clock_timestamp() + interval ''1 hour'')::text::timestamptz)');
select tests.task(format('{"title": "after", "depends_on": ["%s"]}', tests.t(3))::jsonb);
select tests.pass(3601);
select is((select string_agg(tests.a('get_work()') #>> '{tasks,0,title}', ' ') from generate_series(1, 2)), 'two', 'nobody begins it after its deadline');
select is(tests.pick(tests.as_operator('coord_v1.maintain()'), 'tasks_dead'), '2', 'housekeeping ends it, and what needs it');
select is((select string_agg(title || ' ' || reason, ', ' order by number desc) from coord.past_tasks where title in ('urgent', 'after')), 'after dependency, urgent deadline', 'each with its reason');
select tests.a('submit_work(''begun'', deadline => (clock_timestamp() + interval ''1 hour'')::text::timestamptz, max_attempts => 5)');
select tests.a('get_work(lease_seconds => 28800)');
select tests.pass(3601);
select tests.as_operator('coord_v1.maintain()');
select is((select state from coord.tasks where title = 'begun'), 'claimed', 'what was begun goes on');
select is(tests.pick(tests.a(format('complete_work(%L, false)', (select 'T-' || number from coord.tasks where title = 'begun'))), 'outcome', 'reason'), 'dead deadline', 'but is not tried again');

-- Nothing is forgotten that is still waited for.
select tests.task('{"title": "old", "max_attempts": 1}');
select tests.task(format('{"title": "waits", "on_dependency_failure": "wait", "depends_on": ["T-%s"]}', (select number from coord.tasks where title = 'old'))::jsonb);
select tests.as_operator(format('coord_v1.cancel_work(%L)', (select 'T-' || number from coord.tasks where title = 'old')));
set constraints all immediate;
alter table coord.past_tasks disable trigger only_legal_changes;
update coord.past_tasks set finished_at = finished_at - interval '91 days';
select tests.as_operator('coord_v1.maintain()');
select is((select string_agg(title, ' ') from coord.past_tasks), 'old', 'after 90 days only what is waited for is kept');

-- get_work in parallel calls of a session, and an ended one.
select is(tests.pick(tests.b('get_work(wait_seconds => 60)', 'sixth'), 'outcome', 'retry_after_seconds', 'wait_seconds_left'), 'none 5 60', 'who waits is told how');

select * from finish();
rollback;
