-- What holds for every table and view, read from the catalog (design: schemas, roles, identity).
begin;
select no_plan();

create temp view tables as
select c.oid, c.relname as name, c.relowner, c.relacl, c.relrowsecurity, c.relforcerowsecurity
from pg_class c
where c.relnamespace = 'coord'::regnamespace and c.relkind in ('r', 'p');

create temp view views as
select c.oid, c.oid::regclass::text as name, c.relnamespace::regnamespace::text as schema, c.relkind, c.reloptions, c.relowner, c.relacl
from pg_class c
where c.relnamespace in ('coord'::regnamespace, 'coord_v1'::regnamespace) and c.relkind in ('v', 'm');

select cmp_ok((select count(*) from tables), '>', 0::bigint, 'there are tables');

select is_empty(
  $$select name from tables where not (relrowsecurity and relforcerowsecurity)$$,
  'row-level security is enabled and forced on every table');

select is_empty(
  $$select t.name from tables t where not exists (
      select from pg_policy p where p.polrelid = t.oid and 'coord_owner'::regrole = any (p.polroles))$$,
  'every table has a policy for its owner: without one, every write touches 0 rows and says nothing');

select is_empty(
  $$select t.name, r::regrole, array_agg(p.polname) from tables t join pg_policy p on p.polrelid = t.oid, unnest(p.polroles) r
    group by t.name, r having count(*) > 1 or bool_or(p.polcmd <> '*') or bool_or(not p.polpermissive)$$,
  'a table has one FOR ALL policy for a role');

select is_empty(
  $$select t.name, p.polname from tables t join pg_policy p on p.polrelid = t.oid where p.polroles @> array[0::oid]$$,
  'no policy is for PUBLIC');

select is_empty(
  $$select t.name, p.polname from tables t join pg_policy p on p.polrelid = t.oid
    where p.polroles <> array['coord_janitor'::regrole::oid]
    and pg_get_expr(p.polqual, p.polrelid) ~ 'request.jwt.claims' and pg_get_expr(p.polqual, p.polrelid) !~ '\(\s*SELECT'$$,
  'policies read the claims in a scalar sub-select: once a statement, not once a row');

select is_empty(
  $$select t.name from tables t where t.relowner <> 'coord_owner'::regrole
    union all select v.name from views v where v.relowner <> 'coord_owner'::regrole$$,
  'tables and views belong to coord_owner');

select is_empty(
  $$select t.name from tables t where not exists (select from pg_index i where i.indrelid = t.oid and i.indisprimary)$$,
  'every table has a primary key');

select is_empty(
  $$select t.name from tables t where coalesce(obj_description(t.oid, 'pg_class'), '') = ''$$,
  'every table has a comment');

-- The index must begin with the referencing columns, in any order.
select is_empty(
  $$select f.conrelid::regclass, f.conname from pg_constraint f
    where f.contype = 'f' and f.connamespace = 'coord'::regnamespace
    and not exists (
      select from pg_index i where i.indrelid = f.conrelid and i.indisvalid
      and (select array_agg(k order by k) from unnest((i.indkey::int2[])[0:array_length(f.conkey, 1) - 1]) k)
        = (select array_agg(k order by k) from unnest(f.conkey) k))$$,
  'every foreign key is indexed');

select is_empty(
  $$select a.attrelid::regclass, a.attname, pg_get_expr(d.adbin, d.adrelid) from pg_attrdef d
    join pg_attribute a on a.attrelid = d.adrelid and a.attnum = d.adnum
    join tables t on t.oid = d.adrelid
    where pg_get_expr(d.adbin, d.adrelid) ~* '\mnow\(|CURRENT_TIMESTAMP|transaction_timestamp'$$,
  'no default takes the time of the transaction''s begin');

select is_empty(
  $$select a.attrelid::regclass, a.attname, format_type(a.atttypid, a.atttypmod) from tables t
    join pg_attribute a on a.attrelid = t.oid and a.attnum > 0 and not a.attisdropped
    where a.atttypid in ('timestamp'::regtype, 'time'::regtype, 'json'::regtype, 'money'::regtype) or a.atttypid = 'bpchar'::regtype$$,
  'times carry a zone, documents are jsonb, texts are text');

-- Grants --------------------------------------------------------------------------

create temp view grants as
select t.name, a.grantee, a.privilege_type as privilege, a.is_grantable
from tables t, aclexplode(t.relacl) a where a.grantee <> t.relowner
union all
select v.name, a.grantee, a.privilege_type, a.is_grantable
from views v, aclexplode(v.relacl) a where a.grantee <> v.relowner;

select is_empty(
  $$select name, grantee::regrole, privilege from grants where privilege not in ('SELECT', 'INSERT', 'UPDATE', 'DELETE') or is_grantable$$,
  'nobody but the owner may truncate (row-level security does not govern it), reference, or pass a grant on');

select is_empty(
  $$select name, grantee::regrole, privilege from grants
    where privilege <> 'SELECT' and grantee <> 'coord_janitor'::regrole$$,
  'only coord_janitor writes tables beside the owner');

select is_empty(
  $$select name, privilege from grants where grantee = 0$$,
  'PUBLIC has no table');

select is_empty(
  $$select c.oid::regclass, r.rolname from pg_class c, pg_roles r
    where c.relnamespace in ('coord'::regnamespace, 'coord_v1'::regnamespace) and c.relkind in ('r', 'p', 'v', 'm', 'S')
    and r.rolname in ('anon', 'authenticated', 'service_role')
    and case when c.relkind = 'S' then has_sequence_privilege(r.oid, c.oid, 'usage')
      else has_table_privilege(r.oid, c.oid, 'select, insert, update, delete, truncate') end$$,
  'anon and Supabase''s other roles reach no table, view or sequence');

-- Views ---------------------------------------------------------------------------

select is_empty(
  $$select name from views where relkind = 'm' or not coalesce(reloptions && array['security_invoker=true', 'security_invoker=on'], false)$$,
  'every view is security_invoker: otherwise it shows every row');

select is_empty(
  $$select name from views where schema = 'coord_v1' and coalesce(obj_description(oid, 'pg_class'), '') = ''$$,
  'every exposed view has a comment');

select is_empty(
  $$select v.name, a.attname from views v join pg_attribute a on a.attrelid = v.oid and a.attnum > 0 and not a.attisdropped
    where v.schema = 'coord_v1' and coalesce(col_description(v.oid, a.attnum), '') = ''$$,
  'every column of an exposed view has a comment');

select is_empty(
  $$select c.relname from pg_class c where c.relnamespace = 'coord_v1'::regnamespace and c.relkind in ('r', 'p', 'm', 'S', 'f')$$,
  'the exposed schema holds no table');

-- Realtime -----------------------------------------------------------------------

-- A DELETE reaches every subscriber, with the key: the key must tell nothing.
select is_empty(
  $$select p.tablename from pg_publication_tables p
    where p.schemaname in ('coord', 'coord_v1') and not exists (
      select from pg_index i join pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]
      where i.indrelid = format('%I.%I', p.schemaname, p.tablename)::regclass
      and i.indisprimary and i.indnkeyatts = 1 and a.atttypid = 'uuid'::regtype)$$,
  'a published table has a uuid alone as its key');

select is_empty(
  $$select t.name from tables t join pg_class c using (oid) where c.relreplident = 'f'$$,
  'no table publishes its whole old row');

select * from finish();
rollback;
