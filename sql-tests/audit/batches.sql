-- A batch has at most 2,000 rows, and never a part of a transaction.
begin;
\ir ../helpers.sql
select no_plan();

insert into coord.audit_log (id, at, xid, agent, agent_type, role, session_id, function, outcome, details_hash)
select 1000000 + n, clock_timestamp(), case when n <= 1500 then 100 + n / 10 when n <= 4000 then 300 else n / 20 + 200 end,
  'agent-a', 't', 'coord_agent', 's', 'f', 'o', sha256('')
from generate_series(1, 6500) n;
select is(tests.pick(tests.as_operator('coord_v1.seal_audit()'), 'rows', 'number'), '6500 4', 'sealed at once');
select is((select string_agg(format('%s-%s:%s', lower, upper, rows), ' ' order by number) from coord.audit_seals),
  format('0-300:1500 300-301:2500 301-500:1999 500-%s:501', (select upper from coord.audit_seals where number = 4)), 'what does not fit goes into the next; a transaction stays whole');
select ok(upper >= 526 and upper <= pg_snapshot_xmin(pg_current_snapshot())::text::bigint, 'and nothing is passed over') from coord.audit_seals where number = 4;
select is(tests.pick(tests.as_operator('coord_v1.verify_audit(2, 2)'), 'problems.0.problem'), 'details_missing', 'rows that nobody wrote have no details');

-- Housekeeping does it in bounded steps.
set local session_replication_role = replica;
delete from coord.audit_seals;
set local session_replication_role = origin;
select is(coord.seal_batches(2), 4000, 'two batches');
select is(coord.seal_batches(9), 2500, 'and the rest');
select is(coord.seal_batches(9), 0, 'and no more');

select * from finish();
rollback;
