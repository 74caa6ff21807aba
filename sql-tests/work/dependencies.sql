-- Q4: dependencies hold, a failed one has a defined effect, and no circle gets in.
begin;
\ir ../helpers.sql
\ir ../work_helpers.sql
select no_plan();

create function tests.states() returns text language sql
return (select string_agg(t.title || ':' || t.state || case when t.blocked then '(blocked)' else '' end || coalesce('/' || case when t.state = 'dead' then t.reason end, ''), ' ' order by t.number) from coord_v1.tasks t);

-- A task waits for all it needs, and gets what they came to.
select tests.task('{"title": "one"}'), tests.task('{"title": "two"}');
select is(tests.pick(tests.a(format('submit_work(''three'', depends_on => ''{%s,%s}'')', tests.t(1), lower(tests.t(2)))), 'outcome', 'blocked'), 'submitted true', 'three needs both');
select is(tests.pick(tests.b('get_work(max_tasks => 10)'), 'tasks.0.title', 'tasks.1.title', 'tasks.2'), 'one two -', 'so only these are given');
select is(tests.pick(tests.b(format('complete_work(%L, true, ''{"n": 1}'')', tests.t(1))), 'unblocked'), '[]', 'one of them is not enough');
select is(tests.pick(tests.a('get_work()'), 'outcome', 'reasons.blocked'), 'none 1', 'three is blocked');
select is(tests.pick(tests.b(format('complete_work(%L, true, ''{"n": 2}'')', tests.t(2))), 'unblocked.0'), tests.t(3), 'both are');
select is(tests.pick(tests.a('get_work()'), 'tasks.0.title', 'tasks.0.dependencies.0.result.n', 'tasks.0.dependencies.1.result.n', 'tasks.0.dependencies.1.title'), 'three 1 2 two', 'their results come along');
select is(tests.pick(tests.a(format('submit_work(''four'', depends_on => ''{%s}'')', tests.t(1))), 'blocked'), 'false', 'what is done already is met');

-- What cannot be.
select throws_ok(format('select tests.a(%L)', format('submit_work(''x'', depends_on => ''{T-%s}'')', 999999)), 'PT422', 'dependency_unknown', 'an unknown dependency');
select throws_ok(format('select tests.a(%L)', format('submit_work(''x'', depends_on => ''{T-%s}'')', (select last_value + 1 from coord.task_numbers))), 'PT422', 'dependency_on_itself', 'itself');
select throws_ok(format('select tests.as_agent(''agent-c'', %L)', format('coord_v1.submit_work(''x'', depends_on => ''{%s}'')', tests.t(1))), 'PT422', 'dependency_unknown', 'a task of another repository');
select throws_ok($$select tests.a('submit_graph(''[{"key": "a", "title": "a", "depends_on": ["c"]}, {"key": "b", "title": "b", "depends_on": ["a"]}, {"key": "c", "title": "c", "depends_on": ["b"]}]'')')$$,
  'PT422', 'dependency_cycle', 'a circle of three');
select throws_ok($$select tests.a('submit_graph(''[{"key": "a", "title": "a", "depends_on": ["a"]}]'')')$$, 'PT422', 'dependency_on_itself', 'a circle of one');
select throws_ok($$select tests.a('submit_graph(''[{"key": "a", "title": "a", "depends_on": ["z"]}]'')')$$, 'PT422', 'dependency_unknown', 'a key that is not there');
select throws_ok(format('select tests.a(%L)', format('submit_graph(%L)', g)), 'PT400', e, g) from (values
  ('{}', 'argument_invalid'), ('[]', 'argument_too_long'), ('[1]', 'argument_invalid'), ('[{"title": "no key"}]', 'argument_invalid'), ('[{"key": "a"}]', 'argument_required'),
  ('[{"key": "T-1", "title": "a"}]', 'argument_invalid'), ('[{"key": "a", "title": "a"}, {"key": "a", "title": "b"}]', 'argument_invalid'),
  ('[{"key": "a", "title": "a", "priority": "high"}]', 'priority_out_of_range'), ('[{"key": "a", "title": 5}]', 'argument_invalid'),
  ('[{"key": "a", "title": "a", "deadline": "soon"}]', 'argument_invalid'), ('[{"key": "a", "title": "a", "depends_on": "b"}]', 'argument_invalid')) v (g, e);
select is((select count(*) from coord_v1.tasks), 4::bigint, 'nothing of it got in');
select is(coord.circle('{"x": ["a"], "a": ["b", "q"], "b": ["c"], "c": ["a"]}'), 'a needs b needs c needs a', 'the circle is named');

