-- M1: the same told again within the hour is one memory, and nothing of the second telling is lost.
begin;
\ir ../helpers.sql
select no_plan();

create temp table first as select tests.as_agent('agent-a', $$coord_v1.remember('Stripe retries make duplicate invoices', 'the handler inserted first', 'bugfix',
  lessons => '{"insert the event id first"}', tags => '{billing,Webhook}', paths => '{src/hook.rs}')$$) as answer;
select is(tests.pick(answer, 'ok', 'outcome', 'told', 'repo', 'scope'), 'true created 1 github.com/acme/app repo', 'told once') from first;
select matches(answer ->> 'id', '^M-[0-9]+$', 'an id that people can say') from first;

create temp table second as select tests.as_agent('agent-a', $$coord_v1.remember('  stripe  retries make DUPLICATE invoices.', 'and answered after a timeout', 'bugfix', 'positive',
  lessons => '{"answer 200 early","insert the event id first"}', tags => '{webhook,retry}', paths => '{src/hook.rs,src/queue.rs}', commit => 'abcdef1234')$$) as answer;
select is(tests.pick(s.answer, 'outcome', 'told', 'id'), 'merged 2 ' || (f.answer ->> 'id'), 'told twice, however it is written') from first f, second s;
select results_eq($$select details, lessons, tags, paths, outcome, commit_id, told from coord.memories$$,
  $$values ('{"the handler inserted first","and answered after a timeout"}'::text[], '{"insert the event id first","answer 200 early"}'::text[],
    '{billing,retry,webhook}'::text[], '{src/hook.rs,src/queue.rs}'::text[], 'positive', 'abcdef1234', 2)$$, 'with all that both said');
select is(tests.pick(tests.as_agent('agent-a', $$coord_v1.remember('stripe retries make duplicate invoices', event_type => 'bugfix')$$), 'told'), '3', 'told with nothing new, it counts');
select is((select outcome from coord.memories), 'positive', 'and takes nothing away');

-- Not the same.
select is(tests.pick(tests.as_agent('agent-b', $$coord_v1.remember('Stripe retries make duplicate invoices', event_type => 'bugfix')$$), 'outcome'), 'created', 'another agent');
select is(tests.pick(tests.as_agent('agent-a', $$coord_v1.remember('Stripe retries make duplicate invoices', event_type => 'incident')$$), 'outcome'), 'created', 'another type');
select is(tests.pick(tests.as_agent('agent-a', $$coord_v1.remember('Stripe retries make duplicate invoices', event_type => 'bugfix', scope => 'own')$$), 'outcome'), 'created', 'another scope');
select is(tests.pick(tests.as_agent('agent-c', $$coord_v1.remember('Stripe retries make duplicate invoices', event_type => 'bugfix')$$), 'outcome'), 'created', 'another repository');
update coord.memories set learned_at = learned_at - interval '61 minutes';
select is(tests.pick(tests.as_agent('agent-a', $$coord_v1.remember('Stripe retries make duplicate invoices', event_type => 'bugfix')$$), 'outcome'), 'created', 'an hour later');
update coord.memories set learned_at = learned_at + interval '30 minutes';
select is(tests.pick(tests.as_agent('agent-a', $$coord_v1.remember('Stripe retries make duplicate invoices', event_type => 'bugfix')$$), 'outcome', 'told'), 'merged 2', 'the newest is merged with');

-- Nothing is dropped for lack of room.
select is(tests.pick(tests.as_agent('agent-b', format('coord_v1.remember(%L, %L)', 'much', i || repeat('much ', 3998))), 'outcome'), case i when 1 then 'created' else 'merged' end, 'telling ' || i)
from generate_series(1, 10) i;
select throws_ok($$select tests.as_agent('agent-b', format('coord_v1.remember(%L, %L)', 'much', 11 || repeat('much ', 3998)))$$, 'PT422', 'memory_full', 'a memory that is full says so');
select is((select cardinality(details) from coord.memories where summary = 'much'), 10, 'and keeps what it has');

-- Merging is counting: a retry under one key is one telling.
create temp table keyed as select tests.as_agent('agent-b', $$coord_v1.remember('keyed', 'one')$$, '{"idempotency-key": "k1"}') as answer;
select is(tests.as_agent('agent-b', $$coord_v1.remember('keyed', 'one')$$, '{"idempotency-key": "k1"}'), answer || '{"replayed": true}', 'a replay is the first answer') from keyed;
select is((select told from coord.memories where summary = 'keyed'), 1, 'and tells nothing again');
select throws_ok($$select tests.as_agent('agent-b', $q$coord_v1.remember('keyed', 'two')$q$, '{"idempotency-key": "k1"}')$$, 'PT422', 'idempotency_key_reused', 'another call under the key is refused');
select is((select count(*) from coord.audit_log where function = 'remember' and agent = 'agent-a'), 7::bigint, 'each telling has its audit row');

select * from finish();
rollback;
