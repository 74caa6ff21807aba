-- Breaker: the same call, refused over and over, is told so.
--
-- A row per (agent, session, request), a request being the function and what it was
-- about; how long it would wait or hold, and why, do not tell requests apart.
--
-- States of a row
--   counting  refused, not yet five times within 120 s (or more often at that pace)
--   tripped   since tripped_at: this answer and each further one says stop, and what is
--             in the way; the trip itself is audited, once
--   over      the last refusal is 120 s ago: the next one begins anew
--
-- Refused is what changed nothing and would not by asking again: held, deadlock,
-- not_held, not_yours, not_waiting, denied. Waiting in line and looking for work are
-- asked for, and do not count. A call that raises (bad input) undoes all it did, its count
-- too: coord and the bridge tell of it with report_failure.

set role coord_owner;

create table coord.refusals (
  agent text not null,
  session_id text not null,
  request uuid not null,
  function text not null,
  repo text,
  outcome text not null,
  held_by text,
  times integer not null,
  first_at timestamptz not null,
  last_at timestamptz not null,
  tripped_at timestamptz,
  primary key (agent, session_id, request),
  constraint times_are_counted check (times > 0),
  constraint tripped_by_five check (tripped_at is null or times >= 5)
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02);
comment on table coord.refusals is 'Refused calls of a session, counted, for an hour.';
comment on column coord.refusals.held_by is 'What the answer said was in the way.';
create index refusals_by_age on coord.refusals (last_at);

