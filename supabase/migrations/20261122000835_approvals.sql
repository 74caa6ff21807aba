-- Approvals: what an agent may do once, because somebody else said so.
--
-- A request is bound to what exactly it is about: the agent, the operation and the
-- resource, hashed. For a command the resource is what the shell reader made of it and
-- where it would run, so that a changed command is another one.
--
-- States
--   open      asked for; expires after a day
--   approved  by another principal with the right; expires after half an hour
--   used      the call that it was for has passed
--   rejected  by such a principal
--   expired   is not stored: it is open or approved with expires_at behind it, and
--             housekeeping says so a day later
-- Decided once, never by who asked; used once, by who asked.
--
-- Lock order: the request's row.

set role coord_owner;

create sequence coord.approval_numbers;
comment on sequence coord.approval_numbers is 'Numbers of approvals: A-17.';

create table coord.approvals (
  number bigint primary key default nextval('coord.approval_numbers'),
  agent text not null,
  agent_type text not null,
  session_id text not null,
  operation text not null,
  resource jsonb not null,
  hash bytea not null,
  reason text,
  state text not null default 'open',
  asked_at timestamptz not null,
  expires_at timestamptz not null,
  decided_by text,
  decided_at timestamptz,
  note text,
  used_at timestamptz,
  constraint state_is_known check (state in ('open', 'approved', 'rejected', 'used', 'expired')),
  constraint decided_says_by_whom check (
    (decided_by is null) = (decided_at is null) and (state not in ('approved', 'rejected', 'used') or decided_by is not null)
    and (state <> 'open' or decided_by is null)),
  constraint never_decided_by_who_asked check (decided_by <> agent),
  constraint used_says_when check ((state = 'used') = (used_at is not null)),
  constraint hash_is_sha256 check (octet_length(hash) = 32)
) with (fillfactor = 80);
comment on table coord.approvals is 'Requests for approval, for 90 days.';
comment on column coord.approvals.resource is 'What it is about, for people: without secrets. The hash has them.';
create unique index one_live_request on coord.approvals (agent, hash) where state in ('open', 'approved');
create index approvals_by_end on coord.approvals (expires_at);

-- What is over stays over.
create function coord.refuse_approval_change() returns trigger
language plpgsql set search_path = ''
as $$
begin
  raise exception 'an approval cannot go from % to %', old.state, new.state using errcode = 'PT409';
end
$$;
comment on function coord.refuse_approval_change is 'Refuses what the states of an approval do not know, for its owner too.';
create trigger only_legal_changes before update on coord.approvals
  for each row when (
    (old.number, old.agent, old.operation, old.resource, old.hash, old.asked_at) is distinct from
      (new.number, new.agent, new.operation, new.resource, new.hash, new.asked_at)
    or not case old.state
      when 'open' then new.state in ('approved', 'rejected', 'expired')
      when 'approved' then new.state in ('used', 'expired') and new.decided_by = old.decided_by and new.decided_at = old.decided_at
      else false end
  ) execute function coord.refuse_approval_change();

