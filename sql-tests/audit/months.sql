-- The audit is partitioned by month; housekeeping makes the months ahead, each as well guarded as the whole.
begin;
\ir ../helpers.sql
select no_plan();

create temp view months as
select i.inhparent::regclass::text as parent, c.oid, c.relname::text as name, c.relrowsecurity and c.relforcerowsecurity as guarded, c.relacl
from pg_inherits i join pg_class c on c.oid = i.inhrelid
where i.inhparent in ('coord.audit_log'::regclass, 'coord.audit_details'::regclass);

select is((select string_agg(distinct n::text, ' ') from (select count(*) as n from months group by parent) c), '3', 'this month and two more');
select ok(guarded, name || ' is under row-level security') from months;
select is(relacl, null, name || ' is granted to nobody: it is reached through its parent') from months;
select is_empty($$select name from months where pg_get_expr((select relpartbound from pg_class where oid = months.oid), oid) = 'DEFAULT'$$, 'no partition takes what fits nowhere');
select throws_ok(format('%s coord.%I', verb, name), 'PT403', null, format('no %s %s', verb, name))
from months, (values ('delete from'), ('truncate')) v (verb);
select throws_ok(format('update coord.%I set outcome = ''x''', name), 'PT403', null, 'nobody updates ' || name) from months where parent = 'coord.audit_log';

-- A month that is missing is made by housekeeping.
do $$
declare
  v_table text;
begin
  foreach v_table in array array['audit_log', 'audit_details'] loop
    execute format('drop table coord.%s_%s', v_table, to_char(clock_timestamp() at time zone 'UTC', 'YYYY_MM'));
  end loop;
end
$$;
select throws_like($$select tests.as_agent('agent-a', $q$coord_v1.acquire_lock('{a}')$q$)$$, '%no partition of relation "audit_log" found for row%', 'without its month no call is made unaudited');
select tests.as_operator('coord_v1.maintain()');
select is(tests.as_agent('agent-a', $$coord_v1.acquire_lock('{a}')$$) ->> 'outcome', 'acquired', 'housekeeping makes it');
select lives_ok('select coord.make_audit_partitions()', 'again is nothing');

select * from finish();
rollback;
