-- Limits are enforced where they are reached, and say which, how much and until when.
begin;
\ir ../helpers.sql
select no_plan();

select is(tests.as_operator($$coord_v1.set_profile('tight', '{"trust": 2, "allowed": ["*"], "limits":
  {"max_locks": 3, "max_paths_per_call": 2, "max_ttl_seconds": 600, "max_writes_per_hour": 6, "max_payload_bytes": 2000}}')$$) ->> 'outcome', 'applied', 'a tight profile');
select is(tests.as_operator($$coord_v1.assign_profile('agent-a', 'tight')$$) ->> 'outcome', 'assigned', 'for agent-a');
create function tests.a(p_expression text, p_session text default 's') returns jsonb language sql
return tests.as_agent('agent-a', 'coord_v1.' || p_expression, jsonb_build_object('x-session-id', p_session));

select is(tests.pick(tests.a($$acquire_lock('{a,b,c}', ttl_seconds => 60)$$), 'outcome', 'code', 'limit', 'value'), 'denied resource_limit_exceeded max_paths_per_call 2', 'too many paths');
select is(current_setting('response.status'), '403', 'is a 403');
select is(tests.pick(tests.a($$acquire_lock('{a}')$$), 'code', 'limit', 'value'), 'resource_limit_exceeded max_ttl_seconds 600', 'too long, by default even');
select is(tests.pick(tests.a(format('acquire_lock(%L, ttl_seconds => 60)', array[repeat('x', 1000), repeat('y', 1000)])), 'code', 'limit', 'value'), 'resource_limit_exceeded max_payload_bytes 2000', 'too large');
select is(tests.a($$acquire_lock('{a,b}', ttl_seconds => 60)$$) ->> 'outcome', 'acquired', 'two locks');
select is(tests.a($$acquire_lock('{c}', ttl_seconds => 60)$$, 'other') ->> 'outcome', 'acquired', 'a third, in another session');
select is(tests.pick(tests.a($$acquire_lock('{d}', ttl_seconds => 60)$$), 'code', 'limit', 'value'), 'resource_limit_exceeded max_locks 3', 'a fourth is too many');
select is(tests.a($$acquire_lock('{a}', ttl_seconds => 60)$$) ->> 'outcome', 'renewed', 'what is held may be extended');
select is(tests.pick(tests.a($$authorize('acquire_lock')$$), 'decision', 'limit', 'held'), 'deny max_locks 3', 'which authorize foretells');
select is(tests.pick(tests.a('my_profile()'), 'used.locks', 'used.writes_this_hour'), '3 3', 'and my_profile counts');
select is(tests.a($$release_lock('{a}')$$) ->> 'outcome', 'released', 'a fourth write');
select is(tests.a($$acquire_lock('{d}', ttl_seconds => 60)$$) ->> 'outcome', 'acquired', 'a fifth');
select is(tests.a($$release_lock('{zzz}')$$) ->> 'outcome', 'not_held', 'what changes nothing does not count');
select is(tests.a($$release_lock('{d}')$$) ->> 'outcome', 'released', 'a sixth');
select is(tests.pick(tests.a($$acquire_lock('{e}', ttl_seconds => 60)$$), 'outcome', 'code', 'limit', 'value'), 'denied resource_limit_exceeded max_writes_per_hour 6', 'a seventh is too many');
select is(current_setting('response.status'), '429', 'which is a 429');
select matches(current_setting('response.headers'), '^\[{"Retry-After": "[0-9]+"}\]$', 'with Retry-After');
select cmp_ok((tests.a($$acquire_lock('{e}', ttl_seconds => 60)$$) ->> 'retry_after_seconds')::integer, '>', 3000, 'nearly an hour');
select is(tests.a('check_locks()') ->> 'total', '2', 'reads go on');
select is(tests.as_agent('agent-b', $$coord_v1.acquire_lock('{e}')$$) ->> 'outcome', 'acquired', 'others as well');
update coord.write_counts set slot = slot - interval '2 hours' where agent = 'agent-a';
select is(tests.a($$acquire_lock('{f}', ttl_seconds => 60)$$) ->> 'outcome', 'acquired', 'an hour later there is room');
select is(tests.as_operator('coord_v1.maintain()') ->> 'outcome', 'maintained', 'housekeeping');
select is((select count(*) from coord.write_counts where slot < clock_timestamp() - interval '65 minutes'), 0::bigint, 'forgets old counts');

-- A denial under an idempotency key is repeated as it was.
update coord.write_counts set writes = 100 where agent = 'agent-a';
select is(tests.as_agent('agent-a', $$coord_v1.acquire_lock('{g}', ttl_seconds => 60)$$, '{"idempotency-key": "k"}') ->> 'code', 'resource_limit_exceeded', 'denied');
select is(tests.pick(tests.as_agent('agent-a', $$coord_v1.acquire_lock('{g}', ttl_seconds => 60)$$, '{"idempotency-key": "k"}'), 'code', 'replayed'), 'resource_limit_exceeded true', 'and again');
select is(current_setting('response.status'), '429', 'with its status');

select * from finish();
rollback;
