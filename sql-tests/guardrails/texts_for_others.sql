-- Text that goes to other agents is judged under the caller's profile, and no task is lost for it.
begin;
\ir ../helpers.sql
\ir ../work_helpers.sql
select no_plan();

create function tests.said(p_answer jsonb) returns text language sql
return tests.pick(p_answer, 'outcome', 'code', 'reason', 'violations.0.rule');
create temp table key as select 'AKIA' || 'Q7RZ2M5WX4NB8VTC' as secret;
select tests.as_operator($q$coord_v1.apply_config('{"profiles": {"lenient": {"trust": 3, "guardrails": "log", "allowed": ["*"]}}}', false, false)$q$);

-- Submitting.
select is(tests.said(tests.a(format('submit_work(%L, description => %L, input => %L)', title, description, input))), answer, coalesce(input, title)) from key, lateral (values
  ('document why rm -rf / is dangerous', 'Say why git push --force is, too: `rm -rf /`', null, 'submitted - - -'),
  ('note', null, '{"note": "rm -rf /", "commands_note": "git push -f"}', 'submitted - - -'), ('build', null, '{"command": "cargo test --locked", "cmd": ["ls", "-l"]}', 'submitted - - -'),
  ('list', null, '"rm -rf /"', 'submitted - - -'), ('odd', null, '{"command": {"command": null}, "run": 7, "argv": [], "cmd": [null, 1, {}]}', 'submitted - - -'),
  ('reset', null, '{"command": "git reset --hard"}', 'submitted - - -'), ('example', 'the key is AKIAIOSFODNN7EXAMPLE', null, 'submitted - - -'),
  ('wipe', null, '{"command": "rm -rf /"}', 'denied guardrail_refused guardrail filesystem.wipe'), ('deep', null, '[{"steps": [{"Cmd": "cd / && rm -rf *"}]}]', 'denied guardrail_refused guardrail filesystem.wipe'),
  ('words', null, '{"argv": ["rm", "-rf", "/"]}', 'denied guardrail_refused guardrail filesystem.wipe'), ('words', null, '{"command": ["sh", "-c", "rm -rf \"/\""]}', 'denied guardrail_refused guardrail filesystem.wipe'),
  ('lines', null, '{"commands": ["make", "git push --force"]}', 'denied guardrail_refused guardrail git.force_push'), ('script', null, E'{"script": "set -e\\ngit push -f"}', 'denied guardrail_refused guardrail git.force_push'),
  ('use ' || secret, null, null, 'denied guardrail_refused guardrail credentials.in_content'), ('key', 'it is ' || secret, null, 'denied guardrail_refused guardrail credentials.in_content'),
  ('key', null, jsonb_build_object('a', jsonb_build_array(secret))::text, 'denied guardrail_refused guardrail credentials.in_content'), ('quoted', null, '{"a": "password = \"hV7#kq2Zt!m9Rw\""}', 'denied guardrail_refused guardrail credentials.in_content'),
  ('many', null, jsonb_build_object('commands', (select jsonb_agg('ls ' || n) from generate_series(1, 65) n))::text, 'denied guardrail_refused guardrail reader.unreadable'),
  ('nested', null, '{"command": "' || repeat('$(', 500) || '"}', 'submitted - - -')) v (title, description, input, answer);
select is((select count(*) from coord.tasks), 8::bigint, 'what was refused is not there');
select is(tests.pick(tests.a('submit_work(''x'', input => ''{"command": "git push -f"}'')'), 'ok', 'violations.0.matched', 'violations.0.remedy', 'details'),
  'false git push -f Push to a new branch, or use --force-with-lease after asking. git.force_push (git push -f)', 'and told what, and what to do');
select is(current_setting('response.status', true), '403', 'as a denial');
select is_empty($$select d.id from coord.audit_details d, key where strpos(d.content::text, secret) > 0 or strpos(d.content::text, 'hV7#kq2') > 0$$, 'no secret is in the audit');
select is_empty($$select c.id from coord.guardrail_checks c, key where strpos(c::text, secret) > 0 or strpos(c::text, 'hV7#kq2') > 0$$, 'nor among the violations');
select is(tests.said(tests.a(format('submit_graph(%L)', jsonb_build_array(jsonb_build_object('key', 'a', 'title', 'first'), jsonb_build_object('key', 'b', 'title', 'second', 'input', jsonb_build_object('cmd', 'rm -rf /')))))),
  'denied guardrail_refused guardrail filesystem.wipe', 'a graph with one such task');
select is((select count(*) from coord.tasks), 8::bigint, 'is refused as a whole');
select is(tests.pick(tests.a(format('submit_graph(%L)', jsonb_build_array(jsonb_build_object('key', 'a', 'title', 'first'), jsonb_build_object('key', 'b', 'title', 'it is ' || secret)))), 'details'),
  'tasks[1]: credentials.in_content (something secret, in the content: aws)', 'naming the place') from key;
delete from coord.tasks;

