-- Locks: leases on paths of a repository, and the line that waits for them.
--
-- A lock is a row per (place, agent, session).
--
-- States of a row
--   held      released_at is null and expires_at is ahead
--   expired   released_at is null and expires_at is past: free for anybody,
--             who then stamps it as released at its expiry
--   released  released_at is set, with why; kept for an hour (subscribers see
--             the release as an UPDATE), then moved to past_locks for 30 days
--
-- Two locks conflict when their paths overlap, they belong to different owners
-- and are not both shared. An owner is (agent, session).
--
-- A ticket is a row per (agent, session, request), a request being mode and paths.
-- It is made when a request that may wait is refused; its number is its place in
-- line. It lives while its owner asks again in time, and ends when the request is
-- granted, cancelled, or has waited as long as it would; then the row goes.
-- Nobody gets a lock that conflicts with an older live ticket of somebody else,
-- and that is the whole of the queue: whoever finds no lock and no older ticket in
-- its way, goes. Who already covers a path by a lock of its own passes: it takes
-- nothing away.
--
-- A session waits for the holders of what is in its way and for the older tickets,
-- except on paths that it covers itself. A ticket in line never finds more in its
-- way later, unless its owner loses a lock that covered some of it. So only a new
-- ticket, or one that covers less than before (lock_tickets.uncovered), can close a
-- circle of waiting. These come one at a time (an advisory lock, taken last), each
-- after a look for the circle that it would close.
--
-- Invariants
--   L1  no two held locks conflict; for exclusive locks on one path a unique
--       index says so as well (exclusive_once)
--   L2  fences come from one sequence, so they only rise, whatever is purged
--   L3  a refusal names its holder
--   L4  no waiter is passed by a later one for the same path
--   an ended session holds nothing and waits for nothing (held_by_a_live_session,
--   waits_in_a_live_session)
--
-- Lock order: idempotency key, session row, advisory locks of all directories
-- above (shared) and targets (exclusive), the repository first and then by
-- path, the advisory lock of new tickets, lock rows by place. Acquire, release and
-- break take the advisory locks, so whoever has them sees every lock and ticket that
-- overlaps its targets settled; only the end of a session, which excludes its own
-- commands, goes without.

set role coord_owner;

create sequence coord.fences;
comment on sequence coord.fences is 'Fencing tokens of all locks: a later holder always has a higher one.';

create table coord.locks (
  id uuid primary key default gen_random_uuid(),
  place text collate "C" not null,
  repo text not null,
  path coord.path not null,
  agent text not null,
  session_id text not null,
  agent_type text not null,
  mode text not null,
  fence bigint not null,
  reason text,
  task bigint,
  acquired_at timestamptz not null,
  expires_at timestamptz not null,
  released_at timestamptz,
  release_reason text,
  session_live boolean generated always as (case when released_at is null then true end) stored,
  constraint one_row_per_owner unique (place, agent, session_id),
  constraint place_is_repo_and_path check (place in (repo || ' ' || path, repo || '#' || path)),
  constraint held_by_a_live_session foreign key (agent, session_id, session_live)
    references coord.sessions (agent, id, live) deferrable initially deferred,
  constraint mode_is_known check (mode in ('exclusive', 'shared')),
  constraint released_says_why check (
    case when released_at is null then release_reason is null
    else release_reason in ('released', 'expired', 'forced', 'session_ended') end)
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02);
comment on table coord.locks is 'Locks on paths: held, expired and lately released ones.';
comment on column coord.locks.task is 'The task that it was taken with, and that it ends and is renewed with.';
create unique index exclusive_once on coord.locks (place) where mode = 'exclusive' and released_at is null;
create index locks_by_owner on coord.locks (agent, session_live, session_id);

create table coord.past_locks (
  fence bigint primary key,
  repo text not null,
  path coord.path not null,
  agent text not null,
  session_id text not null,
  mode text not null,
  acquired_at timestamptz not null,
  released_at timestamptz not null,
  release_reason text not null
) with (autovacuum_vacuum_scale_factor = 0.02);
comment on table coord.past_locks is 'Locks that ended more than an hour ago, for 30 days.';
create index past_locks_by_end on coord.past_locks (released_at);
create index past_locks_by_owner on coord.past_locks (agent, session_id, repo, path);

create sequence coord.tickets;
comment on sequence coord.tickets is 'Numbers of tickets: a later one always has a higher one.';

create table coord.lock_tickets (
  number bigint primary key default nextval('coord.tickets'),
  repo text not null,
  paths text[] not null,
  uncovered text[] not null,
  mode text not null,
  agent text not null,
  session_id text not null,
  agent_type text not null,
  reason text,
  request uuid not null,
  asked_at timestamptz not null,
  expires_at timestamptz not null,
  session_live boolean generated always as (true) stored,
  constraint one_ticket_per_request unique (agent, session_id, request),
  constraint waits_in_a_live_session foreign key (agent, session_id, session_live)
    references coord.sessions (agent, id, live) deferrable initially deferred,
  constraint mode_is_known check (mode in ('exclusive', 'shared')),
  constraint paths_have_a_number check (cardinality(paths) between 1 and 64)
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02);
comment on table coord.lock_tickets is 'Requests that wait for locks, in the order of their numbers.';
comment on column coord.lock_tickets.uncovered is 'Those of paths that its owner did not cover by locks of its own when it asked last.';
create index lock_tickets_by_repo on coord.lock_tickets (repo);
create index lock_tickets_by_owner on coord.lock_tickets (agent, session_id, session_live);

do $$
begin
  perform coord.protect_by_repo('locks'), coord.protect_by_repo('past_locks'), coord.protect_by_repo('lock_tickets');
end
$$;
grant select, update, delete on coord.locks to coord_janitor;
grant select, insert, delete on coord.past_locks to coord_janitor;
grant select, update, delete on coord.lock_tickets to coord_janitor;

insert into coord.operations (name, trust) values
  ('acquire_lock', 2), ('release_lock', 2), ('cancel_wait', 2), ('check_locks', 1), ('verify_locks', 1),
  ('force_release_lock', 3), ('set_lock_policy', 4);

insert into coord.error_codes (code, status, meaning, remedy) values
  ('mode_unknown', 400, 'mode is exclusive or shared.', 'Pass one of the two, or leave it out for exclusive.'),
  ('ttl_out_of_range', 400, 'ttl_seconds is between 30 and 28800.', 'Pass a value in the range; renew by calling again.'),
  ('fences_do_not_match', 400, 'fences has one entry for each path, or is left out.', 'Pass the fences in the order of paths.'),
  ('wait_out_of_range', 400, 'wait_seconds is between 0 and 3600.', 'Wait an hour at most, or 0 to be told at once.'),
  ('ticket_invalid', 400, 'This is no ticket.', 'Pass the ticket as acquire_lock gave it, like W-17.'),
  ('reason_required', 400, 'Breaking somebody''s lock needs a reason.', 'Pass reason: its holder and the audit will show it.');

-- Who is in the way --------------------------------------------------------------------

create function coord.lock_places(p_places text[], p_targets text[]) returns void
language plpgsql
as $$
declare
  v_repo text;
begin
  -- The server's lock table has room for 64 places a connection. Who needs many more
  -- takes all files and all resources instead.
  if cardinality(p_places) > 256 then
    v_repo := regexp_replace(p_places[1], '( \./|#)$', '');
    p_targets := array(select p from unnest(p_places) p where p in (v_repo || ' ./', v_repo || '#') order by p collate "C");
    p_places := p_targets;
  end if;
  -- unnest keeps the order. A place that is both a target and above one takes the
  -- stronger lock alone: an upgrade could deadlock.
  perform case when p.place = any (p_targets) then pg_advisory_xact_lock(hashtextextended(p.place, 2))
    else pg_advisory_xact_lock_shared(hashtextextended(p.place, 2)) end
  from unnest(p_places) p (place);
end
$$;
comment on function coord.lock_places is 'Orders acquires whose paths overlap: exclusive on the targets, shared on what lies above them.';

