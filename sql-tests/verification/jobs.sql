-- From a change to a verdict: submitting, running, reporting, deciding, timing out; done is not verified.
begin;
\ir ../helpers.sql
\ir ../verification_helpers.sql
select no_plan();

select tests.configure($${"code": {"paths": ["**"], "except": ["**/*.md"], "tier": 1, "executors": ["github_actions:ci.yml"], "skips": [0, 1]},
  "db": {"paths": ["db/"], "tier": 2, "executors": ["local"], "timeout_seconds": 600, "max_attempts": 2}, "security": {"sensitive": true, "paths": ["auth/"]}}$$) ->> 'outcome' as quiet \gset
create temp table made (name text primary key, answer jsonb);
create function tests.c(p_name text) returns text language sql return (select answer ->> 'changeset' from made where name = p_name);

-- Submitting -----------------------------------------------------------------------------

insert into made values ('one', tests.submit('one', '{db/a.sql,src/b.rs}'));
select is(tests.pick(answer, 'outcome', 'state', 'author', 'plan.tier', 'plan.executors', 'jobs.0.executor', 'jobs.1.executor', 'jobs.2.executor'),
  'submitted pending agent-a 2 ["inline", "github_actions:ci.yml", "local"] inline github_actions:ci.yml local', 'a change, its plan and its jobs') from made;
select is(tests.submit('one', '{db/a.sql,src/b.rs}') - 'next', answer - 'next' || '{"outcome": "duplicate"}', 'the same head is the same changeset') from made;
select is(tests.submit('one', '{README.md}', '', 'agent-b') ->> 'changeset', tests.c('one'), 'whoever says so, and whatever they say of it');
select is(tests.pick(tests.as_operator(format('coord_v1.submit_changeset_for(%L, %L, %L, %L, repo => ''github.com/acme/app'')', 'agent-a', tests.sha('base'), tests.sha('one'), '{src/b.rs}')), 'outcome'), 'duplicate', 'an operator, who tells no more, as well');
select is(tests.pick(tests.b(format('verification_status(%L)', tests.c('one'))), 'state', 'verified', 'waits_for', 'paths_known'), 'pending false ["inline", "github_actions:ci.yml", "local"] true', 'others may look');
create function tests.refusal(p_expression text, p_agent text default 'agent-a') returns text language plpgsql as $$
declare
  v_answer jsonb;
begin
  v_answer := tests.as_agent(p_agent, 'coord_v1.' || p_expression);
  return coalesce(v_answer ->> 'code', v_answer ->> 'outcome');
exception when sqlstate 'PT400' or sqlstate 'PT404' or sqlstate 'PT409' or sqlstate 'PT422' then
  return sqlerrm;
end
$$;
select is(tests.refusal(format('submit_changeset(%s)', args)), code, args)
from (values
  ('''abc'', ''def'', ''{a}''', 'commit_invalid'), (format('%L, %L, ''{a}''', tests.sha('x'), tests.sha('x')), 'commit_invalid'), ('null, null', 'commit_invalid'),
  (format('%L, %L, ''{}''', tests.sha('x'), tests.sha('y')), 'argument_required'), (format('%L, %L, ''{a,./b}''', tests.sha('x'), tests.sha('y')), 'changed_path_invalid'), (format('%L, %L, ''{/etc}''', tests.sha('x'), tests.sha('y')), 'changed_path_invalid'),
  (format('%L, %L, ''{a/../auth/b}''', tests.sha('x'), tests.sha('y')), 'changed_path_invalid'), (format('%L, %L, array[''a'', null]', tests.sha('x'), tests.sha('y')), 'changed_path_invalid'), (format('%L, %L, ''{a}'', lines => -1', tests.sha('x'), tests.sha('y')), 'argument_invalid'),
  (format('%L, %L, array_fill(''a''::text, ''{5001}'')', tests.sha('x'), tests.sha('y')), 'argument_too_long'), (format('%L, %L, ''{a}'', branch => ''a b''', tests.sha('x'), tests.sha('y')), 'argument_invalid'),
  (format('%L, %L, ''{a}'', branch => ''x:refs/heads/main''', tests.sha('x'), tests.sha('y')), 'argument_invalid'), (format('%L, %L, ''{a}'', branch => ''-x''', tests.sha('x'), tests.sha('y')), 'argument_invalid'), (format('%L, %L, ''{a}'', branch => ''a..b''', tests.sha('x'), tests.sha('y')), 'argument_invalid'), (format('%L, %L, ''{a}'', branch => ''a.lock''', tests.sha('x'), tests.sha('y')), 'argument_invalid'), (format('%L, %L, ''{a}'', branch => ''@''', tests.sha('x'), tests.sha('y')), 'argument_invalid'), (format('%L, %L, ''{a}'', branch => ''a/.b''', tests.sha('x'), tests.sha('y')), 'argument_invalid'),
  (format('%L, %L, ''{a}'', head_committed_at => clock_timestamp() + interval ''1 hour''', tests.sha('x'), tests.sha('y')), 'argument_invalid'), (format('%L, %L, ''{a}'', task => ''17''', tests.sha('x'), tests.sha('y')), 'task_invalid'),
  (format('%L, %L, ''{a}'', task => ''T-999999''', tests.sha('x'), tests.sha('y')), 'task_not_found'), (format('%L, %L, ''{a}'', repo => ''github.com/acme/other''', tests.sha('x'), tests.sha('y')), 'repo_not_granted')) v (args, code);
