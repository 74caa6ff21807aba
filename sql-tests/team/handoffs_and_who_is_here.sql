-- Who starts learns what is open; who stops leaves it; and everybody sees who is here.
begin;
\ir ../helpers.sql
\ir ../work_helpers.sql
select no_plan();

-- Handoffs.
select is(tests.pick(tests.a('start_session()'), 'outcome', 'handoff', 'tasks', 'notices', 'repo', 'profile', 'trust'), 'started - [] [] github.com/acme/app standard 2', 'nothing is open');
select is(tests.pick(tests.a('write_handoff(''half done'', completed => ''{parser}'', in_progress => ''{lexer}'', decisions => ''{no regex}'', next_steps => ''{tests}'', files => ''{src/lexer.rs}'')'), 'ok', 'outcome', 'repo'),
  'true written github.com/acme/app', 'agent-a hands over');
select is(tests.pick(tests.b('start_session()'), 'handoff.summary', 'handoff.agent', 'handoff.next_steps.0'), 'half done agent-a tests', 'agent-b learns of it when it starts');
select tests.b('write_handoff(''mine'')');
select is(tests.pick(tests.a('start_session()'), 'handoff.summary'), 'half done', 'one''s own goes before the newest');
select is((select jsonb_path_query_array(tests.a('read_handoff(max_results => 10)'), '$.handoffs[*].summary')), '["mine", "half done"]', 'all of them, newest first');
select is(tests.pick(tests.a('read_handoff(''agent-b'')'), 'handoffs.0.summary', 'handoffs.1'), 'mine -', 'of one agent');
select is(tests.as_agent('agent-c', 'coord_v1.read_handoff()') -> 'handoffs', '[]', 'not of another repository');
select is(tests.as_agent('agent-c', '(select coalesce(jsonb_agg(h.id), ''[]'') from coord_v1.handoffs h)'), '[]', 'nor in the view');
select throws_ok($$select tests.a('write_handoff('''')')$$, 'PT400', 'argument_required', 'it says something');
select throws_ok($$select tests.a('write_handoff(''x'', files => array_fill(''0123456789''::text, array[4000]))')$$, 'PT400', 'handoff_too_large', 'and at most 32 kB');
select throws_ok($$select tests.a('read_handoff(max_results => 51)')$$, 'PT400', 'argument_invalid', 'fifty at a time');
select throws_ok($$select tests.a('start_session(metadata => ''[1]'')')$$, 'PT400', 'metadata_invalid', 'metadata is an object');
select throws_ok($$select tests.a('start_session(capabilities => array_fill(''x''::text, array[1]) || repeat(''y'', 51))')$$, 'PT400', 'argument_too_long', 'a capability is a word');
select is(tests.pick(tests.a('start_session(repo => ''github.com/acme/other'')'), 'outcome', 'code'), 'denied repo_not_granted', 'in a repository of one''s own');

-- Own open tasks, of every session, and what happened meanwhile.
select tests.task('{"title": "open"}');
select tests.a('get_work()', 'earlier');
select tests.a('acquire_lock(''{x}'')', 'earlier');
select tests.as_operator($$coord_v1.force_release_lock('{x}', 'in the way', 'github.com/acme/app')$$);
select is(tests.pick(tests.a('start_session()', 'later'), 'tasks.0.title', 'tasks.0.session_id', 'tasks.0.this_session', 'notices.0.kind', 'notices.0.text'),
  'open earlier false lock_broken Your lock on x was broken by operator: in the way', 'who comes back is told');
select is(tests.pick(tests.a('start_session()', 'later'), 'notices'), '[]', 'once');
select is(tests.as_operator('(select to_jsonb(n) from coord_v1.notices n)') ->> 'read_at' is not null, true, 'an operator sees that it was read');
select is(tests.b('(select coalesce(jsonb_agg(n.text), ''[]'') from coord_v1.notices n)'), '[]', 'others do not see it');
select tests.as_operator(format('coord_v1.cancel_work(%L, ''changed our minds'')', tests.t(1)));
select is(tests.pick(tests.a('read_notices()'), 'outcome', 'notices.0.kind', 'notices.0.text'), format('read task_cancelled %s (open), which you had claimed, was cancelled by operator: changed our minds', tests.t(1)), 'a cancelled task too');

-- Who is here.
select tests.b('start_session(''{rust,review}'')', 'desk');
select tests.task('{"title": "more"}');
select tests.b('get_work()', 'desk');
select tests.b('acquire_lock(''{y,z}'')', 'desk');
select is((select tests.pick(m, 'agent_type', 'status', 'capabilities', 'repo', 'locks', 'tasks.0') from jsonb_array_elements(tests.a('discover_agents()') -> 'agents') m where m ->> 'session_id' = 'desk'),
  'test active ["review", "rust"] github.com/acme/app 2 ' || tests.t(2), 'with what they can, hold and do');
select is((select jsonb_path_query_array(tests.a('discover_agents(''rust'')'), '$.agents[*].session_id')), '["desk"]', 'by capability');
select is((select jsonb_path_query_array(tests.as_agent('agent-c', 'coord_v1.discover_agents()'), '$.agents[*].agent')), '["agent-c"]', 'not those who share no repository');
select ok((select count(distinct m ->> 'agent') > 2 from jsonb_array_elements(tests.as_operator('coord_v1.discover_agents()') -> 'agents') m), 'an operator sees all');
select tests.pass(901);
select is((select distinct m ->> 'status' from jsonb_array_elements(tests.as_agent('agent-c', 'coord_v1.discover_agents(status => ''all'')') -> 'agents') m), 'active', 'a call is a sign of life');
select is((select m ->> 'status' from jsonb_array_elements(tests.as_operator('coord_v1.discover_agents(status => ''stale'')') -> 'agents') m where m ->> 'session_id' = 'desk'), 'stale', 'silence is not');
select tests.pass(2000);
select tests.as_operator('coord_v1.maintain()');
select is((select tests.pick(m, 'status', 'end_reason', 'tasks') from jsonb_array_elements(tests.as_operator('coord_v1.discover_agents(status => ''ended'')') -> 'agents') m where m ->> 'session_id' = 'desk'), 'ended dead []', 'in the end it is dead');
select throws_ok($$select tests.a('discover_agents(status => ''asleep'')')$$, 'PT400', 'argument_invalid', 'other states there are none');

select * from finish();
rollback;