alter table coord.approvals enable row level security;
alter table coord.approvals force row level security;
create policy own_or_deciding on coord.approvals
  for all to coord_owner
  using (
    agent = (select nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub')
    or (select coord.objection('decide_approval')) is null)
  with check (true);
create policy own_or_oversight on coord.approvals
  for all to coord_agent, coord_operator, coord_auditor
  using (
    agent = (select nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub')
    or (select nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'role') in ('coord_operator', 'coord_auditor')
  );
create policy janitor on coord.approvals for all to coord_janitor using (true);
grant select on coord.approvals to coord_agent, coord_operator, coord_auditor;
grant select, update, delete on coord.approvals to coord_janitor;

insert into coord.operations (name, trust) values ('request_approval', 1), ('get_approval', 1), ('decide_approval', 4);

insert into coord.error_codes (code, status, meaning, remedy) values
  ('approval_invalid', 400, 'This is no approval.', 'Pass it as it was given, like A-17.'),
  ('approval_not_found', 404, 'You reach no approval of this number.', 'Check the number; the view approvals lists them.'),
  ('own_approval', 403, 'Nobody decides what they asked for themselves.', 'Another principal with the right decides it (decide_approval).');

create function coord.approval_hash(p_agent text, p_operation text, p_resource jsonb) returns bytea
language sql immutable
-- jsonb has one order of its keys.
return sha256(convert_to(jsonb_build_array(p_agent, p_operation, p_resource)::text, 'UTF8'));
comment on function coord.approval_hash is 'What binds an approval: who, what, and to what.';

create function coord.approval_number(p_id text) returns bigint
language plpgsql stable
as $$
begin
  if p_id is null or p_id !~* '^A-[0-9]{1,18}$' then
    perform coord.fail('approval_invalid', format('%s is no approval', quote_literal(left(coalesce(p_id, ''), 50))));
  end if;
  return substr(p_id, 3)::bigint;
end
$$;
comment on function coord.approval_number is 'The number behind A-17.';

create function coord.describe_approval(p_approval coord.approvals) returns jsonb
language sql stable
return jsonb_strip_nulls(jsonb_build_object(
  'id', 'A-' || p_approval.number, 'agent', p_approval.agent, 'operation', p_approval.operation, 'resource', p_approval.resource,
  'reason', p_approval.reason, 'state', case when p_approval.state in ('open', 'approved') and p_approval.expires_at <= clock_timestamp() then 'expired'
    else p_approval.state end,
  'asked_at', p_approval.asked_at, 'expires_at', p_approval.expires_at, 'decided_by', p_approval.decided_by, 'decided_at', p_approval.decided_at,
  'note', p_approval.note, 'used_at', p_approval.used_at));
comment on function coord.describe_approval is 'An approval as answers show it.';

create function coord.ask_approval(p_call coord.call, p_operation text, p_resource jsonb, p_reason text, p_shown jsonb default null) returns coord.approvals
language plpgsql
as $$
declare
  v_hash bytea := coord.approval_hash(p_call.agent, p_operation, p_resource);
  v_now timestamptz := clock_timestamp();
  v_approval coord.approvals;
begin
  -- Asked twice at once, it is one request.
  perform pg_advisory_xact_lock(hashtextextended(encode(v_hash, 'hex'), 9));
  update coord.approvals a set state = 'expired'
  where a.agent = p_call.agent and a.hash = v_hash and a.state in ('open', 'approved') and a.expires_at <= v_now;
  select * into v_approval from coord.approvals a
  where a.agent = p_call.agent and a.hash = v_hash and a.state in ('open', 'approved');
  if not found then
    insert into coord.approvals (agent, agent_type, session_id, operation, resource, hash, reason, asked_at, expires_at)
    values (p_call.agent, p_call.agent_type, p_call.session_id, p_operation, coord.redacted(coalesce(p_shown, p_resource)), v_hash, p_reason, v_now, v_now + interval '1 day')
    returning * into v_approval;
  end if;
  return v_approval;
end
$$;
comment on function coord.ask_approval is 'The live request of the caller for exactly this; made if there is none. p_shown is what people see of it, where that is not all.';

create function coord.use_approval(p_agent text, p_operation text, p_resource jsonb) returns bigint
language plpgsql
as $$
declare
  v_number bigint;
begin
  update coord.approvals a set state = 'used', used_at = clock_timestamp()
  where a.agent = p_agent and a.hash = coord.approval_hash(p_agent, p_operation, p_resource) and a.state = 'approved'
    and a.expires_at > clock_timestamp()
  returning a.number into v_number;
  return v_number;
end
$$;
comment on function coord.use_approval is 'Uses up the approval for exactly this: its number; null if there is none that holds.';

create function coord.pass_or_ask(p_operation text, p_resource jsonb, p_shown jsonb, p_reason text) returns jsonb
language plpgsql
as $$
declare
  v_call coord.call := coord.open_call('request_approval', jsonb_build_object('operation', p_operation, 'resource', p_shown, 'hash', md5(p_resource::text)));
  v_approval coord.approvals;
  v_number bigint;
begin
  if v_call.answer is null then
    v_number := coord.use_approval(v_call.agent, p_operation, p_resource);
    if v_number is not null then
      select * into v_approval from coord.approvals a where a.number = v_number;
    else
      v_approval := coord.ask_approval(v_call, p_operation, p_resource, p_reason, p_shown);
    end if;
    v_call.answer := coord.close_call(v_call, true, v_approval.state, jsonb_build_object('approval', coord.describe_approval(v_approval)),
      p_reason, v_number is not null or v_approval.asked_at >= v_call.started_at);
  end if;
  -- Who may not even ask is told so by the question.
  perform set_config('response.status', '200', true);
  return jsonb_build_object('approval', v_call.answer -> 'approval', 'passes', coalesce(v_call.answer ->> 'outcome' = 'used', false));
end
$$;
comment on function coord.pass_or_ask is 'Uses up the approval for exactly this, or asks for one: passes, and approval. Audited as request_approval.';

create function coord.request_approval(p_operation text, p_resource jsonb, p_reason text) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_call coord.call := coord.open_call('request_approval', jsonb_build_object('operation', p_operation, 'resource', p_resource, 'reason', p_reason));
  v_approval coord.approvals;
begin
  if v_call.answer is not null then return v_call.answer; end if;
  if coalesce(p_operation, '') !~ '^[a-z][a-z0-9_.-]{0,62}$' then
    perform coord.fail('argument_invalid', 'operation is a name of small letters, digits and . _ -');
  elsif length(p_reason) > 500 or octet_length(p_resource::text) > 16384 then
    perform coord.fail('argument_too_long', 'reason has at most 500 characters, resource 16384 bytes');
  end if;
  v_approval := coord.ask_approval(v_call, p_operation, coalesce(p_resource, jsonb '{}'), p_reason);
  return coord.close_call(v_call, true, case v_approval.state when 'open' then 'open' else 'approved' end,
    jsonb_build_object('approval', coord.describe_approval(v_approval), 'next', case v_approval.state
      when 'open' then format('Somebody else decides it: coord approvals approve A-%s. Ask get_approval later.', v_approval.number)
      else 'Do it now: it is good once, until expires_at.' end),
    p_reason, v_approval.asked_at >= v_call.started_at);
end
$$;

create function coord.decide_approval(p_id text, p_approve boolean, p_note text) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_call coord.call := coord.open_call('decide_approval', jsonb_build_object('id', p_id, 'approve', p_approve, 'note', p_note));
  v_number bigint;
  v_approval coord.approvals;
begin
  if v_call.answer is not null then return v_call.answer; end if;
  v_number := coord.approval_number(p_id);
  if p_approve is null then
    perform coord.fail('argument_required', 'approve is true or false');
  elsif length(p_note) > 500 then
    perform coord.fail('argument_too_long', 'note has at most 500 characters');
  end if;
  select * into v_approval from coord.approvals a where a.number = v_number for no key update;
  if not found then
    perform coord.fail('approval_not_found', format('there is no A-%s', v_number));
  elsif v_approval.agent = v_call.agent then
    return coord.deny(v_call, 'own_approval', format('A-%s was asked for by %s', v_number, v_call.agent));
  elsif v_approval.state <> 'open' or v_approval.expires_at <= clock_timestamp() then
    return coord.close_call(v_call, false, 'not_open', jsonb_build_object('approval', coord.describe_approval(v_approval),
      'next', case when v_approval.decided_by is null then 'It expired; whoever asked has to ask again.'
        else format('%s decided it already.', v_approval.decided_by) end), p_audited => false);
  end if;
  update coord.approvals a
  set state = case when p_approve then 'approved' else 'rejected' end, decided_by = v_call.agent, decided_at = clock_timestamp(), note = p_note,
    expires_at = clock_timestamp() + interval '30 minutes'
  where a.number = v_number
  returning * into v_approval;
  return coord.close_call(v_call, true, v_approval.state, jsonb_build_object('approval', coord.describe_approval(v_approval)), p_note);
end
$$;

create function coord.get_approval(p_id text) returns jsonb
language plpgsql stable security definer set search_path = ''
as $$
declare
  v_caller coord.caller := coord.open_read('get_approval');
  v_number bigint := coord.approval_number(p_id);
  v_approval coord.approvals;
begin
  select * into v_approval from coord.approvals a where a.number = v_number;
  if not found then
    perform coord.fail('approval_not_found', format('A-%s is none that %s reaches', v_number, v_caller.agent));
  end if;
  return coord.describe_approval(v_approval);
end
$$;

set role coord_janitor;

create function coord.purge_approvals(p_max_rows integer) returns void
language sql security definer set search_path = ''
begin atomic
  update coord.approvals a set state = 'expired' where a.number in (
    select o.number from coord.approvals o
    where o.state in ('open', 'approved') and o.expires_at < clock_timestamp() - interval '1 day'
    limit p_max_rows for update skip locked);
  delete from coord.approvals a where a.number in (
    select o.number from coord.approvals o
    where o.expires_at < clock_timestamp() - interval '90 days' limit p_max_rows for update skip locked);
end;
comment on function coord.purge_approvals is 'Says of approvals that expired a day ago that they did; forgets them after 90 days.';

set role coord_owner;

-- The contract -------------------------------------------------------------------------

create domain coord_v1.approval_id as text;
comment on domain coord_v1.approval_id is $$As A-17.$$;
create domain coord_v1.note as text;
comment on domain coord_v1.note is $$Why, for who asked.
@schema {"maxLength": 500}$$;

create function coord_v1.request_approval(operation coord_v1.operation, resource coord_v1.resource default null, reason coord_v1.reason default null) returns jsonb
language sql
return coord.request_approval(operation, resource, reason);
comment on function coord_v1.request_approval is $$Ask somebody to approve something that you may not do alone.
check_guardrails asks by itself where a rule says ask. Bound to exactly this operation and resource, good once for half an hour after it was approved; open for a day.
Outcomes: open, approved, with approval. Errors: argument_invalid, argument_too_long.
@toolset full
@idempotent$$;

create function coord_v1.decide_approval(id coord_v1.approval_id, approve boolean, note coord_v1.note default null) returns jsonb
language sql
return coord.decide_approval(id, approve, note);
comment on function coord_v1.decide_approval is $$Approve or reject what somebody else asked for; once.
Outcomes: approved, rejected; not_open when it was decided already or expired; denied. Errors: approval_invalid, approval_not_found, argument_required, argument_too_long, own_approval.
@toolset full$$;

create function coord_v1.get_approval(id coord_v1.approval_id) returns jsonb
language sql stable
return coord.get_approval(id);
comment on function coord_v1.get_approval is $$See how a request for approval stands: open, approved, rejected, used or expired.
Errors: approval_invalid, approval_not_found.
@toolset full$$;

create view coord_v1.approvals with (security_invoker = true) as
  select 'A-' || a.number as id, a.number, a.agent, a.agent_type, a.session_id, a.operation, a.resource, a.reason,
    case when a.state in ('open', 'approved') and a.expires_at <= clock_timestamp() then 'expired' else a.state end as state,
    a.asked_at, a.expires_at, a.decided_by, a.decided_at, a.note, a.used_at
  from coord.approvals a;
comment on view coord_v1.approvals is 'Requests for approval: your own; all of them for operators and auditors.';
comment on column coord_v1.approvals.id is 'As A-17.';
comment on column coord_v1.approvals.number is 'The number in id.';
comment on column coord_v1.approvals.agent is 'Who asked.';
comment on column coord_v1.approvals.agent_type is 'Kind of client.';
comment on column coord_v1.approvals.session_id is 'In which session.';
comment on column coord_v1.approvals.operation is 'What for.';
comment on column coord_v1.approvals.resource is 'Exactly what, without secrets.';
comment on column coord_v1.approvals.reason is 'Why, as it said.';
comment on column coord_v1.approvals.state is 'open, approved, rejected, used or expired.';
comment on column coord_v1.approvals.asked_at is 'When.';
comment on column coord_v1.approvals.expires_at is 'Until when it can be decided, or used.';
comment on column coord_v1.approvals.decided_by is 'Who decided.';
comment on column coord_v1.approvals.decided_at is 'When.';
comment on column coord_v1.approvals.note is 'Why, as they said.';
comment on column coord_v1.approvals.used_at is 'When it was used up.';

grant usage on type coord_v1.approval_id, coord_v1.note to coord_agent, coord_operator, coord_auditor;
grant execute on function coord.request_approval, coord.get_approval, coord_v1.request_approval, coord_v1.get_approval
  to coord_agent, coord_operator, coord_auditor;
grant execute on function coord.decide_approval, coord_v1.decide_approval to coord_agent, coord_operator;
grant select on coord_v1.approvals to coord_agent, coord_operator, coord_auditor;

reset role;
notify pgrst, 'reload schema';