create function coord.try_places(p_places text[], p_targets text[]) returns boolean
language sql
begin atomic
  -- Whoever is at one of them has it for a moment only.
  select cardinality(p_places) <= 256 and bool_and(case when p.place = any (p_targets)
    then pg_try_advisory_xact_lock(hashtextextended(p.place, 2)) else pg_try_advisory_xact_lock_shared(hashtextextended(p.place, 2)) end)
  from unnest(p_places) p (place);
end;
comment on function coord.try_places is 'The same without waiting: whether all of them could be had.';

create function coord.locks_at(p_places text[], p_targets text[]) returns setof coord.locks
language plpgsql stable rows 2
as $$
declare
  v_target text;
  v_repo text;
begin
  return query
    select l.* from coord.locks l where l.place = any (p_places) and l.released_at is null;
  foreach v_target in array p_targets loop
    continue when right(v_target, 1) <> '/';
    -- What lies below a directory; in C collation 0 follows / and ! follows the blank.
    v_repo := split_part(v_target, ' ', 1);
    return query
      select l.* from coord.locks l
      where l.place > case v_target when v_repo || ' ./' then v_repo || ' ' else v_target end
        and l.place < case v_target when v_repo || ' ./' then v_repo || '!' else rtrim(v_target, '/') || '0' end
        and l.released_at is null and l.place <> all (p_places);
  end loop;
end
$$;
comment on function coord.locks_at is 'Unreleased locks, expired ones too, at these places or below the targets among them.';

create function coord.overlapping_locks(p_repo text, p_paths text[]) returns setof coord.locks
language sql stable
begin atomic
  select distinct on (l.id) l.*
  from coord.locks_at(coord.places(p_repo, p_paths), coord.targets(p_repo, p_paths)) l;
end;
comment on function coord.overlapping_locks is 'Unreleased locks, expired ones too, that overlap canonical paths; each once.';

create function coord.uncovered(p_agent text, p_session_id text, p_repo text, p_paths text[], p_mode text) returns text[]
language plpgsql stable
as $$
begin
  return array(
    select u.path from unnest(p_paths) u (path)
    where not exists (
      select from coord.locks l
      where l.place = any (coord.places_to(p_repo, u.path)) and (l.agent, l.session_id) is not distinct from (p_agent, p_session_id)
        and l.released_at is null and l.expires_at > clock_timestamp() and l.mode in ('exclusive', p_mode)));
end
$$;
comment on function coord.uncovered is 'Those of canonical paths that no live lock of this owner covers in this mode: only these can be in anybody''s way.';

create function coord.in_the_way(
  p_agent text, p_session_id text, p_repo text, p_paths text[], p_mode text, p_ticket bigint
) returns table (
  path text, held_path text, holder text, agent_type text, session_id text, mode text, fence bigint, reason text,
  expires_at timestamptz, ticket bigint
)
language sql stable
begin atomic
  select p.path, o.path, o.agent, o.agent_type, o.session_id, o.mode, o.fence, o.reason, o.expires_at, null::bigint
  from coord.overlapping_locks(p_repo, p_paths) o
  cross join lateral (select u.path from unnest(p_paths) u (path) where coord.overlap(u.path, o.path)) p
  where o.expires_at > clock_timestamp() and 'exclusive' in (p_mode, o.mode)
    and (o.agent, o.session_id) <> (p_agent, p_session_id)
  union all
  select p.asked, p.waited, t.agent, t.agent_type, t.session_id, t.mode, null, t.reason, t.expires_at, t.number
  from coord.lock_tickets t
  cross join lateral (
    select u.path as asked, w.path as waited
    from unnest(p_paths) u (path), unnest(t.paths) w (path)
    where coord.overlap(u.path, w.path) limit 1
  ) p
  where t.repo = p_repo and t.expires_at > clock_timestamp() and (p_ticket is null or t.number < p_ticket)
    and 'exclusive' in (p_mode, t.mode) and (t.agent, t.session_id) <> (p_agent, p_session_id);
end;
comment on function coord.in_the_way is 'What keeps an owner from locking canonical paths: live locks of others and live older tickets (older than p_ticket; all, for null).';

create function coord.blockers(
  p_agent text, p_session_id text, p_repo text, p_paths text[], p_mode text, p_ticket bigint
) returns jsonb
language sql stable
begin atomic
  -- Twenty are enough to know whom to wait for.
  select jsonb_agg(b.blocker)
  from (
    select jsonb_build_object(
      'path', w.path, 'held_path', w.held_path, 'holder', w.holder, 'agent_type', w.agent_type, 'session_id', w.session_id,
      'mode', w.mode, 'reason', w.reason, 'expires_at', w.expires_at,
      'seconds_left', ceil(extract(epoch from w.expires_at - clock_timestamp()))::integer)
      || case when w.ticket is null then jsonb_build_object('fence', w.fence)
        else jsonb_build_object('waiting', true, 'ticket', 'W-' || w.ticket) end as blocker
    from coord.in_the_way(p_agent, p_session_id, p_repo, p_paths, p_mode, p_ticket) w
    order by w.ticket nulls first, w.path collate "C", w.held_path collate "C", w.holder
    limit 20
  ) b;
end;
comment on function coord.blockers is 'coord.in_the_way as answers show it: locks first, then the line.';

create function coord.describe_lock(p_lock coord.locks, p_now timestamptz) returns jsonb
language sql stable
return jsonb_build_object(
  'repo', p_lock.repo, 'path', p_lock.path, 'mode', p_lock.mode, 'holder', p_lock.agent, 'agent_type', p_lock.agent_type,
  'session_id', p_lock.session_id, 'reason', p_lock.reason, 'fence', p_lock.fence,
  'acquired_at', p_lock.acquired_at, 'expires_at', p_lock.expires_at,
  'seconds_left', ceil(extract(epoch from p_lock.expires_at - p_now))::integer);
comment on function coord.describe_lock is 'A lock as answers show it.';

create function coord.describe_grant(p_lock coord.locks, p_now timestamptz) returns jsonb
language sql stable
return jsonb_build_object('path', p_lock.path, 'mode', p_lock.mode, 'fence', p_lock.fence, 'expires_at', p_lock.expires_at,
  'seconds_left', ceil(extract(epoch from p_lock.expires_at - p_now))::integer);
comment on function coord.describe_grant is 'A lock as its holder is told.';

create function coord.locks_held(p_agent text, p_most integer) returns integer
language plpgsql stable
as $$
begin
  return (
    select count(*) from (
      select from coord.locks l
      where l.agent = p_agent and l.session_live and l.expires_at > clock_timestamp()
      limit p_most
    ) h);
end
$$;
comment on function coord.locks_held is 'Live locks of an agent in all its sessions, counted up to a limit.';

create function coord.exceeded(p_call coord.call, p_limit text, p_value integer, p_asked integer) returns jsonb
language sql
return coord.deny(p_call, 'resource_limit_exceeded', format('%s is %s, this would be %s', p_limit, p_value, p_asked),
  jsonb_build_object('limit', p_limit, 'value', p_value));
comment on function coord.exceeded is 'Denies what exceeds a limit of the caller''s profile.';

-- The line -------------------------------------------------------------------------------

create function coord.request_key(p_repo text, p_mode text, p_paths text[]) returns uuid
language sql immutable
-- No path holds a line break.
return md5(p_repo || e'\n' || p_mode || e'\n' || array_to_string(p_paths, e'\n'))::uuid;
comment on function coord.request_key is 'What tells one session''s requests apart: the same paths of a repository in the same mode are the same request.';

create function coord.waiting_step(
  p_repo text, p_waiter text, p_session_id text, p_in_repo text, p_path text, p_holder text, p_held_path text, p_ticket bigint
) returns jsonb
language sql stable
return case when coord.granted(p_in_repo) then jsonb_build_object(
    'waiter', p_waiter, 'session_id', p_session_id, 'path', p_path, 'holder', p_holder, 'held_path', p_held_path)
    || case when p_ticket is null then '{}' else jsonb '{"waiting": true}' end
    || case when p_in_repo = p_repo then '{}' else jsonb_build_object('repo', p_in_repo) end
  else jsonb '{"elsewhere": true}' end;
