-- A task is claimed once, completed once, and carries what its successor needs.
begin;
\ir ../helpers.sql
\ir ../work_helpers.sql
select no_plan();

select is(tests.pick(tests.a('submit_work(''first'', description => ''all of it'', input => ''{"n": 1}'')'), 'ok', 'outcome', 'task', 'state', 'blocked'),
  'true submitted ' || tests.t(1) || ' pending false', 'agent-a submits');
select is(tests.pick(tests.b('get_work()'), 'ok', 'outcome', 'tasks.0.id', 'tasks.0.attempt', 'tasks.0.title', 'tasks.0.description', 'tasks.0.input.n', 'tasks.0.locks', 'tasks.0.submitted_by'),
  format('true claimed %s 1 first all of it 1 [] agent-a', tests.t(1)), 'agent-b gets it with all it needs');
select is(tests.pick(tests.a('get_work()'), 'ok', 'outcome', 'tasks'), 'false none []', 'nobody else does');
select is(tests.pick(tests.b('get_work()', 'second'), 'outcome'), 'none', 'not even another session of the same agent');
select is(tests.pick(tests.b(format('complete_work(%L, true, ''{"found": 7}'', attempt => 1)', tests.t(1))), 'ok', 'outcome', 'attempt', 'unblocked', 'released'),
  'true completed 1 [] []', 'it is completed');
select is(tests.pick(tests.b(format('complete_work(%L, true, ''{"found": 7}'', attempt => 1)', tests.t(1))), 'ok', 'outcome', 'state', 'attempt'),
  'true already_done completed 1', 'twice is the same answer');
select is(tests.pick(tests.b(format('complete_work(%L, false, error => ''no'')', tests.t(1))), 'outcome', 'state'), 'already_done completed', 'and a terminal state does not flip');
select is(tests.pick(tests.a(format('complete_work(%L, true)', tests.t(1))), 'ok', 'outcome', 'state', 'holder'), 'false not_yours completed agent-b', 'nor for others');
select is(tests.pick(tests.a(format('get_task(%L)', tests.t(1))), 'state', 'agent', 'result.found', 'attempt', 'input.n'), 'completed agent-b 7 1 1', 'everybody reads what came of it');
select is(tests.a('(select to_jsonb(t) from coord_v1.tasks t)') ->> 'state', 'completed', 'in the view too');
select is((select count(*) from coord.tasks), 0::bigint, 'it has left the hot table');

-- Failing, backing off, dying.
select is(tests.pick(tests.a('submit_work(''flaky'', max_attempts => 2)'), 'outcome'), 'submitted', 'one that may fail once');
select is(tests.pick(tests.b('get_work()'), 'tasks.0.attempt'), '1', 'first attempt');
select is(tests.pick(tests.b(format('complete_work(%L, false, error => ''it broke'', attempt => 1)', tests.t(2))), 'ok', 'outcome', 'attempt', 'failures', 'max_attempts'),
  'true retrying 1 1 2', 'it failed, which is what was to be said');
select ok((select next_at - clock_timestamp() between interval '7 seconds' and interval '13 seconds' from coord.tasks), 'and backs off ten seconds, give or take a quarter');
select is(tests.pick(tests.b(format('complete_work(%L, false, error => ''it broke'', attempt => 1)', tests.t(2))), 'ok', 'outcome', 'state'), 'true already_done retrying', 'twice is the same answer');
select is(tests.pick(tests.a('get_work()'), 'outcome', 'reasons.put_aside'), 'none 1', 'nobody gets it before');
select tests.pass(14);
select is(tests.pick(tests.a('get_work()'), 'tasks.0.attempt', 'tasks.0.failures', 'tasks.0.last_failure.error', 'tasks.0.last_failure.agent'), '2 1 it broke agent-b', 'then anybody does, and is told why it failed');
select is(tests.pick(tests.b(format('complete_work(%L, true, attempt => 1)', tests.t(2))), 'ok', 'outcome', 'holder', 'attempt'), 'false not_yours agent-a 2', 'the late worker is told that it is not his');
select is(tests.pick(tests.a(format('complete_work(%L, true, attempt => 1)', tests.t(2))), 'outcome'), 'not_yours', 'an old attempt is nobody''s, in the claimant''s session too');
select is(tests.pick(tests.a(format('complete_work(%L, false, error => ''again'', attempt => 2)', tests.t(2))), 'ok', 'outcome', 'reason', 'failures'), 'true dead attempts 2', 'the last attempt is the end');
select is(tests.pick(tests.a(format('complete_work(%L, false, error => ''again'', attempt => 2)', tests.t(2))), 'outcome', 'state', 'reason'), 'already_done dead attempts', 'twice is the same answer');
select is((select jsonb_path_query_array(history, '$[*].error') from coord.past_tasks where state = 'dead'), '["it broke", "again"]', 'every failure is kept');
select is((select text from coord.notices where agent = 'agent-a' and kind = 'task_dead'), tests.t(2) || ' (flaky) is dead after 2 attempts: again', 'and its submitter told');
select ok(coord.backoff(20) <= interval '1 hour 15 minutes' and coord.backoff(3) between interval '30 seconds' and interval '50 seconds', 'the wait doubles up to an hour');

