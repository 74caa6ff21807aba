-- What is signed is received once, and does what its principal may; nothing else is received.
begin;
\ir ../helpers.sql
\ir ../verification_helpers.sql
select no_plan();

-- HMAC-SHA256: the vectors of RFC 4231.
select is(encode(coord.hmac_sha256(decode(key, 'hex'), decode(data, 'hex')), 'hex'), mac, 'RFC 4231, case ' || n)
from (values
  (1, repeat('0b', 20), encode('Hi There', 'hex'), 'b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7'),
  (2, encode('Jefe', 'hex'), encode('what do ya want for nothing?', 'hex'), '5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843'),
  (3, repeat('aa', 20), repeat('dd', 50), '773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe'),
  (4, '0102030405060708090a0b0c0d0e0f10111213141516171819', repeat('cd', 50), '82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b'),
  (6, repeat('aa', 131), encode('Test Using Larger Than Block-Size Key - Hash Key First', 'hex'), '60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54'),
  (7, repeat('aa', 131), encode('This is a test using a larger than block-size key and a larger than block-size data. The key needs to be hashed before being used by the HMAC algorithm.', 'hex'), '9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2')) v (n, key, data, mac);
select is(encode(substr(coord.hmac_sha256(decode(repeat('0c', 20), 'hex'), 'Test With Truncation'), 1, 16), 'hex'), 'a3b6167473100ee06e0c796c2955552b', 'RFC 4231, case 5');
select ok(coord.same_bytes('\x0102', '\x0102') and not coord.same_bytes('\x0102', '\x0103') and not coord.same_bytes('\x01', '\x0102'), 'compared');

-- Sources ----------------------------------------------------------------------------------

create function tests.source(p_name text, p_kind text, p_principal text, p_secret text, p_speaks_for text[] default '{}') returns jsonb language sql
return tests.as_operator(format('coord_v1.set_webhook_source(%L, %L, %L, %L, %L, %L)', p_name, p_kind, p_principal, p_secret, '{https://github.com/Acme/App.git}', p_speaks_for));
select tests.as_operator($q$coord_v1.register_agent('github-app', 'webhook', 'agent', '{github.com/acme/app,github.com/acme/other}', 'runner')$q$) ->> 'outcome' as quiet \gset
select is(tests.pick(tests.source('github-acme', 'github', 'github-app', 'a secret of github', '{agent-a,agent-c}'), 'outcome', 'path', 'repos.0'), 'set /rpc/webhook_github github.com/acme/app', 'a source');
select is(tests.source('sandbox', 'agent', 'dispatcher', 'a secret of sandboxes') ->> 'outcome', 'set', 'another');
select is(tests.source('runtime', 'agentcore', 'dispatcher', 'a secret of runtimes') ->> 'outcome', 'set', 'and another');
select throws_ok(format('select tests.source(%L, %L, %L, %L)', name, kind, principal, secret), code, message, message || ' ' || name)
from (values ('A b', 'github', 'github-app', 'a secret of github', 'PT400', 'argument_invalid'), ('a', 'gitlab', 'github-app', 'a secret of github', 'PT400', 'argument_invalid'),
  ('a', 'github', 'nobody', 'a secret of github', 'PT404', 'agent_not_found'), ('a', 'github', 'github-app', 'short', 'PT400', 'webhook_secret_invalid')) v (name, kind, principal, secret, code, message);
select is(tests.as_operator($$(select to_jsonb(s) - 'set_at' from coord_v1.webhook_sources s where name = 'github-acme')$$),
  '{"name": "github-acme", "kind": "github", "principal": "github-app", "repos": ["github.com/acme/app"], "speaks_for": ["agent-a", "agent-c"], "set_by": "operator"}', 'operators see it');
