-- An approval is for one thing, by somebody else, once, and not for long.
begin;
\ir ../helpers.sql
select no_plan();

create function tests.a(p_expression text, p_agent text default 'agent-a') returns jsonb language sql
return tests.as_agent(p_agent, 'coord_v1.' || p_expression);
create function tests.o(p_expression text) returns jsonb language sql
return tests.as_operator('coord_v1.' || p_expression);
create temp table it as select tests.a($$request_approval('deploy', '{"to": "staging"}', 'for the demo')$$) #>> '{approval,id}' as id;
select tests.as_operator($q$coord_v1.apply_config('{"profiles": {"chief": {"trust": 4, "allowed": ["*"]}}}')$q$), tests.as_operator($$coord_v1.assign_profile('agent-b', 'chief')$$);
-- What check_guardrails does with it.
create function tests.used(p_agent text, p_resource jsonb) returns bigint language plpgsql as $$
declare
  v_number bigint;
begin
  perform set_config('request.jwt.claims', tests.claims(p_agent)::text, true), set_config('role', 'coord_owner', true);
  v_number := coord.use_approval(p_agent, 'deploy', p_resource);
  perform set_config('role', 'none', true), set_config('request.jwt.claims', '', true);
  return v_number;
end
$$;

select is(tests.pick(tests.a($$request_approval('deploy', '{"to": "staging"}')$$), 'ok', 'outcome', 'approval.id', 'approval.state', 'approval.reason'), 'true open ' || id || ' open for the demo', 'asked twice, it is one request') from it;
select isnt(tests.a($$request_approval('deploy', '{"to": "production"}')$$) #>> '{approval,id}', id, 'of something else, another') from it;
select isnt(tests.a($$request_approval('deploy', '{"to": "staging"}')$$, 'agent-b') #>> '{approval,id}', id, 'and of somebody else') from it;
select is(tests.used('agent-a', '{"to": "staging"}'), null, 'asking opens nothing');
select is(tests.pick(tests.a(format('decide_approval(%L, true)', id)), 'outcome', 'code'), 'denied insufficient_trust_level', 'who asked cannot decide') from it;
select tests.as_operator($$coord_v1.assign_profile('agent-a', 'chief')$$);
select is(tests.pick(tests.a(format('decide_approval(%L, true)', id)), 'outcome', 'code'), 'denied own_approval', 'whatever its trust') from it;
select is((select decided_by from coord.approvals where 'A-' || number = id), null, 'and has not') from it;
select tests.as_operator($$coord_v1.assign_profile('agent-a')$$);
select is(tests.pick(tests.a(format('decide_approval(%L, true, ''go on'')', lower(id)), 'agent-b'), 'ok', 'outcome', 'approval.decided_by', 'approval.note'), 'true approved agent-b go on', 'another agent of trust 4 can') from it;
select is(tests.pick(tests.o(format('decide_approval(%L, false)', id)), 'ok', 'outcome', 'approval.decided_by', 'next'), 'false not_open agent-b agent-b decided it already.', 'once') from it;
select is(tests.used('agent-b', '{"to": "staging"}'), null, 'it is not for others');
select is(tests.used('agent-a', '{"to": "production"}'), null, 'nor for anything else');
select is('A-' || tests.used('agent-a', '{"to": "staging"}'), id, 'it is for exactly this') from it;
select is(tests.used('agent-a', '{"to": "staging"}'), null, 'once');
select is(tests.pick(tests.a(format('get_approval(%L)', id)), 'state', 'decided_by'), 'used agent-b', 'and says so') from it;
select is(tests.pick(tests.a($$request_approval('deploy', '{"to": "staging"}')$$), 'outcome'), 'open', 'the next time is another request');

-- Expiry: of what is open, and of what was approved.
create temp table late as select tests.a($$request_approval('deploy', '{"to": "late"}')$$) #>> '{approval,id}' as id;
set local session_replication_role = replica;
update coord.approvals set expires_at = clock_timestamp() - interval '1 second' where 'A-' || number in (select id from late);
set local session_replication_role = origin;
select is(tests.pick(tests.o(format('decide_approval(%L, true)', id)), 'outcome', 'approval.state', 'next'), 'not_open expired It expired; whoever asked has to ask again.', 'nobody decides what expired') from late;
select is(tests.pick(tests.a(format('get_approval(%L)', id)), 'state'), 'expired', 'which it says') from late;
create temp table later as select tests.a($$request_approval('deploy', '{"to": "late"}')$$) #>> '{approval,id}' as id;
select isnt(later.id, late.id, 'it is asked for anew') from late, later;
select is(tests.pick(tests.o(format('decide_approval(%L, true)', id)), 'outcome'), 'approved', 'approved') from later;
set local session_replication_role = replica;
update coord.approvals set expires_at = clock_timestamp() - interval '1 second' where 'A-' || number in (select id from later);
set local session_replication_role = origin;
select is(tests.used('agent-a', '{"to": "late"}'), null, 'and not used in time');
select is(tests.pick(tests.o(format('decide_approval(%L, false, ''no'')', tests.a($$request_approval('deploy', '{"to": "no"}')$$) #>> '{approval,id}')), 'outcome'), 'rejected', 'rejected');
select is(tests.used('agent-a', '{"to": "no"}'), null, 'is not approved');
set local session_replication_role = replica;
update coord.approvals set expires_at = clock_timestamp() - interval '2 days' where state in ('open', 'approved');
set local session_replication_role = origin;
select tests.o('maintain()');
select is((select count(*) from coord.approvals where state in ('open', 'approved')), 0::bigint, 'housekeeping stores what has expired');

-- States.
select throws_ok(format('update coord.approvals set state = %L where state = %L', new, old), 'PT409', null, old || ' to ' || new)
from (values ('used', 'approved'), ('rejected', 'approved'), ('expired', 'open'), ('rejected', 'open')) v (old, new);
select tests.a($$request_approval('deploy', '{"to": "states"}')$$);
select throws_ok(format('update coord.approvals set %s where state = ''open''', change), null, null, change)
from unnest(array['state = ''used''', 'agent = ''agent-b''', 'resource = ''{}''', 'hash = sha256('''')', 'state = ''approved''', 'state = ''approved'', decided_by = agent, decided_at = asked_at']) change;

-- Rows of others; bad input.
select throws_ok(format('select tests.a(%L, ''agent-c'')', format('get_approval(%L)', id)), 'PT404', 'approval_not_found', 'others do not see it') from it;
select is(tests.as_agent('agent-c', '(select coalesce(jsonb_agg(a.id), ''[]'') from coord_v1.approvals a)'), '[]', 'nor in the view');
select ok(jsonb_array_length(tests.as_operator('(select jsonb_agg(a.id) from coord_v1.approvals a)')) > 5, 'an operator does');
select is(tests.a($$request_approval('use', '{"token": "x", "with": "ghp_abcdefghijklmnop1234"}')$$) #> '{approval,resource}', '{"token": "[redacted]", "with": "[redacted]"}', 'secrets are not shown');
select throws_ok(format('select tests.o(%L)', c), 'PT' || s, e, c) from (values ('decide_approval(''17'', true)', 400, 'approval_invalid'), ('decide_approval(''A-999999'', true)', 404, 'approval_not_found'),
  ('decide_approval(''A-1'', null)', 400, 'argument_required'), ('get_approval(null)', 400, 'approval_invalid'), ('request_approval(''Deploy It'')', 400, 'argument_invalid'),
  ('request_approval(''x'', to_jsonb(repeat(''x'', 20000)))', 400, 'argument_too_long')) v (c, s, e);

select * from finish();
rollback;
