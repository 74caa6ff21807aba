-- plpgsql_check over every PL/pgSQL function, and over trigger functions once for every
-- table that fires them. Names and types are otherwise found wrong only when the line runs.
begin;
-- Absent for the PostgreSQL that comes from PyPI; .ci/setup installs it for Debian's.
select coalesce((select name from pg_available_extensions where name = 'plpgsql_check'), '') as extension \gset
select :'extension' <> '' as there \gset
\if :there
select no_plan();
create extension if not exists plpgsql_check;

create temp table checked as
select p.oid, p.oid::regprocedure::text as signature, coalesce(t.tgrelid, 0) as relation
from pg_proc p
left join pg_trigger t on t.tgfoid = p.oid and not t.tgisinternal
where p.pronamespace in ('coord'::regnamespace, 'coord_v1'::regnamespace)
  and p.prolang = (select oid from pg_language where lanname = 'plpgsql')
group by 1, 2, 3;

-- Findings that are right about the code and still no defect; each says why.
create temp table allowed (signature text, message text, why text);
insert into allowed values
  ('coord.like_words(text,text[])', 'OUT variable % is maybe unmodified', 'return query execute fills them: the schema of pg_trgm is known at run time only'),
  ('coord.nearest_memories(real[],text[])', 'OUT variable % is maybe unmodified', 'the same for pgvector');

select cmp_ok((select count(*) from checked), '>', 0::bigint, 'there are functions to check');
select is(
  (select string_agg(format(E'line %s: %s %s%s', f.lineno, f.level, f.message, E'\n  ' || f.detail || coalesce(f.hint, '')), E'\n')
   from plpgsql_check_function_tb(c.oid, c.relation, fatal_errors => false, other_warnings => true,
     extra_warnings => true, performance_warnings => false, security_warnings => true) f
   where not exists (select from allowed a where a.signature = c.signature and f.message like a.message)),
  null,
  c.signature || case when c.relation <> 0 then ' on ' || c.relation::regclass else '' end)
from checked c
order by c.signature;

select is_empty(
  $$select p.oid::regprocedure from pg_proc p where p.pronamespace = 'coord'::regnamespace
    and p.prorettype = 'trigger'::regtype and not exists (select from pg_trigger t where t.tgfoid = p.oid)$$,
  'every trigger function is fired by something, and so was checked');

select * from finish();
\else
select plan(1);
select skip('plpgsql_check is not available for this server');
\endif
rollback;
