-- Foundation: roles, schemas, the vocabulary of errors.
--
-- Two schemas. coord_v1 is the contract and the only one that PostgREST
-- exposes: thin SECURITY INVOKER wrappers and security_invoker views. coord
-- holds tables, types and the SECURITY DEFINER bodies that decide. Wrappers are
-- single expressions, bound when they are created: they need no search_path of
-- their own, and so the planner can inline them (a SET would cost every call a plan).
--
-- Roles
--   coord_owner     owns everything; no login, no superuser, no BYPASSRLS, so
--                   that forced row-level security binds the bodies as well
--   coord_janitor   owns the few bodies that run without claims or across
--                   repos (token checks, reaping); sees all rows, belongs to nobody
--   authenticator   logs in for PostgREST and becomes one of the next four
--   anon            may call health() and, later, the webhooks
--   coord_agent     an agent; coord_operator a person in charge;
--   coord_auditor   reads what happened
--
-- Runs unchanged on PostgreSQL 15 to 18, as a superuser or as a role with
-- CREATEROLE and CREATE on the database, beside Supabase's roles or alone.

set client_min_messages = warning;

do $$
declare
  v_role text;
begin
  foreach v_role in array array['coord_owner', 'coord_janitor', 'anon', 'coord_agent', 'coord_operator', 'coord_auditor'] loop
    if not exists (select from pg_roles where rolname = v_role) then
      execute format('create role %I nologin noinherit', v_role);
    end if;
  end loop;
  if not exists (select from pg_roles where rolname = 'authenticator') then
    create role authenticator login noinherit;
  end if;
  -- Whoever migrates makes the objects in the name of these two.
  foreach v_role in array array['coord_owner', 'coord_janitor'] loop
    execute format('grant %I to current_user', v_role);
  end loop;
  foreach v_role in array array['anon', 'coord_agent', 'coord_operator', 'coord_auditor'] loop
    if not pg_has_role('authenticator', v_role, 'member') then
      execute format('grant %I to authenticator', v_role);
    end if;
  end loop;
end
$$;

-- A call that takes longer than this is stuck; waiting is done by asking again.
alter role coord_agent set statement_timeout = '8s';
alter role coord_auditor set statement_timeout = '30s';
alter role coord_operator set statement_timeout = '30s';

create schema coord authorization coord_owner;
create schema coord_v1 authorization coord_owner;

-- Not per schema: the IN SCHEMA form cannot take away the built-in grant.
alter default privileges for role coord_owner revoke execute on functions from public;
alter default privileges for role coord_janitor revoke execute on functions from public;
alter default privileges for role coord_owner revoke usage on types from public;
alter default privileges for role coord_janitor revoke usage on types from public;

set role coord_owner;

comment on schema coord is 'Tables and bodies of the coordinator; never exposed.';
comment on schema coord_v1 is 'Coordination for AI coding agents: locks, work, memory, guardrails. Version 1 of the contract.';

-- USAGE on coord lets wrappers reach their bodies and PostgREST its pre-request function.
grant usage on schema coord to anon, coord_agent, coord_operator, coord_auditor;
grant usage, create on schema coord to coord_janitor;
grant usage on schema coord_v1 to anon, coord_agent, coord_operator, coord_auditor;

-- Errors ---------------------------------------------------------------------
--
-- Every refusal has a stable code, and all codes stand here. Bad input raises
-- one (coord.fail), which PostgREST turns into its status; a denial is returned
-- (coord.deny), so that its audit row is kept.

create table coord.error_codes (
  code text primary key,
  status integer not null,
  meaning text not null,
  remedy text not null,
  constraint code_is_snake_case check (code ~ '^[a-z][a-z0-9_]{2,62}$'),
  constraint status_is_a_refusal check (status between 400 and 599)
);
comment on table coord.error_codes is 'Every code that a refusal can carry, with its HTTP status, its meaning and what to do.';
alter table coord.error_codes enable row level security;
alter table coord.error_codes force row level security;
create policy everyone_reads on coord.error_codes
  for all to coord_owner, coord_janitor, coord_agent, coord_operator, coord_auditor using (true);
grant select on coord.error_codes to coord_janitor, coord_agent, coord_operator, coord_auditor;

insert into coord.error_codes (code, status, meaning, remedy) values
  ('internal_error', 500, 'The coordinator contradicted itself.', 'Report it with the request id.'),
  ('argument_required', 400, 'An argument that this function needs is missing or empty.', 'Pass the argument that details names.'),
  ('argument_too_long', 400, 'A text or list is longer than its limit.', 'Shorten it to the limit in details.'),
  ('argument_invalid', 400, 'An argument has a value that this function does not know.', 'Use one of the values in details.'),
  ('idempotency_key_invalid', 400, 'The Idempotency-Key header is empty or longer than 200 characters.', 'Send a fresh UUID per call.'),
  ('idempotency_key_reused', 422, 'This Idempotency-Key was used with other arguments.', 'Send a fresh key for a new call; repeat the same arguments for a retry.');

create function coord.fail(p_code text, p_details text default null) returns void
language plpgsql stable
as $$
declare
  v_error coord.error_codes;
begin
  select * into v_error from coord.error_codes e where e.code = p_code;
  if not found then
    raise exception using errcode = 'PT500', message = 'internal_error',
      detail = format('unknown error code %s', p_code);
  end if;
  raise exception using errcode = 'PT' || v_error.status, message = v_error.code,
    detail = coalesce(p_details, v_error.meaning), hint = v_error.remedy;
end
$$;
comment on function coord.fail is 'Refuses bad input: raises the code with the status and remedy of coord.error_codes.';
grant execute on function coord.fail to coord_janitor;

create view coord_v1.error_codes with (security_invoker = true) as
  select e.code, e.status, e.meaning, e.remedy from coord.error_codes e;
comment on view coord_v1.error_codes is 'Every code that a refusal can carry, with its HTTP status, its meaning and what to do.';
comment on column coord_v1.error_codes.code is 'Stable machine code; `message` of an error, `code` of a denial.';
comment on column coord_v1.error_codes.status is 'HTTP status.';
comment on column coord_v1.error_codes.meaning is 'What it means, in a sentence.';
comment on column coord_v1.error_codes.remedy is 'What to do about it.';
grant select on coord_v1.error_codes to coord_agent, coord_operator, coord_auditor;

reset role;
reset client_min_messages;
notify pgrst, 'reload schema';
