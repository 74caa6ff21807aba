-- Only a whole, fresh, unrevoked token of a registered principal gets in.
begin;
\ir ../helpers.sql
select no_plan();

create function tests.try_claims(p_claims jsonb) returns jsonb language sql
return tests.as_claims(p_claims, 'coord_v1.check_locks()');

select ok(tests.try_claims(tests.claims('agent-a')) is not null, 'a whole token');
select ok(tests.try_claims(tests.claims('agent-a') || '{"aud": ["other", "coord"]}') is not null, 'our audience among others');

create temp table bad (change jsonb, state text, code text);
insert into bad values
  ('{"sub": null}', 'PT401', 'token_invalid'), ('{"sub": ""}', 'PT401', 'token_invalid'), ('{"sub": 7}', 'PT401', 'token_invalid'), ('{"sub": {"a": 1}}', 'PT401', 'token_invalid'),
  ('{"aud": null}', 'PT401', 'token_invalid'), ('{"aud": []}', 'PT401', 'token_invalid'), ('{"aud": "other"}', 'PT401', 'token_invalid'),
  ('{"aud": ["x"]}', 'PT401', 'token_invalid'), ('{"aud": {"coord": 1}}', 'PT401', 'token_invalid'),
  ('{"exp": null}', 'PT401', 'token_invalid'), ('{"exp": "soon"}', 'PT401', 'token_invalid'), ('{"exp": 1}', 'PT401', 'token_expired'), ('{"exp": -1e300}', 'PT401', 'token_expired'),
  ('{"jti": null}', 'PT401', 'token_invalid'), ('{"jti": ""}', 'PT401', 'token_invalid'), ('{"jti": 5}', 'PT401', 'token_invalid'),
  ('{"sub": "nobody"}', 'PT403', 'agent_unknown'), ('{"sub": "operator"}', 'PT403', 'role_not_allowed'),
  ('{"session_id": ""}', 'PT400', 'session_id_invalid'), ('{"session_id": "a\tb"}', 'PT400', 'session_id_invalid');
select throws_ok(format('select tests.try_claims(%L)', tests.claims('agent-a') || change), state, code, change::text) from bad;
select throws_ok(format('select tests.try_claims(%L)', tests.claims('agent-a') - claim), 'PT401', 'token_invalid', 'without ' || claim)
from unnest(array['sub', 'aud', 'exp', 'jti']) claim;
select throws_ok(format('select tests.try_claims(%L)', tests.claims('agent-a') || jsonb_build_object('jti', repeat('x', 201))), 'PT401', 'token_invalid', 'a jti of 201 bytes');
select throws_ok($$select tests.as_claims(tests.claims('agent-a', 'coord_operator'), 'coord_v1.maintain()')$$, 'PT403', 'role_not_allowed', 'a role its principal does not have');

-- Claims left empty by a pooled connection; a server that was not told of the pre-request function.
create function tests.without_pre_request(p_claims text) returns jsonb language plpgsql as $$
declare
  v_answer jsonb;
begin
  perform set_config('request.jwt.claims', p_claims, true), set_config('coord.caller', '', true), set_config('coord.repos', '', true), set_config('role', 'coord_agent', true);
  v_answer := coord_v1.check_locks();
  perform set_config('role', 'none', true);
  return v_answer;
end
$$;
select throws_ok($$select tests.without_pre_request('')$$, 'PT401', 'token_required', 'no claims, no entry');
select throws_ok(format('select tests.without_pre_request(%L)', tests.claims('agent-a') - 'aud'), 'PT401', 'token_invalid', 'bodies check for themselves');
select ok(tests.without_pre_request(tests.claims('agent-a')::text) is not null, 'and let the good in');

-- Operators disable and revoke; the next call is refused.
select is(tests.as_operator($$coord_v1.disable_agent('agent-a', 'lost laptop')$$) ->> 'outcome', 'disabled', 'disable');
select throws_ok($$select tests.as_agent('agent-a', 'coord_v1.check_locks()')$$, 'PT403', 'agent_disabled', 'a disabled principal is refused');
select is(tests.as_operator($$coord_v1.enable_agent('agent-a')$$) ->> 'outcome', 'enabled', 'enable');
select ok(tests.as_agent('agent-a', 'coord_v1.check_locks()') is not null, 'and it is back');
select is(tests.as_operator($$coord_v1.revoke_token('jti-agent-a', reason => 'leaked')$$) ->> 'outcome', 'revoked', 'revoke');
select throws_ok($$select tests.as_agent('agent-a', 'coord_v1.check_locks()')$$, 'PT401', 'token_revoked', 'a revoked token is refused');
select ok(tests.as_claims(tests.claims('agent-a') || '{"jti": "fresh"}', 'coord_v1.check_locks()') is not null, 'another token of the agent is not');
select throws_ok($$select tests.as_operator($q$coord_v1.disable_agent('nobody', 'x')$q$)$$, 'PT404', 'agent_not_found', 'nobody to disable');

-- Agents may not do what operators do.
select throws_ok($$select tests.as_agent('agent-b', $q$coord_v1.register_agent('x')$q$)$$, '42501', null, 'an agent registers nobody');
select throws_ok($$select tests.as_agent('agent-b', $q$coord_v1.revoke_token('jti-agent-c')$q$)$$, '42501', null, 'revokes nothing');
select throws_ok($$select tests.as_agent('agent-b', $q$coord_v1.maintain()$q$)$$, '42501', null, 'and keeps no house');

select * from finish();
rollback;
