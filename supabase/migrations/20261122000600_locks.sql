-- Locks: leases on paths of a repository.
--
-- A lock is a row per (repo, path, agent, session). A path is a file
-- (src/a.rs), a directory with all below it (src/) or the whole repository
-- (./), in canonical form. Its place is repo and path in one key in C collation:
-- a path and the directories above it are a few keys of one index, what lies
-- below a directory is a range of it, and the planner has nothing to choose.
--
-- States of a row
--   held      released_at is null and expires_at is ahead
--   expired   released_at is null and expires_at is past: free for anybody,
--             who then stamps it as released at its expiry
--   released  released_at is set, with why; kept for an hour (subscribers see
--             the release as an UPDATE), then purged
--
-- Two locks overlap when their paths are equal or one lies below the other;
-- they conflict when they overlap, belong to different owners and are not
-- both shared. An owner is (agent, session).
--
-- Invariants
--   L1  no two held locks conflict; for exclusive locks on one path a unique
--       index says so as well (exclusive_once)
--   L2  fences come from one sequence, so they only rise, whatever is purged
--   L3  a refusal names its holder
--   an ended session holds nothing (held_by_a_live_session)
--
-- Lock order: idempotency key, session row, advisory locks of all directories
-- above (shared) and targets (exclusive), the repository first and then by
-- path, lock rows by place. Acquire, release and break take the advisory locks,
-- so whoever has them sees every lock that overlaps its targets settled; only
-- the end of a session, which excludes its own commands, goes without.

set role coord_owner;

create sequence coord.fences;
comment on sequence coord.fences is 'Fencing tokens of all locks: a later holder always has a higher one.';

-- A domain, because its check is compiled once a session and a table's once a statement.
create domain coord.path as text collate "C"
  constraint path_is_canonical check (
    octet_length(value) between 1 and 1024
    and (value = './' or left(value, 1) <> '/' and strpos(value, '//') = 0
      and strpos('/' || value || '/', '/./') = 0 and strpos('/' || value || '/', '/../') = 0));
comment on domain coord.path is 'A path in canonical form: relative, without ./, // and ..; a directory ends with a slash.';

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
  acquired_at timestamptz not null,
  expires_at timestamptz not null,
  released_at timestamptz,
  release_reason text,
  session_live boolean generated always as (case when released_at is null then true end) stored,
  constraint one_row_per_owner unique (place, agent, session_id),
  constraint place_is_repo_and_path check (place = repo || ' ' || path),
  constraint held_by_a_live_session foreign key (agent, session_id, session_live)
    references coord.sessions (agent, id, live) deferrable initially deferred,
  constraint mode_is_known check (mode in ('exclusive', 'shared')),
  constraint released_says_why check (
    case when released_at is null then release_reason is null
    else release_reason in ('released', 'expired', 'forced', 'session_ended') end)
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02);
comment on table coord.locks is 'Locks on paths: held, expired and lately released ones.';
create unique index exclusive_once on coord.locks (place) where mode = 'exclusive' and released_at is null;
create index locks_by_owner on coord.locks (agent, session_id, session_live);

alter table coord.locks enable row level security;
alter table coord.locks force row level security;
-- No sub-select here: bodies touch few rows, and setting one up costs more than it saves.
create policy repo_admitted on coord.locks
  for all to coord_owner
  using (
    current_setting('coord.repos', true) in (repo, '*')
    or repo = any (string_to_array(current_setting('coord.repos', true), ' '))
  );
