-- Pushes: fencing to the repository itself.
--
-- A commit says in its trailers under whose locks it was made: agent, session and
-- fences. The repository's server asks verify_push before it takes commits. It is
-- the resource that a fencing token protects: it remembers the highest fence that
-- reached each file, and refuses work under a lower one.
--
-- A changed file is in order when an exclusive lock of the commit's agent on it, or
-- on a directory above it, with a fence that the commit names
--   is live; or
--   was released by its owner, and no higher fence of another session has reached the file.
-- A lock that expired or was broken is not: its owner was thought dead, and others
-- may have worked since. A session that took the same path again under a higher
-- fence vouches for its earlier one.
--
-- What a trailer says is a claim: it keeps agents that mean well from overwriting
-- each other. Who may push at all is the server's business.
--
-- Lock order: one push of a repository at a time (an advisory lock), nothing after it.

set role coord_owner;

create table coord.pushed_fences (
  place text collate "C" primary key,
  repo text not null,
  fence bigint not null,
  agent text not null,
  session_id text not null,
  commit_id text not null,
  pushed_at timestamptz not null default clock_timestamp()
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02);
comment on table coord.pushed_fences is 'The highest fence under which each file was pushed.';

alter table coord.pushed_fences enable row level security;
alter table coord.pushed_fences force row level security;
create policy repo_admitted on coord.pushed_fences
  for all to coord_owner
  using (
    current_setting('coord.repos', true) in (repo, '*')
    or repo = any (string_to_array(current_setting('coord.repos', true), ' '))
  );

insert into coord.operations (name, trust) values ('verify_push', 2);

insert into coord.error_codes (code, status, meaning, remedy) values
  ('commits_invalid', 400, 'commits is a list of objects with id, agent, sessions, locks and paths.', 'Let coord hook pre-receive make the call.'),
  ('too_many_commits', 422, 'A push brings at most 2000 commits with 20000 changed files.', 'Push in smaller steps, or set the lock policy off for an import.');

create function coord.fence_standing(
  p_repo text, p_path text, p_agent text, p_sessions text[], p_locks jsonb
) returns table (fence bigint, session_id text, standing text)
language sql stable
begin atomic
  select c.fence, c.session_id, c.standing
  from (
    -- The fence that the commit names and this row stands for: its own, or an earlier one of the same session.
    select n.fence, l.session_id,
      case
        when l.fence > n.fence then 'released'
        when l.released_at is null and l.expires_at > clock_timestamp() then 'live'
        when l.release_reason in ('released', 'session_ended') then 'released'
        when l.release_reason = 'forced' then 'broken'
        else 'expired'
      end as standing
    from coord.locks l
    cross join lateral (
      select max((k ->> 'fence')::bigint) as fence from jsonb_array_elements(p_locks) k
      where k ->> 'path' = l.path and (k ->> 'fence')::bigint <= l.fence
    ) n
    where l.place = any (coord.places_to(p_repo, p_path)) and l.agent = p_agent and l.mode = 'exclusive'
      and (l.fence = n.fence or l.fence > n.fence and l.session_id = any (p_sessions))
    union all
    select (k.lock ->> 'fence')::bigint, p.session_id,
      case when p.fence > (k.lock ->> 'fence')::bigint then 'released'
        else case p.release_reason when 'forced' then 'broken' when 'expired' then 'expired' else 'released' end end
    from jsonb_array_elements(p_locks) k (lock)
    join coord.past_locks p on p.fence >= (k.lock ->> 'fence')::bigint
      and p.agent = p_agent and p.session_id = any (p_sessions) and p.repo = p_repo and p.path = k.lock ->> 'path'
    where p.mode = 'exclusive' and (p.path = p_path or coord.lies_in(p_path, p.path))
  ) c
  order by c.standing in ('live', 'released') desc, c.standing = 'live' desc, c.fence desc
  limit 1;
end;
comment on function coord.fence_standing is 'The best of the fences that a commit names for a file: live, released, expired or broken.';

