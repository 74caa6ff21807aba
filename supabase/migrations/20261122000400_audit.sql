-- Audit, and the frame of every command.
--
-- A command opens with coord.open_call and ends with coord.close_call (or
-- coord.deny). Between them it changes tables. The frame
--   tells who calls (coord.caller), and for which repo
--   answers a repeated Idempotency-Key with the first answer
--   writes the audit row in the command's own transaction
--
-- Invariants
--   A1  every committed mutation and every returned denial has exactly one row
--       here; refusals that raise go to the server's log instead
--   A2  no role can change, delete or truncate rows
--
-- An idempotency key belongs to (agent, function) and lives 24 h. Only
-- committed answers are remembered; a concurrent duplicate waits for the first.
--
-- Lock order: advisory lock on the idempotency key, then everything the command locks.

set role coord_owner;

create table coord.audit_log (
  id bigint generated always as identity primary key,
  at timestamptz not null default clock_timestamp(),
  agent text not null,
  agent_type text not null,
  role text not null,
  session_id text not null,
  function text not null,
  repo text,
  outcome text not null,
  reason text,
  request_id text,
  detail jsonb not null
);
comment on table coord.audit_log is 'What was done and what was denied, by whom. Append only.';
create index audit_log_by_agent on coord.audit_log (agent, id);
create index audit_log_by_repo on coord.audit_log (repo, id);

create function coord.refuse_audit_change() returns trigger
language plpgsql set search_path = ''
as $$
begin
  raise exception 'the audit log is append only' using errcode = 'PT403';
end
$$;
comment on function coord.refuse_audit_change is 'Keeps the audit log append only, for its owner too.';
create trigger append_only before update or delete or truncate on coord.audit_log
  for each statement execute function coord.refuse_audit_change();

