-- Audit, and the frame of every command.
--
-- A command opens with coord.open_call and ends with coord.close_call (or
-- coord.deny). Between them it changes tables. The frame
--   tells who calls (coord.caller), and for which repo
--   answers a repeated Idempotency-Key with the first answer
--   writes the audit row in the command's own transaction
--
-- A row of the audit is two: audit_log says who, what and how it ended;
-- audit_details holds what may be personal (arguments, reason, result, request
-- id), and the row only its salted hash, so that it can be erased and the proof
-- stays. Both are partitioned by month, made ahead by housekeeping.
--
-- States of a row
--   open      written, and not yet below the oldest running transaction
--   sealed    in a batch whose Merkle root is chained to the batch before
--   dropped   its month is gone; the root stays
-- and of its details: there, or erased (salt and content are null).
--
-- A batch is all rows of an era whose transaction id is in [lower, upper), where
-- upper is at most the oldest running transaction when it was sealed: no row can
-- come to it later, so one that does is forged. (Ids are no such order: they are
-- drawn before the commit.) An era is a run of transaction ids; a dump restored
-- into another cluster begins the next one. docs/audit.md has the bytes.
--
-- Invariants
--   A1  every committed mutation and every returned denial has exactly one row
--       here; refusals that raise go to the server's log instead
--   A2  no role can change, delete or truncate rows; details can be erased, and
--       nothing else; whole sealed months can be dropped
--   A3  every row below the last bound is in exactly one seal, and a sealed row
--       that is changed, gone or new is found and named
--
-- An idempotency key belongs to (agent, function) and lives 24 h. Only
-- committed answers are remembered; a concurrent duplicate waits for the first.
--
-- Lock order: advisory lock on the idempotency key, then everything the command
-- locks, then audit_log, then audit_details. Sealing and making partitions have an
-- advisory lock each; writers take neither.

set role coord_owner;

create sequence coord.audit_ids;
comment on sequence coord.audit_ids is 'Ids of audit rows.';

create table coord.audit_log (
  id bigint not null,
  at timestamptz not null,
  -- There is no BRIN for xid8.
  xid bigint not null default (pg_current_xact_id()::text::bigint),
  era integer not null default 1,
  agent text not null,
  agent_type text not null,
  role text not null,
  session_id text not null,
  token_id text,
  function text not null,
  repo text,
  outcome text not null,
  duration_us bigint,
  details_hash bytea not null,
  primary key (at, id)
) partition by range (at);
comment on table coord.audit_log is 'What was done and what was denied, by whom. Append only.';
create index audit_log_by_agent on coord.audit_log (agent, at);
create index audit_log_by_xid on coord.audit_log using brin (xid) with (pages_per_range = 16, autosummarize = on);

create table coord.audit_details (
  id bigint not null,
  at timestamptz not null,
  agent text not null,
  salt bytea,
  content jsonb,
  primary key (at, id),
  constraint erased_with_its_salt check ((salt is null) = (content is null))
) partition by range (at);
comment on table coord.audit_details is 'Arguments, reasons and results of audit rows, until they are erased.';

create table coord.audit_seals (
  number bigint primary key,
  era integer not null,
  system bigint,
  lower bigint not null,
  upper bigint not null,
  rows integer not null,
  first_at timestamptz not null,
  last_at timestamptz not null,
  sealed_at timestamptz not null,
  root bytea not null,
  head bytea not null,
  ids bigint[],
  leaves bytea,
  dropped bigint[],
  constraint range_is_one unique (era, lower),
  constraint hashes_are_sha256 check (octet_length(root) = 32 and octet_length(head) = 32),
  constraint leaves_go_together check ((ids is null) = (leaves is null) and (leaves is not null or dropped is null)),
  constraint a_leaf_a_row check (octet_length(leaves) = 32 * rows and cardinality(ids) = rows)
);
comment on table coord.audit_seals is 'Batches of the audit: Merkle root, leaf hashes by id, and the head that chains it to the batch before. Without leaves once all of its rows were dropped; dropped are the ids of those that were.';
create index audit_seals_by_time on coord.audit_seals (last_at);

-- What keeps the three as they are ---------------------------------------------------

create function coord.refuse_audit_change() returns trigger
language plpgsql set search_path = ''
as $$
begin
  raise exception 'the audit log is append only' using errcode = 'PT403';
end
$$;
comment on function coord.refuse_audit_change is 'Keeps the audit log append only, for its owner too.';

create function coord.refuse_all_but_erasure() returns trigger
language plpgsql set search_path = ''
as $$
begin
  if new.content is null and new.salt is null
    and (new.id, new.at, new.agent) is not distinct from (old.id, old.at, old.agent) then
    return new;
  end if;
  raise exception 'details of the audit can be erased, not changed' using errcode = 'PT403';
end
$$;
comment on function coord.refuse_all_but_erasure is 'Lets details of the audit be emptied, and nothing else, for their owner too.';

create function coord.refuse_all_but_dropping() returns trigger
language plpgsql set search_path = ''
as $$
begin
  if to_jsonb(new) - '{ids,leaves,dropped}'::text[] = to_jsonb(old) - '{ids,leaves,dropped}'::text[]
    and (new.leaves is null or (new.leaves = old.leaves and new.ids = old.ids and coalesce(old.dropped, '{}') <@ new.dropped)) then
    return new;
  end if;
  raise exception 'seals of the audit are not changed' using errcode = 'PT403';
end
$$;
comment on function coord.refuse_all_but_dropping is 'Lets a seal forget leaves of dropped rows, and nothing else, for its owner too.';

create trigger append_only before update or delete or truncate on coord.audit_log
  for each statement execute function coord.refuse_audit_change();
create trigger append_only before delete or truncate on coord.audit_details
  for each statement execute function coord.refuse_audit_change();
create trigger erasure_only before update on coord.audit_details
  for each row execute function coord.refuse_all_but_erasure();
