-- What the roles are and are not (design: schemas, roles, identity).
begin;
select no_plan();

select has_role(r) from unnest(array[
  'coord_owner', 'coord_janitor', 'authenticator', 'anon', 'coord_agent', 'coord_operator', 'coord_auditor']) r;

select is_empty(
  $$select rolname from pg_roles where rolname like 'coord\_%'
    and (rolcanlogin or rolsuper or rolbypassrls or rolcreaterole or rolcreatedb or rolreplication)$$,
  'our roles do not log in and have no attribute that lifts them over row-level security');

select is_empty(
  $$select rolname from pg_roles where rolname in ('authenticator', 'anon') and (rolsuper or rolbypassrls or rolcreaterole or rolcreatedb)$$,
  'what PostgREST logs in as, and what it is without a token, is nobody');
select is((select rolinherit from pg_roles where rolname = 'authenticator'), false, 'authenticator has nothing before it becomes a role');

select is_empty(
  $$select r.rolname, o.rolname from pg_roles r, pg_roles o
    where o.rolname in ('coord_owner', 'coord_janitor')
    and r.rolname in ('authenticator', 'anon', 'coord_agent', 'coord_operator', 'coord_auditor', 'authenticated', 'service_role')
    and pg_has_role(r.oid, o.oid, 'member')$$,
  'no role of the API can become an owner');
select is(pg_has_role('coord_owner', 'coord_janitor', 'member'), false, 'coord_owner cannot become coord_janitor');
select is(pg_has_role('coord_janitor', 'coord_owner', 'member'), false, 'coord_janitor cannot become coord_owner');
select is_empty(
  $$select a.rolname, b.rolname from pg_roles a, pg_roles b
    where a.rolname in ('anon', 'coord_agent', 'coord_operator', 'coord_auditor')
    and b.rolname in ('anon', 'coord_agent', 'coord_operator', 'coord_auditor') and a.oid <> b.oid
    and pg_has_role(a.oid, b.oid, 'member')$$,
  'the roles of the API are apart from each other');
select ok(pg_has_role('authenticator', r, 'member'), format('authenticator can become %s', r))
from unnest(array['anon', 'coord_agent', 'coord_operator', 'coord_auditor']) r;

select is_empty(
  $$select n.nspname, r.rolname from pg_namespace n, pg_roles r
    where n.nspname in ('coord', 'coord_v1')
    and r.rolname in ('authenticator', 'anon', 'coord_agent', 'coord_operator', 'coord_auditor', 'authenticated', 'service_role')
    and has_schema_privilege(r.oid, n.oid, 'create')$$,
  'no role of the API makes objects in our schemas');
select is_empty(
  $$select n.nspname, a.privilege_type from pg_namespace n, aclexplode(n.nspacl) a
    where n.nspname in ('coord', 'coord_v1', 'coord_meta') and a.grantee = 0$$,
  'PUBLIC has nothing in our schemas');
select is_empty(
  $$select r.rolname, c.relname from pg_roles r, pg_class c
    where c.relnamespace = to_regnamespace('coord_meta') and c.relkind = 'r'
    and r.rolname in ('authenticator', 'anon', 'coord_agent', 'coord_operator', 'coord_auditor', 'coord_owner', 'coord_janitor')
    and has_table_privilege(r.oid, c.oid, 'insert, update, delete, truncate')$$,
  'nobody but who migrates writes the record of migrations');

-- A function made by the next migration, without a word about grants.
create function pg_temp.public_may_execute(p_role text) returns boolean language plpgsql as $$
declare
  v_open boolean;
begin
  execute format('set local role %I', p_role);
  create function coord.contract_probe() returns integer language sql as 'select 1';
  reset role;
  select exists (
    select from pg_proc p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
    where p.oid = 'coord.contract_probe()'::regprocedure and a.grantee = 0) into v_open;
  drop function coord.contract_probe();
  return v_open;
end
$$;
select is(pg_temp.public_may_execute(r), false, format('a new function of %s is closed to PUBLIC', r))
from unnest(array['coord_owner', 'coord_janitor']) r;

select * from finish();
rollback;