select throws_ok($$select tests.a($q$submit_changeset_for('agent-b', repeat('a', 40), repeat('b', 40))$q$)$$, '42501', null, 'no agent names another author');
select is(tests.refusal('verification_status(''C-999999'')'), 'changeset_not_found', 'no changeset');
select is(tests.refusal(format('verification_status(%L)', tests.c('one')), 'agent-c'), 'changeset_not_found', 'nor one of another repository');
select is(tests.refusal('verification_status(''17'')'), 'changeset_invalid', 'no number');
select throws_ok(format($$select tests.a($q$verification_status(%L)$q$)$$, answer #>> '{jobs,0,job}'), 'PT400', 'changeset_invalid', 'a job is no changeset') from made;
create function tests.details(p_expression text) returns text language plpgsql as $$
declare
  v_details text;
begin
  perform tests.a(p_expression);
  return null;
exception when sqlstate 'PT400' then
  get stacked diagnostics v_details = pg_exception_detail;
  return v_details;
end
$$;
select is(tests.details(format('verification_status(%L)', answer #>> '{jobs,0,job}')), format('%s is a job; its changeset is %s', answer #>> '{jobs,0,job}', tests.c('one')), 'but leads to one') from made;
select is(tests.a(format('verification_status(%L)', tests.c('one'))) ->> 'next', null, 'nobody is missed at once');
set session_replication_role = replica;
update coord.changesets set submitted_at = submitted_at - interval '10 minutes' where 'C-' || number = tests.c('one');
reset session_replication_role;
select is(tests.a(format('verification_status(%L)', tests.c('one'))) ->> 'next',
  format('%s is next, and nobody has taken it for 10 minutes: coord dispatch runs it, where inline is configured.', answer #>> '{jobs,0,job}'), 'later the dispatcher is') from made;

-- Running --------------------------------------------------------------------------------

select is(tests.refusal('take_verification(''{inline}'')'), 'insufficient_trust_level', 'running checks takes trust');
select is(tests.refusal('take_verification(''{manual}'')', 'dispatcher'), 'argument_invalid', 'a person''s are taken by nobody');
select is(tests.refusal('take_verification(''{}'')', 'dispatcher'), 'argument_required', 'executors are named');
select is(tests.d('take_verification(''{local,github_actions}'')') ->> 'outcome', 'none', 'lower tiers go first');
select is(tests.pick(tests.d('take_verification(''{inline,local}'', lease_seconds => 100)'), 'outcome', 'executor', 'tier', 'attempt', 'repo', 'timeout_seconds', 'changed_paths', 'author'),
  'taken inline 0 1 github.com/acme/app 300 ["db/a.sql", "src/b.rs"] agent-a', 'the lowest, with all that it takes to run it');
select is(tests.d('take_verification(''{inline}'')') ->> 'outcome', 'none', 'it is run by one');
select is(tests.pick(tests.d(format('renew_verification(%L, 1, 200)', tests.job(tests.c('one'), 'inline'))), 'outcome', 'attempt'), 'renewed 1', 'renewed');
select cmp_ok((tests.d(format('renew_verification(%L, 1, 28800)', tests.job(tests.c('one'), 'inline'))) ->> 'seconds_left')::integer, '<=', 300, 'never past its time');
select is(tests.d(format('renew_verification(%L, 2)', tests.job(tests.c('one'), 'inline'))) ->> 'outcome', 'not_yours', 'by its attempt');

-- Reporting: evidence.
select is(tests.refusal(format('report_verification(%L, %L, %L, 1)', tests.job(tests.c('one'), 'inline'), status, evidence), 'dispatcher'), code, code || ': ' || coalesce(left(evidence::text, 60), 'nothing'))
from (values
  ('good', tests.evidence('one'), 'argument_invalid'), ('passed', null, 'evidence_invalid'), ('passed', '[]', 'evidence_invalid'), ('passed', '{}', 'evidence_not_for_head'), ('passed', tests.evidence('two'), 'evidence_not_for_head'),
  ('passed', tests.evidence('one') - 'started_at', 'evidence_invalid'), ('failed', tests.evidence('one') - 'ended_at', 'evidence_invalid'), ('passed', tests.evidence('one', '{"log_url": "javascript:alert(1)"}'), 'evidence_invalid'),
  ('passed', tests.evidence('one', jsonb_build_object('ended_at', clock_timestamp() + interval '1 hour')), 'evidence_invalid'), ('passed', tests.evidence('one', jsonb_build_object('ended_at', clock_timestamp() - interval '10 minutes')), 'evidence_invalid'),
  ('passed', tests.evidence('one', '{"started_at": "yesterday evening"}'), 'argument_invalid'), ('passed', tests.evidence('one', jsonb_build_object('x', repeat('x', 20000))), 'evidence_invalid'),
  ('passed', tests.evidence('one', jsonb_build_object('started_at', clock_timestamp() - interval '61 minutes')), 'evidence_stale'), ('failed', tests.evidence('one', jsonb_build_object('started_at', '2020-01-01T00:00:00Z')), 'evidence_stale')) v (status, evidence, code);
select is(tests.refusal(format('report_verification(%L, %L, %L)', tests.job(tests.c('one'), 'inline'), 'passed', tests.evidence('one')), 'dispatcher'), 'argument_required', 'the attempt is told');
select is(tests.report(tests.job(tests.c('one'), 'inline'), 'passed', tests.evidence('one'), 2) ->> 'outcome', 'not_yours', 'another attempt');
select is(tests.refusal(format('report_verification(%L, %L, %L, 1)', 'V-999999', 'passed', tests.evidence('one')), 'dispatcher'), 'job_not_found', 'no job');
select is(tests.pick(tests.report(tests.job(tests.c('one'), 'inline'), 'passed', tests.evidence('one')), 'outcome', 'state', 'changeset_state'), 'recorded passed pending', 'a verdict');
select is(tests.report(tests.job(tests.c('one'), 'inline'), 'failed', tests.evidence('one')) ->> 'outcome', 'already_done', 'is the last');
select is(tests.pick(tests.d('take_verification(''{github_actions:release.yml,github_actions:,local}'')'), 'outcome', 'waiting'), 'none 1', 'a target that this dispatcher does not run is left to others');
select is(tests.refusal('take_verification(''{nothing:ci.yml}'')', 'dispatcher'), 'argument_invalid', 'no executor');
select is(tests.pick(tests.d('take_verification(''{github_actions:ci.yml,local}'')'), 'executor', 'target'), 'github_actions ci.yml', 'then the next tier');
select is(tests.report(tests.job(tests.c('one'), 'github_actions:ci.yml'), 'passed', tests.evidence('one', '{"token": "abc"}')) ->> 'outcome', 'recorded', 'passes too');
select is(evidence ->> 'token', '[redacted]', 'without its secrets') from coord.verification_jobs where executor = 'github_actions';

-- Attempts that come to nothing.
select is(tests.d('take_verification(''{local:x}'')') ->> 'outcome', 'none', 'without a target it is');
select is(tests.d('take_verification(''{local:}'')') ->> 'attempt', '1', 'the last tier');
select is(tests.pick(tests.report(tests.job(tests.c('one'), 'local'), 'error', '{"summary": "no disk"}'), 'outcome', 'state', 'attempt', 'max_attempts'), 'retrying error 1 2', 'could not be run');
select is(tests.d('take_verification(''{local}'')') ->> 'outcome', 'none', 'backs off');
select tests.pass(60);
select is(tests.d('take_verification(''{local}'')') ->> 'attempt', '2', 'and is taken again');
select tests.pass(601);
select is(tests.report(tests.job(tests.c('one'), 'local'), 'passed', tests.evidence('one'), 1) ->> 'outcome', 'not_yours', 'the first run knows nothing of it');
select is(tests.as_operator('coord_v1.maintain()') ->> 'verifications_lost', '1', 'housekeeping takes back what took too long');
select is(tests.states(tests.c('one')), 'rejected: inline passed, github_actions:ci.yml passed, local dead', 'and with no attempt left that is the end of it');
select is(tests.pick(history, '0.state', '0.why', '1.state', '1.why'), 'error no disk timed_out it took longer than 600 seconds', 'with all that happened') from coord.verification_jobs where executor = 'local';
select is(tests.report(tests.job(tests.c('one'), 'local'), 'passed', tests.evidence('one'), 2) ->> 'outcome', 'already_done', 'a late verdict changes nothing');
select is(tests.pick(tests.a('start_session()'), 'notices.0.kind'), 'change_rejected', 'its author is told');
select is(tests.pick(tests.a(format('verification_status(%L)', tests.c('one'))), 'state', 'reason'), 'rejected local dead', 'and so is whoever asks');
select is((select string_agg(outcome, ' ' order by at, id) from coord.audit_log where agent = 'dispatcher' and function in ('take_verification', 'report_verification', 'maintain')),
  'taken recorded taken recorded taken retrying taken verification_lost', 'each step is audited, polls are not');

-- A lease that runs out, without housekeeping.
insert into made values ('two', tests.submit('one', '{db/a.sql}'));
select is(answer ->> 'outcome', 'submitted', 'a head that was rejected may be tried again') from made where name = 'two';
select is(tests.d('take_verification(''{inline}'', lease_seconds => 60)') ->> 'attempt', '1', 'taken');
select tests.pass(61);
select is(tests.d('take_verification(''{inline}'')') ->> 'outcome', 'none', 'lost: backs off');
select is(state, 'error', 'with an error') from coord.verification_jobs where 'V-' || number = tests.job(tests.c('two'), 'inline');
select tests.pass(30);
select is(tests.d('take_verification(''{inline}'')') ->> 'attempt', '2', 'taken again');
select is(tests.report(tests.job(tests.c('two'), 'inline'), 'passed', tests.evidence('one'), 1) ->> 'outcome', 'not_yours', 'the one that slept wakes too late');
select is(tests.report(tests.job(tests.c('two'), 'inline'), 'timed_out', null, 2) ->> 'state', 'timed_out', 'a dispatcher may say so itself');

-- A failure ends the rest.
insert into made values ('three', tests.submit('three', '{db/a.sql}'));
select tests.d('take_verification(''{inline}'')') ->> 'job' as job \gset
select is(tests.pick(tests.report(:'job', 'failed', tests.evidence('three')), 'outcome', 'changeset_state'), 'recorded rejected', 'a failure');
select is(tests.states(tests.c('three')), 'rejected: inline failed, github_actions:ci.yml cancelled, local cancelled', 'and nothing more is run');

-- A newer head ---------------------------------------------------------------------------

insert into made values ('b1', tests.submit('b1', '{README.md}', $$branch => 'agent/agent-a/x'$$));
select tests.d('take_verification(''{inline}'')') ->> 'job' as job \gset
insert into made values ('b2', tests.submit('b2', '{README.md}', $$branch => 'agent/agent-a/x'$$));
select is(tests.pick(answer, 'outcome', 'supersedes.0'), 'submitted ' || tests.c('b1'), 'a newer head of the branch') from made where name = 'b2';
select is(tests.states(tests.c('b1')), 'superseded: inline cancelled', 'supersedes the older');
select is(tests.pick(tests.a(format('verification_status(%L)', tests.c('b1'))), 'state', 'superseded_by'), 'superseded ' || tests.c('b2'), 'which says by what');
select is(tests.report(:'job', 'passed', tests.evidence('b1')) ->> 'outcome', 'already_done', 'its run is over');
select is(tests.d(format('renew_verification(%L, 1)', :'job')) ->> 'outcome', 'already_done', 'and is told to stop');
insert into made values ('b3', tests.submit('b3', '{README.md}', $$branch => 'agent/agent-a/x'$$, 'agent-b'));
select is(tests.states(tests.c('b2')), 'pending: inline pending', 'but nobody supersedes what is another''s');
select is((select count(*) from coord.changesets c where c.head = tests.sha('one') and c.state in ('pending', 'verified')), 1::bigint, 'a head has one changeset');

-- The ground it stands on: b2 is not verified, so its paths count as well.
insert into made values ('b4', tests.a(format('submit_changeset(%L, %L, %L)', tests.sha('b2'), tests.sha('b4'), '{src/x.rs}')));
select is(tests.pick(answer, 'plan.tier', 'plan.executors'), '1 ["inline", "github_actions:ci.yml"]', 'a change on one that is not verified') from made where name = 'b4';
select is((select base = tests.sha('base') and paths = '{README.md,src/x.rs}' from coord.changesets where 'C-' || number = tests.c('b4')), true, 'takes that in');
insert into made values ('sec', tests.submit('sec', '{auth/x.rs}')), ('onsec', tests.a(format('submit_changeset(%L, %L, %L)', tests.sha('sec'), tests.sha('onsec'), '{README.md}')));
select is(answer #>> '{plan,tier}', '4', 'so nothing sensitive hides behind a harmless head') from made where name = 'onsec';

-- Deciding -------------------------------------------------------------------------------

select is(tests.refusal(format('decide_verification(%L, true)', tests.job(tests.c('sec'), 'manual')), 'agent-b'), 'insufficient_trust_level', 'a person''s decision takes the right to it');
select is(tests.refusal(format('decide_verification(%L, true)', tests.job(tests.c('sec'), 'manual')), 'dispatcher'), 'insufficient_trust_level', 'trust 3 is too little');
select is(tests.as_operator('coord_v1.assign_profile(''agent-a'', ''admin'')') ->> 'outcome', 'assigned', 'the author gets trust 4');
select is(tests.refusal(format('decide_verification(%L, true)', tests.job(tests.c('sec'), 'manual'))), 'author_cannot_verify', 'and still does not verify its own change');
select is((select count(*) from coord.audit_log where agent = 'agent-a' and function = 'decide_verification' and outcome = 'denied'), 1::bigint, 'which is audited');
select is(tests.as_operator('coord_v1.assign_profile(''agent-b'', ''admin'')') ->> 'outcome', 'assigned', 'another of trust 4');
select is(tests.refusal(format('decide_verification(%L, true)', tests.job(tests.c('sec'), 'inline')), 'agent-b'), 'not_manual', 'decides what is manual');
select is(tests.refusal(format('decide_verification(%L, false)', tests.job(tests.c('sec'), 'manual')), 'agent-b'), 'argument_required', 'turns down with a reason');
select is(tests.pick(tests.b(format('decide_verification(%L, true, %L)', tests.job(tests.c('sec'), 'manual'), 'read it all')), 'outcome', 'state', 'changeset_state'), 'recorded passed pending', 'before the machines, if it likes');
select is(tests.refusal(format('decide_verification(%L, true)', tests.job(tests.c('sec'), 'manual')), 'agent-b'), 'already_done', 'once');
select is(tests.pick(tests.as_operator(format('coord_v1.decide_verification(%L, false, %L)', tests.job(tests.c('onsec'), 'manual'), 'no')), 'outcome', 'changeset_state'), 'recorded rejected', 'or an operator, who says no');
select is(tests.pick(tests.a(format('verification_status(%L)', tests.c('onsec'))), 'reason', 'jobs.2.evidence.summary', 'jobs.2.evidence.by'), 'manual failed no operator', 'and why');
-- An author that may run checks never runs those of its own.
select is(tests.a('take_verification(''{inline}'')') ->> 'author', 'agent-b', 'an author with the right to run checks gets those of others');
select is(tests.a('take_verification(''{inline}'')') ->> 'outcome', 'none', 'and never its own');
select throws_ok(format('update coord.verification_jobs set state = ''running'', attempt = attempt + 1, next_at = null, taken_by = author, taken_at = created_at, lease_until = created_at, timeout_at = created_at where %L = ''V-'' || number', tests.job(tests.c('sec'), 'inline')),
  '23514', null, 'not even past every function');

-- Done is not verified ---------------------------------------------------------------------

select tests.as_operator('coord_v1.assign_profile(''agent-a'', null)') ->> 'outcome' as quiet, tests.as_operator('coord_v1.assign_profile(''agent-b'', null)') ->> 'outcome' as quiet2 \gset
select tests.a($$submit_work('fix it', requires => '{"tier": 1, "agents": ["agent-b"]}')$$) ->> 'task' as task \gset
select is(tests.pick(tests.a('get_work()'), 'outcome', 'reasons.lacking.0'), 'none agent agent-b', 'a task for one agent is nobody else''s');
select is(tests.pick(tests.b('get_work()'), 'outcome', 'tasks.0.requires_tier'), 'claimed 1', 'it says how far it has to be verified');
select is(tests.refusal(format('submit_changeset(%L, %L, ''{README.md}'', task => %L)', tests.sha('base'), tests.sha('t0'), :'task')), 'task_of_another', 'nobody verifies the task of another');
select is(tests.pick(tests.b(format('complete_work(%L, true)', :'task')), 'outcome', 'next'), 'completed submit_changeset with this task, to have it verified; then get_work for the next.', 'completed');
select is(tests.pick(tests.a(format('get_task(%L)', :'task')), 'state', 'requires.tier', 'verification'), 'completed 1 {"verified": false, "requires_tier": 1}', 'and not verified');
insert into made values ('task', tests.submit('t1', '{README.md}', format('task => %L', :'task'), 'agent-b'));
select is(tests.pick(answer, 'plan.tier', 'plan.executors', 'task'), '1 ["inline", "github_actions:verify.yml"] ' || :'task', 'its change goes as far as it requires') from made where name = 'task';
select string_agg(tests.d('take_verification(''{inline}'')') ->> 'job', ' ') as quiet from generate_series(1, 9) \gset
select string_agg(tests.report(j.job, 'passed', tests.evidence('t1', jsonb_build_object('commit', j.head, 'started_at', clock_timestamp(), 'ended_at', clock_timestamp() + interval '1 second')), j.attempt) ->> 'outcome', ' ') as quiet
from coord_v1.verification_jobs j where j.taken_by = 'dispatcher' and j.state = 'running' \gset
select string_agg(tests.d('take_verification(''{github_actions}'')') ->> 'job', ' ') as quiet from generate_series(1, 9) \gset
select string_agg(tests.report(j.job, 'passed', tests.evidence('t1', jsonb_build_object('commit', j.head, 'started_at', clock_timestamp(), 'ended_at', clock_timestamp() + interval '1 second')), j.attempt) ->> 'outcome', ' ') as quiet
from coord_v1.verification_jobs j where j.taken_by = 'dispatcher' and j.state = 'running' \gset
select is(tests.states(tests.c('task')), 'verified: inline passed, github_actions:verify.yml passed', 'passed');
select is(tests.a(format('get_task(%L)', :'task')) -> 'verification', jsonb_build_object('verified', true, 'requires_tier', 1, 'changeset', tests.c('task'), 'state', 'verified', 'tier', 1, 'reached', 1), 'completed, and verified');
select is(tests.as_agent('agent-a', format('(select to_jsonb(v) - ''{changeset}''::text[] from coord_v1.verifications v where task = %L)', :'task')) @> '{"task_state": "completed", "requires_tier": 1, "verified": true, "reached": 1, "author": "agent-b"}', true, 'the view says the same');
select throws_ok(format('update coord.past_tasks set result = ''1'' where number = %s', substr(:'task', 3)), 'PT409', null, 'past tasks stay as they were');

-- All of it skipped: nothing ran, so no tier was reached.
select tests.as_operator('coord_v1.assign_profile(''agent-a'', ''runner'')') ->> 'outcome' as quiet \gset
select is(tests.pick(tests.submit('skip', '{src/a.rs}'), 'outcome', 'state', 'plan.skipped', 'jobs'), 'submitted verified [0, 1] []', 'where everything may be skipped nothing is run');
select is((select reached is null and reason = 'skipped' from coord.changesets where head = tests.sha('skip')), true, 'which is said, and reaches no tier');
-- Whoever is believed more tells more of the same head.
select is(tests.pick(tests.as_operator(format('coord_v1.submit_changeset_for(%L, %L, %L, %L, repo => ''github.com/acme/app'')', 'agent-a', tests.sha('base'), tests.sha('skip'), '{src/a.rs,auth/x}')), 'outcome', 'plan.tier', 'author'), 'submitted 4 agent-a', 'an operator knows another path');
select is((select string_agg(state, ' ' order by number) from coord.changesets where head = tests.sha('skip')), 'superseded pending', 'so what was verified is not any more');
select is(tests.pick(tests.as_operator(format('coord_v1.submit_changeset_for(%L, %L, %L, %L, repo => ''github.com/acme/app'')', 'github:octocat', tests.sha('base'), tests.sha('person'), '{README.md}')), 'plan.tier', 'author'), '4 github:octocat', 'an author that is no agent here is trusted with nothing');

-- Metrics.
select is(tests.as_agent('agent-a', $$(select to_jsonb(m) - 'median_seconds' - 'oldest_seconds' from coord_v1.verification_metrics m where agent = 'agent-b' and tier = 0)$$),
  '{"repo": "github.com/acme/app", "agent": "agent-b", "tier": 0, "waiting": 0, "running": 1, "passed": 1, "failed": 0, "dead": 0, "pass_rate": 1.000}', 'metrics');
select is(tests.as_agent('agent-c', '(select to_jsonb(count(*)) from coord_v1.verification_metrics)'), '0', 'of one''s own repositories');

-- What ended long ago is forgotten.
select set_config('session_replication_role', 'replica', true) as quiet \gset
update coord.changesets set ended_at = ended_at - interval '91 days' where ended_at is not null;
select set_config('session_replication_role', 'origin', true) as quiet \gset
select tests.as_operator('coord_v1.maintain()') ->> 'outcome' as quiet \gset
select is((select string_agg(distinct state, ' ') from coord.changesets), 'pending', 'what ended 90 days ago is forgotten');
select is_empty('select from coord.verification_jobs j where not exists (select from coord.changesets c where c.number = j.changeset)', 'with its jobs');

-- What comes again after it was turned down is judged no more lightly.
insert into made values ('no', tests.submit('no', '{auth/login.rs,README.md}', $$lines => 10$$, 'agent-b'));
select is(tests.as_agent('agent-b', 'coord_v1.my_profile()') ->> 'trust', '2', 'by one of ordinary trust');
select is(tests.pick(tests.as_operator(format('coord_v1.decide_verification(%L, false, ''no'')', tests.job(tests.c('no'), 'manual'))), 'changeset_state'), 'rejected', 'a person says no');
select is(tests.pick(tests.submit('no', '{README.md}', '', 'agent-b'), 'outcome', 'plan.tier'), 'submitted 4', 'with fewer paths it comes to a person again');
select is(array(select p from unnest(paths) p order by p collate "C"), '{README.md,auth/login.rs}', 'with all its paths') from coord.changesets where head = tests.sha('no') and state = 'pending';
select tests.submit('sized', '{a.md,b.md}', 'files => 1', 'agent-b');
select is(files, 2, 'files are at least those that are named') from coord.changesets where head = tests.sha('sized');

-- A stranger's change.
select is(tests.pick(tests.as_operator(format($$coord_v1.submit_changeset_for('stranger', %L, %L, '{README.md}', repo => 'github.com/acme/app')$$, tests.sha('base'), tests.sha('strange'))), 'outcome', 'plan.tier'), 'submitted 4', 'always reaches a person');
create temp table strange as select 'C-' || number as c from coord.changesets where head = tests.sha('strange');
create function tests.taken_of(p_changeset text) returns bigint language plpgsql as $$
begin
  for n in 1..20 loop
    exit when tests.d('take_verification(''{inline}'')') ->> 'outcome' <> 'taken';
  end loop;
  return (select count(*) from coord.verification_jobs j where 'C-' || j.changeset = p_changeset and j.state = 'running');
end
$$;
select is(tests.taken_of(c), 0::bigint, 'nothing of it is run') from strange;
select is(tests.as_operator(format('coord_v1.decide_verification(%L, true)', tests.job(c, 'manual'))) ->> 'outcome', 'recorded', 'before that person') from strange;
select is(tests.taken_of(c), 1::bigint, 'said so') from strange;

select * from finish();
rollback;
