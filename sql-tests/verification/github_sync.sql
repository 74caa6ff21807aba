-- An issue and the coordinator are brought together: missed labels act once, the database wins, and the issue is told what to show.
begin;
\ir ../helpers.sql
\ir ../verification_helpers.sql
select no_plan();

select tests.as_operator($$coord_v1.set_profile('app', '{"trust": 3, "allowed": ["*"]}')$$);
select tests.as_operator($$coord_v1.register_agent('github-app', 'github', 'agent', '{github.com/acme/app}', 'app')$$);
select tests.as_operator($$coord_v1.set_webhook_source('github-acme', 'github', 'github-app', 'a secret of some length', '{github.com/acme/app}', '{agent-a}')$$);

create function tests.sync(p_labels text[], p_number integer default 17, p_state text default 'open', p_rest text default '', p_agent text default 'github-app') returns jsonb language sql
return tests.as_agent(p_agent, format('coord_v1.sync_github_issue(%L, %L%s)', jsonb_build_object('full_name', 'Acme/App', 'number', p_number, 'state', p_state, 'title', 'Mend | it',
  'body', 'It is broken.', 'url', 'https://github.com/Acme/App/issues/' || p_number, 'labels', to_jsonb(p_labels)), 'github.com/acme/app', p_rest));

-- Who may.
select is(tests.pick(tests.sync('{}', p_agent => 'agent-a'), 'outcome', 'code'), 'denied operation_not_permitted', 'only the principal of a source');
select throws_ok($$select tests.as_agent('github-app', $q$coord_v1.sync_github_issue('{"full_name": "acme/other", "number": 1, "labels": []}', 'github.com/acme/app')$q$)$$, 'PT400', 'argument_invalid', 'of this repository');
select throws_ok($$select tests.as_agent('github-app', $q$coord_v1.sync_github_issue('[]', 'github.com/acme/app')$q$)$$, 'PT400', 'argument_invalid', 'an issue');

-- Nothing there, nothing said.
select is(tests.pick(tests.sync('{bug}'), 'outcome', 'did', 'add', 'remove', 'empty'), 'synced [] [] [] true', 'an issue without labels of ours');

-- Labels that no webhook told.
select is(tests.pick(tests.sync('{locked:./src//x.rs,agent:agent-a}', p_rest => ', plan => true'), 'outcome', 'did.0.label.name', 'remove', 'locks'), 'planned locked:./src//x.rs [] []', 'a plan');
select is((select count(*) from coord.locks), 0::bigint, 'changes nothing');
select is(tests.pick(tests.sync('{locked:./src//x.rs,agent:agent-a}'), 'did.0.outcome', 'did.0.as', 'add', 'remove', 'locks.0.path'), 'acquired agent-a [] [] src/x.rs', 'is taken, for the agent that is named');
select is(tests.pick(tests.sync('{locked:src/x.rs}'), 'did', 'add', 'remove', 'empty'), '[] [] [] false', 'once');
select is(tests.pick(tests.sync('{}'), 'did', 'add.0', 'remove'), '[] locked:src/x.rs []', 'the database wins: its lock is shown again');
select ok(tests.sync('{}') ->> 'comment' like '%`src/x.rs` | exclusive | `agent-a`%', 'and told');
select is(tests.pick(tests.sync('{locked:src/x.rs}', 18), 'did.0.outcome', 'remove.0'), 'held locked:src/x.rs', 'a label takes nothing from anybody, and goes');
select is(tests.pick(tests.sync('{locked:/etc/passwd}'), 'did', 'add.0', 'remove'), '[] locked:src/x.rs []', 'nonsense is left alone');
select is(tests.pick(tests.sync('{locked:src/x.rs}', p_state => 'closed'), 'did.0.outcome', 'remove.0', 'empty'), 'released locked:src/x.rs true', 'closed: released, and the label goes');
select is(tests.pick(tests.sync('{locked:src/x.rs}'), 'did', 'remove.0'), '[] locked:src/x.rs', 'what ended is not taken again for an old label');
select is(tests.pick(tests.as_agent('agent-b', $$coord_v1.acquire_lock('{src/x.rs}', 'github.com/acme/app')$$), 'outcome'), 'acquired', 'it is free');