alter table coord.audit_log enable row level security;
alter table coord.audit_log force row level security;
create policy own on coord.audit_log
  for all to coord_owner
  using (agent = (select nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub'));
create policy own_or_oversight on coord.audit_log
  for all to coord_agent, coord_operator, coord_auditor
  using (
    agent = (select nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub')
    or (select nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'role') in ('coord_operator', 'coord_auditor')
  );
create policy janitor on coord.audit_log for all to coord_janitor using (true);
grant select, insert on coord.audit_log to coord_janitor;
grant select on coord.audit_log to coord_agent, coord_operator, coord_auditor;

create table coord.idempotency_keys (
  agent text not null,
  function text not null,
  key text not null,
  args_hash bytea not null,
  status integer not null,
  answer jsonb not null,
  answered_at timestamptz not null default clock_timestamp(),
  primary key (agent, function, key),
  constraint key_has_a_size check (length(key) between 1 and 200)
) with (autovacuum_vacuum_scale_factor = 0.02);
comment on table coord.idempotency_keys is 'Answers given under an Idempotency-Key, for 24 hours.';
create index idempotency_keys_by_age on coord.idempotency_keys (answered_at);

alter table coord.idempotency_keys enable row level security;
alter table coord.idempotency_keys force row level security;
create policy own on coord.idempotency_keys
  for all to coord_owner
  using (agent = (select nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub'));
create policy janitor on coord.idempotency_keys for all to coord_janitor using (true);
grant select, update, delete on coord.idempotency_keys to coord_janitor;

-- The frame ------------------------------------------------------------------------

create function coord.open_call(p_function text, p_args jsonb) returns coord.call
language plpgsql
as $$
declare
  v_caller coord.caller := coord.caller();
  v_headers jsonb := nullif(current_setting('request.headers', true), '')::jsonb;
  v_call coord.call := row(p_function, v_caller.agent, v_caller.agent_type, v_caller.role, v_caller.session_id, null, p_args,
    left(coalesce(v_headers ->> 'x-request-id', v_headers ->> 'idempotency-key'), 200), v_headers ->> 'idempotency-key', null, null);
  v_first coord.idempotency_keys;
begin
  if v_call.idempotency_key is null then
    return coord.admit_call(v_call);
  elsif length(v_call.idempotency_key) not between 1 and 200 then
    perform coord.fail('idempotency_key_invalid');
  end if;
  v_call.args_hash := sha256(convert_to(p_args::text, 'UTF8'));
  perform pg_advisory_xact_lock(hashtextextended(v_call.agent || ' ' || p_function || ' ' || v_call.idempotency_key, 1));
  select * into v_first from coord.idempotency_keys k
  where k.agent = v_call.agent and k.function = p_function and k.key = v_call.idempotency_key
    and k.answered_at > clock_timestamp() - interval '24 hours';
  if found then
    if v_first.args_hash <> v_call.args_hash then
      perform coord.fail('idempotency_key_reused');
    end if;
    perform set_config('response.status', v_first.status::text, true);
    v_call.answer := v_first.answer || '{"replayed": true}';
    return v_call;
  end if;
  return coord.admit_call(v_call);
end
$$;
comment on function coord.open_call is 'Begins a command: who calls, and whether this very call was answered before.';

create function coord.remember_answer(p_call coord.call, p_status integer, p_answer jsonb) returns jsonb
language plpgsql
as $$
begin
  insert into coord.idempotency_keys as k (agent, function, key, args_hash, status, answer)
  values (p_call.agent, p_call.function, p_call.idempotency_key, p_call.args_hash, p_status, p_answer)
  on conflict (agent, function, key) do update
    set args_hash = excluded.args_hash, status = excluded.status, answer = excluded.answer, answered_at = excluded.answered_at;
  return p_answer;
end
$$;
comment on function coord.remember_answer is 'Keeps an answer for the next call under the same idempotency key.';

create function coord.deny(p_call coord.call, p_code text, p_details text, p_fields jsonb default '{}') returns jsonb
language plpgsql
as $$
declare
  v_error coord.error_codes;
  v_status integer;
  v_answer jsonb;
begin
  select * into strict v_error from coord.error_codes e where e.code = p_code;
  insert into coord.audit_log (agent, agent_type, role, session_id, function, repo, outcome, reason, request_id, detail)
  values (p_call.agent, p_call.agent_type, p_call.role, p_call.session_id, p_call.function, p_call.repo,
    'denied', p_code, p_call.request_id, jsonb_build_object('args', jsonb_strip_nulls(p_call.args)));
  v_answer := jsonb_build_object('ok', false, 'outcome', 'denied', 'code', v_error.code, 'message', v_error.meaning,
    'details', p_details, 'hint', v_error.remedy) || p_fields;
  v_status := v_error.status;
  if p_fields ? 'retry_after_seconds' then
    v_status := 429;
    perform set_config('response.headers', format('[{"Retry-After": "%s"}]', p_fields ->> 'retry_after_seconds'), true);
  end if;
  perform set_config('response.status', v_status::text, true);
  return case when p_call.idempotency_key is null then v_answer else coord.remember_answer(p_call, v_status, v_answer) end;
end
$$;
comment on function coord.deny is 'Denies a call: an audited answer, not an exception, so that the row is kept. With retry_after_seconds among the fields it is a 429.';

create function coord.admit_call(p_call coord.call) returns coord.call
language plpgsql
as $$
declare
  v_call coord.call := p_call;
  v_profile coord.effective_profiles := coord.profile();
  v_code text := coord.objection(p_call.function);
begin
  if v_code is not null then
    v_call.answer := coord.deny(v_call, v_code, coord.objection_text(p_call.function, v_code));
  elsif pg_column_size(p_call.args) > v_profile.max_payload_bytes then
    v_call.answer := coord.deny(v_call, 'resource_limit_exceeded', format('max_payload_bytes is %s', v_profile.max_payload_bytes),
      jsonb_build_object('limit', 'max_payload_bytes', 'value', v_profile.max_payload_bytes));
  elsif coord.writes_left(v_call.agent, v_profile.max_writes_per_hour) <= 0 then
    v_call.answer := coord.deny(v_call, 'resource_limit_exceeded', format('max_writes_per_hour is %s', v_profile.max_writes_per_hour),
      jsonb_build_object('limit', 'max_writes_per_hour', 'value', v_profile.max_writes_per_hour,
        'retry_after_seconds', coord.seconds_to_write(v_call.agent)));
  end if;
  return v_call;
end
$$;
comment on function coord.admit_call is 'Denies a command that the caller''s profile does not permit, or that its limits leave no room for.';

create function coord.close_call(
  p_call coord.call, p_ok boolean, p_outcome text, p_fields jsonb, p_reason text default null, p_audited boolean default true
) returns jsonb
language plpgsql
as $$
declare
  v_answer jsonb := jsonb_build_object('ok', p_ok, 'outcome', p_outcome) || p_fields;
begin
  if p_audited then
    insert into coord.audit_log (agent, agent_type, role, session_id, function, repo, outcome, reason, request_id, detail)
    values (p_call.agent, p_call.agent_type, p_call.role, p_call.session_id, p_call.function, p_call.repo,
      p_outcome, p_reason, p_call.request_id, jsonb_build_object('args', jsonb_strip_nulls(p_call.args), 'result', p_fields - 'next'));
    perform coord.count_write(p_call.agent);
  end if;
  return case when p_call.idempotency_key is null then v_answer else coord.remember_answer(p_call, 200, v_answer) end;
end
$$;
comment on function coord.close_call is 'Ends a command: writes its audit row if it changed anything, and makes its answer.';

create function coord.open_repo_call(p_function text, p_args jsonb) returns coord.call
language plpgsql
as $$
declare
  v_call coord.call := coord.open_call(p_function, p_args);
begin
  if v_call.answer is null then
    v_call.repo := coord.resolve_repo(p_args ->> 'repo');
    if not coord.granted(v_call.repo) then
      v_call.answer := coord.deny(v_call, 'repo_not_granted', format('%s is not granted to %s', v_call.repo, v_call.agent));
    end if;
  end if;
  return v_call;
end
$$;
comment on function coord.open_repo_call is 'Begins a command on a repository; denied where the caller is not granted it.';

-- The contract -------------------------------------------------------------------------

create view coord_v1.audit with (security_invoker = true) as
  select a.id, a.at, a.agent, a.agent_type, substr(a.role, 7) as role, a.session_id as session, a.function, a.repo,
    a.outcome, a.reason, a.request_id, a.detail
  from coord.audit_log a;
comment on view coord_v1.audit is 'What was done and what was denied: your own rows; all of them for operators and auditors.';
comment on column coord_v1.audit.id is 'Rises, with gaps; not the order of commits.';
comment on column coord_v1.audit.at is 'When the command ran.';
comment on column coord_v1.audit.agent is 'Who called.';
comment on column coord_v1.audit.agent_type is 'Kind of client.';
comment on column coord_v1.audit.role is 'agent, operator, auditor, or janitor for the housekeeping.';
comment on column coord_v1.audit.session is 'Session of the call.';
comment on column coord_v1.audit.function is 'Function of the contract that was called.';
comment on column coord_v1.audit.repo is 'Repository it was about.';
comment on column coord_v1.audit.outcome is 'Its outcome.';
comment on column coord_v1.audit.reason is 'Code of a denial, or the reason given.';
comment on column coord_v1.audit.request_id is 'X-Request-Id of the call, else its Idempotency-Key.';
comment on column coord_v1.audit.detail is 'Its arguments and what matters of the result.';
grant select on coord_v1.audit to coord_agent, coord_operator, coord_auditor;

reset role;
notify pgrst, 'reload schema';