comment on function coord.waiting_step is 'A step of a circle as answers show it: nothing of repositories that the caller is not granted.';

set role coord_janitor;

-- The janitor's, because a circle may lead through repositories that the caller does not see.
create function coord.waiting_circle(
  p_agent text, p_session_id text, p_repo text, p_paths text[], p_mode text, p_ticket bigint
) returns jsonb
language plpgsql stable security definer set search_path = ''
as $$
declare
  -- Owners that wait for this one, directly or through others, each with the step that
  -- leads back: breadth first, so the circle is a shortest one. Who holds nothing is
  -- waited for by nobody, and that is nearly everybody in a line.
  v_owners text[] := array[p_agent || ' ' || p_session_id];
  v_steps jsonb[] := array[null::jsonb];
  v_next integer[] := array[0];
  v_frontier text[] := v_owners;
  v_edge record;
  v_circle jsonb;
  v_node integer;
begin
  if not exists (
      select from coord.locks l
      where l.agent = p_agent and l.session_id = p_session_id and l.session_live and l.expires_at > clock_timestamp())
    and not exists (
      select from coord.lock_tickets t
      where t.agent = p_agent and t.session_id = p_session_id and t.expires_at > clock_timestamp())
  then
    return null;
  end if;
  while v_frontier <> '{}' loop
    v_node := cardinality(v_owners);
    for v_edge in
      select distinct on (t.agent, t.session_id) t.agent || ' ' || t.session_id as owner, w.holder || ' ' || w.session_id as waits_for,
        coord.waiting_step(p_repo, t.agent, t.session_id, t.repo, w.path, w.holder, w.held_path, w.ticket) as step
      from coord.lock_tickets t
      cross join lateral coord.in_the_way(t.agent, t.session_id, t.repo,
        coord.uncovered(t.agent, t.session_id, t.repo, t.paths, t.mode), t.mode, t.number) w
      where t.expires_at > clock_timestamp() and t.agent || ' ' || t.session_id <> all (v_owners)
        and w.holder || ' ' || w.session_id = any (v_frontier)
    loop
      v_owners := v_owners || v_edge.owner;
      v_steps := v_steps || v_edge.step;
      v_next := v_next || array_position(v_owners, v_edge.waits_for);
    end loop;
    v_frontier := v_owners[v_node + 1:];

    -- Does this one wait for any of them?
    select array_position(v_owners, w.holder || ' ' || w.session_id),
      jsonb_build_array(coord.waiting_step(p_repo, p_agent, p_session_id, p_repo, w.path, w.holder, w.held_path, w.ticket))
    into v_node, v_circle
    from coord.in_the_way(p_agent, p_session_id, p_repo, p_paths, p_mode, p_ticket) w
    where w.holder || ' ' || w.session_id = any (v_frontier)
    limit 1;
    if found then
      while v_node > 1 loop
        v_circle := v_circle || v_steps[v_node];
        v_node := v_next[v_node];
      end loop;
      return v_circle;
    end if;
  end loop;
  return null;
end
$$;
comment on function coord.waiting_circle is 'The circle that this owner would close by waiting for these paths: who waits for whom, from it and back to it; null if there is none.';

grant execute on function coord.waiting_circle to coord_owner;

set role coord_owner;
grant execute on function coord.in_the_way, coord.uncovered, coord.overlapping_locks, coord.locks_at, coord.waiting_step, coord.granted to coord_janitor;

create function coord.stand_in_line(
  p_call coord.call, p_paths text[], p_uncovered text[], p_mode text, p_reason text, p_wait_seconds integer
) returns jsonb
language plpgsql
as $$
declare
  v_request uuid := coord.request_key(p_call.repo, p_mode, p_paths);
  v_now timestamptz := clock_timestamp();
  v_ticket coord.lock_tickets;
  v_blockers jsonb;
  v_circle jsonb;
  v_position bigint;
  v_retry integer;
  v_joined boolean;
  v_exposed boolean;
  v_over boolean;