-- A task.
select is(tests.pick(tests.sync('{status:assigned}', 20), 'did', 'empty'), '[] true', 'assigned to nobody');
select is(tests.pick(tests.sync('{status:assigned,agent:agent-b}', 20), 'did.0.outcome', 'task.state', 'add', 'remove'), 'submitted pending [] []', 'assigned');
select is(tests.pick(tests.sync('{status:assigned,agent:agent-b}', 20), 'did'), '[]', 'once');
select is(tests.pick(tests.sync('{}', 20), 'add.0', 'add.1'), 'agent:agent-b status:assigned', 'and back');
create temp table work as select tests.as_agent('agent-b', $$coord_v1.get_work()$$) as got;
select is(tests.pick(got, 'outcome', 'tasks.0.title'), 'claimed Mend | it', 'claimed') from work;
select is(tests.pick(tests.sync('{status:assigned,agent:agent-b}', 20), 'add.0', 'remove', 'task.agent'), 'status:in-progress [] agent-b', 'under way; assigned stays, whose loss would cancel it');
select is(tests.as_agent('agent-b', format('coord_v1.complete_work(%L, true, attempt => 1)', got #>> '{tasks,0,id}')) ->> 'outcome', 'completed', 'done') from work;
select is(tests.pick(tests.sync('{status:assigned,agent:agent-b,status:in-progress,bug}', 20), 'did', 'add.0', 'remove.0', 'remove.1'), '[] status:completed status:assigned status:in-progress', 'done, and not queued again');
select ok(tests.sync('{}', 20) ->> 'comment' ~ 'T-[0-9]+ is completed by `agent-b`', 'and told');

-- Names in other letters are the same repository.
select is(tests.pick(tests.sync('{locked:case.rs}', 41), 'did.0.outcome', 'locks.0.path'), 'acquired case.rs', 'locked for an issue of Acme/App');
select is(tests.pick(tests.as_agent('github-app', $$coord_v1.sync_github_issue('{"full_name": "acme/app", "number": 41, "labels": ["locked:case.rs"]}', 'github.com/acme/app')$$), 'did', 'add', 'locks.0.path'),
  '[] [] case.rs', 'and seen for the same of acme/app');
select tests.as_agent('github-app', $$coord_v1.sync_github_issue('{"full_name": "acme/app", "number": 41, "state": "closed", "labels": []}', 'github.com/acme/app')$$) ->> 'outcome' as quiet \gset

-- The whole repository in one comment.
select is(tests.pick(tests.sync('{locked:src/q.rs}', 99, p_rest => ', overview => true'), 'did', 'add', 'remove', 'locks.0.path', 'empty'), '[] [] [] src/x.rs false', 'an overview touches no label');
select tests.as_agent('agent-a', $$coord_v1.submit_work(title => 'a | b `c`', task_type => 'x', repo => 'github.com/acme/app')$$);
select ok(tests.sync('{}', 99, p_rest => ', overview => true') ->> 'comment' like '%| `a / b ''c''` | pending |%', 'nothing in it is read as anything else');
select is(length(coord.as_code(repeat('x', 999))), 202, 'nor is it long');
select is(tests.as_operator($$coord_v1.sync_github_issue('{"full_name": "acme/app", "number": 30, "labels": ["locked:op.rs", "agent:agent-a"]}', 'github.com/acme/app')$$) #>> '{did,0,as}', 'operator', 'an operator without a source speaks for itself');
select is((select count(*) from coord.audit_log where function = 'sync_github_issue' and outcome = 'synced'), 7::bigint, 'audited where something was asked for');
select * from finish();
rollback;
