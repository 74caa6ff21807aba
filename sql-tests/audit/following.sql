-- The audit can be followed without a row twice or skipped, and says who, what, how and how long.
begin;
\ir ../helpers.sql
select no_plan();

create function tests.age(p_xid bigint) returns void language plpgsql as $$
begin
  perform set_config('session_replication_role', 'replica', true);
  update coord.audit_log set xid = p_xid where xid = pg_current_xact_id()::text::bigint;
  perform set_config('session_replication_role', 'origin', true);
end
$$;
create function tests.since(p_agent text, p_cursor text, p_max integer default 500) returns jsonb language sql
return tests.as_agent(p_agent, format('coord_v1.audit_since(%L, %s)', p_cursor, p_max));

select tests.as_agent('agent-a', $$coord_v1.acquire_lock('{a}')$$, '{"x-request-id": "r-1"}'), tests.as_agent('agent-b', $$coord_v1.acquire_lock('{b}')$$), tests.as_agent('agent-a', $$coord_v1.release_lock()$$);
select is(tests.pick(tests.since('agent-a', '1:1:0'), 'rows', 'more'), '[] false', 'rows of a transaction under way do not appear');
select tests.age(100);
select is((select string_agg(r ->> 'function', ' ' order by n) from jsonb_array_elements(tests.since('agent-a', '1:1:0') -> 'rows') with ordinality u (r, n)),
  'acquire_lock release_lock', 'then one''s own do, in order');
create temp table page as select tests.as_operator($$coord_v1.audit_since('1:1:0', 2)$$) as p;
select is(tests.pick(p, 'more', 'rows.0.function', 'rows.1.function'), 'true register_agent register_agent', 'a page of all, for an operator') from page;
select is((select string_agg(r ->> 'agent', ' ' order by n) from page, jsonb_array_elements(tests.as_operator(format('coord_v1.audit_since(%L)', p ->> 'cursor')) -> 'rows') with ordinality u (r, n)),
  'operator agent-a agent-b agent-a', 'the cursor goes on behind it');
select is(tests.as_operator(format('coord_v1.audit_since(%L)', tests.as_operator('coord_v1.audit_since()') ->> 'cursor')) -> 'rows', '[]', 'without a cursor from now on');
select is(tests.since('agent-a', tests.since('agent-a', '1:1:0') ->> 'cursor') -> 'rows', '[]', 'nothing twice');
select throws_ok(format('select tests.since(%L, %L)', 'agent-a', c), 'PT400', 'cursor_invalid', 'cursor ' || c)
from unnest(array['', 'x', '1:2', '9:1:1', '1:900000000000000000:1', '1:1:9999999999999999999', '1:1:1; select 1']) c;
select throws_ok($$select tests.since('agent-a', null, 0)$$, 'PT400', 'argument_invalid', 'at least one row');

select is((select tests.pick(to_jsonb(a), 'agent', 'agent_type', 'role', 'session', 'token_id', 'function', 'repo', 'outcome', 'request_id', 'detail.args.paths.0', 'detail.result.locks.0.path')
    from coord_v1.audit a where agent = 'agent-a' and function = 'acquire_lock'),
  'agent-a test agent jti-agent-a jti-agent-a acquire_lock github.com/acme/app acquired r-1 a a', 'a row says who, by which token, what and how');
select ok((select bool_and(duration_ms > 0 and duration_ms < 5000) from coord_v1.audit), 'and how long it took');

select * from finish();
rollback;