begin
  -- A ticket that nobody polled in time is none, and its owner may join anew; one that has
  -- waited as long as it would is the end of the matter.
  delete from coord.lock_tickets t
  where t.agent = p_call.agent and t.session_id = p_call.session_id and t.request = v_request
    and (t.expires_at <= v_now or t.asked_at + make_interval(secs => p_wait_seconds) <= v_now)
  returning t.asked_at + make_interval(secs => p_wait_seconds) <= v_now into v_over;
  select * into v_ticket from coord.lock_tickets t
  where t.agent = p_call.agent and t.session_id = p_call.session_id and t.request = v_request;
  v_joined := v_ticket.number is null and p_wait_seconds > 0 and v_over is not true;
  v_blockers := coord.blockers(p_call.agent, p_call.session_id, p_call.repo, p_uncovered, p_mode, v_ticket.number);
  if v_blockers is null then
    return null;
  end if;

  if v_ticket.number is null and not v_joined then
    return coord.close_call(p_call, false, 'held', jsonb_build_object(
      'blockers', v_blockers,
      'next', case when v_blockers #>> '{0,waiting}' = 'true'
        then format('%s waits in line for %s. Line up as well (wait_seconds), or work on something else.',
          v_blockers #>> '{0,holder}', v_blockers #>> '{0,held_path}')
        else format('%s holds %s for up to %s more seconds. Work on something else and ask again, or line up (wait_seconds).',
          v_blockers #>> '{0,holder}', v_blockers #>> '{0,held_path}', v_blockers #>> '{0,seconds_left}') end),
      p_audited => v_over is not null);
  end if;

  -- What a lock of its own covered until now may have older tickets before it.
  v_exposed := not v_joined and not p_uncovered <@ v_ticket.uncovered;
  if v_joined or v_exposed then
    -- One at a time, and each statement from here sees the tickets before it.
    perform pg_advisory_xact_lock(hashtextextended('coord.lock_tickets', 4));
    v_circle := coord.waiting_circle(p_call.agent, p_call.session_id, p_call.repo, p_uncovered, p_mode, v_ticket.number);
    if v_circle is not null then
      delete from coord.lock_tickets t where t.number = v_ticket.number;
      return coord.close_call(p_call, false, 'deadlock', jsonb_build_object(
        'cycle', v_circle, 'blockers', v_blockers,
        'next', 'Waiting would never end: everybody in cycle waits for the next. Release what you hold of it, let the others pass, then ask again.'),
        p_audited => v_exposed);
    end if;
  end if;

  select count(distinct w.ticket) + 1 into v_position
  from coord.in_the_way(p_call.agent, p_call.session_id, p_call.repo, p_uncovered, p_mode, v_ticket.number) w;
  v_retry := least(4 + v_position, 15);
  if v_joined then
    insert into coord.lock_tickets (repo, paths, uncovered, mode, agent, session_id, agent_type, reason, request, asked_at, expires_at)
    values (p_call.repo, p_paths, p_uncovered, p_mode, p_call.agent, p_call.session_id, p_call.agent_type, p_reason, v_request, v_now,
      v_now + make_interval(secs => 3 * v_retry))
    returning * into v_ticket;
  else
    -- Liveness, like a session's renewal: not audited.
    update coord.lock_tickets t set expires_at = v_now + make_interval(secs => 3 * v_retry), uncovered = p_uncovered
    where t.number = v_ticket.number;
  end if;
  return coord.close_call(p_call, false, 'queued', jsonb_build_object(
    'ticket', 'W-' || v_ticket.number, 'position', v_position, 'retry_after_seconds', v_retry,
    'wait_seconds_left', ceil(extract(epoch from v_ticket.asked_at + make_interval(secs => p_wait_seconds) - v_now))::integer,
    'blockers', v_blockers,
    'next', format('Make the same call again every %s seconds at most; silence for %s gives your place away.', v_retry, 3 * v_retry)),
    p_audited => v_joined);
end
$$;
comment on function coord.stand_in_line is 'Answers a request that cannot be granted: held, queued or deadlock; null when nothing is in its way any more.';

create function coord.cancel_tickets(p_agent text, p_session_id text, p_repo text, p_paths text[]) returns jsonb
language plpgsql
as $$
declare
  v_gone jsonb;
begin
  with gone as (
    delete from coord.lock_tickets t
    where t.agent = p_agent and t.session_id = p_session_id
      and (p_repo is null or t.repo = p_repo) and (p_paths is null or t.paths && p_paths)
    returning t.number
  )
  select jsonb_agg('W-' || g.number order by g.number) into v_gone from gone g;
  return v_gone;
end
$$;
comment on function coord.cancel_tickets is 'Ends tickets of a session: those with any of these paths, of this repository; all for null. Null if there were none.';
grant execute on function coord.cancel_tickets to coord_janitor;

-- Granting -------------------------------------------------------------------------------

create type coord.survey as (
  blocked boolean,
  kept uuid[],
  lapsed uuid[],
  expired uuid[],
  fresh text[]
);
comment on type coord.survey is 'What an owner finds where it wants locks: another''s live lock (blocked), else its own live locks (kept), its own expired ones (lapsed), others'' expired ones at the targets, and the paths that it does not hold yet (fresh).';

create function coord.survey(
  p_agent text, p_session_id text, p_paths text[], p_places text[], p_targets text[], p_mode text, p_now timestamptz
) returns coord.survey
language plpgsql stable
as $$
declare
  v_lock coord.locks;
  v_survey coord.survey := row(false, null, null, null, p_paths);
begin
  for v_lock in select * from coord.locks_at(p_places, p_targets) loop
    if v_lock.agent = p_agent and v_lock.session_id = p_session_id then
      -- One's own never conflicts. A live one is kept, unless shared has to become exclusive.
      if v_lock.expires_at <= p_now then
        v_survey.lapsed := v_survey.lapsed || v_lock.id;
      elsif v_lock.mode in ('exclusive', p_mode) and v_lock.path = any (p_paths) then
        v_survey.kept := v_survey.kept || v_lock.id;
        v_survey.fresh := array_remove(v_survey.fresh, v_lock.path::text);
      end if;
    elsif v_lock.expires_at <= p_now then
      -- Free. At a target it is stamped, so that the unique index lets the next holder in.
      if v_lock.path = any (p_paths) then
        v_survey.expired := v_survey.expired || v_lock.id;
      end if;
    elsif 'exclusive' in (p_mode, v_lock.mode) then
      v_survey.blocked := true;
      return v_survey;
    end if;
  end loop;
  return v_survey;
end
$$;
comment on function coord.survey is 'Looks where an owner wants locks; whoever calls it has the places locked.';

create function coord.grant_locks(
  p_call coord.call, p_survey coord.survey, p_paths text[], p_mode text, p_ttl_seconds integer, p_reason text, p_task bigint, p_now timestamptz
) returns jsonb
language plpgsql
as $$
declare
  v_expires_at timestamptz := p_now + make_interval(secs => p_ttl_seconds);
  v_grant jsonb;
  v_locks jsonb := jsonb '[]';
begin
  if p_survey.expired is not null then
    update coord.locks l set released_at = l.expires_at, release_reason = 'expired'
    where l.id in (select o.id from coord.locks o where o.id = any (p_survey.expired) order by o.place for no key update);
  end if;
  if p_survey.lapsed is not null then
    -- The row is about to be used again; what it was is remembered here.
    insert into coord.past_locks (fence, repo, path, agent, session_id, mode, acquired_at, released_at, release_reason)
    select l.fence, l.repo, l.path, l.agent, l.session_id, l.mode, l.acquired_at, l.expires_at, 'expired'
    from coord.locks l where l.id = any (p_survey.lapsed) and l.path = any (p_survey.fresh);
  end if;
  if p_survey.kept is not null then
    for v_grant in
      update coord.locks l
      set expires_at = greatest(l.expires_at, v_expires_at), reason = coalesce(p_reason, l.reason)
      where l.id = any (p_survey.kept)
      returning coord.describe_grant(l, p_now)
    loop
      v_locks := v_locks || v_grant;
    end loop;
  end if;
  if p_survey.fresh <> '{}' then
    for v_grant in
      insert into coord.locks as l (place, repo, path, agent, session_id, agent_type, mode, fence, reason, task, acquired_at, expires_at)
      select coord.place(p_call.repo, p), p_call.repo, p, p_call.agent, p_call.session_id, p_call.agent_type, p_mode,
        nextval('coord.fences'), p_reason, p_task, p_now, v_expires_at
      from unnest(p_survey.fresh) p
      on conflict (place, agent, session_id) do update set
        agent_type = excluded.agent_type, mode = excluded.mode, fence = excluded.fence, reason = excluded.reason, task = excluded.task,
        acquired_at = excluded.acquired_at, expires_at = excluded.expires_at, released_at = null, release_reason = null
      returning coord.describe_grant(l, p_now)
    loop
      v_locks := v_locks || v_grant;
    end loop;
  end if;
  if jsonb_array_length(v_locks) <> cardinality(p_paths) then
    perform coord.fail('internal_error', 'row-level security hid a lock that was just written');
  end if;
  return v_locks;
end
$$;
comment on function coord.grant_locks is 'Writes the locks that a survey found free, and answers them all.';

-- Commands ---------------------------------------------------------------------------

create function coord.acquire_lock(
  p_repo text, p_paths text[], p_mode text, p_ttl_seconds integer, p_reason text, p_wait_seconds integer
) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_call coord.call := coord.open_repo_call('acquire_lock', jsonb_build_object(
    'repo', p_repo, 'paths', p_paths, 'mode', p_mode, 'ttl_seconds', p_ttl_seconds, 'reason', p_reason, 'wait_seconds', p_wait_seconds));
  v_profile coord.effective_profiles := coord.profile();
  v_mode text := coalesce(p_mode, 'exclusive');
  v_ttl integer := coalesce(p_ttl_seconds, 1800);
  v_paths text[];
  v_places text[];
  v_targets text[];
  v_now timestamptz;
  v_survey coord.survey;
  v_uncovered text[];
  v_blocked boolean;
  v_refusal jsonb;
  v_held integer;
  v_locks jsonb;
begin
  if v_call.answer is not null then return v_call.answer; end if;
  if v_mode not in ('exclusive', 'shared') then
    perform coord.fail('mode_unknown', format('%s is not a mode', quote_literal(left(v_mode, 50))));
  elsif v_ttl not between 30 and 28800 then
    perform coord.fail('ttl_out_of_range', format('%s is not between 30 and 28800', v_ttl));
  elsif p_wait_seconds not between 0 and 3600 then
    perform coord.fail('wait_out_of_range', format('%s is not between 0 and 3600', p_wait_seconds));
  elsif length(p_reason) > 500 then
    perform coord.fail('argument_too_long', 'reason has at most 500 characters');
  end if;
  v_paths := coord.canonical_paths(p_paths);
  if v_paths is null then
    perform coord.fail('paths_required');
  elsif cardinality(v_paths) > v_profile.max_paths_per_call then
    return coord.exceeded(v_call, 'max_paths_per_call', v_profile.max_paths_per_call, cardinality(v_paths));
  elsif v_ttl > v_profile.max_ttl_seconds then
    return coord.exceeded(v_call, 'max_ttl_seconds', v_profile.max_ttl_seconds, v_ttl);
  end if;

  perform coord.hold_session(v_call);
  v_places := coord.places(v_call.repo, v_paths);
  v_targets := coord.targets(v_call.repo, v_paths);
  perform coord.lock_places(v_places, v_targets);
  loop
    v_now := clock_timestamp();
    v_survey := coord.survey(v_call.agent, v_call.session_id, v_paths, v_places, v_targets, v_mode, v_now);
    v_blocked := v_survey.blocked;
    if v_blocked or exists (select from coord.lock_tickets t where t.repo = v_call.repo) then
      v_uncovered := coord.uncovered(v_call.agent, v_call.session_id, v_call.repo, v_paths, v_mode);
      v_blocked := v_blocked or exists (
        select from coord.in_the_way(v_call.agent, v_call.session_id, v_call.repo, v_uncovered, v_mode, (
          select t.number from coord.lock_tickets t
          where t.agent = v_call.agent and t.session_id = v_call.session_id
            and t.request = coord.request_key(v_call.repo, v_mode, v_paths) and t.expires_at > v_now)));
      if not v_blocked then
        delete from coord.lock_tickets t
        where t.agent = v_call.agent and t.session_id = v_call.session_id
          and t.request = coord.request_key(v_call.repo, v_mode, v_paths);
      end if;
    end if;
    exit when not v_blocked;
    v_refusal := coord.stand_in_line(v_call, v_paths, v_uncovered, v_mode, p_reason, coalesce(p_wait_seconds, 0));
    if v_refusal is not null then
      return v_refusal;
    end if;
    -- What was in the way has ended since: a lease ran out, or a session ended.
  end loop;

  if v_survey.fresh <> '{}' then
    v_held := coord.locks_held(v_call.agent, v_profile.max_locks) + cardinality(v_survey.fresh);
    if v_held > v_profile.max_locks then
      return coord.exceeded(v_call, 'max_locks', v_profile.max_locks, v_held);
    end if;
  end if;
  v_locks := coord.grant_locks(v_call, v_survey, v_paths, v_mode, v_ttl, p_reason, null, v_now);
  return coord.close_call(v_call, true, case when v_survey.fresh = '{}' then 'renewed' else 'acquired' end,
    jsonb_build_object('repo', v_call.repo, 'locks', v_locks, 'next', 'Edit, then release_lock; acquire_lock again extends.')
    || case when array_to_string(p_paths, '') ~ '[*?]'
      then jsonb_strip_nulls(jsonb_build_object('widened', coord.widened(p_paths))) else '{}' end);
end
$$;

create function coord.release_lock(p_repo text, p_paths text[]) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_call coord.call := coord.open_repo_call('release_lock', jsonb_build_object('repo', p_repo, 'paths', p_paths));
  v_paths text[];
  v_held text[];
  v_places text[];
  v_now timestamptz;
  v_released jsonb;
  v_not_held jsonb;
  v_cancelled jsonb;
begin
  if v_call.answer is not null then return v_call.answer; end if;
  if cardinality(p_paths) = 0 then
    perform coord.fail('paths_required', 'an empty list releases nothing; leave paths out to release all');
  end if;
  v_paths := coord.canonical_paths(p_paths);
  perform coord.hold_session(v_call);
  v_held := coalesce(v_paths, array(
    select l.path from coord.locks l
    where l.agent = v_call.agent and l.session_id = v_call.session_id and l.session_live and l.repo = v_call.repo));
  v_places := coord.targets(v_call.repo, v_held);
  perform coord.lock_places(coord.places(v_call.repo, v_held), v_places);
  v_now := clock_timestamp();
  v_cancelled := coord.cancel_tickets(v_call.agent, v_call.session_id, v_call.repo, v_paths);

  with freed as (
    update coord.locks l set released_at = v_now, release_reason = 'released'
    -- The owner is compared as a row, which no index serves: without statistics the planner
    -- would walk everything this session ever held.
    where l.place = any (v_places) and (l.agent, l.session_id) is not distinct from (v_call.agent, v_call.session_id)
      and l.released_at is null and l.expires_at > v_now
    returning l.path, l.fence
  )
  -- At once: a list that grows by one for each of thousands of locks takes minutes.
  select coalesce(jsonb_agg(jsonb_build_object('path', f.path, 'fence', f.fence) order by f.path), '[]') into v_released from freed f;

  -- Asked for by name and not held: say who holds it, if anybody does.
  if jsonb_array_length(v_released) < cardinality(v_paths) then
    select jsonb_agg(jsonb_strip_nulls(jsonb_build_object('path', p, 'holder', h.agent, 'session_id', h.session_id)) order by p)
    into v_not_held
    from unnest(v_paths) p
    left join lateral (
      select o.agent, o.session_id from coord.overlapping_locks(v_call.repo, array[p]) o
      where o.expires_at > v_now order by o.path = p desc limit 1
    ) h on true
    where not v_released @> jsonb_build_array(jsonb_build_object('path', p));
  end if;

  if v_not_held is null or v_released <> '[]' or v_cancelled is not null then
    return coord.close_call(v_call, true, 'released', jsonb_strip_nulls(jsonb_build_object(
      'repo', v_call.repo, 'released', v_released, 'cancelled', v_cancelled, 'not_held', v_not_held)),
      p_audited => v_released <> '[]' or v_cancelled is not null);
  end if;
  return coord.close_call(v_call, false, 'not_held', jsonb_build_object('not_held', v_not_held,
    'next', 'This session holds none of these; check_locks shows what is held.'), p_audited => false);
end
$$;

create function coord.cancel_wait(p_ticket text) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_call coord.call := coord.open_call('cancel_wait', jsonb_build_object('ticket', p_ticket));
begin
  if v_call.answer is not null then return v_call.answer; end if;
  if p_ticket is null or p_ticket !~* '^W-[0-9]{1,18}$' then
    perform coord.fail('ticket_invalid', format('%s is no ticket', quote_literal(left(coalesce(p_ticket, ''), 50))));
  end if;
  delete from coord.lock_tickets t
  where t.agent = v_call.agent and t.session_id = v_call.session_id and t.number = substr(p_ticket, 3)::bigint
  returning t.repo into v_call.repo;
  if not found then
    return coord.close_call(v_call, false, 'not_waiting', jsonb_build_object('ticket', upper(p_ticket)), p_audited => false);
  end if;
  return coord.close_call(v_call, true, 'cancelled', jsonb_build_object('ticket', upper(p_ticket)));
end
$$;

create function coord.force_release_lock(p_repo text, p_paths text[], p_reason text) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_call coord.call := coord.open_repo_call('force_release_lock', jsonb_build_object(
    'repo', p_repo, 'paths', p_paths, 'reason', p_reason));
  v_paths text[];
  v_places text[];
  v_released jsonb;
begin
  if v_call.answer is not null then return v_call.answer; end if;
  if coalesce(btrim(p_reason), '') = '' then
    perform coord.fail('reason_required');
  elsif length(p_reason) > 500 then
    perform coord.fail('argument_too_long', 'reason has at most 500 characters');
  end if;
  v_paths := coord.canonical_paths(p_paths);
  if v_paths is null then
    perform coord.fail('paths_required');
  end if;
  v_places := coord.targets(v_call.repo, v_paths);
  perform coord.lock_places(coord.places(v_call.repo, v_paths), v_places);
  with freed as (
    update coord.locks l set released_at = clock_timestamp(), release_reason = 'forced'
    where l.place = any (v_places) and l.released_at is null and l.expires_at > clock_timestamp()
    returning l.path, l.agent, l.session_id, l.fence
  )
  select coalesce(jsonb_agg(jsonb_build_object('path', f.path, 'holder', f.agent, 'session_id', f.session_id, 'fence', f.fence)
    order by f.path, f.agent), '[]')
  into v_released from freed f;
  perform coord.tell(f.holder, v_call.repo, 'lock_broken', format('Your lock on %s was broken by %s: %s', f.path, v_call.agent, p_reason))
  from jsonb_to_recordset(v_released) f (holder text, path text);
  return coord.close_call(v_call, true, 'released', jsonb_build_object('repo', v_call.repo, 'released', v_released), p_reason);
end
$$;

-- Reads ------------------------------------------------------------------------------

create function coord.open_read(p_function text) returns coord.caller
language plpgsql
as $$
declare
  v_caller coord.caller := coord.caller();
  v_code text := coord.objection(p_function);
begin
  if v_code is not null then
    perform coord.fail(v_code, coord.objection_text(p_function, v_code));
  end if;
  return v_caller;
end
$$;
comment on function coord.open_read is 'Begins a read: who calls; raises where the profile does not permit it.';

create function coord.read_repo(p_repo text) returns text
language plpgsql
as $$
declare
  v_caller coord.caller := coord.caller();
  v_repo text := coord.resolve_repo(p_repo);
begin
  if not coord.granted(v_repo) then
    perform coord.fail('repo_not_granted', format('%s is not granted to %s', v_repo, v_caller.agent));
  end if;
  return v_repo;
end
$$;
comment on function coord.read_repo is 'The repository a read is about; raises where the caller is not granted it.';

create function coord.lock_policy(p_repo text) returns text
language sql stable
begin atomic
  select coalesce((select r.lock_policy from coord.repos r where r.id = p_repo), 'enforce');
end;
comment on function coord.lock_policy is 'What follows from work that no lock covers: off, warn or enforce.';

create function coord.decision(p_policy text, p_good boolean) returns text
language sql immutable
return case when p_good or p_policy = 'off' then 'allow' when p_policy = 'warn' then 'warn' else 'deny' end;
comment on function coord.decision is 'What a hook does: allow, warn or deny.';

create function coord.waiters(p_lock coord.locks) returns bigint
language sql stable
begin atomic
  select count(*) from coord.lock_tickets t
  where t.repo = p_lock.repo and t.expires_at > clock_timestamp() and 'exclusive' in (t.mode, p_lock.mode)
    and (t.agent, t.session_id) <> (p_lock.agent, p_lock.session_id)
    and exists (select from unnest(t.paths) p where coord.overlap(p, p_lock.path));
end;
comment on function coord.waiters is 'How many wait in line for a lock.';

create function coord.check_locks(p_repo text, p_paths text[]) returns jsonb
language plpgsql stable security definer set search_path = ''
as $$
declare
  v_paths text[] := coord.canonical_paths(p_paths);
  v_now timestamptz := clock_timestamp();
  v_repo text;
  v_locks jsonb;
  v_total integer;
begin
  perform coord.open_read('check_locks');
  -- Without repo and paths: everything the caller reaches, which row-level security decides.
  if coalesce(p_repo, '') <> '' or p_paths is not null or current_setting('coord.repos') ~ '^[^ *]+$' then
    v_repo := coord.read_repo(p_repo);
  end if;
  select count(*), jsonb_agg(coord.describe_lock(d.lock, v_now)
    || jsonb_build_object('waiters', coord.waiters(d.lock)) order by d.rank) filter (where d.rank <= 200)
  into v_total, v_locks
  from (
    select f.lock, row_number() over (order by (f.lock).acquired_at desc, (f.lock).path) as rank
    from (
      select o as lock from coord.overlapping_locks(v_repo, v_paths) o where v_repo is not null and v_paths is not null
      union all
      -- Files stand below `repo `, resources below `repo#`; $ is what follows #.
      select l from coord.locks l
      where v_paths is null and l.released_at is null
        and (v_repo is null or l.place >= v_repo || ' ' and l.place < v_repo || '$')
    ) f
    where (f.lock).expires_at > v_now
  ) d;
  return jsonb_build_object('repo', v_repo, 'locks', coalesce(v_locks, '[]'), 'total', v_total);
end
$$;

create function coord.verify_locks(p_repo text, p_paths text[], p_fences bigint[]) returns jsonb
language plpgsql stable security definer set search_path = ''
as $$
declare
  v_caller coord.caller := coord.open_read('verify_locks');
  v_repo text := coord.read_repo(p_repo);
  v_now timestamptz := clock_timestamp();
  v_policy text := coord.lock_policy(v_repo);
  v_covered jsonb;
  v_problems jsonb;
begin
  if coalesce(cardinality(p_paths), 0) = 0 then
    perform coord.fail('paths_required');
  elsif cardinality(p_paths) > 64 then
    perform coord.fail('too_many_paths', format('the call names %s', cardinality(p_paths)));
  elsif cardinality(p_fences) <> cardinality(p_paths) then
    perform coord.fail('fences_do_not_match', format('%s paths and %s fences', cardinality(p_paths), cardinality(p_fences)));
  end if;
  select
    jsonb_agg(jsonb_build_object('path', w.path, 'held_path', w.held_path, 'fence', w.own, 'session_id', w.session_id,
      'seconds_left', w.seconds_left) order by w.ordinality) filter (where w.problem is null),
    jsonb_agg(jsonb_strip_nulls(jsonb_build_object('path', w.path, 'problem', w.problem, 'fence', w.fence,
      'holder', w.holder, 'held_path', w.others_path, 'reason', w.reason, 'holder_seconds_left', w.others_seconds,
      'newest_fence', w.newest)) order by w.ordinality) filter (where w.problem is not null)
  into v_covered, v_problems
  from (
    select q.path, q.fence, q.ordinality, o.fence as own, o.path as held_path, o.session_id, n.newest,
      ceil(extract(epoch from o.expires_at - v_now))::integer as seconds_left,
      h.agent as holder, h.path as others_path, h.reason, ceil(extract(epoch from h.expires_at - v_now))::integer as others_seconds,
      case
        when o.fence is null and h.agent is not null then 'held_by_other'
        when o.fence is null then 'not_held'
        when o.mode = 'shared' then 'only_shared'
        when q.fence is not null and q.fence is distinct from o.fence then 'stale_fence'
      end as problem
    from (
      select coord.canonical_path(u.path) as path, u.fence, u.ordinality
      from unnest(p_paths, p_fences) with ordinality u (path, fence, ordinality)
    ) q
    -- Covered by a lock of this agent on the path itself or on a directory above it.
    left join lateral (
      select l.* from coord.locks l
      where l.place = any (coord.places_to(v_repo, q.path)) and l.agent = v_caller.agent
        and l.released_at is null and l.expires_at > v_now
      order by l.mode, l.fence is not distinct from q.fence desc, l.fence desc limit 1
    ) o on true
    left join lateral (
      select l.* from coord.overlapping_locks(v_repo, array[q.path]) l
      where l.expires_at > v_now and l.agent <> v_caller.agent
      order by l.fence desc limit 1
    ) h on true
    cross join lateral (select greatest(o.fence, h.fence) as newest) n
  ) w;
  return jsonb_build_object('ok', v_problems is null, 'outcome', case when v_problems is null then 'covered' else 'not_covered' end,
    'decision', coord.decision(v_policy, v_problems is null), 'policy', v_policy,
    'repo', v_repo, 'agent', v_caller.agent, 'covered', coalesce(v_covered, '[]'), 'problems', coalesce(v_problems, '[]'));
end
$$;

-- What ends with a session -------------------------------------------------------------

create function coord.release_locks_of_session(p_agent text, p_session_id text, p_reason text) returns jsonb
language plpgsql
as $$
declare
  v_released jsonb;
begin
  with freed as (
    update coord.locks l
    set released_at = case when l.expires_at > clock_timestamp() then clock_timestamp() else l.expires_at end,
      release_reason = case when l.expires_at > clock_timestamp() then p_reason else 'expired' end
    where l.id in (
      select o.id from coord.locks o
      where o.agent = p_agent and o.session_id = p_session_id and o.session_live
      order by o.place for no key update)
    returning l.repo, l.path, l.fence
  )
  select coalesce(jsonb_agg(jsonb_build_object('repo', f.repo, 'path', f.path, 'fence', f.fence) order by f.repo, f.path), '[]')
  into v_released from freed f;
  return v_released;
end
$$;
comment on function coord.release_locks_of_session is 'Releases what a session holds, before it ends.';

set role coord_janitor;

create function coord.lapse_locks_of_session(p_agent text, p_session_id text) returns jsonb
language plpgsql security definer set search_path = ''
as $$
begin
  return coord.release_locks_of_session(p_agent, p_session_id, 'session_ended');
end
$$;
comment on function coord.lapse_locks_of_session is 'Stamps the expired locks of a dead session as released.';

create function coord.lapse_locks(p_max_locks integer) returns integer
language plpgsql security definer set search_path = ''
as $$
declare
  v_count integer;
begin
  -- Without the advisory locks: an expired row is free already, this only says so.
  update coord.locks l set released_at = l.expires_at, release_reason = 'expired'
  where l.id in (
    select o.id from coord.locks o
    where o.released_at is null and o.expires_at < clock_timestamp() - interval '1 minute'
    limit p_max_locks for no key update skip locked);
  get diagnostics v_count = row_count;
  return v_count;
end
$$;
comment on function coord.lapse_locks is 'Stamps locks that expired a minute ago and nobody took over.';

create function coord.purge_locks(p_max_locks integer) returns integer
language plpgsql security definer set search_path = ''
as $$
declare
  v_count integer;
begin
  with gone as (
    delete from coord.locks l where l.id in (
      select o.id from coord.locks o
      where o.released_at < clock_timestamp() - interval '1 hour'
      limit p_max_locks for update skip locked)
    returning l.*
  )
  insert into coord.past_locks (fence, repo, path, agent, session_id, mode, acquired_at, released_at, release_reason)
  select g.fence, g.repo, g.path, g.agent, g.session_id, g.mode, g.acquired_at, g.released_at, g.release_reason from gone g;
  get diagnostics v_count = row_count;
  delete from coord.past_locks p where p.fence in (
    select o.fence from coord.past_locks o
    where o.released_at < clock_timestamp() - interval '30 days'
    limit p_max_locks);
  delete from coord.lock_tickets t where t.number in (
    select o.number from coord.lock_tickets o
    where o.expires_at < clock_timestamp() - interval '1 minute'
    limit p_max_locks for update skip locked);
  return v_count;
end
$$;
comment on function coord.purge_locks is 'Moves locks released more than an hour ago to past_locks, never others; forgets those after 30 days, and tickets that nobody polls.';

set role coord_owner;
grant execute on function coord.release_locks_of_session to coord_janitor;

create function coord.set_lock_policy(p_repo text, p_policy text) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_call coord.call := coord.open_repo_call('set_lock_policy', jsonb_build_object('repo', p_repo, 'policy', p_policy));
begin
  if v_call.answer is not null then return v_call.answer; end if;
  if coalesce(p_policy, '') not in ('off', 'warn', 'enforce') then
    perform coord.fail('argument_invalid', 'policy is off, warn or enforce');
  end if;
  insert into coord.repos as r (id, added_by, lock_policy) values (v_call.repo, v_call.agent, p_policy)
  on conflict (id) do update set lock_policy = excluded.lock_policy;
  return coord.close_call(v_call, true, 'set', jsonb_build_object('repo', v_call.repo, 'policy', p_policy));
end
$$;

-- The contract -------------------------------------------------------------------------

create domain coord_v1.paths as text[];
comment on domain coord_v1.paths is $$src/a.rs, src/ with all below it, or ./ for everything.
@schema {"maxItems": 64}$$;
create domain coord_v1.lock_mode as text;
comment on domain coord_v1.lock_mode is $$shared keeps others from editing what you read.
@schema {"enum": ["exclusive", "shared"]}$$;
create domain coord_v1.ttl_seconds as integer;
comment on domain coord_v1.ttl_seconds is $$Lease in seconds.
@schema {"minimum": 30, "maximum": 28800}$$;
create domain coord_v1.wait_seconds as integer;
comment on domain coord_v1.wait_seconds is $$Wait in line so long.
@schema {"minimum": 0, "maximum": 3600}$$;
create domain coord_v1.ticket as text;
comment on domain coord_v1.ticket is $$Place in line, as acquire_lock gave it: W-17.
@schema {"maxLength": 20}$$;
create domain coord_v1.lock_policy as text;
comment on domain coord_v1.lock_policy is $$What hooks do with work that no lock covers.
@schema {"enum": ["off", "warn", "enforce"]}$$;
create domain coord_v1.fences as bigint[];
comment on domain coord_v1.fences is $$Fencing tokens from acquire_lock, one for each path.
@schema {"maxItems": 64}$$;

create function coord_v1.acquire_lock(
  paths coord_v1.paths,
  repo coord_v1.repo default null,
  mode coord_v1.lock_mode default 'exclusive',
  ttl_seconds coord_v1.ttl_seconds default 1800,
  reason coord_v1.reason default null,
  wait_seconds coord_v1.wait_seconds default 0
) returns jsonb language sql
return coord.acquire_lock(repo, paths, mode, ttl_seconds, reason, wait_seconds);
comment on function coord_v1.acquire_lock is $$Lock files or directories before editing, all or nothing. held: blockers says who has them, for how long.
Answers acquired, renewed (yours already, extended) or held (somebody else's).
A path is a file (src/a.rs), a directory with all below it (src/), everything (./), a glob, which locks the directory it stands in (widened says which), or a resource with a scheme of path_schemes (port:5432).
Owner is the session. blockers shows about 20 at most; one that is `waiting` is in line before you. Each lock has a fence: a number that rises with every new holder; pass it to verify_locks before you commit.
With wait_seconds you get a place in line: queued, with ticket, position and retry_after_seconds. Make the same call again within that time, until it answers something else; after three times as long in silence the place is lost. First come, first served. deadlock, with cycle, where waiting would never end. With wait_seconds 0, or when it is over: held.
Outcomes: acquired, renewed, held, queued, deadlock, denied. Errors: paths_required, too_many_paths, path_*, mode_unknown, ttl_out_of_range, wait_out_of_range, argument_too_long, repo_required, repo_invalid, repo_not_granted, session_ended.
@toolset core
@idempotent$$;

create function coord_v1.release_lock(
  paths coord_v1.paths default null,
  repo coord_v1.repo default null
) returns jsonb language sql
return coord.release_lock(repo, paths);
comment on function coord_v1.release_lock is $$Release your locks as soon as you are done; without paths, all in the repo.
Ends your waiting for these paths too (cancelled[]).
Outcomes: released with released[]; not_held when none of paths is held by this session, with who holds it; denied. Errors: paths_required, too_many_paths, path_*, repo_required, repo_invalid, repo_not_granted, session_ended.
@toolset core
@idempotent$$;

create function coord_v1.check_locks(
  paths coord_v1.paths default null,
  repo coord_v1.repo default null
) returns jsonb language sql stable
return coord.check_locks(repo, paths);
comment on function coord_v1.check_locks is $$See who holds what: locks that overlap paths; without them, all.
Without repo and paths: those of every repository you are granted. Answers locks[] (at most 200), each with its number of waiters, and total. Errors: too_many_paths, path_*, repo_required, repo_invalid, repo_not_granted.
@toolset core
@resource locks://current$$;

create function coord_v1.verify_locks(
  paths coord_v1.paths,
  fences coord_v1.fences default null,
  repo coord_v1.repo default null
) returns jsonb language sql stable
return coord.verify_locks(repo, paths, fences);
comment on function coord_v1.verify_locks is $$Check before a commit that each path is covered by a live exclusive lock of yours and each fence is still yours.
Answers covered[] with the lock and the fence behind each path, and decision: what a hook does under the repository's policy (allow, warn, deny).
Outcomes: covered (ok true); not_covered with problems[]: not_held, held_by_other, only_shared, stale_fence. Errors: paths_required, too_many_paths, fences_do_not_match, path_*, repo_required, repo_invalid, repo_not_granted.
@toolset full$$;

create function coord_v1.force_release_lock(
  paths coord_v1.paths,
  reason coord_v1.reason,
  repo coord_v1.repo default null
) returns jsonb language sql
return coord.force_release_lock(repo, paths, reason);
comment on function coord_v1.force_release_lock is $$Break locks that somebody else holds; operators and agents of trust 3, with a reason, always audited.
Outcomes: released with the prior holders; denied. Errors: reason_required, paths_required, too_many_paths, path_*, argument_too_long, repo_required, repo_invalid, repo_not_granted, insufficient_trust_level.
@toolset full
@destructive$$;

create function coord_v1.cancel_wait(ticket coord_v1.ticket) returns jsonb
language sql
return coord.cancel_wait(ticket);
comment on function coord_v1.cancel_wait is $$Leave the line: give up a place that acquire_lock gave with wait_seconds.
Outcomes: cancelled; not_waiting when this session has no such ticket. Errors: ticket_invalid.
@toolset full
@idempotent$$;

create function coord_v1.set_lock_policy(policy coord_v1.lock_policy, repo coord_v1.repo default null) returns jsonb
language sql
return coord.set_lock_policy(repo, policy);
comment on function coord_v1.set_lock_policy is $$Say what the git hooks of a repository do with changes that no lock covers.
off lets them pass, warn says so, enforce (the default) refuses the commit and the push.
Outcomes: set; denied. Errors: argument_invalid, repo_required, repo_invalid, repo_not_granted.
@toolset full
@idempotent$$;

create view coord_v1.locks with (security_invoker = true) as
  select l.id, l.repo, l.path, l.mode, l.agent as holder, l.agent_type, l.session_id, l.reason, l.fence, l.acquired_at, l.expires_at,
    ceil(extract(epoch from l.expires_at - clock_timestamp()))::integer as seconds_left
  from coord.locks l
  where l.released_at is null and l.expires_at > clock_timestamp();
comment on view coord_v1.locks is 'Live locks of the repositories you are granted.';
comment on column coord_v1.locks.id is 'Key of the row, as Realtime shows it.';
comment on column coord_v1.locks.repo is 'host/owner/name.';
comment on column coord_v1.locks.path is 'File, directory/ or ./ in canonical form.';
comment on column coord_v1.locks.mode is 'exclusive or shared.';
comment on column coord_v1.locks.holder is 'Agent that holds it.';
comment on column coord_v1.locks.agent_type is 'Kind of client.';
comment on column coord_v1.locks.session_id is 'Session that holds it.';
comment on column coord_v1.locks.reason is 'Why, as its holder said.';
comment on column coord_v1.locks.fence is 'Fencing token.';
comment on column coord_v1.locks.acquired_at is 'Since when.';
comment on column coord_v1.locks.expires_at is 'Until when, unless renewed or released.';
comment on column coord_v1.locks.seconds_left is 'The same as seconds from now.';

create view coord_v1.lock_queue with (security_invoker = true) as
  select 'W-' || t.number as ticket, t.repo, t.paths, t.mode, t.agent as waiter, t.agent_type, t.session_id, t.reason, t.asked_at,
    ceil(extract(epoch from clock_timestamp() - t.asked_at))::integer as seconds_waited
  from coord.lock_tickets t
  where t.expires_at > clock_timestamp();
comment on view coord_v1.lock_queue is 'Who waits for locks, in the repositories you are granted; a lower ticket was there earlier.';
comment on column coord_v1.lock_queue.ticket is 'Place in line.';
comment on column coord_v1.lock_queue.repo is 'host/owner/name.';
comment on column coord_v1.lock_queue.paths is 'What is wanted, in canonical form.';
comment on column coord_v1.lock_queue.mode is 'exclusive or shared.';
comment on column coord_v1.lock_queue.waiter is 'Agent that waits.';
comment on column coord_v1.lock_queue.agent_type is 'Kind of client.';
comment on column coord_v1.lock_queue.session_id is 'Session that waits.';
comment on column coord_v1.lock_queue.reason is 'Why, as it said.';
comment on column coord_v1.lock_queue.asked_at is 'Since when.';
comment on column coord_v1.lock_queue.seconds_waited is 'The same as seconds until now.';

create view coord_v1.locks_expiring with (security_invoker = true) as
  select * from coord_v1.locks l where l.seconds_left <= 300;
comment on view coord_v1.locks_expiring is 'Live locks that end within five minutes unless they are renewed.';
comment on column coord_v1.locks_expiring.id is 'Key of the row, as Realtime shows it.';
comment on column coord_v1.locks_expiring.repo is 'host/owner/name.';
comment on column coord_v1.locks_expiring.path is 'File, directory/ or ./ in canonical form.';
comment on column coord_v1.locks_expiring.mode is 'exclusive or shared.';
comment on column coord_v1.locks_expiring.holder is 'Agent that holds it.';
comment on column coord_v1.locks_expiring.agent_type is 'Kind of client.';
comment on column coord_v1.locks_expiring.session_id is 'Session that holds it.';
comment on column coord_v1.locks_expiring.reason is 'Why, as its holder said.';
comment on column coord_v1.locks_expiring.fence is 'Fencing token.';
comment on column coord_v1.locks_expiring.acquired_at is 'Since when.';
comment on column coord_v1.locks_expiring.expires_at is 'Until when, unless renewed or released.';
comment on column coord_v1.locks_expiring.seconds_left is 'The same as seconds from now.';

create view coord_v1.lock_forgetters with (security_invoker = true) as
  select e.agent, e.repo, count(*) as ended, count(*) filter (where e.forgotten) as expired,
    round(count(*) filter (where e.forgotten)::numeric / count(*), 2) as share, max(e.at) filter (where e.forgotten) as last_expired_at
  from (
    select l.agent, l.repo, coalesce(l.released_at, l.expires_at) as at, coalesce(l.release_reason, 'expired') = 'expired' as forgotten
    from coord.locks l where l.released_at is not null or l.expires_at <= clock_timestamp()
    union all
    select p.agent, p.repo, p.released_at, p.release_reason = 'expired' from coord.past_locks p
  ) e
  group by e.agent, e.repo
  having bool_or(e.forgotten);
comment on view coord_v1.lock_forgetters is 'Agents whose locks expired instead of being released, over 30 days. Of locks that one session took over and over, the last one counts.';
comment on column coord_v1.lock_forgetters.agent is 'Who forgot.';
comment on column coord_v1.lock_forgetters.repo is 'Where.';
comment on column coord_v1.lock_forgetters.ended is 'Locks that ended.';
comment on column coord_v1.lock_forgetters.expired is 'How many of them expired.';
comment on column coord_v1.lock_forgetters.share is 'The same as a share, 0 to 1.';
comment on column coord_v1.lock_forgetters.last_expired_at is 'When that happened last.';

grant usage on type coord_v1.wait_seconds, coord_v1.ticket, coord_v1.lock_policy to coord_agent, coord_operator, coord_auditor;
grant execute on function coord.cancel_wait, coord_v1.cancel_wait to coord_agent, coord_operator;
grant execute on function coord.set_lock_policy, coord_v1.set_lock_policy to coord_operator;
grant select on coord_v1.lock_queue, coord_v1.locks_expiring, coord_v1.lock_forgetters to coord_agent, coord_operator, coord_auditor;
grant usage on type coord_v1.paths, coord_v1.lock_mode, coord_v1.ttl_seconds, coord_v1.fences to coord_agent, coord_operator, coord_auditor;
grant execute on function coord.acquire_lock, coord.release_lock, coord.force_release_lock,
  coord_v1.acquire_lock, coord_v1.release_lock, coord_v1.force_release_lock to coord_agent, coord_operator;
grant execute on function coord.check_locks, coord.verify_locks, coord_v1.check_locks, coord_v1.verify_locks
  to coord_agent, coord_operator, coord_auditor;
grant select on coord_v1.locks to coord_agent, coord_operator, coord_auditor;

-- Realtime subscribers watch locks change, where Supabase's publication exists.
reset role;
do $$
begin
  if exists (select from pg_publication where pubname = 'supabase_realtime')
    and not exists (select from pg_publication_tables where pubname = 'supabase_realtime' and schemaname = 'coord' and tablename = 'locks') then
    alter publication supabase_realtime add table coord.locks;
  end if;
end
$$;
notify pgrst, 'reload schema';
