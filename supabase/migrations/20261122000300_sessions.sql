-- Sessions: the one lease under everything an agent holds.
--
-- A session is a row per (agent, id). Locks, claims of tasks and tickets refer to
-- it; it is what dies when an agent dies.
--
-- States
--   live     opened by the first call that may write; every such call renews it
--   ended    by end_session, by the reaper once it is dead, or because its agent
--            was disabled; holds nothing. The next call under the same id opens the next epoch, which holds nothing.
--
-- A session is dead when the latest of these is past: its last renewal + 900 s,
-- its busy_until, and the expiry of what it holds. Renewals are written at most
-- once in 90 s, a tenth of the lease (renew_every; more often while a task is claimed
-- for a shorter time), and only where the row is not locked, so that parallel calls of
-- one session never queue behind each other. They renew its claims as well.
--
-- Invariants
--   a session belongs to one agent: ids of two agents never meet
--   an ended session holds nothing: holders carry (agent, session_id,
--   session_live), where session_live is generated as true while they are held,
--   and a deferred foreign key ties it to (agent, id, live)
--
-- Lock order: the session row first (for key share by holders, for update by who
-- ends it; the reaper with skip locked), then what hangs off it: tasks before locks.

set role coord_owner;

create table coord.sessions (
  agent text not null references coord.agents (id),
  id text not null,
  live boolean not null default true,
  epoch integer not null default 1,
  agent_type text not null,
  opened_at timestamptz not null default clock_timestamp(),
  renewed_at timestamptz not null default clock_timestamp(),
  busy_until timestamptz,
  renew_every integer not null default 90,
  capabilities text[] not null default '{}',
  repo text,
  metadata jsonb,
  ended_at timestamptz,
  end_reason text,
  summary text,
  primary key (agent, id),
  constraint live_is_a_target unique (agent, id, live),
  constraint id_has_a_size check (length(id) between 1 and 200),
  constraint ended_says_when_and_why check (live = (ended_at is null) and live = (end_reason is null)),
  constraint end_reason_is_known check (end_reason in ('ended', 'dead', 'disabled'))
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02);
comment on table coord.sessions is 'Sessions of agents: the lease under locks, tasks and tickets.';