alter table coord.refusals enable row level security;
alter table coord.refusals force row level security;
create policy own on coord.refusals
  for all to coord_owner
  using (agent = (select nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub'));
create policy own_or_oversight on coord.refusals
  for all to coord_agent, coord_operator, coord_auditor
  using (
    agent = (select nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub')
    or (select nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'role') in ('coord_operator', 'coord_auditor')
  );
create policy janitor on coord.refusals for all to coord_janitor using (true);
grant select on coord.refusals to coord_agent, coord_operator, coord_auditor;
grant select, update, delete on coord.refusals to coord_janitor;

insert into coord.operations (name, trust) values ('report_failure', 1);

create function coord.count_refusal(p_call coord.call, p_outcome text, p_fields jsonb) returns jsonb
language plpgsql
as $$
declare
  c_window constant interval := interval '120 seconds';
  c_most constant integer := 5;
  v_refusal coord.refusals;
  v_now timestamptz := clock_timestamp();
  v_trips boolean;
begin
  if p_outcome in ('queued', 'none') then
    return null;
  end if;
  insert into coord.refusals as r (agent, session_id, request, function, repo, outcome, held_by, times, first_at, last_at)
  values (p_call.agent, p_call.session_id,
    md5(p_call.function || (p_call.args - '{reason,ttl_seconds,wait_seconds,result,error}'::text[])::text)::uuid,
    p_call.function, p_call.repo, p_outcome, left(p_fields ->> 'next', 500), 1, v_now, v_now)
  on conflict (agent, session_id, request) do update set
    times = case when r.last_at > v_now - c_window then r.times + 1 else 1 end,
    first_at = case when r.last_at > v_now - c_window then r.first_at else v_now end,
    tripped_at = case when r.last_at > v_now - c_window then r.tripped_at end,
    outcome = excluded.outcome, held_by = excluded.held_by, last_at = v_now
  returning r.* into v_refusal;
  -- Slow repetition is patience.
  v_trips := v_refusal.tripped_at is null and v_refusal.times >= c_most
    and v_refusal.last_at - v_refusal.first_at <= v_refusal.times * c_window / c_most;
  if v_trips then
    update coord.refusals r set tripped_at = v_now
    where r.agent = v_refusal.agent and r.session_id = v_refusal.session_id and r.request = v_refusal.request;
  elsif v_refusal.tripped_at is null then
    return null;
  end if;
  return jsonb_build_object('repeated', v_refusal.times, 'tripped', v_trips,
    'next', concat_ws(' ', format('Stop: this same call was refused %s times in %s seconds, and asking again will not change that.',
      v_refusal.times, ceil(extract(epoch from v_refusal.last_at - v_refusal.first_at))), p_fields ->> 'next'));
end
$$;
comment on function coord.count_refusal is 'Counts a refused call; once the same was refused too often, what to answer instead of next.';

create function coord.report_failure(p_operation text, p_code text, p_arguments jsonb) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_call coord.call := coord.open_call('report_failure', jsonb_build_object('operation', p_operation, 'code', p_code, 'arguments', p_arguments));
  v_failed coord.call := v_call;
  v_breaker jsonb;
begin
  if v_call.answer is not null then return v_call.answer; end if;
  if p_operation is null or p_code is null then
    perform coord.fail('argument_required', 'operation and code');
  elsif length(p_operation) > 100 or length(p_code) > 100 then
    perform coord.fail('argument_too_long', 'operation and code have at most 100 characters');
  end if;
  v_failed.function := p_operation;
  v_failed.args := case when jsonb_typeof(p_arguments) = 'object' then p_arguments else '{}' end;
  v_breaker := coord.count_refusal(v_failed, p_code,
    jsonb_build_object('next', (select e.remedy from coord.error_codes e where e.code = p_code)));
  return coord.close_call(v_call, true, case when v_breaker is null then 'counted' else 'stop' end, coalesce(v_breaker - 'tripped', '{}'),
    p_audited => coalesce((v_breaker -> 'tripped')::boolean, false));
end
$$;
comment on function coord.report_failure is 'Body of coord_v1.report_failure.';

set role coord_janitor;

create function coord.purge_refusals(p_max_rows integer) returns void
language sql security definer set search_path = ''
begin atomic
  delete from coord.refusals r where (r.agent, r.session_id, r.request) in (
    select o.agent, o.session_id, o.request from coord.refusals o
    where o.last_at < clock_timestamp() - interval '1 hour' limit p_max_rows for update skip locked);
end;
comment on function coord.purge_refusals is 'Forgets refusals that are an hour old.';

set role coord_owner;

-- The contract -------------------------------------------------------------------------

create domain coord_v1.failed_arguments as jsonb;
comment on domain coord_v1.failed_arguments is $$What it was called with.$$;

create function coord_v1.report_failure(operation coord_v1.operation, code text, arguments coord_v1.failed_arguments default '{}') returns jsonb
language sql
return coord.report_failure(operation, code, arguments);
comment on function coord_v1.report_failure is $$Count a call of yours that ended in an error, which leaves no trace of its own; coord and the bridge do so by themselves.
code is the message of the error. Whoever repeats the same call that fails is told to stop, as with one that is refused.
Outcomes: counted; stop with repeated and next, from the fifth within two minutes on. Errors: argument_required, argument_too_long.
@toolset full$$;

create view coord_v1.breakers with (security_invoker = true) as
  select r.agent, r.session_id, r.function, r.repo, r.outcome, r.held_by, r.times, r.first_at, r.last_at
  from coord.refusals r
  where r.tripped_at is not null;
comment on view coord_v1.breakers is 'Calls that a session repeats though they are refused, within the last hour: your own; all of them for operators and auditors.';
comment on column coord_v1.breakers.agent is 'Who calls.';
comment on column coord_v1.breakers.session_id is 'In which session.';
comment on column coord_v1.breakers.function is 'What it calls.';
comment on column coord_v1.breakers.repo is 'Where.';
comment on column coord_v1.breakers.outcome is 'The refusal: an outcome, or the code of a denial.';
comment on column coord_v1.breakers.held_by is 'What it was told to do.';
comment on column coord_v1.breakers.times is 'How often in a row.';
comment on column coord_v1.breakers.first_at is 'Since when.';
comment on column coord_v1.breakers.last_at is 'Last time.';
grant execute on function coord.report_failure, coord_v1.report_failure to coord_agent, coord_operator, coord_auditor;
grant select on coord_v1.breakers to coord_agent, coord_operator, coord_auditor;

reset role;
notify pgrst, 'reload schema';
