-- Q2: whatever the states do not know is refused, at every door and to the owner of the tables.
begin;
\ir ../helpers.sql
\ir ../work_helpers.sql
select no_plan();

select tests.task(format('{"title": "t%s", "max_attempts": 2}', n)::jsonb) from generate_series(1, 4) n;
select tests.b('get_work(max_tasks => 3)');
select tests.b(format('complete_work(%L, true)', tests.t(1)));
select tests.as_operator(format('coord_v1.cancel_work(%L)', tests.t(2)));
create temp table before as select to_jsonb(t) as row from coord_v1.tasks t;

-- As the owner of the tables would, past every function.
select throws_ok(format('update coord.tasks set %s where number = %s', change, substr(tests.t(nth), 3)), null, null, change)
from (values
  -- 3 is claimed, 4 is pending
  (3, $$state = 'completed'$$), (3, $$state = 'dead'$$), (4, $$state = 'completed'$$), (4, $$state = 'claimed'$$),
  (4, $$state = 'claimed', attempt = 5, agent = 'agent-b', agent_type = 'x', session_id = 'jti-agent-b', claimed_at = submitted_at, lease_seconds = 60, lease_until = submitted_at$$),
  (4, $$attempt = 1$$), (4, $$failures = 1, attempt = 1$$), (3, $$attempt = 2$$), (3, $$agent = 'agent-a', session_id = 'jti-agent-a'$$), (3, $$session_id = 'another'$$), (3, $$claimed_at = claimed_at + interval '1 second'$$),
  (3, $$failures = failures + 1$$), (3, $$state = 'pending', failures = 2$$), (3, $$state = 'pending', attempt = 0$$), (3, $$lease_until = null$$), (3, $$agent = null$$), (3, $$unmet = 1$$), (3, $$next_at = submitted_at$$),
  (4, $$number = 1$$), (4, $$repo = 'github.com/acme/other'$$), (4, $$title = 'another'$$), (4, $$submitted_by = 'agent-b'$$), (4, $$turn_at = turn_at - interval '1 hour'$$), (4, $$max_attempts = 9$$), (4, $$unmet = 3$$)) v (nth, change);
select throws_ok(format('update coord.past_tasks set %s where number = %s', change, substr(tests.t(nth), 3)), 'PT409', null, 'past: ' || change)
from (values (1, $$state = 'cancelled'$$), (2, $$state = 'completed', reason = null$$), (1, $$result = '{}'$$), (2, $$finished_at = clock_timestamp()$$)) v (nth, change);
select throws_ok(format('insert into coord.past_tasks select (jsonb_populate_record(p, %L)).* from coord.past_tasks p limit 1', change), null, null, 'past: ' || change)
from (values ('{"number": 0, "state": "pending"}'), ('{"number": 0, "id": "00000000-0000-0000-0000-000000000000", "state": "dead", "reason": null}'),
  ('{"number": 0, "id": "00000000-0000-0000-0000-000000000000", "state": "dead", "reason": "boredom"}')) v (change);

-- By every function, on every state it is not for.
select is(tests.pick(tests.b(format('%s(%L%s)', f, tests.t(nth), args)), 'outcome'), expected, format('%s of task %s', f, nth))
from (values
  ('complete_work', 1, ', false', 'already_done'), ('renew_work', 1, '', 'already_done'), ('return_work', 1, '', 'already_done'), ('cancel_work', 1, '', 'already_done'),
  ('complete_work', 2, ', true', 'already_done'), ('renew_work', 2, '', 'already_done'), ('return_work', 2, '', 'already_done'), ('cancel_work', 2, '', 'already_done'),
  ('complete_work', 4, ', true', 'not_yours'), ('renew_work', 4, '', 'not_yours'), ('return_work', 4, '', 'not_yours'), ('cancel_work', 4, '', 'denied'),
  ('complete_work', 3, ', true, attempt => 2', 'not_yours'), ('renew_work', 3, ', attempt => 2', 'not_yours'), ('return_work', 3, ', attempt => 2', 'not_yours')) v (f, nth, args, expected);
select is(tests.pick(tests.a(format('%s(%L%s)', f, tests.t(nth), args)), 'outcome'), 'not_yours', format('%s of task %s by somebody else', f, nth))
from (values ('complete_work', 1, ', true'), ('complete_work', 2, ', false'), ('complete_work', 3, ', true'), ('complete_work', 3, ', false'), ('renew_work', 3, ''), ('return_work', 3, '')) v (f, nth, args);
select throws_ok(format('select tests.a(%L)', format('retry_work(%L)', tests.t(nth))), 'PT409', 'task_not_failed', 'retry of task ' || nth) from unnest(array[1, 3, 4]) nth;

select set_eq('select to_jsonb(t) from coord_v1.tasks t', 'select row from before', 'and no row is another');

select * from finish();
rollback;
