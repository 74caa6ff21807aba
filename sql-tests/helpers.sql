-- Included by every test, inside its transaction: principals, and ways to act as them.

create schema tests;

create function tests.claims(p_agent text, p_role text default 'coord_agent') returns jsonb language sql
return jsonb_build_object('role', p_role, 'sub', p_agent, 'aud', 'coord', 'jti', 'jti-' || p_agent,
  'agent_type', 'test', 'exp', extract(epoch from clock_timestamp() + interval '1 hour')::bigint);

-- Runs one expression as PostgREST would: role, claims and headers set, pre-request first.
create function tests.as_claims(p_claims jsonb, p_expression text, p_headers jsonb default '{}') returns jsonb
language plpgsql as $$
declare
  v_answer jsonb;
begin
  perform set_config('request.jwt.claims', p_claims::text, true), set_config('request.headers', p_headers::text, true),
    set_config('coord.caller', '', true), set_config('response.status', '', true),
    set_config('role', p_claims ->> 'role', true);
  perform coord.pre_request();
  execute 'select ' || p_expression into v_answer;
  perform set_config('role', 'none', true), set_config('request.jwt.claims', '', true), set_config('coord.caller', '', true);
  return v_answer;
end
$$;

create function tests.as_agent(p_agent text, p_expression text, p_headers jsonb default '{}') returns jsonb language sql
return tests.as_claims(tests.claims(p_agent), p_expression, p_headers);

create function tests.as_operator(p_expression text, p_headers jsonb default '{}') returns jsonb language sql
return tests.as_claims(tests.claims('operator', 'coord_operator'), p_expression, p_headers);

-- Fields of an answer as 'outcome' or 'locks.0.fence', joined by blanks.
create function tests.pick(p_answer jsonb, variadic p_fields text[]) returns text language sql
return (select string_agg(coalesce(p_answer #>> string_to_array(f, '.'), '-'), ' ' order by n)
  from unnest(p_fields) with ordinality u (f, n));

-- agent-a and agent-b share one repository; agent-c works in another.
do $$
begin
  perform tests.as_operator($q$coord_v1.register_agent('agent-a', 'claude-code-cli', 'agent', '{github.com/acme/app}')$q$),
    tests.as_operator($q$coord_v1.register_agent('agent-b', 'codex-cloud', 'agent', '{github.com/acme/app}')$q$),
    tests.as_operator($q$coord_v1.register_agent('agent-c', 'aider', 'agent', '{github.com/acme/other}')$q$);
end
$$;
