-- Who may do a task, and whose turn it is.
begin;
\ir ../helpers.sql
\ir ../work_helpers.sql
select no_plan();

select tests.as_operator($q$coord_v1.apply_config('{"profiles": {"low": {"trust": 2, "allowed": ["*"], "capabilities": ["docs", "gpu"]}, "high": {"trust": 3, "allowed": ["*"]}}}')$q$);
select tests.as_operator($$coord_v1.assign_profile('agent-a', 'low')$$), tests.as_operator($$coord_v1.assign_profile('agent-b', 'high')$$);

-- What agent-a may not do, in front of everything, is not taken, not touched, and in nobody's way.
select tests.task(s) from (values
  ('{"title": "trust", "priority": 1, "requires": {"min_trust": 3}}'::jsonb), ('{"title": "type", "priority": 1, "requires": {"agent_types": ["codex-cloud"]}}'),
  ('{"title": "gpu", "priority": 1, "requires": {"capabilities": ["gpu"]}}'), ('{"title": "two", "priority": 1, "requires": {"capabilities": ["docs", "rust"]}}'),
  ('{"title": "not-a", "priority": 1, "requires": {"not_agents": ["agent-a"]}}'), ('{"title": "not-me", "priority": 1, "requires": {"not_agents": ["@submitter"]}}')) v (s);