create trigger append_only before delete or truncate on coord.audit_seals
  for each statement execute function coord.refuse_audit_change();
create trigger dropping_only before update on coord.audit_seals
  for each row execute function coord.refuse_all_but_dropping();

create function coord.protect_audit(p_table text) returns void
language plpgsql
as $$
begin
  execute format($f$
    alter table coord.%1$I enable row level security;
    alter table coord.%1$I force row level security;
    create policy own_or_oversight on coord.%1$I
      for all to coord_owner, coord_agent, coord_operator, coord_auditor
      using (
        agent = (select nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub')
        or (select nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'role') in ('coord_operator', 'coord_auditor')
      )
      with check (agent = (select nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub'));
    create policy janitor on coord.%1$I for all to coord_janitor using (true);
  $f$, p_table);
end
$$;
comment on function coord.protect_audit is 'Row-level security of the audit, the same for a partitioned table and each of its partitions.';

do $$
begin
  perform coord.protect_audit('audit_log'), coord.protect_audit('audit_details');
end
$$;
alter table coord.audit_seals enable row level security;
alter table coord.audit_seals force row level security;
create policy oversight on coord.audit_seals
  for all to coord_owner, coord_agent, coord_operator, coord_auditor
  using ((select nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'role') in ('coord_operator', 'coord_auditor'));
create policy janitor on coord.audit_seals for all to coord_janitor using (true);
grant usage on sequence coord.audit_ids to coord_janitor;
grant select, insert on coord.audit_log, coord.audit_details, coord.audit_seals to coord_janitor;
grant update (salt, content) on coord.audit_details to coord_janitor;
grant select on coord.audit_log, coord.audit_details, coord.audit_seals to coord_agent, coord_operator, coord_auditor;

-- Months -----------------------------------------------------------------------------

create function coord.make_audit_partitions() returns void
language plpgsql security definer set search_path = ''
as $$
declare
  v_month timestamp;
  v_table text;
  v_partition text;
begin
  for v_month in
    select date_trunc('month', clock_timestamp() at time zone 'UTC') + make_interval(months => m) from generate_series(0, 2) m
  loop
    continue when to_regclass(format('coord.audit_details_%s', to_char(v_month, 'YYYY_MM'))) is not null;
    perform pg_advisory_xact_lock(hashtextextended('coord.make_audit_partitions', 3));
    foreach v_table in array array['audit_log', 'audit_details'] loop
      v_partition := format('%s_%s', v_table, to_char(v_month, 'YYYY_MM'));
      continue when to_regclass(format('coord.%I', v_partition)) is not null;
      -- Attached, not created as a partition: that would stop all writers.
      execute format('create table coord.%I (like coord.%I including all)', v_partition, v_table);
      execute format('comment on table coord.%I is %L', v_partition, format('%s of %s.', v_table, to_char(v_month, 'YYYY-MM')));
      execute format('create trigger append_only before delete or truncate %s on coord.%I
        for each statement execute function coord.refuse_audit_change()',
        case v_table when 'audit_log' then 'or update' else '' end, v_partition);
      perform coord.protect_audit(v_partition);
      execute format('alter table coord.%I attach partition coord.%I for values from (%L) to (%L)', v_table, v_partition,
        v_month at time zone 'UTC', (v_month + interval '1 month') at time zone 'UTC');
    end loop;
  end loop;
end
$$;
comment on function coord.make_audit_partitions is 'Makes the audit''s partitions of this month and the next two, where they are missing.';
grant execute on function coord.make_audit_partitions to coord_janitor;

do $$
begin
  perform coord.make_audit_partitions();
end
$$;

-- Writing ----------------------------------------------------------------------------

insert into coord.operations (name, trust) values
  ('seal_audit', 4), ('erase_audit_details', 4), ('drop_audit_before', 4),
  ('verify_audit', 1), ('audit_batch', 1), ('audit_since', 1);

insert into coord.error_codes (code, status, meaning, remedy) values
  ('audit_busy', 409, 'Calls under way keep the audit from being rearranged.', 'Try again.'),
  ('seal_not_found', 404, 'The audit has no seal of this number.', 'Numbers begin with 1; the view audit_seals lists them.'),
  ('cursor_invalid', 400, 'This cursor is not from here, or from before a restore.', 'Begin without a cursor.');

create function coord.redacted_text(p_text text) returns text
language sql immutable
return regexp_replace(regexp_replace(p_text,
  '-----BEGIN [A-Z ]*?PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|$)', '[redacted]', 'g'),
  '(\m(sk-[A-Za-z0-9_-]{16,}|gh[opusr]_[A-Za-z0-9]{16,}|github_pat_[A-Za-z0-9_]{16,}|glpat-[A-Za-z0-9_-]{16,}|A[KS]IA[A-Z0-9]{12,}'
  '|xox[a-z]-[A-Za-z0-9-]{8,}|eyJ[A-Za-z0-9_-]{8,}[.][A-Za-z0-9_-]*([.][A-Za-z0-9_-]*)?)|(?<=://)[^/@[:space:]:]*:[^/@[:space:]]+(?=@))',
  '[redacted]', 'g');
comment on function coord.redacted_text is 'A text with [redacted] for what looks like a credential.';

create function coord.redacted(p_value jsonb) returns jsonb
language plpgsql immutable
as $$
begin
  return case jsonb_typeof(p_value)
    when 'string' then to_jsonb(coord.redacted_text(p_value #>> '{}'))
    when 'array' then (
      select coalesce(jsonb_agg(coord.redacted(e.value) order by e.n), '[]')
      from jsonb_array_elements(p_value) with ordinality e (value, n))
    when 'object' then (
      select coalesce(jsonb_object_agg(coord.redacted_text(e.key),
        case when jsonb_typeof(e.value) not in ('null', 'boolean')
          and e.key ~* '(token|secrets?|passwords?|passwd|authorization|api[_-]?keys?|private[_-]?keys?|credentials?|contents?|cookies?)$'
          then '"[redacted]"' else coord.redacted(e.value) end), '{}')
      from jsonb_each(p_value) e)
    else p_value end;
end
$$;
comment on function coord.redacted is 'A document with [redacted] for secrets and contents, by the names of keys and by the looks of texts.';

create function coord.write_audit(p_call coord.call, p_outcome text, p_reason text, p_detail jsonb) returns void
language plpgsql
as $$
declare
  v_content jsonb := jsonb_strip_nulls(jsonb_build_object('reason', p_reason, 'request_id', p_call.request_id) || p_detail);
  v_text text := v_content::text;
  v_lower text := lower(v_text collate "C");
  v_salt bytea := uuid_send(gen_random_uuid());
  v_id bigint := nextval('coord.audit_ids');
  v_at timestamptz := clock_timestamp();
begin
  -- One quick look at the whole (a regex would cost as much as an insert); only what it notices is looked at closely.
  if strpos(v_lower, 'token') + strpos(v_lower, 'secret') + strpos(v_lower, 'passw') + strpos(v_lower, 'authorization')
    + strpos(v_lower, 'key') + strpos(v_lower, 'credential') + strpos(v_lower, 'content') + strpos(v_lower, 'cookie')
    + strpos(v_lower, 'sk-') + strpos(v_lower, 'ghp_') + strpos(v_lower, 'gho_') + strpos(v_lower, 'ghu_') + strpos(v_lower, 'ghs_')
    + strpos(v_lower, 'ghr_') + strpos(v_lower, '_pat_') + strpos(v_lower, 'glpat-') + strpos(v_lower, 'akia') + strpos(v_lower, 'asia')
    + strpos(v_lower, 'xox') + strpos(v_lower, 'eyj') + strpos(v_lower, '@') > 0 then
    v_content := coord.redacted(v_content);
    v_text := v_content::text;
  end if;
  insert into coord.audit_log (id, at, agent, agent_type, role, session_id, token_id, function, repo, outcome, duration_us, details_hash)
  values (v_id, v_at, p_call.agent, p_call.agent_type, p_call.role, p_call.session_id, p_call.token_id, p_call.function, p_call.repo,
    p_outcome, extract(epoch from v_at - p_call.started_at) * 1000000, sha256(v_salt || convert_to(v_text, 'UTF8')));
  insert into coord.audit_details (id, at, agent, salt, content)
  values (v_id, v_at, p_call.agent, v_salt, v_content);
end
$$;
comment on function coord.write_audit is 'Writes the audit row of a call, with what it says of itself redacted.';
grant execute on function coord.write_audit, coord.redacted, coord.redacted_text to coord_janitor;

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
    left(coalesce(v_headers ->> 'x-request-id', v_headers ->> 'idempotency-key'), 200), v_headers ->> 'idempotency-key', null, null,
    v_caller.jti, clock_timestamp());
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
  v_breaker jsonb;
  v_answer jsonb;
begin
  select * into strict v_error from coord.error_codes e where e.code = p_code;
  v_breaker := coord.count_refusal(p_call, p_code, jsonb_build_object('next', coalesce(p_details || '. ', '') || v_error.remedy));
  perform coord.write_audit(p_call, 'denied', p_code, jsonb_build_object('args', p_call.args, 'repeated', v_breaker -> 'repeated'));
  v_answer := jsonb_build_object('ok', false, 'outcome', 'denied', 'code', v_error.code, 'message', v_error.meaning,
    'details', p_details, 'hint', v_error.remedy) || p_fields || coalesce(v_breaker - 'tripped', '{}');
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
  p_call coord.call, p_ok boolean, p_outcome text, p_fields jsonb, p_reason text default null, p_audited boolean default true, p_result jsonb default null
) returns jsonb
language plpgsql
as $$
declare
  v_answer jsonb := jsonb_build_object('ok', p_ok, 'outcome', p_outcome) || p_fields;
  v_breaker jsonb;
begin
  if not p_ok then
    v_breaker := coord.count_refusal(p_call, p_outcome, p_fields);
    v_answer := v_answer || coalesce(v_breaker - 'tripped', '{}');
  end if;
  if p_audited or coalesce((v_breaker -> 'tripped')::boolean, false) then
    perform coord.write_audit(p_call, p_outcome, p_reason,
      jsonb_build_object('args', p_call.args, 'result', coalesce(p_result, p_fields - 'next'), 'repeated', v_breaker -> 'repeated'));
    perform coord.count_write(p_call.agent);
  end if;
  return case when p_call.idempotency_key is null then v_answer else coord.remember_answer(p_call, 200, v_answer) end;
end
$$;
comment on function coord.close_call is 'Ends a command: writes its audit row if it changed anything, and makes its answer. p_result is what the audit keeps of it, where that is less.';

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

-- Sealing ------------------------------------------------------------------------------

create function coord.micros(p_at timestamptz) returns bigint
language sql stable
return (extract(epoch from p_at) * 1000000)::bigint;
comment on function coord.micros is 'Microseconds since 1970.';

create function coord.framed(p_text text) returns bytea
language sql stable
return case when p_text is null then '\xffffffff'::bytea else int4send(octet_length(convert_to(p_text, 'UTF8'))) || convert_to(p_text, 'UTF8') end;
comment on function coord.framed is 'A text in UTF-8 with its length in four bytes before it; four bytes ff for null.';

create function coord.audit_leaf(p_row coord.audit_log) returns bytea
language sql stable
return sha256('\x00'::bytea || coord.framed('coord-audit-1')
  || coord.framed(p_row.id::text) || coord.framed(coord.micros(p_row.at)::text) || coord.framed(p_row.xid::text) || coord.framed(p_row.era::text)
  || coord.framed(p_row.agent) || coord.framed(p_row.agent_type) || coord.framed(p_row.role) || coord.framed(p_row.session_id)
  || coord.framed(p_row.token_id) || coord.framed(p_row.function) || coord.framed(p_row.repo) || coord.framed(p_row.outcome)
  || coord.framed(p_row.duration_us::text) || coord.framed(encode(p_row.details_hash, 'hex')));
comment on function coord.audit_leaf is 'Leaf hash of an audit row, over its canonical bytes (docs/audit.md).';

create function coord.merkle_root(p_leaves bytea) returns bytea
language plpgsql immutable
as $$
declare
  v_level bytea := p_leaves;
  v_nodes integer := octet_length(p_leaves) / 32;
begin
  if v_nodes = 0 then
    return sha256('');
  end if;
  while v_nodes > 1 loop
    select string_agg(
      case when 2 * n + 1 < v_nodes then sha256('\x01'::bytea || substring(v_level from 64 * n + 1 for 64))
        else substring(v_level from 64 * n + 1 for 32) end, '' order by n)
    into v_level from generate_series(0, (v_nodes - 1) / 2) n;
    v_nodes := (v_nodes + 1) / 2;
  end loop;
  return v_level;
end
$$;
comment on function coord.merkle_root is 'Root of the Merkle tree over leaf hashes, 32 bytes each, as in RFC 6962.';

create function coord.seal_head(p_seal coord.audit_seals, p_previous bytea) returns bytea
language sql stable
return sha256(coalesce(p_previous, decode(repeat('00', 32), 'hex')) || int8send(p_seal.number) || int8send(p_seal.era) || int8send(coalesce(p_seal.system, 0))
  || int8send(p_seal.lower) || int8send(p_seal.upper) || int8send(p_seal.rows) || int8send(coord.micros(p_seal.first_at))
  || int8send(coord.micros(p_seal.last_at)) || int8send(coord.micros(p_seal.sealed_at)) || p_seal.root);
comment on function coord.seal_head is 'Head of the chain at a seal: a hash over the head before it and over all that the seal says.';

create function coord.audit_era() returns integer
language sql stable
begin atomic
  select pg_get_expr(d.adbin, d.adrelid)::integer
  from pg_catalog.pg_attrdef d join pg_catalog.pg_attribute a on a.attrelid = d.adrelid and a.attnum = d.adnum
  where d.adrelid = 'coord.audit_log'::regclass and a.attname = 'era';
end;
comment on function coord.audit_era is 'The era that new audit rows belong to.';

create function coord.begin_audit_era(p_era integer) returns void
language plpgsql security definer set search_path = '' set lock_timeout = '2s'
as $$
begin
  -- Waits for whoever writes: afterwards no row of an older era can come.
  execute format('alter table coord.audit_log alter column era set default %s', p_era);
end
$$;
comment on function coord.begin_audit_era is 'Begins an era of transaction ids, after a restore into another cluster.';
grant execute on function coord.micros, coord.audit_leaf, coord.framed, coord.merkle_root, coord.seal_head, coord.audit_era, coord.begin_audit_era
  to coord_janitor;

set role coord_janitor;

create function coord.seal_batches(p_max_batches integer) returns integer
language plpgsql security definer set search_path = ''
as $$
declare
  c_most_rows constant integer := 2000;
  c_for_ever constant bigint := 9223372036854775807;
  v_last coord.audit_seals;
  v_seal coord.audit_seals;
  v_system bigint := (select s.system_identifier from pg_control_system() s);
  v_era integer;
  v_over boolean;
  v_horizon bigint;
  v_bound bigint;
  v_first bigint;
  v_next bigint;
  v_batches integer := 0;
  v_rows integer := 0;
begin
  perform pg_advisory_xact_lock(hashtextextended('coord.seal_batches', 3));
  select * into v_last from coord.audit_seals s order by s.number desc limit 1;
  v_era := coord.audit_era();
  if v_last.era = v_era and v_last.upper < c_for_ever
    and (v_last.system <> v_system or v_last.upper > pg_snapshot_xmax(pg_current_snapshot())::text::bigint) then
    v_era := v_era + 1;
    perform coord.begin_audit_era(v_era);
  end if;
  loop
    -- What the seals of an era that is over do not cover yet comes before the new era.
    v_over := coalesce(v_last.era < v_era and v_last.upper < c_for_ever, false);
    exit when v_batches >= p_max_batches and not v_over;
    v_seal.era := case when v_over then v_last.era else v_era end;
    v_seal.lower := case when v_last.era = v_seal.era then v_last.upper else 0 end;
    v_horizon := case when v_over then c_for_ever else pg_snapshot_xmin(pg_current_snapshot())::text::bigint end;

    -- At most so many rows, but a transaction's rows stay together. A near bound first:
    -- a long backlog is not read anew for every batch.
    v_bound := least(v_horizon, v_seal.lower + 50000);
    loop
      select min(r.xid), max(r.xid) filter (where r.n = c_most_rows + 1) into v_first, v_next
      from (
        select a.xid, row_number() over (order by a.xid) as n from coord.audit_log a
        where a.era = v_seal.era and a.xid >= v_seal.lower and a.xid < v_bound
        order by a.xid limit c_most_rows + 1
      ) r;
      exit when v_first is not null or v_bound = v_horizon;
      v_bound := v_horizon;
    end loop;
    exit when v_first is null and not v_over;
    v_seal.upper := case when v_next is null then v_bound else greatest(v_next, v_first + 1) end;

    select count(*), coalesce(min(a.at), clock_timestamp()), coalesce(max(a.at), clock_timestamp()),
      coalesce(array_agg(a.id order by a.id), '{}'), coalesce(string_agg(coord.audit_leaf(a), '' order by a.id), '')
    into v_seal.rows, v_seal.first_at, v_seal.last_at, v_seal.ids, v_seal.leaves
    from coord.audit_log a
    where a.era = v_seal.era and a.xid >= v_seal.lower and a.xid < v_seal.upper;
    v_seal.number := coalesce(v_last.number, 0) + 1;
    v_seal.system := case when v_over then v_last.system else v_system end;
    v_seal.sealed_at := clock_timestamp();
    v_seal.root := coord.merkle_root(v_seal.leaves);
    v_seal.head := coord.seal_head(v_seal, v_last.head);
    insert into coord.audit_seals select v_seal.*;
    v_last := v_seal;
    v_batches := v_batches + 1;
    v_rows := v_rows + v_seal.rows;
  end loop;
  return v_rows;
end
$$;
comment on function coord.seal_batches is 'Seals what is below the oldest running transaction, in at most so many batches of 2,000 rows; tells how many rows.';
grant execute on function coord.seal_batches to coord_owner;

create function coord.empty_audit_details(p_agent text, p_max_rows integer) returns integer
language plpgsql security definer set search_path = ''
as $$
declare
  v_rows integer;
begin
  update coord.audit_details d set salt = null, content = null
  where (d.at, d.id) in (
    select a.at, a.id from coord.audit_log a join coord.audit_details o on o.at = a.at and o.id = a.id
    where a.agent = p_agent and o.content is not null
    limit p_max_rows);
  get diagnostics v_rows = row_count;
  return v_rows;
end
$$;
comment on function coord.empty_audit_details is 'Erases details of one principal''s audit rows, at most so many.';
grant execute on function coord.empty_audit_details to coord_owner;

set role coord_owner;

create function coord.seal_audit() returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_call coord.call := coord.open_call('seal_audit', '{}');
  v_rows integer;
  v_seal coord.audit_seals;
begin
  if v_call.answer is not null then return v_call.answer; end if;
  begin
    v_rows := coord.seal_batches(100);
  exception when lock_not_available then
    perform coord.fail('audit_busy');
  end;
  select * into v_seal from coord.audit_seals s order by s.number desc limit 1;
  return coord.close_call(v_call, true, 'sealed', jsonb_build_object('rows', v_rows,
    'number', v_seal.number, 'head', encode(v_seal.head, 'hex'), 'sealed_at', v_seal.sealed_at), p_audited => v_rows > 0);
end
$$;

-- Reading and checking -----------------------------------------------------------------

create function coord.audit_problems(p_seal coord.audit_seals) returns table (audit_id bigint, problem text)
language sql stable
begin atomic
  with here as (
    select a.id, coord.audit_leaf(a) as leaf, a.details_hash, d.id as details, d.agent = a.agent as of_agent, d.salt, d.content
    from coord.audit_log a left join coord.audit_details d on d.at = a.at and d.id = a.id
    where a.era = p_seal.era and a.xid >= p_seal.lower and a.xid < p_seal.upper
  ),
  sealed as (
    select u.id, substring(p_seal.leaves from 32 * u.n::integer - 31 for 32) as leaf from unnest(p_seal.ids) with ordinality u (id, n)
  )
  select coalesce(s.id, h.id), case
      when s.id is null then 'row_added'
      when h.id is null then 'row_missing'
      when h.leaf <> s.leaf then 'row_changed'
      when h.details is null then 'details_missing'
      else 'details_changed' end
  from sealed s full join here h on h.id = s.id
  where s.id is null and h.id is not null
    or h.id is null and s.id <> all (coalesce(p_seal.dropped, '{}'))
    or h.leaf <> s.leaf
    or h.id is not null and (h.details is null or not h.of_agent or sha256(h.salt || convert_to(h.content::text, 'UTF8')) <> h.details_hash)
  order by 1;
end;
comment on function coord.audit_problems is 'Rows that are not as they were when this batch was sealed.';

create function coord.verify_audit(p_from_seal bigint, p_to_seal bigint) returns jsonb
language plpgsql stable security definer set search_path = ''
as $$
declare
  c_most_seals constant integer := 100;
  c_most_problems constant integer := 20;
  v_from bigint := greatest(coalesce(p_from_seal, 1), 1);
  v_previous coord.audit_seals;
  v_seal coord.audit_seals;
  v_found jsonb;
  v_problems jsonb := jsonb '[]';
  v_seals bigint := 0;
  v_rows bigint := 0;
  v_dropped bigint := 0;
  v_gone integer := 0;
begin
  perform coord.open_read('verify_audit');
  select * into v_previous from coord.audit_seals s where s.number = v_from - 1;
  for v_seal in
    select * from coord.audit_seals s
    where s.number >= v_from and s.number <= coalesce(p_to_seal, 9223372036854775807)
    order by s.number limit c_most_seals
  loop
    if v_seal.number <> coalesce(v_previous.number, 0) + 1 then
      v_problems := v_problems || jsonb_build_object('seal', v_seal.number - 1, 'problem', 'seal_missing');
    elsif v_seal.head <> coord.seal_head(v_seal, v_previous.head)
      or v_seal.lower <> (case when v_seal.era = v_previous.era then v_previous.upper else 0 end)
      or v_seal.root <> coord.merkle_root(v_seal.leaves) then
      v_problems := v_problems || jsonb_build_object('seal', v_seal.number, 'problem', 'seal_changed');
    end if;
    select jsonb_agg(jsonb_build_object('seal', v_seal.number, 'audit_id', p.audit_id, 'problem', p.problem))
    into v_found from (select * from coord.audit_problems(v_seal) limit c_most_problems) p;
    v_problems := v_problems || coalesce(v_found, '[]');
    v_seals := v_seals + 1;
    v_rows := v_rows + v_seal.rows;
    if v_seal.leaves is null then
      v_gone := v_gone + 1;
      v_dropped := v_dropped + v_seal.rows;
    else
      v_dropped := v_dropped + coalesce(cardinality(v_seal.dropped), 0);
    end if;
    v_previous := v_seal;
    exit when jsonb_array_length(v_problems) >= c_most_problems;
  end loop;
  return jsonb_build_object('ok', v_problems = '[]', 'outcome', case when v_problems = '[]' then 'verified' else 'broken' end,
      'seals', v_seals, 'rows', v_rows, 'dropped_rows', v_dropped, 'problems', v_problems,
      'number', v_previous.number, 'head', encode(v_previous.head, 'hex'), 'sealed_at', v_previous.sealed_at)
    || case when v_gone > 0 then jsonb_build_object('dropped_seals', v_gone, 'dropped', 'dropped, root kept') else '{}' end
    || case when v_seals > 0 and exists (
      select from coord.audit_seals s where s.number > v_previous.number and s.number <= coalesce(p_to_seal, s.number))
      then jsonb_build_object('next_seal', v_previous.number + 1) else '{}' end;
end
$$;

create function coord.describe_seal(p_seal coord.audit_seals) returns jsonb
language sql stable
return jsonb_build_object('number', p_seal.number, 'era', p_seal.era, 'system', coalesce(p_seal.system, 0), 'lower', p_seal.lower, 'upper', p_seal.upper,
  'rows', p_seal.rows, 'first_at_us', coord.micros(p_seal.first_at), 'last_at_us', coord.micros(p_seal.last_at),
  'sealed_at_us', coord.micros(p_seal.sealed_at), 'root', encode(p_seal.root, 'hex'), 'head', encode(p_seal.head, 'hex'),
  'ids', p_seal.ids, 'leaves', encode(p_seal.leaves, 'hex'), 'dropped', p_seal.dropped);
comment on function coord.describe_seal is 'A seal as exports hold it.';

create function coord.audit_batch(p_number bigint) returns jsonb
language plpgsql stable security definer set search_path = ''
as $$
declare
  v_seal coord.audit_seals;
  v_rows jsonb;
begin
  perform coord.open_read('audit_batch');
  select * into v_seal from coord.audit_seals s where s.number = p_number;
  if not found then
    perform coord.fail('seal_not_found', format('the audit has no seal %s', p_number));
  end if;
  select coalesce(jsonb_agg(jsonb_build_object(
      'id', a.id, 'at_us', coord.micros(a.at), 'xid', a.xid, 'era', a.era, 'agent', a.agent, 'agent_type', a.agent_type,
      'role', a.role, 'session_id', a.session_id, 'token_id', a.token_id, 'function', a.function, 'repo', a.repo,
      'outcome', a.outcome, 'duration_us', a.duration_us, 'details_hash', encode(a.details_hash, 'hex'),
      -- As text: its bytes are what was hashed.
      'details', case when d.id is null then 'missing' when d.content is null then 'erased' else 'kept' end,
      'salt', encode(d.salt, 'hex'), 'content', d.content::text) order by a.id), '[]')
  into v_rows
  from coord.audit_log a left join coord.audit_details d on d.at = a.at and d.id = a.id and d.agent = a.agent
  where a.era = v_seal.era and a.xid >= v_seal.lower and a.xid < v_seal.upper;
  return jsonb_build_object('seal', coord.describe_seal(v_seal), 'rows', v_rows);
end
$$;

create function coord.audit_since(p_cursor text, p_max_results integer) returns jsonb
language plpgsql stable security definer set search_path = ''
as $$
declare
  c_last constant bigint := 9223372036854775807;
  v_max integer := coalesce(p_max_results, 500);
  v_horizon bigint := pg_snapshot_xmin(pg_current_snapshot())::text::bigint;
  v_era integer := coord.audit_era();
  v_xid bigint := v_horizon - 1;
  v_id bigint := c_last;
  v_rows jsonb;
  v_count integer;
begin
  perform coord.open_read('audit_since');
  if v_max not between 1 and 1000 then
    perform coord.fail('argument_invalid', 'max_results is between 1 and 1000');
  end if;
  if p_cursor is not null then
    if p_cursor !~ '^[0-9]{1,9}:[0-9]{1,18}:[0-9]{1,19}$' or split_part(p_cursor, ':', 3)::numeric > c_last then
      perform coord.fail('cursor_invalid');
    end if;
    v_xid := split_part(p_cursor, ':', 2)::bigint;
    v_id := split_part(p_cursor, ':', 3)::bigint;
    if split_part(p_cursor, ':', 1)::integer <> v_era or v_xid >= v_horizon then
      perform coord.fail('cursor_invalid');
    end if;
  end if;
  select jsonb_agg(r.line order by r.xid, r.id), count(*) into v_rows, v_count
  from (
    select a.xid, a.id, jsonb_build_object(
      'id', a.id, 'at', a.at, 'agent', a.agent, 'agent_type', a.agent_type, 'role', substr(a.role, 7), 'session', a.session_id,
      'token_id', a.token_id, 'function', a.function, 'repo', a.repo, 'outcome', a.outcome, 'reason', d.content -> 'reason',
      'duration_ms', round(a.duration_us / 1000.0, 3), 'request_id', d.content -> 'request_id',
      'detail', d.content - '{reason,request_id}'::text[]) as line
    from coord.audit_log a left join coord.audit_details d on d.at = a.at and d.id = a.id
    where a.era = v_era and a.xid >= v_xid and a.xid < v_horizon and (a.xid, a.id) > (v_xid, v_id)
    order by a.xid, a.id limit v_max
  ) r;
  -- Nothing can come below the horizon any more.
  return jsonb_build_object('rows', coalesce(v_rows, '[]'), 'more', v_count = v_max,
    'cursor', case when v_count = v_max then format('%s:%s:%s', v_era, (
        select a.xid from coord.audit_log a where a.at = (v_rows -> -1 ->> 'at')::timestamptz and a.id = (v_rows -> -1 ->> 'id')::bigint),
        v_rows -> -1 ->> 'id')
      else format('%s:%s:%s', v_era, v_horizon - 1, c_last) end);
end
$$;

-- Erasure and retention ------------------------------------------------------------------

create function coord.erase_audit_details(p_name text, p_reason text) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_call coord.call := coord.open_call('erase_audit_details', jsonb_build_object('name', p_name, 'reason', p_reason));
  v_rows integer;
begin
  if v_call.answer is not null then return v_call.answer; end if;
  if coalesce(btrim(p_reason), '') = '' then
    perform coord.fail('argument_required', 'reason says why the details are erased');
  end if;
  if length(p_reason) > 500 then
    perform coord.fail('argument_too_long', 'reason has at most 500 characters');
  end if;
  if not exists (select from coord.agents a where a.id = p_name) then
    perform coord.fail('agent_not_found');
  end if;
  v_rows := coord.empty_audit_details(p_name, 10000);
  return coord.close_call(v_call, true, 'erased', jsonb_build_object('name', p_name, 'rows', v_rows, 'more', v_rows = 10000), p_reason);
end
$$;

create function coord.drop_audit_before(p_before timestamptz) returns jsonb
language plpgsql security definer set search_path = '' set lock_timeout = '2s'
as $$
declare
  v_call coord.call := coord.open_call('drop_audit_before', jsonb_build_object('before', p_before));
  v_month record;
  v_dropped jsonb := jsonb '[]';
  v_kept jsonb := jsonb '[]';
begin
  if v_call.answer is not null then return v_call.answer; end if;
  if p_before is null then
    perform coord.fail('argument_required', 'before says until when months are dropped');
  elsif p_before > clock_timestamp() then
    perform coord.fail('argument_invalid', 'before is not in the future');
  end if;
  begin
    -- In the order of writers; and whoever still writes into an old month has ended then.
    lock table coord.audit_log, coord.audit_details in access exclusive mode;
  exception when lock_not_available then
    perform coord.fail('audit_busy');
  end;
  for v_month in
    select m.name, m.starts at time zone 'UTC' as starts, (m.starts + interval '1 month') at time zone 'UTC' as ends
    from (
      select right(c.relname, 7) as name, to_timestamp(right(c.relname, 7), 'YYYY_MM')::timestamp as starts
      from pg_catalog.pg_inherits i join pg_catalog.pg_class c on c.oid = i.inhrelid
      where i.inhparent = 'coord.audit_log'::regclass
    ) m
    where (m.starts + interval '1 month') at time zone 'UTC' <= p_before
    order by m.starts
  loop
    if v_kept <> '[]' or exists (
      select from coord.audit_log a
      left join (select s.era, max(s.upper) as upper from coord.audit_seals s group by s.era) s on s.era = a.era
      where a.at >= v_month.starts and a.at < v_month.ends and (s.upper is null or a.xid >= s.upper)) then
      v_kept := v_kept || to_jsonb(replace(v_month.name, '_', '-'));
      continue;
    end if;
    -- What ends before has no other rows left; what goes on keeps its leaves.
    update coord.audit_seals s set ids = null, leaves = null, dropped = null
    where s.last_at < v_month.ends and s.leaves is not null;
    update coord.audit_seals s set dropped = array(
      select u.id from unnest(coalesce(s.dropped, '{}')) u (id)
      union
      select a.id from coord.audit_log a where a.era = s.era and a.xid >= s.lower and a.xid < s.upper and a.at < v_month.ends
      order by 1)
    where s.last_at >= v_month.ends and s.first_at < v_month.ends;
    execute format('drop table coord.audit_log_%1$s, coord.audit_details_%1$s', v_month.name);
    v_dropped := v_dropped || to_jsonb(replace(v_month.name, '_', '-'));
  end loop;
  return coord.close_call(v_call, true, 'dropped', jsonb_build_object('dropped', v_dropped, 'kept', v_kept), p_audited => v_dropped <> '[]');
end
$$;

-- The contract -------------------------------------------------------------------------

create domain coord_v1.seal_number as bigint;
comment on domain coord_v1.seal_number is $$Number of a seal; they begin with 1.
@schema {"minimum": 1}$$;
create domain coord_v1.audit_cursor as text;
comment on domain coord_v1.audit_cursor is $$Where to go on: cursor of the last answer; without it, from now on.
@schema {"maxLength": 50}$$;
create domain coord_v1.max_results as integer;
comment on domain coord_v1.max_results is $$Most rows to answer.
@schema {"minimum": 1, "maximum": 1000}$$;
create domain coord_v1.audit_before as timestamptz;
comment on domain coord_v1.audit_before is $$Months that end by then are dropped.
@schema {"type": "string", "format": "date-time"}$$;

create function coord_v1.seal_audit() returns jsonb
language sql
return coord.seal_audit();
comment on function coord_v1.seal_audit is $$Seal the audit now, as housekeeping does every few seconds.
Seals what is older than the oldest transaction under way. number and head are the newest: kept elsewhere, they prove that nothing before was changed.
Outcome: sealed. Errors: audit_busy.
@toolset full
@idempotent$$;

create function coord_v1.verify_audit(from_seal coord_v1.seal_number default null, to_seal coord_v1.seal_number default null) returns jsonb
language sql stable
return coord.verify_audit(from_seal, to_seal);
comment on function coord_v1.verify_audit is $$Recompute seals of the audit and say which rows are not what was sealed.
Checks at most 100 seals; next_seal is where to go on. Erased details are no problem, nor are dropped months ("dropped, root kept").
Outcomes: verified; broken, with problems[] (at most about 20) of seal, audit_id and problem: row_changed, row_missing, row_added, details_changed, details_missing, seal_changed, seal_missing.
@toolset full$$;

create function coord_v1.audit_batch(number coord_v1.seal_number) returns jsonb
language sql stable
return coord.audit_batch(number);
comment on function coord_v1.audit_batch is $$A seal of the audit with its rows: everything needed to recompute it elsewhere.
docs/audit.md has the bytes that are hashed; coord audit export fetches all batches. Errors: seal_not_found.
@toolset full$$;

create function coord_v1.audit_since(cursor coord_v1.audit_cursor default null, max_results coord_v1.max_results default 500) returns jsonb
language sql stable
return coord.audit_since(cursor, max_results);
comment on function coord_v1.audit_since is $$Follow the audit: rows committed since the last answer, none twice and none skipped.
Rows appear once no transaction older than theirs is under way. Pass cursor on as it came. Your own rows; all of them for operators and auditors.
Answers rows[], cursor, and more if there are rows left. Errors: cursor_invalid, argument_invalid.
@toolset full$$;

create function coord_v1.erase_audit_details(name coord_v1.principal, reason coord_v1.reason) returns jsonb
language sql
return coord.erase_audit_details(name, reason);
comment on function coord_v1.erase_audit_details is $$Erase what a principal's audit rows say beyond who, what, when and how it ended.
Arguments, reasons, results and request ids go; the rows, their hashes and the seals stay, and verify. At most 10,000 rows a call: again while more is true.
Outcome: erased. Errors: agent_not_found, argument_required, argument_too_long.
@toolset full
@destructive
@idempotent$$;

create function coord_v1.drop_audit_before(before coord_v1.audit_before) returns jsonb
language sql
return coord.drop_audit_before(before);
comment on function coord_v1.drop_audit_before is $$Drop whole months of the audit that end before a time and are sealed; their seals stay.
Outcome: dropped, with dropped[] and kept[] (months not sealed to their end). Errors: argument_required, argument_invalid, audit_busy.
@toolset full
@destructive
@idempotent$$;

create view coord_v1.audit with (security_invoker = true) as
  select a.id, a.at, a.agent, a.agent_type, substr(a.role, 7) as role, a.session_id as session, a.token_id, a.function, a.repo,
    a.outcome, d.content ->> 'reason' as reason, round(a.duration_us / 1000.0, 3) as duration_ms, d.content ->> 'request_id' as request_id,
    d.content - '{reason,request_id}'::text[] as detail
  from coord.audit_log a left join coord.audit_details d on d.at = a.at and d.id = a.id;
comment on view coord_v1.audit is 'What was done and what was denied: your own rows; all of them for operators and auditors.';
comment on column coord_v1.audit.id is 'Rises, with gaps; not the order of commits.';
comment on column coord_v1.audit.at is 'When the command ended.';
comment on column coord_v1.audit.agent is 'Who called.';
comment on column coord_v1.audit.agent_type is 'Kind of client.';
comment on column coord_v1.audit.role is 'agent, operator, auditor, or janitor for the housekeeping.';
comment on column coord_v1.audit.session is 'Session of the call.';
comment on column coord_v1.audit.token_id is 'Token of the call, by its jti.';
comment on column coord_v1.audit.function is 'Function of the contract that was called.';
comment on column coord_v1.audit.repo is 'Repository it was about.';
comment on column coord_v1.audit.outcome is 'Its outcome.';
comment on column coord_v1.audit.reason is 'Code of a denial, or the reason given; null once erased.';
comment on column coord_v1.audit.duration_ms is 'How long the command took in the database.';
comment on column coord_v1.audit.request_id is 'X-Request-Id of the call, else its Idempotency-Key; null once erased.';
comment on column coord_v1.audit.detail is 'Its arguments and what matters of the result, without secrets; null once erased.';

create view coord_v1.audit_seals with (security_invoker = true) as
  select s.number, s.era, s.lower, s.upper, s.rows, s.first_at, s.last_at, s.sealed_at, encode(s.root, 'hex') as root, encode(s.head, 'hex') as head,
    case when s.leaves is null then 'dropped, root kept' when s.dropped is not null then 'partly dropped' else 'kept' end as status
  from coord.audit_seals s;
comment on view coord_v1.audit_seals is 'Sealed batches of the audit; only operators and auditors see any.';
comment on column coord_v1.audit_seals.number is 'Counts from 1, without gaps.';
comment on column coord_v1.audit_seals.era is 'Run of transaction ids; a restore into another cluster begins the next.';
comment on column coord_v1.audit_seals.lower is 'Its rows'' transaction ids begin here.';
comment on column coord_v1.audit_seals.upper is 'And end before this.';
comment on column coord_v1.audit_seals.rows is 'How many rows it covers.';
comment on column coord_v1.audit_seals.first_at is 'Time of its oldest row.';
comment on column coord_v1.audit_seals.last_at is 'Time of its newest row.';
comment on column coord_v1.audit_seals.sealed_at is 'When it was sealed.';
comment on column coord_v1.audit_seals.root is 'Merkle root over its rows, hex.';
comment on column coord_v1.audit_seals.head is 'Head of the chain here, hex: proves this seal and all before it.';
comment on column coord_v1.audit_seals.status is 'kept, partly dropped, or dropped, root kept.';

grant usage on type coord_v1.seal_number, coord_v1.audit_cursor, coord_v1.max_results, coord_v1.audit_before to coord_agent, coord_operator, coord_auditor;
grant execute on function coord.audit_since, coord_v1.audit_since to coord_agent, coord_operator, coord_auditor;
grant execute on function coord.verify_audit, coord.audit_batch, coord_v1.verify_audit, coord_v1.audit_batch to coord_operator, coord_auditor;
grant execute on function coord.seal_audit, coord.erase_audit_details, coord.drop_audit_before,
  coord_v1.seal_audit, coord_v1.erase_audit_details, coord_v1.drop_audit_before to coord_operator;
grant select on coord_v1.audit, coord_v1.audit_seals to coord_agent, coord_operator, coord_auditor;

reset role;
notify pgrst, 'reload schema';