-- Renewing, returning.
select is(tests.pick(tests.a('submit_work(''long'', paths => ''{src/long}'')'), 'outcome'), 'submitted', 'a task with a path');
select is(tests.pick(tests.b('get_work(lease_seconds => 60)'), 'tasks.0.seconds_left', 'tasks.0.locks.0.path', 'tasks.0.locks.0.seconds_left'), '60 src/long 60', 'claimed for a minute with its lock');
select is((select renew_every from coord.sessions where agent = 'agent-b' and id = 'jti-agent-b'), 15, 'which is renewed every quarter of it');
select is(tests.pick(tests.b(format('renew_work(%L, 600)', tests.t(3))), 'ok', 'outcome', 'seconds_left'), 'true renewed 600', 'made longer');
select is((select extract(epoch from l.expires_at - t.lease_until) from coord.locks l join coord.tasks t on t.number = l.task), 0.0, 'with its lock');
select is(tests.pick(tests.a(format('renew_work(%L)', tests.t(3))), 'outcome', 'holder'), 'not_yours agent-b', 'not by others');
select is(tests.pick(tests.a(format('return_work(%L)', tests.t(3))), 'outcome', 'holder'), 'not_yours agent-b', 'nor returned');
select is(tests.pick(tests.b(format('return_work(%L, ''not mine'', 30)', tests.t(3))), 'ok', 'outcome', 'released'), 'true returned ["src/long"]', 'its claimant returns it');
select is(tests.pick(tests.b(format('return_work(%L)', tests.t(3))), 'outcome', 'state'), 'not_yours pending', 'once');
select is(tests.pick(tests.a('get_work()'), 'outcome'), 'none', 'for later');
select tests.pass(31);
select is(tests.pick(tests.a('get_work()'), 'tasks.0.attempt', 'tasks.0.failures', 'tasks.0.locks.0.path'), '2 - src/long', 'and that was no failure');
select is(tests.pick(tests.a(format('complete_work(%L, true)', tests.t(3))), 'outcome', 'released'), 'completed ["src/long"]', 'completing releases the lock');

-- The locks of the task only; one's own stay.
select is(tests.pick(tests.b('acquire_lock(''{src/own}'')'), 'outcome'), 'acquired', 'agent-b holds a file');
select is(tests.pick(tests.a('submit_work(''both'', paths => ''{src/own,src/new}'')'), 'outcome'), 'submitted', 'a task wants it and another');
select is(tests.pick(tests.a('get_work()'), 'outcome', 'reasons.held'), 'none 1', 'agent-a cannot have it');
select is(tests.pick(tests.b('get_work()'), 'outcome', 'tasks.0.locks.0.path', 'tasks.0.locks.1.path'), 'claimed src/own src/new', 'its holder can');
select is(tests.pick(tests.b(format('complete_work(%L, true)', tests.t(4))), 'released'), '["src/new"]', 'what it held before stays');
select is((select string_agg(path, ' ') from coord.locks where released_at is null), 'src/own', 'held');

-- Several at once, within the limit.
select tests.a(format('submit_work(%L)', 'n' || n)) from generate_series(1, 12) n;
select is(jsonb_array_length(tests.b('get_work(max_tasks => 10)') -> 'tasks'), 10, 'ten at once');
select is(tests.pick(tests.b('get_work()'), 'outcome', 'code', 'limit'), 'denied resource_limit_exceeded max_tasks', 'and no more than the profile allows');
select is(jsonb_array_length(tests.a('get_work(max_tasks => 10)') -> 'tasks'), 2, 'the rest for another');