create temp table before as select to_jsonb(t) as row from coord.tasks t;
select is(tests.pick(tests.a('get_work()'), 'outcome', 'reasons.requirements'), 'none 5', 'agent-a may do none of them; those that ask for the same are one lane');
select set_eq($$select jsonb_array_elements_text(tests.a('get_work()') #> '{reasons,lacking}')$$,
  array['trust 3', 'agent type codex-cloud', 'capability gpu', 'capability docs, rust', 'another agent than agent-a'], 'and is told what it lacks');
select set_eq('select to_jsonb(t) from coord.tasks t', 'select row from before', 'nothing of them changed');
select tests.task('{"title": "plain", "priority": 10}', 'agent-b');
select is(tests.pick(tests.a('get_work()'), 'tasks.0.title'), 'plain', 'what it may do it gets, from behind them all');
select is(tests.pick(tests.a(format('complete_work(%L, false)', tests.t(1))), 'outcome'), 'not_yours', 'it cannot fail what it may not run');

-- Capabilities are declared, and count as far as the profile allows.
select is(tests.pick(tests.a('start_session(''{docs,rust,gpu}'')'), 'ok', 'outcome', 'capabilities'), 'true started ["docs", "gpu"]', 'rust is not agent-a''s');
select is(tests.pick(tests.a('get_work()'), 'tasks.0.title'), 'gpu', 'now it gets that');
select is(tests.pick(tests.a('get_work()'), 'outcome', 'reasons.requirements'), 'none 4', 'but not the one for rust');
select is(tests.pick(tests.a('get_work()', 'another'), 'reasons.requirements'), '4', 'and another session has said nothing');
select tests.as_operator($q$coord_v1.set_profile('low', '{"trust": 2, "allowed": ["*"], "capabilities": []}')$q$);
select tests.task('{"title": "gpu2", "requires": {"capabilities": ["gpu"]}}');
select is(tests.pick(tests.a('get_work()'), 'outcome'), 'none', 'what the profile takes away is gone with the next call');
select tests.as_operator($q$coord_v1.set_profile('low', '{"trust": 2, "allowed": ["*"]}')$q$);
select is(tests.pick(tests.a('get_work()'), 'tasks.0.title'), 'gpu2', 'and is back with it');
select tests.b('start_session(''{docs,rust}'')');
select is((select string_agg(t ->> 'title', ' ') from jsonb_array_elements(tests.b('get_work(max_tasks => 10)') -> 'tasks') t), 'trust two not-a not-me', 'agent-b has the trust');
select is((select title from coord.tasks where state = 'pending'), 'type', 'but is not of that type');
select is(tests.pick(tests.as_claims(tests.claims('agent-b') || '{"agent_type": "codex-cloud"}', 'coord_v1.get_work()'), 'tasks.0.title'), 'type', 'until its token says so');

-- Types.
delete from coord.tasks;
select tests.task('{"title": "r", "task_type": "review"}'), tests.task('{"title": "b", "task_type": "build"}');
select is(tests.pick(tests.a('get_work(''{build,deploy}'')'), 'tasks.0.title'), 'b', 'only of these types');
select is(tests.pick(tests.a('get_work(''{build,deploy}'')'), 'outcome', 'reasons.requirements'), 'none 0', 'and no others');
select is(tests.pick(tests.a('get_work(''{}'')'), 'tasks.0.title'), 'r', 'none named is any');

-- Priority, then age; and priority ages by ten minutes a step.
delete from coord.tasks;
select tests.task(jsonb_build_object('title', 'p' || p, 'priority', p, 'task_type', case when p % 2 = 0 then 'even' else 'odd' end)) from unnest(array[5, 3, 9, 1, 7, 2, 10, 4, 6, 8]) p;
select is((select string_agg(tests.a('get_work()', 's' || n) #>> '{tasks,0,title}', ' ') from generate_series(1, 10) n), 'p1 p2 p3 p4 p5 p6 p7 p8 p9 p10', 'priority first, across lanes');
delete from coord.tasks;
select tests.task('{"title": "old", "priority": 10}');
set constraints all immediate;
alter table coord.tasks disable trigger user;
update coord.tasks set submitted_at = submitted_at - interval '89 minutes', turn_at = turn_at - interval '89 minutes';
select tests.task('{"title": "urgent", "priority": 1}');
select is(tests.pick(tests.a('get_work()'), 'tasks.0.title'), 'urgent', 'for 89 minutes an urgent one passes the last priority');
delete from coord.tasks where state = 'claimed';
set constraints all immediate;
update coord.tasks set submitted_at = submitted_at - interval '2 minutes', turn_at = turn_at - interval '2 minutes';
select tests.task('{"title": "urgent", "priority": 1}');
select is(tests.pick(tests.a('get_work()'), 'tasks.0.title'), 'old', 'after 91 none does: nothing is passed for longer than (p - 1) x 10 minutes');
set constraints all immediate;
alter table coord.tasks enable trigger user;

-- Tasks whose paths are held are passed over, and after eight of them put aside for a moment.
delete from coord.tasks;
select tests.b('acquire_lock(''{held/}'')');
select tests.task(jsonb_build_object('title', 'h' || n, 'paths', jsonb_build_array('held/' || n))) from generate_series(1, 45) n;
select tests.task('{"title": "free", "paths": ["free"]}');
select is(tests.pick(tests.a('get_work()'), 'outcome', 'reasons.held'), 'none 40', 'forty are tried');
select is((select count(*) from coord.tasks where next_at is not null), 32::bigint, 'the first eight stay where their holder finds them');
select is(tests.pick(tests.a('get_work()'), 'tasks.0.title', 'tasks.0.locks.0.path'), 'free free', 'what is behind gets its turn');
select is(tests.pick(tests.b('get_work()'), 'tasks.0.title', 'tasks.0.locks.0.path'), 'h1 held/1', 'who holds the directory gets its files');
select is(tests.pick(tests.b('acquire_lock(''{queue}'')', 'x'), 'outcome') || tests.pick(tests.a('acquire_lock(''{queue}'', wait_seconds => 60)', 'y'), 'outcome'), 'acquiredqueued', 'somebody waits in line');
select tests.b('release_lock(''{queue}'')', 'x');
select tests.task('{"title": "jump", "task_type": "jump", "paths": ["queue"]}');
select is(tests.pick(tests.a('get_work(''{jump}'')', 'z'), 'outcome', 'reasons.held'), 'none 1', 'and is not passed by a claim');

select * from finish();
rollback;