-- Claiming: under the claimer's profile, and untouched for others.
select tests.as_operator($$coord_v1.assign_profile('agent-a', 'lenient')$$);
create temp table secret_task as select tests.a(format('submit_work(%L, priority => 1, paths => ''{src/a.rs}'')', 'deploy with ' || secret)) ->> 'task' as task from key;
create temp table plain_task as select tests.a('submit_work(''tidy up'')') ->> 'task' as task;
create temp table before as select t from coord.tasks t;
select is(tests.said(tests.a('submit_work(''x'', input => ''{"command": "rm -rf /"}'')')), 'denied guardrail_refused guardrail filesystem.wipe', 'the catastrophic binds in every mode');
create temp table got as select tests.b('get_work(max_tasks => 2)') as answer;
select is(tests.pick(answer, 'outcome', 'tasks.0.id', 'tasks.1', 'skipped.0.task', 'skipped.0.rules'), format('claimed %s - %s ["credentials.in_content"]', p.task, s.task), 'what is forbidden is skipped, and said') from got, plain_task p, secret_task s;
select is_empty($$select g.answer from got g, key where strpos(g.answer::text, secret) > 0$$, 'without its text');
select is(tests.pick(tests.b('get_work()'), 'outcome', 'skipped.0.task', 'reasons.held'), 'none ' || task || ' 0', 'also where it is all there is') from secret_task;
select is((select t from coord.tasks t where coord.task_name(t.number) = task), (select b.t from before b where coord.task_name((b.t).number) = task), 'and left as it was') from secret_task;
select is_empty('select id from coord.locks where released_at is null', 'with its paths free');
select is((select count(*) from coord.guardrail_checks c where c.agent = 'agent-b' and c.operation = 'get_work' and c.paths = array[task]), 1::bigint, 'recorded once, however often it is met') from secret_task;
select is(tests.pick(tests.a('get_work()'), 'outcome', 'tasks.0.id', 'skipped'), 'claimed ' || task || ' -', 'another agent may run it') from secret_task;

-- Completing: refused, nothing is lost.
select is(tests.said(tests.b(format('complete_work(%L, true, %L, attempt => 1)', task, jsonb_build_object('key', secret)))), 'denied guardrail_refused guardrail credentials.in_content', 'a result with a secret') from plain_task, key;
select is(tests.said(tests.b(format('complete_work(%L, false, error => %L, attempt => 1)', task, 'it said ' || secret))), 'denied guardrail_refused guardrail credentials.in_content', 'an error with one') from plain_task, key;
select is(tests.said(tests.b(format('complete_work(%L, true, ''{"next": {"command": "rm -rf /"}}'', attempt => 1)', task))), 'denied guardrail_refused guardrail filesystem.wipe', 'or with a command for who depends on it') from plain_task;
select is(tests.pick(tests.b(format('get_task(%L)', task)), 'state', 'agent', 'attempt', 'failures'), 'claimed agent-b 1 0', 'the claim is as it was') from plain_task;
select is(tests.pick(tests.b(format('complete_work(%L, true, ''{"key": "in the vault"}'', attempt => 1)', task)), 'outcome'), 'completed', 'and the same attempt completes') from plain_task;
select is(tests.said(tests.a(format('complete_work(%L, true, %L)', task, jsonb_build_object('key', secret)))), 'completed - - -', 'under a profile that only records, it passes') from secret_task, key;

-- What agents keep for each other.
select is(tests.said(tests.b(expression)), answer, expression) from key, lateral (values
  (format('remember(''bugfix'', %L)', 'the key is ' || secret), 'denied guardrail_refused guardrail credentials.in_content'), (format('remember(''bugfix'', ''it works'', lessons => array[%L])', secret), 'denied guardrail_refused guardrail credentials.in_content'),
  ('remember(''bugfix'', ''rm -rf / is a bad idea'')', 'created - - -'), (format('write_handoff(''so far'', next_steps => array[%L])', 'use ' || secret), 'denied guardrail_refused guardrail credentials.in_content'),
  ('write_handoff(''the token is in the vault'')', 'written - - -'), (format('learn_procedure(''deploy'', array[%L])', 'export KEY=' || secret), 'denied guardrail_refused guardrail credentials.in_content'),
  ('learn_procedure(''deploy'', array[''git push -f''])', 'learned - - -')) v (expression, answer);
select is((select count(*) from coord.memories), 2::bigint, 'nothing refused is kept');

-- Whatever document comes.
select lives_ok(format('select tests.a(%L)', format('submit_work(''deep'', input => %L)', text)), left(text, 20)) from unnest(array[
  repeat('[', 1000) || '{"command": "ls"}' || repeat(']', 1000), repeat('{"a":', 1000) || '{"cmd": "ls"}' || repeat('}', 1000), '{"command": "' || repeat('a', 60000) || '"}',
  '{"command": "\u0001\ufffd"}', '{"command": "token token"}', '{"": {"command": ""}}']) text;

select * from finish();
rollback;
