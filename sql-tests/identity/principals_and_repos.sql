-- Registration, canonical repositories, and what each principal sees.
begin;
\ir ../helpers.sql
select no_plan();

select is(coord.canonical_repo(given), 'github.com/acme/app', given)
from unnest(array['github.com/acme/App', 'GitHub.com/acme/App', 'https://github.com/acme/App', 'https://github.com/acme/App.git', 'https://user:pw@github.com/acme/App.git/',
  'git@github.com:acme/App.git', 'github.com:acme/App', 'ssh://git@github.com/acme/App', 'ssh://git@github.com:22/acme/App.git', 'git://github.com:9418/acme/App', ' github.com/acme/App ']) given;
select is(coord.canonical_repo('Git.Example.org/Acme/App.git'), 'git.example.org/Acme/App', 'other hosts may tell cases apart');
select is(coord.canonical_repo('local/playground'), 'local/playground', 'two parts are enough');
select throws_ok(format('select coord.canonical_repo(%L)', given), 'PT400', 'repo_invalid', 'refused: ' || given)
from unnest(array['x', '/a/b', 'a//b', 'a/b c', 'a/../b', 'a/.', '*', 'a/b?c', 'https://github.com', 'a/b/' || repeat('c', 300)]) given;

select is(tests.pick(tests.as_operator($$coord_v1.register_agent('agent-a', repos => '{git@github.com:acme/lib.git,github.com/acme/app}')$$),
  'outcome', 'agent_type', 'repos'), 'registered claude-code-cli ["github.com/acme/app", "github.com/acme/lib"]', 'registering again adds repositories');
select throws_ok($$select tests.as_agent('agent-a', $q$coord_v1.acquire_lock('{x}')$q$)$$, 'PT400', 'repo_required', 'with two repos a call must name one');
select is(tests.as_agent('agent-a', $$coord_v1.acquire_lock('{x}', 'https://github.com/acme/lib')$$) ->> 'repo', 'github.com/acme/lib', 'by any of its names');
select throws_ok($$select tests.as_operator($q$coord_v1.acquire_lock('{x}')$q$)$$, 'PT400', 'repo_required', 'so must who reaches all');
select is(tests.pick(tests.as_operator('coord_v1.check_locks()'), 'total', 'locks.0.repo'), '1 github.com/acme/lib', 'but a look needs no repo');
select is(tests.as_agent('agent-b', 'coord_v1.check_locks()') ->> 'total', '0', 'and shows the granted ones alone');
select throws_ok($$select tests.as_agent('agent-a', $q$coord_v1.check_locks('{x}')$q$)$$, 'PT400', 'repo_required', 'a path is in a repo');
select is(coord.agent_types_like(given), meant::text[], given || ' is like ' || meant) from (values
  ('claude-code-cli', '{}'), ('codex-cli', '{}'), ('claude_code_cli', '{claude-code-cli,claude-code-web}'), ('claude_code', '{claude-code-cli,claude-code-web}'),
  ('codex', '{codex-cli,codex-cloud}'), ('codex_cloud', '{codex-cloud}'), ('Aider', '{aider}'), ('gemini-cli', '{}'), ('dispatcher', '{}'), ('x', '{}')) t (given, meant);
select is(tests.pick(tests.as_operator($$coord_v1.register_agent('agent-n', 'codex_cloud')$$), 'outcome', 'agent_type', 'next'),
  'registered codex_cloud codex_cloud is a type of its own, which rules for codex-cloud do not mean: if it is one of these, register it again with that type.', 'a near miss is taken, and told');
select ok(not tests.as_operator($$coord_v1.register_agent('agent-n', 'my-own-thing')$$) ? 'next', 'one of one''s own is no near miss');
delete from coord.agents where id = 'agent-n';
select throws_ok($$select tests.as_operator($q$coord_v1.register_agent('agent-a', role => 'operator')$q$)$$, 'PT409', 'agent_role_fixed', 'a role is for ever');
select throws_ok($$select tests.as_operator($q$coord_v1.register_agent('agent-z', repos => '{*}')$q$)$$, 'PT422', 'all_repos_refused', 'agents never reach all repos');
select throws_ok($$select tests.as_operator($q$coord_v1.register_agent('../etc')$q$)$$, 'PT400', 'agent_name_invalid', 'a name is no path');
select throws_ok($$select tests.as_operator($q$coord_v1.register_agent('x', role => 'admin')$q$)$$, 'PT400', 'argument_invalid', 'an unknown role');
select is(tests.pick(tests.as_operator($$coord_v1.register_agent('eve', 'person', 'auditor', '{*}')$$), 'role', 'all_repos'), 'auditor true', 'an auditor of everything');

-- What each sees.
select is(tests.as_agent('agent-a', '(select jsonb_agg(a.name) from coord_v1.agents a)'), '["agent-a"]', 'an agent sees itself');
select is(tests.as_claims(tests.claims('eve', 'coord_auditor'), '(select jsonb_agg(a.name order by a.name) from coord_v1.agents a)'),
  '["agent-a", "agent-b", "agent-c", "eve", "operator"]', 'an auditor sees all');
select is(tests.as_agent('agent-b', '(select count(*) from coord_v1.audit)')::text, '0', 'an agent sees its own audit rows');
select is(tests.as_claims(tests.claims('eve', 'coord_auditor'), $$(select to_jsonb(count(*) > 3) from coord_v1.audit)$$), 'true', 'an auditor all');
select throws_ok(format('select tests.as_claims(%L, %L)', tests.claims('eve', 'coord_auditor'), $$coord_v1.acquire_lock('{a}')$$), '42501', null, 'an auditor changes nothing');

-- Row-level security carries the weight: a body that forgot its where sees no other repo.
select tests.as_agent('agent-c', $$coord_v1.acquire_lock('{secret}')$$) is not null as quiet \gset
select set_config('request.jwt.claims', tests.claims('agent-b')::text, true) is not null as quiet \gset
set local role coord_owner;
select set_config('coord.repos', 'github.com/acme/app', true) is not null as quiet \gset
select is_empty('select * from coord.locks where repo <> ''github.com/acme/app''', 'no lock of another repo');
select is_empty('select * from coord.sessions where agent <> ''agent-b''', 'no session of another agent');
select is_empty('select * from coord.audit_log where agent <> ''agent-b''', 'no audit row of another agent');
select is_empty('select * from coord.repo_grants where agent <> ''agent-b''', 'no grant of another agent');
select is_empty('select * from coord.repos where id <> ''github.com/acme/app''', 'no other repo');
select set_config('coord.repos', '', true) is not null as quiet \gset
select is_empty('select * from coord.locks', 'a caller that was not admitted sees no lock');
select set_config('request.jwt.claims', '', true) is not null as quiet \gset
select is_empty('select * from coord.agents', 'without claims there are no agents');
reset role;

select * from finish();
rollback;