-- A graph in one call, in any order of its entries.
select is(tests.pick(tests.a('submit_graph(''[{"key": "ship", "title": "ship", "depends_on": ["test", "docs"]}, {"key": "test", "title": "test", "depends_on": ["build"]},
  {"key": "docs", "title": "docs"}, {"key": "build", "title": "build", "priority": 1}]'')'), 'ok', 'outcome') , 'true submitted', 'a graph');
select is((select string_agg(title, ' ' order by number) from coord.tasks where title in ('ship', 'test', 'docs', 'build')), 'build docs test ship', 'what is needed has the lower number');
select is((select jsonb_path_query_array(g -> 'tasks', '$[*].title') || jsonb_build_array(jsonb_array_length(g -> 'ties')) from tests.a(format('work_graph(%L)', (select 'T-' || number from coord.tasks where title = 'test'))) g),
  '["build", "test", "ship", 2]', 'the graph around one: what it needs and what needs it');
select is(jsonb_array_length(tests.a('work_graph()') -> 'ties'), 6, 'the graph of all that is open, with what that came from');

-- The three effects of a dependency that dies, and of one that is cancelled.
delete from coord.task_dependencies; delete from coord.tasks; delete from coord.past_tasks;
create function tests.family(p_prefix text) returns bigint language plpgsql as $$
declare
  v_parent text := tests.task(jsonb_build_object('title', p_prefix || 'parent', 'max_attempts', 1));
  v_child text;
begin
  foreach v_child in array array['fail', 'wait', 'ignore'] loop
    perform tests.task(jsonb_build_object('title', p_prefix || v_child, 'on_dependency_failure', v_child, 'depends_on', jsonb_build_array(v_parent)));
  end loop;
  perform tests.task(jsonb_build_object('title', p_prefix || 'grandchild', 'depends_on', jsonb_build_array('T-' || (select number from coord.tasks where title = p_prefix || 'fail'))));
  return substr(v_parent, 3)::bigint;
end
$$;
create temp table dying as select tests.family('d-') as parent;
select is(tests.pick(tests.b('get_work()'), 'tasks.0.title'), 'd-parent', 'the parent is claimed');
select is(tests.pick(tests.b(format('complete_work(%L, false, error => ''no'')', 'T-' || parent)), 'outcome'), 'dead', 'and dies') from dying;
select is(tests.states(), 'd-parent:dead/attempts d-fail:dead/dependency d-wait:pending(blocked) d-ignore:pending d-grandchild:dead/dependency', 'each child does what it said');
select is((select error from coord.past_tasks where title = 'd-grandchild'), (select 'T-' || number || ' dead' from coord.past_tasks where title = 'd-fail'), 'and says why');
select matches((select text from coord.notices), 'with it 2 that depend on it', 'its submitter is told of all');
select throws_ok(format('select tests.a(%L)', format('submit_work(''late'', depends_on => ''{T-%s}'')', parent)), 'PT422', 'dependency_failed', 'nobody can depend on it any more') from dying;
select is(tests.pick(tests.a(format('submit_work(''late-wait'', depends_on => ''{T-%s}'', on_dependency_failure => ''wait'')', parent)), 'blocked'), 'true', 'but wait for its retry') from dying;
select is(tests.pick(tests.a(format('submit_work(''late-ignore'', depends_on => ''{T-%s}'', on_dependency_failure => ''ignore'')', parent)), 'blocked'), 'false', 'or go on without') from dying;
select is(tests.pick(tests.b(format('retry_work(%L)', 'T-' || parent)), 'outcome', 'code'), 'denied insufficient_trust_level', 'others cannot retry it') from dying;
create temp table retry as select tests.a(format('retry_work(%L)', 'T-' || parent)) as answer from dying;
select is(tests.pick(answer, 'ok', 'outcome', 'retry_of') || ' ' || jsonb_array_length(answer -> 'waiting'), format('true submitted T-%s 2', parent), 'its submitter can') from retry, dying;
select is(tests.pick(tests.a(format('retry_work(%L)', 'T-' || parent)), 'outcome', 'task'), 'duplicate ' || (answer ->> 'task'), 'once') from dying, retry;
select is(tests.pick(tests.a(format('submit_work(''later'', depends_on => ''{T-%s}'')', parent)), 'blocked'), 'true', 'now one can depend on it: the retry is meant') from dying;
select is(tests.pick(tests.a(format('complete_work(%L, true)', answer ->> 'task')), 'outcome', 'state'), 'not_yours pending', 'who has not claimed it cannot complete it') from retry;
select tests.b('get_work(max_tasks => 10)');
select is(tests.pick(tests.b(format('complete_work(%L, true)', answer ->> 'task')), 'outcome') || ' ' || jsonb_array_length(tests.a('work_pending()') -> 'tasks'), 'completed 5', 'it is done') from retry;
select is((select string_agg(title, ' ' order by number) from coord.tasks where unmet = 0 and state = 'pending'), 'd-wait late-wait later', 'those that waited go on');

delete from coord.task_dependencies; delete from coord.tasks; delete from coord.past_tasks;
create temp table cancelled as select tests.family('c-') as parent;
select is(tests.pick(tests.b(format('cancel_work(%L)', 'T-' || parent)), 'outcome', 'code'), 'denied insufficient_trust_level', 'others cannot cancel it') from cancelled;
select is(tests.states(), 'c-parent:pending c-fail:pending(blocked) c-wait:pending(blocked) c-ignore:pending(blocked) c-grandchild:pending(blocked)', 'and did not');
select is(tests.pick(tests.as_operator(format('coord_v1.cancel_work(%L, ''not needed'')', 'T-' || parent)), 'ok', 'outcome') , 'true cancelled', 'an operator can') from cancelled;
select is(tests.states(), 'c-parent:cancelled c-fail:dead/dependency c-wait:pending(blocked) c-ignore:pending c-grandchild:dead/dependency', 'with the same effects');
select is(tests.pick(tests.a(format('cancel_work(%L)', 'T-' || parent)), 'ok', 'outcome', 'state'), 'true already_done cancelled', 'twice is the same') from cancelled;
select is((select count(*) from coord.task_dependencies), 1::bigint, 'no tie is left but of what waits');

-- A task with two that fail at once, one of whom it ignores.
delete from coord.task_dependencies; delete from coord.tasks; delete from coord.past_tasks;
select is(tests.pick(tests.a('submit_graph(''[{"key": "top", "title": "top", "max_attempts": 1}, {"key": "l", "title": "l", "depends_on": ["top"]}, {"key": "r", "title": "r", "depends_on": ["top"]},
  {"key": "both", "title": "both", "depends_on": ["l", "r"], "on_dependency_failure": "ignore"}, {"key": "all", "title": "all", "depends_on": ["l", "r", "both"]}]'')'), 'outcome'), 'submitted', 'a diamond');
select tests.b('get_work()');
select is(tests.pick(tests.b(format('complete_work(%L, false)', (select 'T-' || number from coord.tasks where title = 'top'))), 'outcome'), 'dead', 'its top dies');
select is(tests.states(), 'top:dead/attempts l:dead/dependency r:dead/dependency both:pending all:dead/dependency', 'each is settled once');

-- A long chain dies as one, without a stack of its depth.
delete from coord.task_dependencies; delete from coord.tasks; delete from coord.past_tasks;
select is(tests.pick(tests.a(format('submit_graph(%L)', (select jsonb_agg(jsonb_build_object('key', 'k' || n, 'title', 'k' || n, 'depends_on', case when n > 1 then jsonb_build_array('k' || n - 1) else '[]' end))
  from generate_series(1, 500) n))), 'outcome'), 'submitted', 'a chain of 500');
select is(jsonb_array_length(tests.a(format('cancel_work(%L)', (select 'T-' || min(number) from coord.tasks))) -> 'with_it'), 499, 'ends with its first');

-- Nobody reviews their own work.
delete from coord.past_tasks;
select tests.task('{"title": "change"}');
select is(tests.pick(tests.a(format('submit_work(''review'', task_type => ''review'', requires => ''{"not_agents": ["@dependencies", "@submitter"]}'', depends_on => ''{T-%s}'')', (select number from coord.tasks))), 'outcome'), 'submitted', 'a review of it');
select is(tests.pick(tests.b('get_work()'), 'tasks.0.title'), 'change', 'agent-b makes the change');
select is(tests.pick(tests.b(format('complete_work(%L, true)', (select 'T-' || number from coord.tasks where title = 'change'))), 'outcome'), 'completed', 'and has done it');
select is(tests.pick(tests.b('get_work()'), 'outcome', 'reasons.lacking'), 'none ["another agent than agent-b"]', 'agent-b cannot review it');
select is(tests.pick(tests.a('get_work()'), 'outcome', 'reasons.lacking'), 'none ["another agent than agent-a"]', 'nor its submitter');
select tests.as_operator($$coord_v1.register_agent('agent-d', 'claude-code-cli', 'agent', '{github.com/acme/app}')$$);
select is(tests.pick(tests.as_agent('agent-d', 'coord_v1.get_work()'), 'tasks.0.title'), 'review', 'somebody else can');

select * from finish();
rollback;