create policy repo_granted on coord.locks
  for all to coord_agent, coord_operator, coord_auditor
  using (
    repo = any (array(
      select g.repo from coord.repo_grants g
      where g.agent = (select nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub')))
    or (select a.all_repos from coord.agents a
      where a.id = (select nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub'))
  );
create policy janitor on coord.locks for all to coord_janitor using (true);
grant select, update, delete on coord.locks to coord_janitor;
grant select on coord.locks to coord_agent, coord_operator, coord_auditor;

insert into coord.error_codes (code, status, meaning, remedy) values
  ('paths_required', 400, 'The call names no path.', 'Pass paths with 1 to 64 entries, relative to the root of the repository.'),
  ('too_many_paths', 400, 'A call names at most 64 paths.', 'Lock a directory (src/) or split the call.'),
  ('path_empty', 400, 'A path is empty.', 'Pass a path relative to the root of the repository; the whole repository is ./'),
  ('path_absolute', 400, 'A path is absolute.', 'Pass it relative to the root of the repository.'),
  ('path_outside_repo', 400, 'A path leaves the repository.', 'Pass it relative to the root of the repository, without leading ..'),
  ('path_too_long', 400, 'A path has more than 1024 bytes.', 'Lock a directory above it.'),
  ('path_control_character', 400, 'A path holds a control character.', 'Check the quoting of the path.'),
  ('path_trailing_blank', 400, 'A path ends with a blank.', 'Check the quoting of the path.'),
  ('path_is_pattern', 400, 'A path holds * or ?, and patterns cannot be locked.', 'Lock the directory that holds the files (src/).'),
  ('path_unknown_scheme', 400, 'A path begins with a scheme that nobody registered.', 'For a file of that name write ./name:with:colon.'),
  ('mode_unknown', 400, 'mode is exclusive or shared.', 'Pass one of the two, or leave it out for exclusive.'),
  ('ttl_out_of_range', 400, 'ttl_seconds is between 30 and 28800.', 'Pass a value in the range; renew by calling again.'),
  ('fences_do_not_match', 400, 'fences has one entry for each path, or is left out.', 'Pass the fences in the order of paths.'),
  ('reason_required', 400, 'Breaking somebody''s lock needs a reason.', 'Pass reason: its holder and the audit will show it.');

-- Paths ----------------------------------------------------------------------------

create function coord.canonical_path(p_path text) returns text
language plpgsql stable
as $$
declare
  v_path text := p_path;
  v_segment text;
  v_segments text[] := array[]::text[];
begin
  -- Most paths are plain and canonical as they come.
  if v_path ~ '^([A-Za-z0-9_-][A-Za-z0-9._-]*/)*[A-Za-z0-9_-][A-Za-z0-9._-]*/?$' and length(v_path) <= 1024 then
    return v_path;
  elsif v_path is null or v_path = '' then
    perform coord.fail('path_empty');
  elsif octet_length(v_path) > 1024 then
    perform coord.fail('path_too_long', format('%s… has %s bytes', left(v_path, 60), octet_length(v_path)));
  elsif v_path ~ '[[:cntrl:]]' then
    perform coord.fail('path_control_character');
  elsif v_path ~ '[[:space:]]$' then
    perform coord.fail('path_trailing_blank', format('%s ends with a blank', quote_literal(v_path)));
  elsif left(v_path, 1) = '/' or v_path ~ '^[A-Za-z]:[\\/]' then
    perform coord.fail('path_absolute', format('%s is absolute', v_path));
  elsif v_path ~ '[*?]' then
    perform coord.fail('path_is_pattern', format('%s is a pattern', v_path));
  elsif v_path ~ '^[A-Za-z][A-Za-z0-9+-]*:' then
    perform coord.fail('path_unknown_scheme', format('%s begins with an unknown scheme', v_path));
  end if;
  v_path := normalize(v_path, nfc);
  if v_path !~ '(^|/)\.{0,2}(/|$)' then
    return v_path;
  end if;
  foreach v_segment in array string_to_array(v_path, '/') loop
    if v_segment = '..' then
      if cardinality(v_segments) = 0 then
        perform coord.fail('path_outside_repo', format('%s leaves the repository', p_path));
      end if;
      v_segments := trim_array(v_segments, 1);
    elsif v_segment not in ('', '.') then
      v_segments := v_segments || v_segment;
    end if;
  end loop;
  if cardinality(v_segments) = 0 then
    return './';
  end if;
  return array_to_string(v_segments, '/') || case when v_path ~ '(^|/)\.{0,2}$' then '/' else '' end;
end
$$;
comment on function coord.canonical_path is 'The one spelling of a path: relative, NFC, without ./, // and ..; a directory keeps its last slash.';

create function coord.canonical_paths(p_paths text[]) returns text[]
language plpgsql stable
as $$
declare
  v_paths text[];
begin
  if cardinality(p_paths) > 64 then
    perform coord.fail('too_many_paths', format('the call names %s', cardinality(p_paths)));
  end if;
  if cardinality(p_paths) = 1 then
    return array[coord.canonical_path(p_paths[1])];
  end if;
  select array_agg(distinct coord.canonical_path(p) collate "C") into v_paths from unnest(p_paths) p;
  return v_paths;
end
$$;
comment on function coord.canonical_paths is 'Canonical, distinct and sorted; null for no paths.';

create function coord.targets(p_repo text, p_paths text[]) returns text[]
language sql immutable
-- No path holds a line break.
return string_to_array(p_repo || ' ' || array_to_string(p_paths, e'\n' || p_repo || ' '), e'\n');
comment on function coord.targets is 'Places of canonical paths.';

create function coord.places_to(p_repo text, p_path text) returns text[]
language plpgsql immutable
as $$
declare
  v_places text[] := array[p_repo || ' ./'];
  v_place text := p_repo || ' ';
  v_segment text;
begin
  if p_path <> './' then
    foreach v_segment in array string_to_array(rtrim(p_path, '/'), '/') loop
      v_place := v_place || v_segment || '/';
      v_places := v_places || v_place;
    end loop;
    v_places[cardinality(v_places)] := p_repo || ' ' || p_path;
  end if;
  return v_places;
end
$$;
comment on function coord.places_to is 'Places of the directories above a canonical path, the repository first, and of the path itself.';

create function coord.places(p_repo text, p_paths text[]) returns text[]
language plpgsql immutable
as $$
begin
  if cardinality(p_paths) = 1 then
    return coord.places_to(p_repo, p_paths[1]);
  end if;
  return array(
    select distinct on (a.place <> p_repo || ' ./', a.place collate "C") a.place
    from unnest(p_paths) p, unnest(coord.places_to(p_repo, p)) a (place)
    order by a.place <> p_repo || ' ./', a.place collate "C");
end
$$;
comment on function coord.places is 'Places of canonical paths and of all directories above them: each once, the repository first, then in order.';

create function coord.lock_places(p_places text[], p_targets text[]) returns void
language plpgsql
as $$
begin
  -- unnest keeps the order. A place that is both a target and above one takes the
  -- stronger lock alone: an upgrade could deadlock.
  perform case when p.place = any (p_targets) then pg_advisory_xact_lock(hashtextextended(p.place, 2))
    else pg_advisory_xact_lock_shared(hashtextextended(p.place, 2)) end
  from unnest(p_places) p (place);
end
$$;
comment on function coord.lock_places is 'Orders acquires whose paths overlap: exclusive on the targets, shared on what lies above them.';

create function coord.locks_at(p_places text[], p_targets text[]) returns setof coord.locks
language plpgsql stable
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

create function coord.overlap(p_one text, p_two text) returns boolean
language sql immutable
return p_one = p_two or './' in (p_one, p_two)
  or (right(p_one, 1) = '/' and starts_with(p_two, p_one)) or (right(p_two, 1) = '/' and starts_with(p_one, p_two));
comment on function coord.overlap is 'Whether two canonical paths are equal or one lies below the other.';

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

-- Commands ---------------------------------------------------------------------------

create function coord.acquire_lock(p_repo text, p_paths text[], p_mode text, p_ttl_seconds integer, p_reason text) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_call coord.call := coord.open_repo_call('acquire_lock', jsonb_build_object(
    'repo', p_repo, 'paths', p_paths, 'mode', p_mode, 'ttl_seconds', p_ttl_seconds, 'reason', p_reason));
  v_mode text := coalesce(p_mode, 'exclusive');
  v_ttl integer := coalesce(p_ttl_seconds, 1800);
  v_paths text[];
  v_places text[];
  v_targets text[];
  v_now timestamptz;
  v_lock coord.locks;
  v_expired uuid[];
  v_kept uuid[];
  v_fresh text[];
  v_blockers jsonb := jsonb '[]';
  v_grant jsonb;
  v_locks jsonb := jsonb '[]';
begin
  if v_call.answer is not null then return v_call.answer; end if;
  if v_mode not in ('exclusive', 'shared') then
    perform coord.fail('mode_unknown', format('%s is not a mode', quote_literal(left(v_mode, 50))));
  elsif v_ttl not between 30 and 28800 then
    perform coord.fail('ttl_out_of_range', format('%s is not between 30 and 28800', v_ttl));
  elsif length(p_reason) > 500 then
    perform coord.fail('argument_too_long', 'reason has at most 500 characters');
  end if;
  v_paths := coord.canonical_paths(p_paths);
  if v_paths is null then
    perform coord.fail('paths_required');
  end if;

  perform coord.hold_session(v_call);
  v_places := coord.places(v_call.repo, v_paths);
  v_targets := coord.targets(v_call.repo, v_paths);
  perform coord.lock_places(v_places, v_targets);
  v_now := clock_timestamp();
  v_fresh := v_paths;

  for v_lock in select * from coord.locks_at(v_places, v_targets) loop
    if v_lock.agent = v_call.agent and v_lock.session_id = v_call.session_id then
      -- One's own never conflicts. A live one is kept, unless shared has to become exclusive.
      if v_lock.expires_at > v_now and v_lock.mode in ('exclusive', v_mode) and v_lock.path = any (v_paths) then
        v_kept := v_kept || v_lock.id;
        v_fresh := array_remove(v_fresh, v_lock.path::text);
      end if;
    elsif v_lock.expires_at <= v_now then
      -- Free. At a target it is stamped, so that the unique index lets the next holder in.
      if v_lock.path = any (v_paths) then
        v_expired := v_expired || v_lock.id;
      end if;
    elsif 'exclusive' in (v_mode, v_lock.mode) and not v_blockers @> jsonb_build_array(jsonb_build_object('fence', v_lock.fence)) then
      v_blockers := v_blockers || (
        select jsonb_agg(coord.describe_lock(v_lock, v_now) - 'repo' || jsonb_build_object('path', p, 'held_path', v_lock.path))
        from unnest(v_paths) p where coord.overlap(p, v_lock.path));
      -- Enough to know whom to wait for.
      exit when jsonb_array_length(v_blockers) >= 20;
    end if;
  end loop;

  if v_blockers <> '[]' then
    return coord.close_call(v_call, false, 'held', jsonb_build_object(
      'blockers', v_blockers,
      'next', format('%s holds %s for up to %s more seconds. Work on something else, then ask again.',
        v_blockers #>> '{0,holder}', v_blockers #>> '{0,held_path}', v_blockers #>> '{0,seconds_left}')), p_audited => false);
  end if;

  if v_expired is not null then
    update coord.locks l set released_at = l.expires_at, release_reason = 'expired'
    where l.id in (select o.id from coord.locks o where o.id = any (v_expired) order by o.place for no key update);
  end if;
  if v_kept is not null then
    for v_grant in
      update coord.locks l
      set expires_at = greatest(l.expires_at, v_now + make_interval(secs => v_ttl)), reason = coalesce(p_reason, l.reason)
      where l.id = any (v_kept)
      returning coord.describe_grant(l, v_now)
    loop
      v_locks := v_locks || v_grant;
    end loop;
  end if;
  if v_fresh <> '{}' then
    for v_grant in
      insert into coord.locks as l (place, repo, path, agent, session_id, agent_type, mode, fence, reason, acquired_at, expires_at)
      select v_call.repo || ' ' || p, v_call.repo, p, v_call.agent, v_call.session_id, v_call.agent_type, v_mode,
        nextval('coord.fences'), p_reason, v_now, v_now + make_interval(secs => v_ttl)
      from unnest(v_fresh) p
      on conflict (place, agent, session_id) do update set
        agent_type = excluded.agent_type, mode = excluded.mode, fence = excluded.fence, reason = excluded.reason,
        acquired_at = excluded.acquired_at, expires_at = excluded.expires_at, released_at = null, release_reason = null
      returning coord.describe_grant(l, v_now)
    loop
      v_locks := v_locks || v_grant;
    end loop;
  end if;
  if jsonb_array_length(v_locks) <> cardinality(v_paths) then
    perform coord.fail('internal_error', 'row-level security hid a lock that was just written');
  end if;

  return coord.close_call(v_call, true, case when v_fresh = '{}' then 'renewed' else 'acquired' end,
    jsonb_build_object('repo', v_call.repo, 'locks', v_locks, 'next', 'Edit, then release_lock; acquire_lock again extends.'));
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
  v_freed jsonb;
  v_released jsonb := jsonb '[]';
  v_not_held jsonb;
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
  if cardinality(v_held) <= 64 then
    perform coord.lock_places(coord.places(v_call.repo, v_held), v_places);
  else
    -- The lock table has room for a call's paths, not for all that a session may hold.
    perform coord.lock_places(array[v_call.repo || ' ./'], array[v_call.repo || ' ./']);
  end if;
  v_now := clock_timestamp();

  for v_freed in
    update coord.locks l set released_at = v_now, release_reason = 'released'
    -- The owner is compared as a row, which no index serves: without statistics the planner
    -- would walk everything this session ever held.
    where l.place = any (v_places) and (l.agent, l.session_id) is not distinct from (v_call.agent, v_call.session_id)
      and l.released_at is null and l.expires_at > v_now
    returning jsonb_build_object('path', l.path, 'fence', l.fence)
  loop
    v_released := v_released || v_freed;
  end loop;

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

  if v_not_held is null or v_released <> '[]' then
    return coord.close_call(v_call, true, 'released',
      jsonb_strip_nulls(jsonb_build_object('repo', v_call.repo, 'released', v_released, 'not_held', v_not_held)),
      p_audited => v_released <> '[]');
  end if;
  return coord.close_call(v_call, false, 'not_held', jsonb_build_object('not_held', v_not_held,
    'next', 'This session holds none of these; check_locks shows what is held.'), p_audited => false);
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
  if v_call.role <> 'coord_operator' then
    return coord.deny(v_call, 'insufficient_trust_level', 'breaking a lock is for operators');
  end if;
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
  return coord.close_call(v_call, true, 'released', jsonb_build_object('repo', v_call.repo, 'released', v_released), p_reason);
end
$$;

-- Reads ------------------------------------------------------------------------------

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

create function coord.check_locks(p_repo text, p_paths text[]) returns jsonb
language plpgsql stable security definer set search_path = ''
as $$
declare
  v_paths text[] := coalesce(coord.canonical_paths(p_paths), array['./']);
  v_now timestamptz := clock_timestamp();
  v_repo text;
  v_locks jsonb;
  v_total integer;
begin
  perform coord.caller();
  -- Without repo and paths: everything the caller reaches, which row-level security decides.
  if coalesce(p_repo, '') <> '' or p_paths is not null or current_setting('coord.repos') ~ '^[^ *]+$' then
    v_repo := coord.read_repo(p_repo);
  end if;
  select count(*), jsonb_agg(coord.describe_lock(d.lock, v_now) order by d.rank) filter (where d.rank <= 200)
  into v_total, v_locks
  from (
    select f.lock, row_number() over (order by (f.lock).acquired_at desc, (f.lock).path) as rank
    from (
      select o as lock from coord.overlapping_locks(v_repo, v_paths) o where v_repo is not null
      union all
      select l from coord.locks l where v_repo is null and l.released_at is null
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
  v_repo text := coord.read_repo(p_repo);
  v_caller coord.caller := coord.caller();
  v_now timestamptz := clock_timestamp();
  v_problems jsonb;
begin
  if coalesce(cardinality(p_paths), 0) = 0 then
    perform coord.fail('paths_required');
  elsif cardinality(p_paths) > 64 then
    perform coord.fail('too_many_paths', format('the call names %s', cardinality(p_paths)));
  elsif cardinality(p_fences) <> cardinality(p_paths) then
    perform coord.fail('fences_do_not_match', format('%s paths and %s fences', cardinality(p_paths), cardinality(p_fences)));
  end if;
  select jsonb_agg(jsonb_strip_nulls(jsonb_build_object('path', w.path, 'problem', w.problem, 'fence', w.fence,
    'holder', w.holder, 'newest_fence', w.newest)) order by w.ordinality)
  into v_problems
  from (
    select q.path, q.fence, q.ordinality, c.newest, c.holder,
      case
        when c.own is null and c.holder is not null then 'held_by_other'
        when c.own is null then 'not_held'
        when q.fence is not null and q.fence is distinct from c.own then 'stale_fence'
      end as problem
    from (
      select coord.canonical_path(u.path) as path, u.fence, u.ordinality
      from unnest(p_paths, p_fences) with ordinality u (path, fence, ordinality)
    ) q
    cross join lateral (
      -- Covered by a lock on the path itself or on a directory above it.
      select max(o.fence) filter (where o.agent = v_caller.agent and o.place = any (coord.places_to(v_repo, q.path))) as own,
        max(o.agent) filter (where o.agent <> v_caller.agent) as holder, max(o.fence) as newest
      from coord.overlapping_locks(v_repo, array[q.path]) o
      where o.expires_at > v_now
    ) c
  ) w
  where w.problem is not null;
  return jsonb_build_object('ok', v_problems is null, 'outcome', case when v_problems is null then 'covered' else 'not_covered' end,
    'repo', v_repo, 'problems', coalesce(v_problems, '[]'));
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
  delete from coord.locks l where l.id in (
    select o.id from coord.locks o
    where o.released_at < clock_timestamp() - interval '1 hour'
    limit p_max_locks for update skip locked);
  get diagnostics v_count = row_count;
  return v_count;
end
$$;
comment on function coord.purge_locks is 'Forgets locks released more than an hour ago, never others.';

set role coord_owner;
grant execute on function coord.release_locks_of_session to coord_janitor;

-- The contract -------------------------------------------------------------------------

create domain coord_v1.paths as text[];
comment on domain coord_v1.paths is $$Repo-relative: src/a.rs is a file, src/ a directory with all below it, ./ everything.
@schema {"minItems": 1, "maxItems": 64}$$;
create domain coord_v1.lock_mode as text;
comment on domain coord_v1.lock_mode is $$exclusive to edit; shared to keep others from editing what you read.
@schema {"enum": ["exclusive", "shared"]}$$;
create domain coord_v1.ttl_seconds as integer;
comment on domain coord_v1.ttl_seconds is $$Lease in seconds.
@schema {"minimum": 30, "maximum": 28800}$$;
create domain coord_v1.fences as bigint[];
comment on domain coord_v1.fences is $$Fencing tokens from acquire_lock, one for each path.
@schema {"maxItems": 64}$$;

create function coord_v1.acquire_lock(
  paths coord_v1.paths,
  repo coord_v1.repo default null,
  mode coord_v1.lock_mode default 'exclusive',
  ttl_seconds coord_v1.ttl_seconds default 1800,
  reason coord_v1.reason default null
) returns jsonb language sql
return coord.acquire_lock(repo, paths, mode, ttl_seconds, reason);
comment on function coord_v1.acquire_lock is $$Lock files or directories before editing them, all or nothing. Answers acquired, renewed (yours already, extended) or held (somebody else's; blockers says whose and how long).
Owner is the session. blockers shows about 20 at most. Each lock has a fence: a number that rises with every new holder; pass it to verify_locks before you commit.
Outcomes: acquired, renewed, held, denied. Errors: paths_required, too_many_paths, path_*, mode_unknown, ttl_out_of_range, argument_too_long, repo_required, repo_invalid, repo_not_granted, session_ended.
@title Acquire locks
@toolset core
@idempotent$$;

create function coord_v1.release_lock(
  paths coord_v1.paths default null,
  repo coord_v1.repo default null
) returns jsonb language sql
return coord.release_lock(repo, paths);
comment on function coord_v1.release_lock is $$Release your locks as soon as you are done; without paths, all this session holds in the repo.
Outcomes: released with released[]; not_held when none of paths is held by this session, with who holds it; denied. Errors: paths_required, too_many_paths, path_*, repo_required, repo_invalid, repo_not_granted, session_ended.
@title Release locks
@toolset core
@idempotent$$;

create function coord_v1.check_locks(
  paths coord_v1.paths default null,
  repo coord_v1.repo default null
) returns jsonb language sql stable
return coord.check_locks(repo, paths);
comment on function coord_v1.check_locks is $$See who holds what: live locks that overlap paths (all by default), newest first.
Without repo and paths: those of every repository you are granted. Answers locks[] (at most 200) and total. Errors: too_many_paths, path_*, repo_required, repo_invalid, repo_not_granted.
@title Check locks
@toolset core
@resource locks://current$$;

create function coord_v1.verify_locks(
  paths coord_v1.paths,
  fences coord_v1.fences default null,
  repo coord_v1.repo default null
) returns jsonb language sql stable
return coord.verify_locks(repo, paths, fences);
comment on function coord_v1.verify_locks is $$Check before a commit that each path is covered by a live lock of yours and each fence is still yours.
Outcomes: covered (ok true); not_covered with problems[]: not_held, held_by_other, stale_fence. Errors: paths_required, too_many_paths, fences_do_not_match, path_*, repo_required, repo_invalid, repo_not_granted.
@title Verify locks
@toolset full$$;

create function coord_v1.force_release_lock(
  paths coord_v1.paths,
  reason coord_v1.reason,
  repo coord_v1.repo default null
) returns jsonb language sql
return coord.force_release_lock(repo, paths, reason);
comment on function coord_v1.force_release_lock is $$Break locks that somebody else holds; operators only, with a reason, always audited.
Outcomes: released with the prior holders; denied. Errors: reason_required, paths_required, too_many_paths, path_*, argument_too_long, repo_required, repo_invalid, repo_not_granted, insufficient_trust_level.
@title Break locks
@toolset full
@destructive$$;

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