-- One open task a key.
select is(tests.pick(tests.a('submit_work(''nightly'', dedup_key => ''k'')'), 'outcome'), 'submitted', 'a key');
select is(tests.pick(tests.b('submit_work(''nightly again'', dedup_key => ''k'')'), 'ok', 'outcome', 'task'), 'true duplicate ' || tests.t((select max(number) from coord.tasks)::integer - (select base from tests.start)::integer), 'stands for the task that is open');
select is(tests.pick(tests.a(format('cancel_work(%L)', 'T-' || (select max(number) from coord.tasks))), 'outcome'), 'cancelled', 'it ends');
select is(tests.pick(tests.b('submit_work(''nightly again'', dedup_key => ''k'')'), 'outcome'), 'submitted', 'and the key is free');

-- Bad input.
select throws_ok(format('select tests.a(%L)', c), 'PT' || s, e, c || ': ' || e) from (values
  ('submit_work(null)', 400, 'argument_required'), ('submit_work(''  '')', 400, 'argument_required'), ('submit_work(repeat(''x'', 201))', 400, 'argument_too_long'),
  ('submit_work(''x'', priority => 0)', 400, 'priority_out_of_range'), ('submit_work(''x'', priority => 11)', 400, 'priority_out_of_range'),
  ('submit_work(''x'', max_attempts => 21)', 400, 'attempts_out_of_range'), ('submit_work(''x'', max_attempts => -1)', 400, 'attempts_out_of_range'),
  ('submit_work(''x'', task_type => ''a b'')', 400, 'argument_invalid'), ('submit_work(''x'', deadline => ''2020-01-01'')', 422, 'deadline_passed'),
  ('submit_work(''x'', on_dependency_failure => ''explode'')', 400, 'argument_invalid'), ('submit_work(''x'', paths => ''{/etc/passwd}'')', 400, 'path_absolute'),
  ('submit_work(''x'', requires => ''[]'')', 400, 'requires_invalid'), ('submit_work(''x'', requires => ''{"colour": "red"}'')', 400, 'requires_invalid'),
  ('submit_work(''x'', requires => ''{"min_trust": 5}'')', 400, 'requires_invalid'), ('submit_work(''x'', requires => ''{"capabilities": "rust"}'')', 400, 'argument_invalid'),
  ('submit_work(''x'', depends_on => ''{nonsense}'')', 400, 'task_invalid'), ('submit_work(''x'', input => to_jsonb(repeat(''x'', 70000)))', 400, 'argument_too_long'),
  ('get_work(max_tasks => 0)', 400, 'max_tasks_out_of_range'), ('get_work(max_tasks => 11)', 400, 'max_tasks_out_of_range'),
  ('get_work(lease_seconds => 59)', 400, 'lease_out_of_range'), ('get_work(wait_seconds => -1)', 400, 'wait_out_of_range'),
  ('complete_work(''seventeen'', true)', 400, 'task_invalid'), ('complete_work(''T-999999'', true)', 404, 'task_not_found'), ('get_task(''T-999999'')', 404, 'task_not_found'),
  ('complete_work(''T-1'', null)', 404, 'task_not_found'), ('return_work(''T-999999999999999999'')', 404, 'task_not_found'), ('retry_work(null)', 400, 'task_invalid')) v (c, s, e);
select throws_ok(format('select tests.a(%L)', format('complete_work(%L, null)', tests.t(5))), 'PT400', 'argument_required', 'success is said');
select throws_ok(format('select tests.a(%L)', format('renew_work(%L, 1)', tests.t(5))), 'PT400', 'lease_out_of_range', 'a lease has a range');
select throws_ok(format('select tests.a(%L)', format('retry_work(%L)', tests.t(5))), 'PT409', 'task_not_failed', 'what is open is not retried');
select throws_ok(format('select tests.a(%L)', format('retry_work(%L)', tests.t(1))), 'PT409', 'task_not_failed', 'nor what is done');

-- One row of the audit each, without the results.
select is((select count(*) from coord.audit_log where function = 'complete_work' and outcome = 'completed'), 3::bigint, 'three completions, three rows');
select ok(not exists (select from coord.audit_details where content::text ~ 'found'), 'results stand with the tasks alone');

select * from finish();
rollback;