alter table coord.sessions enable row level security;
alter table coord.sessions force row level security;
create policy own on coord.sessions
  for all to coord_owner
  using (agent = (select nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub'));
create policy own_or_oversight on coord.sessions
  for all to coord_agent, coord_operator, coord_auditor
  using (
    agent = (select nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub')
    or (select nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'role') in ('coord_operator', 'coord_auditor')
  );
create policy janitor on coord.sessions for all to coord_janitor using (true);
grant select, insert, update, delete on coord.sessions to coord_janitor;
grant select on coord.sessions to coord_agent, coord_operator, coord_auditor;

insert into coord.operations (name, trust) values ('heartbeat', 1), ('end_session', 1), ('maintain', 4);

insert into coord.error_codes (code, status, meaning, remedy) values
  ('session_ended', 409, 'The session was ended by a parallel call while this one was under way.', 'Call again: that opens the session anew, holding nothing.'),
  ('busy_out_of_range', 400, 'busy_for_seconds is between 0 and 28800.', 'Say at most eight hours and renew.');

set role coord_janitor;

create function coord.open_session(p_agent text, p_session_id text, p_agent_type text) returns void
language sql security definer set search_path = ''
begin atomic
  -- No target: for the other unique constraint a concurrent insert would be an error.
  insert into coord.sessions (agent, id, agent_type) values (p_agent, p_session_id, p_agent_type)
  on conflict do nothing;
  update coord.sessions s
  set live = true, epoch = s.epoch + 1, agent_type = p_agent_type, opened_at = clock_timestamp(),
    renewed_at = clock_timestamp(), busy_until = null, renew_every = 90, capabilities = '{}', repo = null, metadata = null, ended_at = null, end_reason = null, summary = null
  where s.agent = p_agent and s.id = p_session_id and not s.live;
end;
comment on function coord.open_session is 'Opens a session, or the next epoch of one that has ended.';

create function coord.renew_session(p_agent text, p_session_id text) returns void
language plpgsql security definer set search_path = ''
as $$
begin
  update coord.sessions s set renewed_at = clock_timestamp()
  where (s.agent, s.id) in (
    select h.agent, h.id from coord.sessions h
    where h.agent = p_agent and h.id = p_session_id and h.live
    for no key update skip locked);
  if found then
    perform coord.renew_claims(p_agent, p_session_id);
  end if;
end
$$;
comment on function coord.renew_session is 'Renews a session and its claims, unless another call of it is doing so.';

create function coord.reap_sessions(p_max_sessions integer) returns integer
language plpgsql security definer set search_path = '' set lock_timeout = '10ms'
as $$
declare
  v_now timestamptz := clock_timestamp();
  v_session record;
  v_tasks jsonb;
  v_released jsonb;
  v_cancelled jsonb;
  v_call coord.call;
  v_began timestamptz;
  v_count integer := 0;
begin
  for v_session in
    select s.agent, s.id, s.agent_type, s.renewed_at
    from coord.sessions s
    where s.live
      and greatest(s.renewed_at + interval '900 seconds', s.busy_until) < v_now
      and not exists (
        select from coord.locks l
        where l.agent = s.agent and l.session_id = s.id and l.released_at is null and l.expires_at > v_now)
      and not exists (
        select from coord.tasks t
        where t.agent = s.agent and t.session_id = s.id and t.session_live and t.lease_until > v_now)
    order by s.renewed_at
    limit p_max_sessions
    for update skip locked
  loop
    -- Its tasks may end for good; where somebody is at the graph, the next round ends it.
    continue when not coord.try_graphs_of_session(v_session.agent, v_session.id);
    v_began := clock_timestamp();
    begin
      v_tasks := coord.return_tasks_of_session(v_session.agent, v_session.id, 'its session died');
      v_released := coord.lapse_locks_of_session(v_session.agent, v_session.id);
      v_cancelled := coord.cancel_tickets(v_session.agent, v_session.id, null, null);
    exception when lock_not_available then
      -- Somebody is at what it held. Waiting for it with the others' rows in hand could be in a circle.
      exit;
    end;
    perform coord.clear_context(v_session.agent, v_session.id);
    update coord.sessions s set live = false, ended_at = clock_timestamp(), end_reason = 'dead'
    where s.agent = v_session.agent and s.id = v_session.id;
    v_call.function := 'maintain';
    v_call.role := 'coord_janitor';
    v_call.agent := v_session.agent;
    v_call.agent_type := v_session.agent_type;
    v_call.session_id := v_session.id;
    v_call.started_at := v_began;
    perform coord.write_audit(v_call, 'ended', 'session_dead', jsonb_build_object(
      'renewed_at', v_session.renewed_at, 'tasks', v_tasks, 'expired_locks', v_released, 'cancelled_tickets', v_cancelled));
    v_count := v_count + 1;
  end loop;
  return v_count;
end
$$;
comment on function coord.reap_sessions is 'Ends sessions that are dead, with what they held, each audited.';

create function coord.end_sessions_of(p_agent text) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_session_id text;
  v_released jsonb;
  v_ended jsonb := jsonb '[]';
begin
  -- The agent is disabled already, so no new session appears; a call under way is waited for.
  for v_session_id in
    select s.id from coord.sessions s where s.agent = p_agent and s.live order by s.id for update
  loop
    perform coord.return_tasks_of_session(p_agent, v_session_id, null);
    v_released := coord.release_locks_of_session(p_agent, v_session_id, 'forced');
    perform coord.cancel_tickets(p_agent, v_session_id, null, null), coord.clear_context(p_agent, v_session_id);
    update coord.sessions s set live = false, ended_at = clock_timestamp(), end_reason = 'disabled'
    where s.agent = p_agent and s.id = v_session_id;
    v_ended := v_ended || jsonb_build_object('session_id', v_session_id, 'released', v_released);
  end loop;
  return v_ended;
end
$$;
comment on function coord.end_sessions_of is 'Ends all sessions of an agent, breaking what they hold.';
grant execute on function coord.end_sessions_of to coord_owner;

create function coord.maintain(p_max_rows integer) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_max integer := least(greatest(coalesce(p_max_rows, 1000), 1), 10000);
  v_sessions integer;
  v_tasks jsonb;
  v_lapsed integer;
  v_locks integer;
  v_keys integer;
  v_tokens integer;
  v_tidied jsonb;
  v_sealed integer := 0;
begin
  perform coord.make_audit_partitions();
  v_sessions := coord.reap_sessions(v_max);
  v_tasks := coord.expire_tasks(v_max);
  v_lapsed := coord.lapse_locks(v_max);
  v_locks := coord.purge_locks(v_max);
  v_tasks := v_tasks || coord.tidy_verifications(v_max);
  perform coord.purge_tasks(v_max), coord.purge_team(v_max), coord.purge_refusals(v_max), coord.purge_approvals(v_max),
    coord.purge_webhooks(v_max);
  delete from coord.idempotency_keys k where (k.agent, k.function, k.key) in (
    select o.agent, o.function, o.key from coord.idempotency_keys o
    where o.answered_at < clock_timestamp() - interval '24 hours'
    limit v_max for update skip locked);
  get diagnostics v_keys = row_count;
  delete from coord.revoked_tokens t where t.jti in (
    select o.jti from coord.revoked_tokens o
    where o.expires_at < clock_timestamp() - interval '1 day'
    limit v_max);
  get diagnostics v_tokens = row_count;
  delete from coord.network_checks c where (c.agent, c.hour, c.host, c.allowed) in (
    select o.agent, o.hour, o.host, o.allowed from coord.network_checks o
    where o.hour < clock_timestamp() - interval '30 days'
    limit v_max for update skip locked);
  perform coord.purge_guardrails(v_max);
  delete from coord.write_counts w where (w.agent, w.slot, w.backend) in (
    select o.agent, o.slot, o.backend from coord.write_counts o
    where o.slot < clock_timestamp() - interval '70 minutes'
    limit v_max for update skip locked);
  v_tidied := coord.tidy_memories(v_max);
  begin
    v_sealed := coord.seal_batches(20);
  exception when lock_not_available then
    -- Only the first seal after a restore waits for a lock; the next round tries again.
    raise warning 'the audit could not be sealed: %', sqlerrm;
  end;
  return jsonb_build_object('ok', true, 'outcome', 'maintained', 'sessions_ended', v_sessions, 'locks_lapsed', v_lapsed, 'locks_purged', v_locks,
    'idempotency_keys_purged', v_keys, 'revoked_tokens_purged', v_tokens, 'audit_rows_sealed', v_sealed) || v_tasks || v_tidied;
end
$$;
comment on function coord.maintain is 'Bounded housekeeping: ends dead sessions, forgets what is long over, seals the audit and makes its next partitions.';

grant execute on function coord.open_session, coord.renew_session, coord.reap_sessions to coord_owner;

set role coord_owner;

create function coord.hold_session(p_call coord.call) returns coord.sessions
language plpgsql
as $$
declare
  v_session coord.sessions;
begin
  select * into v_session from coord.sessions s
  where s.agent = p_call.agent and s.id = p_call.session_id and s.live
  for key share;
  -- Ended by a parallel call since the token check. Opening it anew from here could
  -- deadlock: who waited for that call has the row locked already, live or not.
  if not found then
    perform coord.fail('session_ended');
  end if;
  return v_session;
end
$$;
comment on function coord.hold_session is 'Keeps the caller''s session alive and from being reaped until the transaction ends.';

create function coord.heartbeat(p_busy_for_seconds integer) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_caller coord.caller := coord.caller();
  v_busy_until timestamptz;
begin
  if p_busy_for_seconds not between 0 and 28800 then
    perform coord.fail('busy_out_of_range');
  end if;
  v_busy_until := clock_timestamp() + make_interval(secs => p_busy_for_seconds);
  update coord.sessions s
  set renewed_at = clock_timestamp(), busy_until = coalesce(v_busy_until, s.busy_until)
  where s.agent = v_caller.agent and s.id = v_caller.session_id and s.live
  returning s.busy_until into v_busy_until;
  perform coord.renew_claims(v_caller.agent, v_caller.session_id);
  return jsonb_build_object('ok', true, 'outcome', 'alive', 'session_id', v_caller.session_id, 'lease_seconds', 900, 'busy_until', v_busy_until);
end
$$;

create function coord.end_session(p_summary text) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_call coord.call := coord.open_call('end_session', jsonb_build_object('summary', p_summary));
  v_returned jsonb;
  v_released jsonb;
  v_cancelled jsonb;
begin
  if v_call.answer is not null then return v_call.answer; end if;
  if length(p_summary) > 2000 then
    perform coord.fail('argument_too_long', 'summary has at most 2000 characters');
  end if;
  perform from coord.sessions s
  where s.agent = v_call.agent and s.id = v_call.session_id for update;
  v_returned := coord.return_tasks_of_session(v_call.agent, v_call.session_id, null);
  v_released := coord.release_locks_of_session(v_call.agent, v_call.session_id, 'session_ended');
  v_cancelled := coord.cancel_tickets(v_call.agent, v_call.session_id, null, null);
  perform coord.clear_context(v_call.agent, v_call.session_id);
  update coord.sessions s
  set live = false, ended_at = clock_timestamp(), end_reason = 'ended', summary = p_summary
  where s.agent = v_call.agent and s.id = v_call.session_id and s.live;
  return coord.close_call(v_call, true, 'ended', jsonb_strip_nulls(jsonb_build_object(
    'session_id', v_call.session_id, 'returned', nullif(v_returned, '[]'), 'released', v_released, 'cancelled', v_cancelled)));
end
$$;

-- The contract -------------------------------------------------------------------------

create domain coord_v1.busy_for_seconds as integer;
comment on domain coord_v1.busy_for_seconds is $$Seconds you will be silent, as during a long build.
@schema {"minimum": 0, "maximum": 28800}$$;
create domain coord_v1.summary as text;
comment on domain coord_v1.summary is $$What was done, in a few sentences.
@schema {"maxLength": 2000}$$;

create function coord_v1.heartbeat(busy_for_seconds coord_v1.busy_for_seconds default null) returns jsonb
language sql
return coord.heartbeat(busy_for_seconds);
comment on function coord_v1.heartbeat is $$Renew your session; say how long you will be silent.
Every other call renews it too, so this is only for long silences: a session lives 900 seconds after its last call, or until busy_until. Your tasks, and the locks that came with them, are renewed with it.
Outcome: alive. Errors: busy_out_of_range.
@toolset full
@idempotent$$;

create function coord_v1.end_session(summary coord_v1.summary default null) returns jsonb
language sql
return coord.end_session(summary);
comment on function coord_v1.end_session is $$End your session: release its locks, give its tasks back.
The next call under the same session id begins anew and holds nothing.
Outcome: ended, with released[], returned[] tasks and cancelled[] tickets. Errors: argument_too_long.
@toolset full
@destructive
@idempotent$$;

create domain coord_v1.max_rows as integer;
comment on domain coord_v1.max_rows is $$Most rows to handle of each kind.
@schema {"minimum": 1, "maximum": 10000}$$;

create function coord_v1.maintain(max_rows coord_v1.max_rows default 1000) returns jsonb
language sql
return coord.maintain(max_rows);
comment on function coord_v1.maintain is $$Housekeeping in bounded steps: end dead sessions, forget what is long over, seal the audit.
coord up calls it every few seconds; without it, let pg_cron do so.
Outcome: maintained, with the rows handled of each kind.
@toolset full
@idempotent$$;

create view coord_v1.sessions with (security_invoker = true) as
  select s.agent, s.id as session_id, s.agent_type, case when s.live then 'active' else 'ended' end as status, s.epoch,
    s.capabilities, s.repo, s.opened_at, s.renewed_at, s.busy_until, s.ended_at, s.end_reason, s.summary
  from coord.sessions s;
comment on view coord_v1.sessions is 'Sessions: your own; all of them for operators and auditors.';
comment on column coord_v1.sessions.agent is 'Whose session.';
comment on column coord_v1.sessions.session_id is 'Its id, unique for the agent.';
comment on column coord_v1.sessions.agent_type is 'Kind of client that opened it.';
comment on column coord_v1.sessions.status is 'active or ended.';
comment on column coord_v1.sessions.epoch is 'Counts how often the id was opened.';
comment on column coord_v1.sessions.capabilities is 'What it said it can do (start_session), as far as its profile allowed.';
comment on column coord_v1.sessions.repo is 'Where it said it works.';
comment on column coord_v1.sessions.opened_at is 'When this epoch began.';
comment on column coord_v1.sessions.renewed_at is 'Last renewal, written at most every 90 seconds.';
comment on column coord_v1.sessions.busy_until is 'Until when it said it would be silent.';
comment on column coord_v1.sessions.ended_at is 'When it ended.';
comment on column coord_v1.sessions.end_reason is 'ended by itself, dead, or disabled with its agent.';
comment on column coord_v1.sessions.summary is 'What its agent said at the end.';

grant usage on type coord_v1.busy_for_seconds, coord_v1.summary, coord_v1.max_rows to coord_agent, coord_operator, coord_auditor;
grant execute on function coord.heartbeat, coord.end_session, coord_v1.heartbeat, coord_v1.end_session
  to coord_agent, coord_operator, coord_auditor;
grant execute on function coord_v1.maintain to coord_operator;
grant select on coord_v1.sessions to coord_agent, coord_operator, coord_auditor;
set role coord_janitor;
grant execute on function coord.maintain to coord_operator, coord_owner;
set role coord_owner;

reset role;
notify pgrst, 'reload schema';