create function coord.verify_push(p_repo text, p_commits jsonb) returns jsonb
-- The planner cannot know how few rows come out of jsonb, and would compile the plan for a second.
language plpgsql security definer set search_path = '' set jit = off
as $$
declare
  v_call coord.call := coord.open_repo_call('verify_push', jsonb_build_object(
    'repo', p_repo, 'commits', sha256(convert_to(coalesce(p_commits::text, ''), 'UTF8'))));
  v_commits jsonb := jsonb_strip_nulls(p_commits);
  v_policy text;
  v_files bigint;
  v_problems jsonb;
  v_total bigint;
  v_decision text;
begin
  if v_call.answer is not null then return v_call.answer; end if;
  if v_call.role <> 'coord_operator' and v_call.agent_type <> 'git-server' then
    return coord.deny(v_call, 'insufficient_trust_level', 'pushes are checked by principals of type git-server, or by operators');
  end if;
  v_policy := coord.lock_policy(v_call.repo);
  if v_policy = 'off' then
    return coord.close_call(v_call, true, 'accepted', jsonb_build_object('repo', v_call.repo, 'decision', 'allow', 'policy', 'off',
      'problems', jsonb '[]', 'total_problems', 0), p_audited => false);
  elsif jsonb_typeof(v_commits) is distinct from 'array' or exists (
    select from jsonb_array_elements(v_commits) c
    where jsonb_typeof(c) <> 'object' or jsonb_typeof(c -> 'id') is distinct from 'string' or c ->> 'id' !~ '^[0-9a-f]{7,64}$'
      or jsonb_typeof(c -> 'paths') is distinct from 'array' or jsonb_path_exists(c, '$.paths[*] ? (@.type() != "string")')
      or jsonb_typeof(c -> 'agent') <> 'string'
      or jsonb_typeof(c -> 'sessions') <> 'array' or jsonb_path_exists(c, '$.sessions[*] ? (@.type() != "string")')
      or jsonb_typeof(c -> 'locks') <> 'array' or jsonb_path_exists(c, '$.locks[*] ? (!exists (@.path) || !exists (@.fence))')
      or jsonb_path_exists(c, '$.locks[*].path ? (@.type() != "string")') or jsonb_path_exists(c, '$.locks[*].fence ? (@.type() != "number")')
      or jsonb_path_exists(c, '$.locks[*].fence ? (@ < 0 || @ > 9000000000000000000 || @.floor() != @)'))
  then
    perform coord.fail('commits_invalid');
  end if;
  select coalesce(sum(jsonb_array_length(c -> 'paths')), 0) into v_files from jsonb_array_elements(v_commits) c;
  if jsonb_array_length(v_commits) > 2000 or v_files > 20000 then
    perform coord.fail('too_many_commits', format('%s commits change %s files', jsonb_array_length(v_commits), v_files));
  end if;
  perform pg_advisory_xact_lock(hashtextextended(v_call.repo, 5));

  with changed as materialized (
    select c.n, c.commit ->> 'id' as id, c.commit ->> 'agent' as agent,
      array(select jsonb_array_elements_text(coalesce(c.commit -> 'sessions', '[]'))) as sessions,
      coalesce(c.commit -> 'locks', '[]') as locks,
      coord.literal_path(p.path) as path
    from jsonb_array_elements(v_commits) with ordinality c (commit, n), jsonb_array_elements_text(c.commit -> 'paths') p (path)
  ),
  judged as materialized (
    select c.*, coord.place(v_call.repo, c.path) as place, s.fence, s.session_id, r.fence as reached, r.agent as reached_by,
      case
        when c.agent is null or c.locks = '[]' then 'no_fence'
        when s.standing is null then 'not_covered'
        when s.standing = 'expired' then 'fence_expired'
        when s.standing = 'broken' then 'fence_broken'
        when s.standing = 'released' and r.fence > s.fence and (r.agent, r.session_id) <> (c.agent, s.session_id) then 'fence_superseded'
      end as problem
    from changed c
    left join lateral coord.fence_standing(v_call.repo, c.path, c.agent, c.sessions, c.locks) s on true
    left join coord.pushed_fences r on r.place = coord.place(v_call.repo, c.path)
  ),
  reached as (
    -- Nothing reaches a repository with a push that is refused.
    insert into coord.pushed_fences as r (place, repo, fence, agent, session_id, commit_id)
    select distinct on (j.place) j.place, v_call.repo, j.fence, j.agent, j.session_id, j.id
    from judged j
    -- A longer name than an index takes could only be guarded by its directory.
    where j.problem is null and octet_length(j.place) <= 2000
      and (v_policy <> 'enforce' or not exists (select from judged o where o.problem is not null))
    order by j.place, j.fence desc, j.n desc
    on conflict (place) do update set
      fence = excluded.fence, agent = excluded.agent, session_id = excluded.session_id,
      commit_id = excluded.commit_id, pushed_at = clock_timestamp()
      where r.fence < excluded.fence
    returning r.place
  )
  select count(*), jsonb_agg(b.problem order by b.n) filter (where b.n <= 100)
  into v_total, v_problems
  from (
    select row_number() over (order by j.n, j.path) as n, jsonb_strip_nulls(jsonb_build_object(
      'commit', j.id, 'agent', j.agent, 'path', j.path, 'problem', j.problem, 'fence', j.fence,
      'newest_fence', case when j.problem = 'fence_superseded' then j.reached end,
      'pushed_by', case when j.problem = 'fence_superseded' then j.reached_by end,
      'holder', h.agent, 'held_path', h.path)) as problem
    from judged j
    left join lateral (
      select o.agent, o.path from coord.overlapping_locks(v_call.repo, array[j.path]) o
      where o.expires_at > clock_timestamp() and o.agent is distinct from j.agent
      order by o.fence desc limit 1
    ) h on true
    where j.problem is not null
  ) b;

  v_decision := coord.decision(v_policy, v_total = 0);
  return coord.close_call(v_call, v_decision <> 'deny', case when v_decision = 'deny' then 'refused' else 'accepted' end,
    jsonb_build_object('repo', v_call.repo, 'decision', v_decision, 'policy', v_policy,
      'commits', jsonb_array_length(v_commits), 'problems', coalesce(v_problems, '[]'), 'total_problems', v_total)
    || case when v_total = 0 then '{}' else jsonb_build_object('next',
      'Lock the files (acquire_lock), take in what others pushed, commit again with the hooks of coord hook install, then push.') end);
