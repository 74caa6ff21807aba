-- The second call under an Idempotency-Key gets the first answer and does nothing.
begin;
\ir ../helpers.sql
select no_plan();

create temp table first as select tests.as_agent('agent-a', $$coord_v1.acquire_lock('{a}')$$, '{"idempotency-key": "k1"}') as answer;
select is(tests.as_agent('agent-a', $$coord_v1.acquire_lock('{a}')$$, '{"idempotency-key": "k1"}'), answer || '{"replayed": true}', 'the same answer, said to be a replay') from first;
select is((select count(*) from coord.audit_log where agent = 'agent-a'), 1::bigint, 'and one audit row');
select is(tests.pick(tests.as_agent('agent-a', $$coord_v1.release_lock()$$, '{"idempotency-key": "k1"}'), 'released.0.path'), 'a', 'a key belongs to one function');
select is(tests.as_agent('agent-a', $$coord_v1.acquire_lock('{a}')$$, '{"idempotency-key": "k1"}') ->> 'replayed', 'true', 'a replay does not acquire again');
select is((select count(*) from coord.locks where released_at is null), 0::bigint, 'nothing is held');
select is(tests.as_agent('agent-b', $$coord_v1.acquire_lock('{b}')$$, '{"idempotency-key": "k1"}') ->> 'outcome', 'acquired', 'and to one agent');
select throws_ok($$select tests.as_agent('agent-a', $q$coord_v1.acquire_lock('{other}')$q$, '{"idempotency-key": "k1"}')$$, 'PT422', 'idempotency_key_reused', 'other arguments');
select throws_ok($$select tests.as_agent('agent-a', $q$coord_v1.acquire_lock('{a}')$q$, '{"idempotency-key": ""}')$$, 'PT400', 'idempotency_key_invalid', 'an empty key');
select throws_ok($$select tests.as_agent('agent-a', $q$coord_v1.acquire_lock('{a}')$q$, jsonb_build_object('idempotency-key', repeat('x', 201)))$$, 'PT400', 'idempotency_key_invalid', 'a long key');

select is(tests.as_agent('agent-b', $$coord_v1.acquire_lock('{x}', 'github.com/acme/other')$$, '{"idempotency-key": "d"}') ->> 'outcome', 'denied', 'a denial');
select is(tests.as_agent('agent-b', $$coord_v1.acquire_lock('{x}', 'github.com/acme/other')$$, '{"idempotency-key": "d"}') ->> 'replayed', 'true', 'is replayed');
select is(current_setting('response.status'), '403', 'with its status');
select is((select count(*) from coord.audit_log where outcome = 'denied'), 1::bigint, 'and audited once');

-- A refusal that raised is not remembered.
select throws_ok($$select tests.as_agent('agent-a', $q$coord_v1.acquire_lock('{../x}')$q$, '{"idempotency-key": "r"}')$$, 'PT400', 'path_outside_repo', 'raised');
select is(tests.as_agent('agent-a', $$coord_v1.acquire_lock('{x}')$$, '{"idempotency-key": "r"}') ->> 'outcome', 'acquired', 'the key is still free');

-- After a day the key is free again, and housekeeping forgets it.
update coord.idempotency_keys set answered_at = clock_timestamp() - interval '25 hours' where key = 'k1' and agent = 'agent-a';
select is(tests.as_agent('agent-a', $$coord_v1.acquire_lock('{other}')$$, '{"idempotency-key": "k1"}') ->> 'outcome', 'acquired', 'a day later it is a new call');
update coord.idempotency_keys set answered_at = clock_timestamp() - interval '25 hours';
select cmp_ok((tests.as_operator('coord_v1.maintain()') ->> 'idempotency_keys_purged')::integer, '>=', 4, 'and old keys are forgotten');

select * from finish();
rollback;