select throws_ok($$select tests.as_operator('(select to_jsonb(secret) from coord.webhook_sources limit 1)')$$, '42501', null, 'without its secret');
select throws_ok($$select tests.as_agent('agent-a', '(select to_jsonb(name) from coord_v1.webhook_sources limit 1)')$$, '42501', null, 'agents see none');
select is((select count(*) from coord.audit_details where content::text like '%secret of%' or content::text like '%' || encode('a secret of github', 'hex') || '%'), 0::bigint, 'nor is a secret in the audit');
select is((select count(*) from coord.audit_details where content #>> '{args,secret}' = '[redacted]'), 3::bigint, 'which says that there was one');

-- Signed ---------------------------------------------------------------------------------

-- As PostgREST would call for somebody without a token.
create function tests.receive(p_kind text, p_body text, p_headers jsonb) returns jsonb language plpgsql as $$
declare
  v_answer jsonb;
begin
  perform set_config('request.jwt.claims', '{"role": "anon"}', true), set_config('request.headers', p_headers::text, true), set_config('request.method', 'POST', true),
    set_config('request.path', '/rpc/webhook_' || p_kind, true), set_config('response.status', '', true), set_config('search_path', 'coord_v1', true), set_config('role', 'anon', true);
  perform coord.pre_request();
  execute format('select coord_v1.webhook_%s(%L)', p_kind, p_body) into v_answer;
  perform set_config('role', 'none', true), set_config('search_path', 'public', true), set_config('request.path', '/', true), set_config('request.method', 'POST', true);
  return v_answer;
end
$$;
create function tests.signed(p_secret text, p_body text, p_fields jsonb default '{}') returns jsonb language sql
return jsonb_build_object('x-hub-signature-256', 'sha256=' || encode(coord.hmac_sha256(convert_to(p_secret, 'UTF8'), convert_to(coalesce(p_fields ->> 'x-coord-timestamp' || '.', '') || p_body, 'UTF8')), 'hex')) || p_fields;
create function tests.github(p_event text, p_body jsonb) returns jsonb language sql
begin atomic
  select tests.receive('github', b.body, tests.signed('a secret of github', b.body, jsonb_build_object('x-github-event', p_event, 'x-github-delivery', gen_random_uuid())))
  from (select (jsonb_build_object('repository', '{"full_name": "Acme/App", "html_url": "https://github.com/Acme/App"}'::jsonb, 'sender', '{"login": "octocat"}'::jsonb) || p_body)::text as body) b;
end;
create function tests.refusal(p_kind text, p_body text, p_headers jsonb) returns text language plpgsql as $$
begin
  return tests.receive(p_kind, p_body, p_headers) ->> 'outcome';
exception when sqlstate 'PT400' or sqlstate 'PT401' or sqlstate 'PT409' or sqlstate 'PT413' or invalid_text_representation then
  perform set_config('role', 'none', true), set_config('search_path', 'public', true);
  return sqlstate || ' ' || sqlerrm;
end
$$;

select is(tests.pick(tests.receive('github', '{ "zen":"ä" }', tests.signed('a secret of github', '{ "zen":"ä" }', '{"x-github-event": "ping", "x-github-delivery": "d-1"}')), 'outcome', 'why'), 'ignored nothing is done for this event', 'a ping is received, byte for byte');
select is(current_setting('response.status'), '200', 'with 200');
select is(current_setting('request.jwt.claims') || current_setting('coord.caller') || current_setting('coord.repos'), '', 'and nobody goes on as its principal');
select is(tests.refusal('github', '{ "zen":"ä" }', tests.signed('a secret of github', '{ "zen":"ä" }', headers)), 'PT409 webhook_replayed', 'a replay: ' || headers::text)
from (values ('{"x-github-event": "ping", "x-github-delivery": "d-1"}'::jsonb), ('{"x-github-event": "push", "x-github-delivery": "d-2"}'), ('{}')) v (headers);
select is(tests.refusal(kind, body, headers), expected, what)
from (values
  ('github', '{"zen":"b"}', tests.signed('a secret of github', '{"zen":"a"}'), 'PT401 webhook_signature_invalid', 'a byte flipped'),
  ('github', '{"zen": "a"}', tests.signed('a secret of github', '{"zen":"a"}'), 'PT401 webhook_signature_invalid', 'a blank more'),
  ('github', '{"zen":"a"}', tests.signed('a secret of gitlab', '{"zen":"a"}'), 'PT401 webhook_signature_invalid', 'another secret'),
  ('agent', '{"zen":"a"}', tests.signed('a secret of github', '{"zen":"a"}'), 'PT401 webhook_signature_invalid', 'the secret of another kind'),
  ('github', '{"zen":"a"}', '{}', 'PT401 webhook_signature_invalid', 'no signature'),
  ('github', '{"zen":"a"}', '{"x-hub-signature-256": "sha256=zz"}', 'PT401 webhook_signature_invalid', 'no hexadecimal one'),
  ('github', '{"zen":"a"}', '{"x-hub-signature": "sha1=0000000000000000000000000000000000000000"}', 'PT401 webhook_signature_invalid', 'SHA-1'),
  ('github', '{"zen":"a"}', jsonb_build_object('x-hub-signature-256', 'sha256=' || repeat('0', 64)), 'PT401 webhook_signature_invalid', 'zeros'),
  ('github', '{"zen', tests.signed('a secret of github', '{"zen'), '22P02 invalid input syntax for type json', 'no JSON'),
  ('github', '[]', tests.signed('a secret of github', '[]'), 'PT400 argument_invalid', 'no object'),
  ('github', '{"x":"' || repeat('x', 1048577) || '"}', '{}', 'PT413 webhook_too_large', 'more than a megabyte'),
  ('agent', '{"zen":"a"}', tests.signed('a secret of sandboxes', '{"zen":"a"}', jsonb_build_object('x-coord-timestamp', extract(epoch from clock_timestamp())::bigint::text)), 'ignored', 'a signed timestamp'),
  ('agent', '{"zen":"a"}', tests.signed('a secret of sandboxes', '{"zen":"a"}', jsonb_build_object('x-coord-timestamp', (extract(epoch from clock_timestamp())::bigint - 301)::text)), 'PT401 webhook_out_of_time', 'five minutes old'),
  ('agent', '{"zen":"a"}', tests.signed('a secret of sandboxes', '{"zen":"a"}', jsonb_build_object('x-coord-timestamp', (extract(epoch from clock_timestamp())::bigint + 330)::text)), 'PT401 webhook_out_of_time', 'or ahead'),
  ('agent', '{"zen":"a"}', tests.signed('a secret of sandboxes', '{"zen":"a"}') || jsonb_build_object('x-coord-timestamp', extract(epoch from clock_timestamp())::bigint::text), 'PT401 webhook_signature_invalid', 'a timestamp that is not signed'),
  ('agent', '{"zen":"c"}', tests.signed('a secret of sandboxes', '{"zen":"c"}', '{"x-coord-timestamp": "soon"}'), 'PT401 webhook_out_of_time', 'and none at all')) v (kind, body, headers, expected, what);
select is(tests.refusal('github', '{"x":"' || repeat('x', 1048000) || '"}', tests.signed('a secret of github', '{"x":"' || repeat('x', 1048000) || '"}')), 'ignored', 'nearly a megabyte is received');
select is((select count(*) from coord.webhook_events), 3::bigint, 'what was refused at the door is not stored');
select throws_ok($$select tests.as_agent('agent-a', $q$coord_v1.webhook_github('{}')$q$)$$, '42501', null, 'a token is no signature');

-- Of other repositories, and of a principal that may not.
select is(tests.pick(tests.github('push', '{"repository": {"full_name": "acme/other", "html_url": "https://github.com/acme/other"}, "ref": "refs/heads/agent/agent-c/T-1"}'), 'outcome', 'code'), 'refused repo_not_granted', 'a source speaks of its repositories');
select is(tests.as_operator('coord_v1.disable_agent(''github-app'', ''a test'')') ->> 'outcome', 'disabled', 'its principal is disabled');
select is(tests.pick(tests.github('ping', '{"zen": "x"}'), 'outcome', 'code'), 'refused agent_disabled', 'so it may nothing');
select is(tests.as_operator('coord_v1.enable_agent(''github-app'')') ->> 'outcome', 'enabled', 'enabled');
select is((select count(*) from coord.audit_log where function = 'webhook_github' and agent = 'github-app' and outcome = 'denied'), 1::bigint, 'a denial is audited in its name');

-- Results --------------------------------------------------------------------------------

select tests.configure('{"code": {"paths": ["**"], "tier": 1, "executors": ["github_actions:ci.yml", "github_check:circleci/build"]}}') ->> 'outcome' as quiet \gset
create function tests.run(p_head text, p_conclusion text, p_path text default '.github/workflows/ci.yml', p_fields jsonb default '{}') returns jsonb language sql
return tests.github('workflow_run', jsonb_build_object('action', 'completed', 'workflow_run', jsonb_build_object('id', random(), 'name', 'CI', 'event', 'push', 'head_repository', '{"full_name": "Acme/App"}'::jsonb, 'path', p_path, 'head_sha', tests.sha(p_head), 'conclusion', p_conclusion,
  'html_url', 'https://github.com/acme/app/actions/runs/1', 'run_started_at', clock_timestamp() - interval '1 minute', 'updated_at', clock_timestamp(),
  'head_commit', jsonb_build_object('timestamp', clock_timestamp() - interval '2 minutes')) || p_fields));
select tests.submit('r1') ->> 'changeset' as c \gset
select is(tests.pick(tests.run('r1', 'success', '.github/workflows/other.yml'), 'outcome', 'why'), 'ignored no job waits for github_actions:other.yml', 'another workflow is not what is waited for');
select is(tests.run('r2', 'success') ->> 'outcome', 'ignored', 'nor another head');
select is(tests.run('r1', 'neutral') ->> 'outcome', 'ignored', 'neutral is no verdict');
select is(tests.pick(tests.run('r1', 'success', p_fields => v::jsonb), 'outcome', 'why'), 'ignored ' || w, 'no verdict: ' || v)
from (values
  ('{"head_repository": {"full_name": "stranger/app"}}', 'a run of a fork''s workflow is its author''s word'),
  ('{"head_repository": null}', 'a run of a fork''s workflow is its author''s word'),
  ('{"event": "pull_request_target"}', 'a run that pull_request_target started says nothing of its head'),
  ('{"event": null}', 'a run that nobody knows what started says nothing of its head')) c (v, w);
select is(tests.run('r1', 'success', p_fields => '{"run_started_at": "2020-01-01T00:00:00Z"}') ->> 'code', 'evidence_stale', 'nor is a run from before the commit');
select is(tests.pick(tests.run('r1', 'success', '.github/workflows/ci.yml@refs/heads/main'), 'outcome', 'state', 'changeset_state'), 'accepted passed pending', 'a run of the workflow on the head is');
select is(tests.run('r1', 'failure') ->> 'outcome', 'ignored', 'once');
create function tests.check(p_head text, p_conclusion text, p_slug text default 'circleci') returns jsonb language sql
return tests.github('check_run', jsonb_build_object('action', 'completed', 'check_run', jsonb_build_object('id', random(), 'name', 'build', 'head_sha', tests.sha(p_head), 'conclusion', p_conclusion, 'app', jsonb_build_object('slug', p_slug), 'check_suite', '{"head_branch": null}'::jsonb,
  'html_url', 'https://circleci.example/1', 'started_at', clock_timestamp() - interval '1 minute', 'completed_at', clock_timestamp())));
select is(tests.check('r1', 'success', 'github-copilot') ->> 'outcome', 'ignored', 'a check of another app under that name');
select is(tests.pick(tests.check('r1', 'success', 'github-actions'), 'outcome', 'why'), 'ignored a run of a fork''s workflow is its author''s word', 'a check of Actions on no branch of the repository');
select is(tests.pick(tests.check('r1', 'failure'), 'outcome', 'state', 'changeset_state'), 'accepted failed rejected', 'a check that failed');
select is(tests.states(:'c'), 'rejected: inline cancelled, github_actions:ci.yml passed, github_check:circleci/build failed', 'and the rest with it');
select is((select format('%s %s %s', l.agent, outcome, d.content ->> 'request_id' like 'webhook github-acme %') from coord.audit_log l join coord.audit_details d using (id, at) where function = 'webhook_github' order by l.id desc limit 1),
  'github-app accepted t', 'audited in the principal''s name, with the webhook''s');
select tests.submit('own', p_agent => 'github-app', p_rest => 'repo => ''github.com/acme/app''') ->> 'changeset' as c \gset
select is(tests.run('own', 'success') ->> 'code', 'author_cannot_verify', 'a source does not verify what its principal wrote');

-- Of a sandbox: by whoever took the job.
select tests.submit('s1') ->> 'changeset' as c \gset
select tests.d('take_verification(''{inline}'', repo => ''github.com/acme/app'')') ->> 'job' as job \gset
create function tests.sandbox(p_kind text, p_secret text, p_body jsonb) returns jsonb language sql
return tests.receive(p_kind, p_body::text, tests.signed(p_secret, p_body::text, jsonb_build_object('x-coord-timestamp', extract(epoch from clock_timestamp())::bigint::text)));
select is(tests.pick(tests.sandbox('agent', 'a secret of sandboxes', tests.evidence('own') || jsonb_build_object('job', :'job', 'attempt', 2, 'status', 'passed')), 'outcome', 'did.0.outcome'), 'accepted not_yours', 'another attempt');
select is(tests.pick(tests.sandbox('agentcore', 'a secret of runtimes', tests.evidence((select case head when tests.sha('s1') then 's1' else 'own' end from coord_v1.verification_jobs where job = :'job')) || jsonb_build_object('job', :'job', 'attempt', 1, 'status', 'passed')), 'outcome', 'did.0.outcome', 'did.0.state'),
  'accepted recorded passed', 'a report of the attempt');
select is(tests.pick(tests.sandbox('agent', 'a secret of sandboxes', '{"job": "V-0", "attempt": "x", "status": "passed"}'), 'outcome', 'code'), 'refused job_not_found', 'no job');
select is(tests.pick(tests.sandbox('agent', 'a secret of sandboxes', '{"job": 17}'), 'outcome', 'code'), 'refused job_invalid', 'no number');
select is(tests.submit('of-other', '{README.md}', '', 'agent-c') ->> 'outcome', 'submitted', 'a change in another repository');
select tests.d($$take_verification('{inline}', repo => 'github.com/acme/other')$$) ->> 'job' as elsewhere \gset
select is(tests.pick(tests.sandbox('agent', 'a secret of sandboxes', tests.evidence('of-other') || jsonb_build_object('job', :'elsewhere', 'attempt', 1, 'status', 'passed')), 'outcome', 'code'), 'refused repo_not_granted', 'which its source does not speak of');
select is((select state from coord.verification_jobs where 'V-' || number = :'elsewhere'), 'running', 'is left alone');

-- Pushes and pull requests -----------------------------------------------------------------

select tests.configure('{"code": {"paths": ["src/"], "tier": 1, "executors": ["github_actions:ci.yml"]}, "security": {"paths": ["auth/"], "sensitive": true}}') ->> 'outcome' as quiet \gset
select tests.a($$submit_work('a task')$$) ->> 'task' as task \gset
select tests.a('get_work()') ->> 'outcome' as quiet \gset
create function tests.push(p_branch text, p_before text, p_after text, p_paths jsonb, p_fields jsonb default '{}') returns jsonb language sql
return tests.github('push', jsonb_build_object('ref', 'refs/heads/' || p_branch, 'before', p_before, 'after', p_after, 'forced', false, 'commits', jsonb_build_array(jsonb_build_object('id', p_after, 'message', 'src/not-a-path', 'added', p_paths, 'removed', '[]'::jsonb, 'modified', '[]'::jsonb)),
  'head_commit', jsonb_build_object('timestamp', clock_timestamp() - interval '1 minute')) || p_fields);
create function tests.git(p_letter text) returns text language sql immutable return left(tests.sha(p_letter), 40);
select is(tests.push('main', tests.git('p0'), tests.git('p1'), '["src/a"]') ->> 'outcome', 'ignored', 'a push to main is no agent''s');
select is(tests.push('agent/agent-a/x', tests.git('p0'), repeat('0', 40), '[]') ->> 'outcome', 'ignored', 'nor is a branch that goes');
select is(tests.pick(tests.push(format('agent/agent-a/%s', :'task'), repeat('0', 40), tests.git('p1'), '["README.md"]'), 'outcome', 'author', 'task', 'plan.tier'), 'accepted agent-a ' || :'task' || ' 0', 'a push to the branch of a task of its own');
select is(tests.pick(tests.push(format('agent/agent-a/%s', :'task'), tests.git('p1'), tests.git('p2'), '["src/a"]'), 'author', 'plan.tier', 'supersedes.0' ), 'agent-a 1 C-' || (select max(number) from coord.changesets), 'and the next');
select is(tests.pick(tests.push(format('agent/agent-a/%s', :'task'), tests.git('p2'), tests.git('p3'), '["README.md"]'), 'plan.tier'), '1', 'takes in what was not verified');
select is((select paths from coord.changesets order by number desc limit 1), '{README.md,src/a}', 'path by path');
select is(tests.pick(tests.push(format('agent/agent-a/%s', :'task'), tests.git('p3'), tests.git('p4'), '["README.md"]', '{"forced": true}'), 'plan.tier'), '4', 'after a forced push nobody knows what changed');
select is(tests.pick(tests.push('agent/agent-b/fix', repeat('0', 40), tests.git('q1'), '["README.md"]'), 'author', 'plan.tier'), 'agent-b 4', 'a branch of no task is what anybody could have made');
select is(tests.pick(tests.push(format('agent/agent-b/%s', :'task'), repeat('0', 40), tests.git('q2'), '["README.md"]'), 'author', 'task', 'plan.tier'), 'agent-b - 4', 'as is one of the task of another');
select is(tests.pick(tests.push('agent/agent-c/x', repeat('0', 40), tests.git('q3'), '["README.md"]'), 'author', 'plan.tier'), 'github:octocat 4', 'an agent of another repository is nobody here');
-- What an agent left out.
select is(tests.pick(tests.a(format('submit_changeset(%L, %L, ''{README.md}'', task => %L)', tests.git('p0'), tests.git('h1'), :'task')), 'outcome', 'plan.tier'), 'submitted 0', 'an agent tells of one path');
select is(tests.pick(tests.push(format('agent/agent-a/%s', :'task'), repeat('0', 40), tests.git('h1'), '["README.md", "auth/x"]'), 'outcome', 'author', 'plan.tier'), 'accepted agent-a 4', 'the push of another');

create function tests.pull(p_head text, p_fields jsonb default '{}') returns jsonb language sql
return tests.github('pull_request', jsonb_build_object('action', 'opened', 'n', random(), 'pull_request', jsonb_build_object('base', jsonb_build_object('sha', tests.git('p0')), 'head', jsonb_build_object('sha', p_head, 'ref', 'feature', 'repo', '{"full_name": "Acme/App"}'::jsonb),
  'user', '{"login": "octocat"}'::jsonb, 'additions', 5, 'deletions', 3, 'changed_files', 2)) || p_fields);
select is(tests.pick(tests.pull(tests.git('h1')), 'outcome', 'plan.tier'), 'accepted 4', 'a pull request of a head that is known');
select is((select count(*) from coord.changesets where head = tests.git('h1')), 2::bigint, 'is nothing new');
select is(tests.pick(tests.pull(tests.git('pr')), 'author', 'plan.tier', 'plan.executors'), 'github:octocat 4 ["inline", "github_actions:ci.yml", "manual"]', 'of one that is not: every policy');
select is(tests.github('pull_request', '{"action": "labeled", "pull_request": {}}') ->> 'outcome', 'ignored', 'what happens to it otherwise is ignored');

-- Issues ---------------------------------------------------------------------------------

create function tests.issue(p_action text, p_label text, p_labels text[] default '{}', p_number integer default 17) returns jsonb language sql
return tests.github('issues', jsonb_build_object('action', p_action, 'label', jsonb_build_object('name', p_label), 'n', random(), 'issue', jsonb_build_object('number', p_number, 'title', 'Mend it', 'body', 'It is broken.',
  'html_url', 'https://github.com/acme/app/issues/' || p_number, 'labels', (select coalesce(jsonb_agg(jsonb_build_object('name', l)), '[]') from unnest(p_labels) l))));
select is(tests.pick(tests.issue('labeled', 'locked:src/x.rs', '{locked:src/x.rs}'), 'outcome', 'did.0.outcome', 'did.0.as', 'did.0.locks.0.path'), 'accepted acquired github-app src/x.rs', 'a label takes a lock');
select is(tests.pick(tests.a($$acquire_lock('{src/x.rs}')$$), 'outcome', 'blockers.0.holder', 'blockers.0.reason'), 'held github-app issue Acme/App#17: Mend it', 'which others see');
select is(tests.pick(tests.issue('labeled', 'locked:src/x.rs', '{locked:src/x.rs}', 18), 'did.0.outcome'), 'held', 'another issue is somebody else');
select is(tests.pick(tests.issue('labeled', 'locked:src/y.rs', '{agent:agent-a}'), 'did.0.as'), 'agent-a', 'for the agent that is named');
select is(tests.pick(tests.issue('labeled', 'locked:src/z.rs', labels), 'did.0.as'), 'github-app', 'but not for ' || array_to_string(labels, ' and ')) from (values ('{agent:agent-b}'::text[]), ('{agent:agent-a,agent:agent-b}'), ('{agent:agent-c}'), ('{agent:operator}')) v (labels);
select is(tests.pick(tests.issue('labeled', 'locked:/etc/passwd'), 'outcome', 'code'), 'refused path_absolute', 'nonsense is refused, and kept');
select is(tests.pick(tests.issue('unlabeled', 'locked:src/y.rs', '{agent:agent-b}'), 'did.0.outcome', 'did.0.as'), 'released agent-a', 'without the label it is free, whoever is named by now');
select is(tests.issue('unlabeled', 'locked:src/y.rs') ->> 'outcome', 'ignored', 'once');
select is(tests.pick(tests.issue('closed', null), 'did.0.released.0.path', 'did.0.released.1.path'), 'src/x.rs src/z.rs', 'closing releases the rest');
select is((select string_agg(function || ' ' || outcome, ', ' order by id) from coord.audit_log where agent = 'agent-a' and session_id like 'github:%'), 'acquire_lock acquired, release_lock released', 'audited as the agent''s');
select is(tests.issue('labeled', 'status:assigned', '{status:assigned}') ->> 'outcome', 'ignored', 'assigned to nobody');
select is(tests.issue('labeled', 'agent:agent-c', '{status:assigned,agent:agent-c}') ->> 'outcome', 'ignored', 'or to nobody here');
select is(tests.pick(tests.issue('labeled', 'agent:agent-b', '{status:assigned,agent:agent-b}'), 'outcome', 'did.0.outcome'), 'accepted submitted', 'assigned');
select is(tests.pick(tests.issue('labeled', 'status:assigned', '{status:assigned,agent:agent-b}'), 'did.0.outcome'), 'duplicate', 'once');
select is(tests.pick(tests.a('get_work(task_types => ''{github_issue}'')'), 'outcome', 'reasons.lacking.0'), 'none agent agent-b', 'nobody else gets it');
select is(tests.pick(tests.b('get_work(task_types => ''{github_issue}'')'), 'tasks.0.title', 'tasks.0.input.issue', 'tasks.0.submitted_by'), 'Mend it 17 github-app', 'but who is named');
select is(tests.issue('unlabeled', 'status:assigned') ->> 'outcome', 'ignored', 'what is under way goes on');
select is(tests.pick(tests.issue('labeled', 'status:assigned', '{status:assigned,agent:agent-b}', 19), 'did.0.outcome'), 'submitted', 'another');
select is(tests.pick(tests.issue('unlabeled', 'status:assigned', '{agent:agent-b}', 19), 'did.0.outcome'), 'cancelled', 'no longer assigned');

-- Kept ------------------------------------------------------------------------------------

select is(tests.github('star', '{"action": "created", "token": "ghp_0123456789abcdef0123"}') ->> 'outcome', 'ignored', 'an unknown event');
select is(tests.as_operator($$(select to_jsonb(e.outcome || ' ' || (e.body ->> 'token')) from coord_v1.webhook_events e where event = 'star')$$) #>> '{}', 'ignored [redacted]', 'is kept, without secrets');
select is((select count(*) from coord.webhook_events where outcome = 'received'), 0::bigint, 'each says what became of it');
update coord.webhook_events set received_at = received_at - interval '8 days' where event = 'star';
update coord.webhook_events set received_at = received_at - interval '401 days' where event = 'ping';
select tests.as_operator('coord_v1.maintain()') ->> 'outcome' as quiet \gset
select is((select body from coord.webhook_events where event = 'star'), null, 'its body for a week');
select is((select count(*) from coord.webhook_events where event = 'ping'), 0::bigint, 'itself for 400 days');
select is(tests.as_operator('coord_v1.remove_webhook_source(''github-acme'')') ->> 'outcome', 'removed', 'a source is removed');
select is(tests.refusal('github', '{"a":1}', tests.signed('a secret of github', '{"a":1}')), 'PT401 webhook_signature_invalid', 'and heard no more');
select throws_ok($$select tests.as_operator('coord_v1.remove_webhook_source(''github-acme'')')$$, 'PT404', 'webhook_source_not_found', 'once');

select * from finish();
rollback;