end
$$;

-- The contract -------------------------------------------------------------------------

create domain coord_v1.commits as jsonb;
comment on domain coord_v1.commits is $$Commits as {"id", "agent", "sessions": [], "locks": [{"fence", "path"}], "paths": []}; all but id and paths from trailers.
@schema {"type": "array", "items": {"type": "object"}, "maxItems": 2000}$$;

create function coord_v1.verify_push(commits coord_v1.commits, repo coord_v1.repo default null) returns jsonb
language sql
return coord.verify_push(repo, commits);
comment on function coord_v1.verify_push is $$Decide whether commits may enter the repository: each changed file under a lock of the commit's agent that is live, or was released before anybody pushed under a higher fence.
For the pre-receive hook of a git server: principals of type git-server, and operators. decision is allow, warn or deny, by the repository's policy (set_lock_policy).
Outcomes: accepted; refused, with problems[] (at most 100): no_fence, not_covered, fence_expired, fence_broken, fence_superseded; denied. Errors: commits_invalid, too_many_commits, repo_required, repo_invalid, repo_not_granted, insufficient_trust_level.
@toolset full$$;

grant usage on type coord_v1.commits to coord_agent, coord_operator, coord_auditor;
grant execute on function coord.verify_push, coord_v1.verify_push to coord_agent, coord_operator;

reset role;
notify pgrst, 'reload schema';
