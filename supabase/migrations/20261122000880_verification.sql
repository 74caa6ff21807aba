-- Verification: which checks a change takes, who runs them, what came of it.
--
-- A changeset (C-17) is what changed between two commits, base and head. Policies turn
-- its paths, its author's trust and its size into a plan: jobs (V-17), each a tier and
-- an executor. Jobs are an outbox: a dispatcher takes them, runs them and reports.
--
-- Tiers    0 static   1 unit   2 integration   3 system   4 manual, a person's
--
-- Routing. Every policy that matches adds its tier and its executors; the highest tier is
-- the plan's. Static checks always run, and where nothing matches nothing else does. A
-- sensitive policy and an author of trust 1 or none add the manual tier. An author of
-- trust 3 skips the tiers, of 0 and 1, that all matching policies let go, unless the plan
-- reaches a person. Paths that are not known match, and a size that nobody told is a large one.
--
-- A glob knows * and ? within a name and ** for any number of directories; a trailing slash
-- is all below; everything else, [ included, stands for itself. It is anchored at the
-- root of the repository. except takes paths away, whatever else matches them.
--
-- States of a changeset, and the only ways between them
--   pending  -> verified     all jobs passed
--   pending  -> rejected     a job failed, or is dead
--   pending  -> superseded   a newer head of the branch or task came
--   verified -> superseded   whoever is believed more told more of the same head
-- States of a job
--   pending, error, timed_out -> running    take_verification: the attempt rises by one
--   running  -> error, timed_out            the attempt came to nothing; another follows
--   running  -> dead                        and none is left
--   any open state -> passed, failed        the verdict, with its evidence
--   any open state -> cancelled             its changeset ended without it
-- passed, failed, cancelled and dead are terminal. A job is ready when all jobs of lower
-- tiers passed, and after an attempt that came to nothing once it has backed off.
--
-- A verdict is for the head, from a run that began after the head was committed, and
-- never the author's own. Who reports carries the attempt of the take; one that is over
-- changes nothing.
--
-- A base that is the head of a change not verified is no ground to stand on: the new
-- changeset takes in the paths of the old one and begins where that began.
--
-- Invariants
--   V1  nobody verifies, nor runs the checks of, what they are the author of (never_by_its_author)
--   V2  a verdict is for the head (evidence_is_for_the_head)
--   V3  a job is run by one at a time, with rising attempts (running_by_one)
--   V4  a verified changeset has no job that did not pass, and terminal states do not change
--   V5  a head has one changeset that is pending or verified (one_changeset_a_head)
--
-- Lock order: the repository's changesets (an advisory lock, taken by what makes one),
-- changesets by number, their jobs by number. Taking a job locks that alone, and waits
-- for nobody.

set role coord_owner;

create sequence coord.changeset_numbers;
comment on sequence coord.changeset_numbers is 'Numbers of changesets.';
create sequence coord.verification_numbers;
comment on sequence coord.verification_numbers is 'Numbers of verification jobs.';

create table coord.executors (
  name text primary key,
  tiers integer[] not null,
  taken boolean not null,
  meaning text not null,
  constraint name_is_a_name check (name ~ '^[a-z][a-z0-9_]{0,29}$'),
  constraint tiers_are_tiers check (tiers <@ '{0,1,2,3,4}')
);
comment on table coord.executors is 'Who can run checks; a row more is an executor more.';
comment on column coord.executors.taken is 'Whether a dispatcher takes its jobs; the others'' verdicts arrive by themselves.';
alter table coord.executors enable row level security;
alter table coord.executors force row level security;
create policy everyone_reads on coord.executors
  for all to coord_owner, coord_janitor, coord_agent, coord_operator, coord_auditor using (true);
grant select on coord.executors to coord_janitor, coord_agent, coord_operator, coord_auditor;

insert into coord.executors (name, tiers, taken, meaning) values
  ('inline', '{0}', true, 'Commands in the dispatcher''s own checkout: linters, types.'),
  ('github_actions', '{0,1,2,3}', true, 'A workflow file, as github_actions:ci.yml; started by the dispatcher or by the push.'),
  ('github_check', '{0,1,2,3}', false, 'A check of another app, as github_check:app-slug/name.'),
  ('local', '{0,1,2,3}', true, 'Commands in a scratch worktree of the dispatcher''s machine.'),
  ('e2b', '{1,2,3}', true, 'A sandbox of E2B.'),
  ('agentcore', '{2,3}', true, 'A runtime of AgentCore.'),
  ('manual', '{4}', false, 'A person.');

create function coord.glob_regex(p_glob text) returns text
language sql immutable
-- Marks for ** first: what stands for it holds * and ? again.
return replace(replace(replace(replace(replace(replace(
  regexp_replace(p_glob || case when right(p_glob, 1) = '/' then '**' else '' end, '([].(){}[^$+|\\])', '\\\1', 'g'),
  '?', '[^/]'), '**/', e'\x01'), '**', e'\x02'), '*', '[^/]*'), e'\x01', '(?:.*/)?'), e'\x02', '.*');
comment on function coord.glob_regex is 'The regular expression of a glob, not anchored.';

create function coord.globs_regex(p_globs jsonb) returns text
language sql immutable
begin atomic
  -- One for all of them: PostgreSQL keeps 32 compiled expressions a backend.
  select '^(?:' || string_agg(coord.glob_regex(g), '|') || ')$' from jsonb_array_elements_text(p_globs) g;
end;
comment on function coord.globs_regex is 'The regular expression of a list of globs; null for none.';

create table coord.verification_policies (
  name text primary key,
  spec jsonb not null,
  matched text generated always as (coord.globs_regex(spec -> 'paths')) stored,
  excepted text generated always as (coord.globs_regex(spec -> 'except')) stored,
  managed boolean not null default true,
  changed_at timestamptz not null default clock_timestamp(),
  changed_by text not null,
  constraint name_is_a_name check (name ~ '^[a-z0-9][a-z0-9._-]{0,49}$'),
  constraint spec_is_a_mapping check (jsonb_typeof(spec) = 'object')
);
comment on table coord.verification_policies is 'What changes take which checks, as it was declared (section verification).';
alter table coord.verification_policies enable row level security;
alter table coord.verification_policies force row level security;
create policy everyone_reads on coord.verification_policies
  for all to coord_owner, coord_agent, coord_operator, coord_auditor using (true)
  with check ((select nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'role') = 'coord_operator');
grant select on coord.verification_policies to coord_agent, coord_operator, coord_auditor;

create table coord.changesets (
  number bigint primary key,
  repo text not null,
  base text not null,
  head text not null,
  branch text,
  task bigint,
  author text not null,
  author_trust integer not null,
  submitted_by text not null,
  submitted_at timestamptz not null,
  head_committed_at timestamptz,
  paths text[] not null,
  paths_known boolean not null,
  files integer,
  lines integer,
  tier integer not null,
  executors text[] not null,
  reasons jsonb not null,
  skipped integer[] not null,
  state text not null default 'pending',
  reached integer,
  reason text,
  superseded_by bigint,
  ended_at timestamptz,
  constraint commits_are_whole check (base ~ '^([0-9a-f]{40}|[0-9a-f]{64})$' and head ~ '^([0-9a-f]{40}|[0-9a-f]{64})$'),
  constraint tier_is_a_tier check (tier between 0 and 4),
  constraint trust_is_a_level check (author_trust between 0 and 4),
  constraint state_is_known check (state in ('pending', 'verified', 'rejected', 'superseded')),
  constraint ended_says_when check ((state = 'pending') = (ended_at is null)),
  constraint rejected_says_why check (state <> 'rejected' or reason is not null),
  constraint superseded_says_by_what check ((state = 'superseded') = (superseded_by is not null)),
  constraint reached_when_verified check (reached is null or state in ('verified', 'superseded') and reached <= tier)
) with (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05);
comment on table coord.changesets is 'Changes and what their verification came to, for 90 days after its end.';
comment on column coord.changesets.paths_known is 'Whether paths are all there are.';
comment on column coord.changesets.reached is 'The highest tier that passed; null where all was skipped.';
create unique index one_changeset_a_head on coord.changesets (repo, head) where state in ('pending', 'verified');
create index changesets_by_head on coord.changesets (repo, head, number);
create index changesets_open on coord.changesets (repo, number) where state = 'pending';
create index changesets_by_task on coord.changesets (task, number) where task is not null;
create index changesets_by_end on coord.changesets (ended_at) where ended_at is not null;

create table coord.verification_jobs (
  number bigint primary key,
  repo text not null,
  changeset bigint not null references coord.changesets (number) on delete cascade,
  head text not null,
  author text not null,
  tier integer not null,
  executor text not null,
  target text,
  timeout_seconds integer not null,
  max_attempts integer not null,
  state text not null default 'pending',
  attempt integer not null default 0,
  next_at timestamptz,
  -- Who runs it, or ran it last.
  taken_by text,
  taken_at timestamptz,
  lease_until timestamptz,
  timeout_at timestamptz,
  evidence jsonb,
  reported_by text,
  history jsonb not null default '[]',
  created_at timestamptz not null,
  ended_at timestamptz,
  constraint state_is_known check (state in ('pending', 'running', 'passed', 'failed', 'error', 'timed_out', 'cancelled', 'dead')),
  constraint manual_is_a_tier check ((tier = 4) = (executor = 'manual') and tier between 0 and 4),
  constraint running_by_one check (state <> 'running' or num_nulls(taken_by, taken_at, lease_until, timeout_at) = 0),
  constraint leased_within_its_time check (lease_until <= timeout_at),
  constraint backs_off_after_an_attempt check ((next_at is not null) = (state in ('error', 'timed_out'))),
  constraint attempts_are_counts check (attempt between 0 and max_attempts and (state <> 'dead' or attempt = max_attempts)),
  constraint ended_says_when check ((state in ('passed', 'failed', 'cancelled', 'dead')) = (ended_at is not null)),
  constraint verdict_has_evidence check ((state in ('passed', 'failed')) = (evidence is not null and reported_by is not null)),
  constraint evidence_is_for_the_head check (coalesce(evidence ->> 'commit' = head, evidence is null)),
  constraint never_by_its_author check (coalesce(reported_by <> author, true) and coalesce(taken_by <> author, true))
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02);
comment on table coord.verification_jobs is 'Checks to be run, as an outbox for dispatchers.';
create index verification_jobs_by_changeset on coord.verification_jobs (changeset, tier);
create index verification_jobs_waiting on coord.verification_jobs (executor, number) where state in ('pending', 'error', 'timed_out');
create index verification_jobs_running on coord.verification_jobs (repo, number) where state = 'running';

do $$
declare
  v_table text;
begin
  foreach v_table in array array['changesets', 'verification_jobs'] loop
    perform coord.protect_by_repo(v_table);
    execute format('grant select, update, delete on coord.%I to coord_janitor', v_table);
  end loop;
end
$$;

create function coord.refuse_verification_change() returns trigger
language plpgsql set search_path = ''
as $$
begin
  raise exception '% % cannot go from % to %', tg_table_name, old.number, old.state, new.state using errcode = 'PT409';
end
$$;
comment on function coord.refuse_verification_change is 'Refuses whatever the states of changesets and jobs do not know, for their owner too.';

create trigger only_legal_changes before update on coord.changesets
  for each row when (
    (to_jsonb(old) - '{state,reached,reason,superseded_by,ended_at}'::text[]) is distinct from
      (to_jsonb(new) - '{state,reached,reason,superseded_by,ended_at}'::text[])
    or not (old.state = 'pending' or old.state = 'verified' and new.state = 'superseded' and new.reached is not distinct from old.reached)
  ) execute function coord.refuse_verification_change();
create trigger only_legal_changes before update on coord.verification_jobs
  for each row when (
    (old.number, old.repo, old.changeset, old.head, old.author, old.tier, old.executor, old.timeout_seconds, old.max_attempts, old.created_at)
      is distinct from
      (new.number, new.repo, new.changeset, new.head, new.author, new.tier, new.executor, new.timeout_seconds, new.max_attempts, new.created_at)
    or new.target is distinct from old.target
    or not case
      when old.state in ('passed', 'failed', 'cancelled', 'dead') then false
      when new.state = 'running' and old.state = 'running' then
        (new.attempt, new.taken_by, new.taken_at, new.timeout_at) = (old.attempt, old.taken_by, old.taken_at, old.timeout_at)
      when new.state = 'running' then new.attempt = old.attempt + 1
      when new.state in ('error', 'timed_out', 'dead') then old.state = 'running' and new.attempt = old.attempt
      when new.state in ('passed', 'failed', 'cancelled') then new.attempt = old.attempt
      else false
    end
  ) execute function coord.refuse_verification_change();

-- What an installation without a configuration keeps an eye on; coord apply brings the rest.
do $$
begin
  perform set_config('request.jwt.claims', '{"role": "coord_operator", "sub": "operator"}', true);
  insert into coord.verification_policies (name, spec, managed, changed_by)
  values ('security', '{"description": "What decides who gets in, and what checks everything else", "sensitive": true,
    "paths": [".github/**", "agents/*", "**/auth/**", "**/security/**", "**/*.pem", "**/*.key", "**/.env*"]}', false, 'operator');
  perform set_config('request.jwt.claims', '', true);
end
$$;

insert into coord.operations (name, trust) values
  ('submit_changeset', 2), ('submit_changeset_for', 4), ('verification_status', 1), ('take_verification', 3), ('renew_verification', 3),
  ('report_verification', 3), ('decide_verification', 4);

insert into coord.error_codes (code, status, meaning, remedy) values
  ('changeset_invalid', 400, 'This is no changeset.', 'Pass it as it was given, like C-17.'),
  ('changeset_not_found', 404, 'You reach no changeset of this number.', 'Check the number; the view verifications lists them.'),
  ('job_invalid', 400, 'This is no verification job.', 'Pass it as it was given, like V-17.'),
  ('job_not_found', 404, 'You reach no verification job of this number.', 'Check the number; the view verification_jobs lists them.'),
  ('commit_invalid', 400, 'base and head are two commits, by their whole ids.', 'Pass what git rev-parse prints: 40 or 64 hexadecimal digits.'),
  ('changed_path_invalid', 400, 'A changed path is not what git diff --name-only prints.', 'Pass paths as git names them, relative to the root of the repository, without quotes.'),
  ('task_of_another', 409, 'The task was not claimed by the author of the change.', 'Leave task out, or let whoever claimed it submit the change.'),
  ('author_cannot_verify', 403, 'Nobody verifies their own change.', 'Let another agent or a person do it.'),
  ('evidence_invalid', 422, 'The evidence lacks something, or contradicts itself.', 'Pass {"commit", "started_at", "ended_at", "log_url", "summary"}; times as 2026-12-31T12:00:00Z.'),
  ('evidence_not_for_head', 422, 'The evidence is for another commit than the head of the change.', 'Check out the head that take_verification names and run it again.'),
  ('evidence_stale', 422, 'The run began before the head was committed.', 'Run it again on the head.'),
  ('not_manual', 409, 'Only a manual job is decided; others are run.', 'report_verification reports what a run came to.');

-- Names ------------------------------------------------------------------------------------

create function coord.changeset_number(p_changeset text) returns bigint
language plpgsql stable
as $$
begin
  if p_changeset is null or p_changeset !~* '^C-[0-9]{1,18}$' then
    perform coord.fail('changeset_invalid', coalesce(
      (select format('%s is a job; its changeset is C-%s', upper(p_changeset), j.changeset) from coord.verification_jobs j
        where j.number = case when p_changeset ~* '^V-[0-9]{1,18}$' then substr(p_changeset, 3)::bigint end),
      format('%s is no changeset', quote_literal(left(coalesce(p_changeset, ''), 50)))));
  end if;
  return substr(p_changeset, 3)::bigint;
end
$$;
comment on function coord.changeset_number is 'The number behind C-17.';

create function coord.job_number(p_job text) returns bigint
language plpgsql stable
as $$
begin
  if p_job is null or p_job !~* '^V-[0-9]{1,18}$' then
    perform coord.fail('job_invalid', format('%s is no verification job', quote_literal(left(coalesce(p_job, ''), 50))));
  end if;
  return substr(p_job, 3)::bigint;
end
$$;
comment on function coord.job_number is 'The number behind V-17.';

create function coord.full_executor(p_executor text, p_target text) returns text
language sql immutable
return p_executor || coalesce(':' || p_target, '');
comment on function coord.full_executor is 'An executor with its target, as policies name it.';

-- Policies as code --------------------------------------------------------------------------

create function coord.check_range(p_place text, p_range jsonb, p_most integer) returns void
language plpgsql
as $$
begin
  if p_range is null then
    return;
  end if;
  perform coord.check_keys(p_place, p_range, 'min', 'max');
  if exists (select from jsonb_each(p_range) r where jsonb_typeof(r.value) <> 'number' or r.value::text !~ '^[0-9]{1,8}$' or r.value::text::integer > p_most) then
    perform coord.refuse_config(p_place, format('min and max are whole numbers from 0 to %s', p_most));
  elsif (p_range ->> 'min')::integer > (p_range ->> 'max')::integer then
    perform coord.refuse_config(p_place, 'min is above max');
  end if;
end
$$;
comment on function coord.check_range is 'Refuses what is no range {min, max}.';

create function coord.check_verification_policy(p_name text, p_spec jsonb) returns void
language plpgsql
as $$
declare
  v_place text := 'verification/' || p_name;
  v_list text;
  v_text text;
begin
  if p_name !~ '^[a-z0-9][a-z0-9._-]{0,49}$' then
    perform coord.refuse_config(v_place, 'a name has 1 to 50 small letters, digits and . _ -');
  end if;
  perform coord.check_keys(v_place, p_spec, 'description', 'paths', 'except', 'trust', 'lines', 'files', 'tier', 'executors', 'sensitive', 'skips',
    'timeout_seconds', 'max_attempts');
  perform coord.check_range(v_place || '/trust', p_spec -> 'trust', 4), coord.check_range(v_place || '/lines', p_spec -> 'lines', 99999999),
    coord.check_range(v_place || '/files', p_spec -> 'files', 99999999);
  foreach v_list in array array['paths', 'except', 'executors'] loop
    perform coord.check_texts(v_place || '/' || v_list, p_spec -> v_list);
    if jsonb_array_length(p_spec -> v_list) > 200 then
      perform coord.refuse_config(v_place || '/' || v_list, 'this has at most 200 entries');
    end if;
  end loop;
  foreach v_list in array array['paths', 'except'] loop
    select g into v_text from jsonb_array_elements_text(coalesce(p_spec -> v_list, '[]')) g
    where regexp_replace(g, '/$', '') ~ '(^|/)\.{0,2}(/|$)' or length(g) > 500 or g ~ '[[:cntrl:]]'
      or g ~ '[^/]\*\*|\*\*[^/]' limit 1;
    if found then
      perform coord.refuse_config(format('%s/%s/%s', v_place, v_list, v_text), 'a glob is relative, * and ? stay within a name, ** stands alone between slashes');
    end if;
  end loop;
  if jsonb_typeof(p_spec -> 'description') <> 'string' or length(p_spec ->> 'description') > 500 then
    perform coord.refuse_config(v_place || '/description', 'a description is a text of at most 500 characters');
  elsif jsonb_typeof(p_spec -> 'sensitive') <> 'boolean' then
    perform coord.refuse_config(v_place || '/sensitive', 'sensitive is true or false');
  elsif p_spec -> 'tier' is null and p_spec -> 'sensitive' is distinct from 'true' then
    perform coord.refuse_config(v_place, 'a policy has a tier, or is sensitive');
  elsif jsonb_typeof(p_spec -> 'tier') <> 'number' or p_spec ->> 'tier' !~ '^[0-4]$' then
    perform coord.refuse_config(v_place || '/tier', 'tier is 0 static, 1 unit, 2 integration, 3 system or 4 manual');
  elsif p_spec ? 'skips' and (jsonb_typeof(p_spec -> 'skips') <> 'array' or not p_spec -> 'skips' <@ '[0, 1]') then
    perform coord.refuse_config(v_place || '/skips', 'only the tiers 0 and 1 can be skipped');
  elsif jsonb_typeof(p_spec -> 'timeout_seconds') <> 'number' or (p_spec ->> 'timeout_seconds') !~ '^[0-9]{1,5}$'
    or (p_spec ->> 'timeout_seconds')::integer not between 10 and 28800 then
    perform coord.refuse_config(v_place || '/timeout_seconds', 'this is a whole number from 10 to 28800');
  elsif jsonb_typeof(p_spec -> 'max_attempts') <> 'number' or (p_spec ->> 'max_attempts') !~ '^([1-9]|10)$' then
    perform coord.refuse_config(v_place || '/max_attempts', 'this is a whole number from 1 to 10');
  end if;
  select e into v_text from jsonb_array_elements_text(coalesce(p_spec -> 'executors', '[]')) e
  where e !~ '^[a-z0-9_]+(:[[:graph:]]([[:print:]]{0,98}[[:graph:]])?)?$' or not exists (
    select from coord.executors k where k.name = split_part(e, ':', 1) and coalesce((p_spec ->> 'tier')::integer, 4) = any (k.tiers)) limit 1;
  if found then
    perform coord.refuse_config(format('%s/executors/%s', v_place, v_text), format('no executor of tier %s; these are: %s', coalesce(p_spec ->> 'tier', '4'),
      (select string_agg(k.name, ', ' order by k.name) from coord.executors k where coalesce((p_spec ->> 'tier')::integer, 4) = any (k.tiers))));
  end if;
end
$$;
comment on function coord.check_verification_policy is 'Refuses a policy that says anything unknown or impossible.';

create function coord.declared_verification() returns table (kind text, name text, spec jsonb, managed boolean)
language sql stable
begin atomic
  select 'verification', p.name, p.spec, p.managed from coord.verification_policies p;
end;
comment on function coord.declared_verification is 'The section verification of the configuration as it stands.';

create function coord.write_verification(p_written jsonb, p_removed jsonb, p_agent text) returns void
language plpgsql
as $$
begin
  insert into coord.verification_policies as p (name, spec, changed_by)
  select w ->> 'name', w -> 'after', p_agent from jsonb_array_elements(p_written) w where w ->> 'kind' = 'verification'
  on conflict (name) do update set spec = excluded.spec, managed = true, changed_at = clock_timestamp(), changed_by = excluded.changed_by;
  delete from coord.verification_policies p
  using jsonb_array_elements(p_removed) r where r ->> 'kind' = 'verification' and p.name = r ->> 'name';
end
$$;
comment on function coord.write_verification is 'Writes what a configuration changes of the section verification.';

-- Routing ----------------------------------------------------------------------------------

create function coord.in_range(p_value integer, p_range jsonb) returns boolean
language sql immutable
return coalesce(p_value >= (p_range ->> 'min')::integer, true) and coalesce(p_value <= (p_range ->> 'max')::integer, p_range -> 'max' is null);
comment on function coord.in_range is 'Whether a number is in a range {min, max}; one that nobody told is a large one.';

create function coord.first_match(p_policy coord.verification_policies, p_paths text[], p_text text) returns text
language plpgsql stable
as $$
declare
  v_first text;
begin
  -- All paths at once, a line each: for the many policies that match none it is ten times as fast.
  if p_text !~ ('(?n)' || p_policy.matched) then
    return null;
  end if;
  select p into v_first from unnest(p_paths) p
  where (p_policy.matched is null or p ~ p_policy.matched) and (p_policy.excepted is null or p !~ p_policy.excepted) limit 1;
  return v_first;
end
$$;
comment on function coord.first_match is 'A path that a policy matches; null where there is none.';

create function coord.why_matched(
  p_policy coord.verification_policies, p_paths text[], p_text text, p_known boolean, p_trust integer, p_files integer, p_lines integer
) returns text
language plpgsql stable
as $$
declare
  v_spec jsonb := p_policy.spec;
  v_first text;
  v_why text[] := array[]::text[];
begin
  if not (coord.in_range(p_trust, v_spec -> 'trust') and coord.in_range(p_lines, v_spec -> 'lines') and coord.in_range(p_files, v_spec -> 'files')) then
    return null;
  end if;
  if not p_known then
    v_why := array['not all changed paths are known'];
  elsif p_policy.matched is not null or p_policy.excepted is not null then
    v_first := coord.first_match(p_policy, p_paths, p_text);
    if v_first is null then
      return null;
    end if;
    v_why := array[v_first];
  end if;
  if v_spec ? 'trust' then
    v_why := v_why || format('trust %s', p_trust);
  end if;
  if v_spec ? 'lines' then
    v_why := v_why || coalesce(p_lines || ' lines', 'lines are not known');
  end if;
  if v_spec ? 'files' then
    v_why := v_why || coalesce(p_files || ' files', 'files are not known');
  end if;
  return coalesce(nullif(array_to_string(v_why, ', '), ''), 'every change');
end
$$;
comment on function coord.why_matched is 'Why a policy matches a change; null where it does not.';

create function coord.route(
  p_paths text[], p_known boolean, p_trust integer, p_files integer, p_lines integer, p_requires integer
) returns jsonb
language plpgsql stable
as $$
declare
  c_executors constant text[] := array['inline', 'github_actions:verify.yml', 'local', 'local', 'manual'];
  c_seconds constant integer[] := array[300, 3600, 3600, 7200, 0];
  v_text text := array_to_string(p_paths, e'\n');
  v_policy coord.verification_policies;
  v_why text;
  v_tier integer;
  v_executors jsonb;
  v_reasons jsonb := jsonb '[]';
  v_steps jsonb := jsonb '[]';
  v_skips integer[];
  v_top integer;
  v_always jsonb;
begin
  for v_policy in select * from coord.verification_policies p order by p.name collate "C" loop
    v_why := coord.why_matched(v_policy, p_paths, v_text, p_known, p_trust, p_files, p_lines);
    continue when v_why is null;
    v_tier := coalesce((v_policy.spec ->> 'tier')::integer, 4);
    v_executors := coalesce(nullif(v_policy.spec -> 'executors', '[]'), to_jsonb(array[c_executors[v_tier + 1]]));
    v_steps := v_steps || (
      select jsonb_agg(jsonb_build_object('tier', v_tier, 'executor', e,
        'timeout_seconds', coalesce((v_policy.spec ->> 'timeout_seconds')::integer, c_seconds[v_tier + 1]),
        'max_attempts', coalesce((v_policy.spec ->> 'max_attempts')::integer, 3)))
      from jsonb_array_elements(v_executors) e);
    v_reasons := v_reasons || jsonb_build_object('tier', v_tier, 'policy', v_policy.name, 'executors', v_executors, 'why', v_why);
    if (v_policy.spec -> 'sensitive')::boolean and v_tier < 4 then
      v_steps := v_steps || jsonb '{"tier": 4, "executor": "manual", "timeout_seconds": 0, "max_attempts": 1}';
      v_reasons := v_reasons || jsonb_build_object('tier', 4, 'policy', v_policy.name, 'executors', jsonb '["manual"]', 'why', 'security-sensitive: ' || v_why);
    end if;
    v_skips := array(
      select s::integer from jsonb_array_elements_text(coalesce(v_policy.spec -> 'skips', '[]')) s
      where v_skips is null or s::integer = any (v_skips));
  end loop;

  -- What holds whatever the policies say.
  v_always := jsonb_build_array(jsonb_build_object('tier', 0, 'why',
    case when v_reasons = '[]' then 'no policy matches: static checks only' else 'static checks always run' end));
  if p_trust <= 1 then
    v_always := v_always || jsonb_build_object('tier', 4, 'why', format('the author has trust %s', p_trust));
  end if;
  if p_requires is not null then
    v_always := v_always || jsonb_build_object('tier', p_requires, 'why', format('its task requires tier %s', p_requires));
  end if;
  for v_tier, v_why in select (r -> 'tier')::integer, r ->> 'why' from jsonb_array_elements(v_always) r loop
    continue when v_steps @> jsonb_build_array(jsonb_build_object('tier', v_tier));
    v_executors := jsonb_build_array(c_executors[v_tier + 1]);
    v_steps := v_steps || jsonb_build_object('tier', v_tier, 'executor', v_executors -> 0, 'timeout_seconds', c_seconds[v_tier + 1], 'max_attempts', 3);
    v_reasons := v_reasons || jsonb_build_object('tier', v_tier, 'executors', v_executors, 'why', v_why);
  end loop;

  select max((s -> 'tier')::integer) into v_top from jsonb_array_elements(v_steps) s;
  v_skips := case when p_trust >= 3 and v_top < 4 then array(
    select s from unnest(v_skips) s
    where s is distinct from p_requires and v_steps @> jsonb_build_array(jsonb_build_object('tier', s)) order by s) else '{}' end;
  if v_skips <> '{}' then
    v_reasons := v_reasons || jsonb_build_object('tier', v_top,
      'why', format('an author of trust %s skips tier %s', p_trust, array_to_string(v_skips, ' and ')));
  end if;
  select coalesce(jsonb_agg(jsonb_build_object('tier', g.tier, 'executor', g.executor, 'timeout_seconds', g.seconds, 'max_attempts', g.attempts)
    order by g.tier, g.executor collate "C"), '[]')
  into v_steps
  from (
    select (s -> 'tier')::integer as tier, s ->> 'executor' as executor, max((s -> 'timeout_seconds')::integer) as seconds, max((s -> 'max_attempts')::integer) as attempts
    from jsonb_array_elements(v_steps) s group by 1, 2
  ) g where g.tier <> all (v_skips);
  return jsonb_build_object('tier', v_top, 'executors', jsonb_path_query_array(v_steps, '$[*].executor'),
    'reasons', v_reasons, 'skipped', v_skips, 'steps', v_steps);
end
$$;
comment on function coord.route is 'The plan for a change: its tier, its steps, and why each.';

-- Submitting -------------------------------------------------------------------------------

set role coord_janitor;

-- The janitor's, because an agent does not see the profile of another.
create function coord.author_trust(p_agent text, p_repo text) returns integer
language sql stable security definer set search_path = ''
begin atomic
  select e.trust
  from coord.agents a
  join coord.effective_profiles e on e.enabled and e.name = coalesce(a.profile,
    (select d.profile from coord.profile_defaults d where d.agent_type = a.agent_type),
    (select d.profile from coord.profile_defaults d where d.agent_type = '*'))
  where a.id = p_agent and a.role = 'coord_agent' and a.enabled
    and exists (select from coord.repo_grants g where g.agent = a.id and g.repo = p_repo);
end;
comment on function coord.author_trust is 'The trust of an agent that is granted a repository; null for everybody else.';
grant execute on function coord.author_trust to coord_owner;

set role coord_owner;

create function coord.cancel_jobs(p_changesets bigint[]) returns void
language sql
begin atomic
  update coord.verification_jobs j
  set state = 'cancelled', next_at = null, ended_at = clock_timestamp()
  where j.changeset = any (p_changesets) and j.state not in ('passed', 'failed', 'cancelled', 'dead');
end;
comment on function coord.cancel_jobs is 'Ends what is left to do for changesets that ended.';

create function coord.check_changeset(p_new coord.changesets) returns void
language plpgsql
as $$
declare
  v_path text;
begin
  if not coalesce(p_new.base ~ '^([0-9a-f]{40}|[0-9a-f]{64})$' and p_new.head ~ '^([0-9a-f]{40}|[0-9a-f]{64})$', false) then
    perform coord.fail('commit_invalid');
  elsif p_new.base = p_new.head then
    perform coord.fail('commit_invalid', 'base and head are the same commit');
  elsif cardinality(p_new.paths) > 5000 then
    perform coord.fail('argument_too_long', 'changed_paths has at most 5000 entries; leave it out for more: then every policy matches');
  elsif p_new.paths_known and p_new.paths = '{}' then
    perform coord.fail('argument_required', 'changed_paths names what changed; leave it out if you do not know: then every policy matches');
  -- As git refuses them (check-ref-format): a dispatcher hands it to git.
  elsif p_new.branch !~ '^[[:graph:]]{1,250}$' or p_new.branch ~ '[~^:?*\[\\]|\.\.|@\{|//|^@$|^[-/.]|/\.|[/.]$|\.lock(/|$)' then
    perform coord.fail('argument_invalid', 'branch is a name that git takes, of 1 to 250 characters');
  elsif p_new.lines not between 0 and 99999999 or p_new.files not between 0 and 99999999 then
    perform coord.fail('argument_invalid', 'lines and files are counts');
  elsif p_new.head_committed_at > clock_timestamp() + interval '5 minutes' then
    perform coord.fail('argument_invalid', 'head_committed_at is ahead of the coordinator''s clock');
  end if;
  select p into v_path from unnest(p_new.paths) p
  where coalesce(octet_length(p) > 1024 or p ~ '(^|/)\.{0,2}(/|$)' or p ~ '[[:cntrl:]]', true) limit 1;
  if found then
    perform coord.fail('changed_path_invalid', format('%s is not how git names a file', quote_literal(left(v_path, 200))));
  end if;
end
$$;
comment on function coord.check_changeset is 'Refuses a changeset that cannot be one.';

-- p_by: author, webhook or operator. The first is believed least: it chooses what it tells.
create function coord.put_changeset(p_call coord.call, p_new coord.changesets, p_by text) returns jsonb
language plpgsql
as $$
declare
  v_new coord.changesets := p_new;
  v_known coord.changesets;
  v_ground coord.changesets;
  v_rejected coord.changesets;
  v_claimant text;
  v_requires integer;
  v_old bigint[];
  v_plan jsonb;
begin
  perform coord.check_changeset(v_new);
  perform pg_advisory_xact_lock(hashtextextended(p_call.repo, 9));
  select * into v_known from coord.changesets c
  where c.repo = p_call.repo and c.head = v_new.head and c.state in ('pending', 'verified');
  if found then
    if p_by = 'author' or not v_new.paths_known and p_by = 'webhook'
      or not (v_known.paths_known < v_new.paths_known or v_known.paths_known and not v_new.paths <@ v_known.paths
        or p_by = 'operator' and v_new.author <> v_known.author)
    then
      return coord.describe_plan(v_known) || jsonb_build_object('outcome', 'duplicate', 'next', 'This head was submitted already; verification_status shows how far it is.');
    elsif p_by = 'webhook' then
      -- It knows the paths; whose they are it has from the name of a branch.
      v_new.author := v_known.author;
      v_new.task := coalesce(v_new.task, v_known.task);
      v_new.author_trust := v_known.author_trust;
    end if;
    v_old := array[v_known.number];
  end if;

  if v_new.task is not null then
    select t.agent, t.requires_tier into v_claimant, v_requires
    from (select o.number, o.repo, o.agent, o.requires_tier from coord.tasks o
      union all select p.number, p.repo, p.agent, p.requires_tier from coord.past_tasks p) t
    where t.number = v_new.task and t.repo = p_call.repo;
    if not found and p_by <> 'webhook' then
      perform coord.fail('task_not_found', format('%s is no task of %s', coord.task_name(v_new.task), p_call.repo));
    elsif v_claimant is distinct from v_new.author and p_by = 'webhook' then
      -- A branch that anybody could have called so.
      v_new.task := null;
      v_new.author_trust := least(v_new.author_trust, 1);
      v_requires := null;
    elsif v_claimant is distinct from v_new.author then
      perform coord.fail('task_of_another', format('%s was not claimed by %s', coord.task_name(v_new.task), v_new.author));
    end if;
  end if;

  select * into v_ground from coord.changesets c
  where c.repo = p_call.repo and c.head = v_new.base
    and not exists (select from coord.changesets o where o.repo = p_call.repo and o.head = v_new.base and o.state = 'verified')
  order by c.number desc limit 1;
  if found then
    v_new.base := v_ground.base;
    v_new.paths := array(select distinct p from unnest(v_ground.paths || v_new.paths) p order by p limit 5000);
    v_new.paths_known := v_ground.paths_known and v_new.paths_known and cardinality(v_new.paths) < 5000;
    v_new.lines := v_ground.lines + v_new.lines;
    v_new.author_trust := least(v_ground.author_trust, v_new.author_trust);
    v_new.files := case when v_new.paths_known then cardinality(v_new.paths) end;
  end if;

  -- What was turned down is judged no more lightly when it comes again.
  select * into v_rejected from coord.changesets c
  where c.repo = p_call.repo and c.head = v_new.head and c.state = 'rejected' order by c.number desc limit 1;
  if found and p_by <> 'operator' then
    v_new.base := v_rejected.base;
    v_new.paths := array(select distinct p from unnest(v_rejected.paths || v_new.paths) p order by p limit 5000);
    v_new.paths_known := v_rejected.paths_known and v_new.paths_known and cardinality(v_new.paths) < 5000;
    v_new.lines := greatest(v_rejected.lines, v_new.lines);
    v_new.author_trust := least(v_rejected.author_trust, v_new.author_trust);
    v_new.files := case when v_new.paths_known then greatest(v_new.files, cardinality(v_new.paths)) end;
    v_requires := greatest(v_requires, v_rejected.tier);
  end if;

  v_plan := coord.route(v_new.paths, v_new.paths_known, v_new.author_trust, v_new.files, v_new.lines, v_requires);
  v_new.number := nextval('coord.changeset_numbers');
  v_new.repo := p_call.repo;
  v_new.submitted_by := p_call.agent;
  v_new.submitted_at := clock_timestamp();
  v_new.tier := (v_plan -> 'tier')::integer;
  v_new.executors := array(select jsonb_array_elements_text(v_plan -> 'executors'));
  v_new.skipped := array(select jsonb_array_elements_text(v_plan -> 'skipped')::integer);
  v_new.reasons := v_plan -> 'reasons' || case when v_ground.number is null then '[]' else jsonb_build_array(jsonb_build_object(
    'why', format('with C-%s, whose head is its base and which is not verified', v_ground.number))) end;
  -- Nothing left to do, because the policies trust its author with it.
  v_new.state := case when v_plan -> 'steps' = '[]' then 'verified' else 'pending' end;
  v_new.reason := case when v_new.state = 'verified' then 'skipped' end;
  v_new.ended_at := case when v_new.state = 'verified' then v_new.submitted_at end;

  -- What an author submits takes the place of nobody else's.
  v_old := coalesce(v_old, '{}') || array(
    select c.number from coord.changesets c
    where c.repo = p_call.repo and c.state = 'pending' and (c.branch = v_new.branch or c.task = v_new.task)
      and (p_by <> 'author' or c.author = v_new.author)
    order by c.number for update);
  update coord.changesets c set state = 'superseded', superseded_by = v_new.number, ended_at = clock_timestamp() where c.number = any (v_old);
  perform coord.cancel_jobs(v_old);
  insert into coord.changesets select v_new.*;
  insert into coord.verification_jobs (number, repo, changeset, head, author, tier, executor, target, timeout_seconds, max_attempts, created_at)
  select nextval('coord.verification_numbers'), p_call.repo, v_new.number, v_new.head, v_new.author, (s -> 'tier')::integer,
    split_part(s ->> 'executor', ':', 1), nullif(substr(s ->> 'executor', strpos(s ->> 'executor', ':') * (strpos(s ->> 'executor', ':') > 0)::integer + 1), s ->> 'executor'),
    (s -> 'timeout_seconds')::integer, (s -> 'max_attempts')::integer, v_new.submitted_at
  from jsonb_array_elements(v_plan -> 'steps') with ordinality e (s, n) order by e.n;
  return coord.describe_plan(v_new) || jsonb_strip_nulls(jsonb_build_object(
    'outcome', 'submitted', 'supersedes', (select jsonb_agg('C-' || o order by o) from unnest(v_old) o),
    'next', case when v_new.state = 'verified' then 'Nothing has to be run.'
      when v_new.tier = 4 then 'The checks run by themselves; then a person decides. verification_status shows how far it is.'
      else 'The checks run by themselves; verification_status shows how far they are.' end));
end
$$;
comment on function coord.put_changeset is 'Makes a changeset with its plan and jobs; the head it replaces is superseded.';

create function coord.describe_job(p_job coord.verification_jobs) returns jsonb
language sql stable
return jsonb_strip_nulls(jsonb_build_object(
  'job', 'V-' || p_job.number, 'tier', p_job.tier, 'executor', coord.full_executor(p_job.executor, p_job.target), 'state', p_job.state,
  'attempt', nullif(p_job.attempt, 0), 'max_attempts', case when p_job.tier < 4 then p_job.max_attempts end,
  'taken_by', p_job.taken_by, 'lease_until', case when p_job.state = 'running' then p_job.lease_until end, 'next_at', p_job.next_at,
  'evidence', p_job.evidence || jsonb_build_object('by', p_job.reported_by), 'history', nullif(p_job.history, '[]'), 'ended_at', p_job.ended_at));
comment on function coord.describe_job is 'A job as answers show it.';

create function coord.describe_plan(p_changeset coord.changesets) returns jsonb
language sql stable
begin atomic
  select jsonb_strip_nulls(jsonb_build_object(
    'changeset', 'C-' || (p_changeset).number, 'repo', (p_changeset).repo, 'head', (p_changeset).head, 'author', (p_changeset).author,
    'task', 'T-' || (p_changeset).task, 'state', (p_changeset).state))
  || jsonb_build_object(
    'plan', jsonb_build_object('tier', (p_changeset).tier, 'executors', (p_changeset).executors, 'reasons', (p_changeset).reasons, 'skipped', (p_changeset).skipped),
    'jobs', (select coalesce(jsonb_agg(coord.describe_job(j) order by j.tier, j.number), '[]') from coord.verification_jobs j where j.changeset = (p_changeset).number));
end;
comment on function coord.describe_plan is 'A changeset with its plan and jobs, as answers show it.';

create function coord.submit_changeset(
  p_function text, p_repo text, p_base text, p_head text, p_changed_paths text[], p_branch text, p_task text, p_lines integer, p_files integer,
  p_head_committed_at timestamptz, p_author text
) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  -- The paths stand in the changeset; of them the audit keeps the hash.
  v_call coord.call := coord.open_repo_call(p_function, jsonb_strip_nulls(jsonb_build_object('repo', p_repo, 'base', p_base, 'head', p_head,
    'changed_paths', sha256(convert_to(p_changed_paths::text, 'UTF8')), 'branch', p_branch, 'task', p_task, 'lines', p_lines, 'files', p_files,
    'head_committed_at', p_head_committed_at, 'author', p_author)));
  v_profile coord.effective_profiles := coord.profile();
  v_new coord.changesets;
  v_answer jsonb;
begin
  if v_call.answer is not null then return v_call.answer; end if;
  if p_author is not null and v_call.role <> 'coord_operator' then
    return coord.deny(v_call, 'insufficient_trust_level', 'only operators name the author');
  elsif length(p_author) not between 1 and 100 then
    perform coord.fail('argument_too_long', 'author has 1 to 100 characters');
  elsif cardinality(p_changed_paths) > 5000 then
    perform coord.fail('argument_too_long', 'changed_paths has at most 5000 entries; leave it out for more: then every policy matches');
  end if;
  v_new.base := lower(p_base);
  v_new.head := lower(p_head);
  v_new.branch := nullif(p_branch, '');
  v_new.task := case when p_task <> '' then coord.task_number(p_task) end;
  v_new.author := coalesce(p_author, v_call.agent);
  v_new.author_trust := case when p_author is null then v_profile.trust else coalesce(coord.author_trust(p_author, v_call.repo), 0) end;
  v_new.paths := coalesce((select array_agg(distinct normalize(p, nfc)) from unnest(p_changed_paths) p), '{}');
  v_new.paths_known := p_changed_paths is not null and coalesce(p_files, 0) <= cardinality(p_changed_paths);
  v_new.files := greatest(p_files, cardinality(p_changed_paths));
  v_new.lines := p_lines;
  v_new.head_committed_at := p_head_committed_at;
  v_answer := coord.put_changeset(v_call, v_new, case when v_call.role = 'coord_operator' then 'operator' else 'author' end);
  return coord.close_call(v_call, true, v_answer ->> 'outcome', v_answer - 'outcome', p_audited => v_answer ->> 'outcome' <> 'duplicate');
end
$$;

-- Running ----------------------------------------------------------------------------------

create function coord.conclude(p_changeset bigint) returns text
language plpgsql
as $$
declare
  v_changeset coord.changesets;
  v_bad text;
  v_reached integer;
begin
  -- The caller has it locked.
  select * into strict v_changeset from coord.changesets c where c.number = p_changeset;
  select min(coord.full_executor(j.executor, j.target) || ' ' || j.state) filter (where j.state in ('failed', 'dead')),
    case when bool_and(j.state = 'passed') then max(j.tier) end
  into v_bad, v_reached from coord.verification_jobs j where j.changeset = p_changeset;
  if v_changeset.state = 'pending' and v_bad is not null then
    v_changeset.state := 'rejected';
    perform coord.cancel_jobs(array[p_changeset]);
    perform coord.tell(v_changeset.author, v_changeset.repo, 'change_rejected', format('C-%s (%s) was not verified: %s. verification_status tells more.',
      p_changeset, coalesce(v_changeset.branch, left(v_changeset.head, 12)), v_bad));
  elsif v_changeset.state = 'pending' and v_reached is not null then
    v_changeset.state := 'verified';
  else
    return v_changeset.state;
  end if;
  update coord.changesets c set state = v_changeset.state, reached = v_reached, reason = v_bad, ended_at = clock_timestamp() where c.number = p_changeset;
  return v_changeset.state;
end
$$;
comment on function coord.conclude is 'Ends a changeset that nothing is left to do for, or that failed; answers its state.';

create function coord.end_attempt(p_job coord.verification_jobs, p_state text, p_why text) returns text
language plpgsql
as $$
declare
  v_state text := case when p_job.attempt >= p_job.max_attempts then 'dead' else p_state end;
begin
  -- The caller has the changeset locked, and the job: this may be the end of both.
  update coord.verification_jobs j
  set state = v_state, next_at = case when v_state <> 'dead' then clock_timestamp() + coord.backoff(p_job.attempt) end,
    ended_at = case when v_state = 'dead' then clock_timestamp() end,
    history = j.history || jsonb_build_object('attempt', j.attempt, 'by', j.taken_by, 'at', clock_timestamp(), 'state', p_state, 'why', left(p_why, 2000))
  where j.number = p_job.number;
  if v_state = 'dead' then
    perform coord.conclude(p_job.changeset);
  end if;
  return v_state;
end
$$;
comment on function coord.end_attempt is 'Ends an attempt that came to nothing: error or timed_out, and dead where it was the last.';

create function coord.lose_verification(p_job bigint) returns coord.verification_jobs
language plpgsql
as $$
declare
  v_job coord.verification_jobs;
  v_late boolean;
begin
  -- The changeset before the job, as everybody does; skipped where somebody is at it.
  perform from coord.changesets c
  where c.number = (select j.changeset from coord.verification_jobs j where j.number = p_job)
  for update skip locked;
  if not found then
    return null;
  end if;
  select * into v_job from coord.verification_jobs j
  where j.number = p_job and j.state = 'running' and j.lease_until < clock_timestamp() for update skip locked;
  if not found then
    return null;
  end if;
  v_late := v_job.timeout_at < clock_timestamp();
  v_job.state := coord.end_attempt(v_job, case when v_late then 'timed_out' else 'error' end,
    case when v_late then format('it took longer than %s seconds', v_job.timeout_seconds) else 'its lease ran out' end);
  return v_job;
end
$$;
comment on function coord.lose_verification is 'Takes a job back whose lease or time ran out; null where it is not so, or somebody is at it.';

create function coord.take_verification(p_repo text, p_executors text[], p_lease_seconds integer) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_call coord.call := coord.open_call('take_verification', jsonb_build_object('repo', p_repo, 'executors', p_executors, 'lease_seconds', p_lease_seconds));
  v_lease integer := coalesce(p_lease_seconds, 900);
  -- local is all of it, local:integration that target alone, local: what has no target.
  v_names text[] := array(select distinct split_part(e, ':', 1) from unnest(p_executors) e);
  v_now timestamptz;
  v_job coord.verification_jobs;
  v_changeset coord.changesets;
  v_text text;
begin
  if v_call.answer is not null then return v_call.answer; end if;
  if coalesce(p_executors, '{}') = '{}' then
    perform coord.fail('argument_required', 'executors names what you can run');
  elsif v_lease not between 60 and 28800 then
    perform coord.fail('lease_out_of_range', format('%s is not between 60 and 28800', v_lease));
  end if;
  select e into v_text from unnest(v_names) e where not exists (select from coord.executors k where k.name = e and k.taken) limit 1;
  if found then
    perform coord.fail('argument_invalid', format('%s is not taken by anybody; executors are: %s', quote_literal(left(v_text, 50)),
      (select string_agg(k.name, ', ' order by k.name) from coord.executors k where k.taken)));
  end if;
  -- Without repo: whatever the caller reaches, which row-level security decides.
  if coalesce(p_repo, '') <> '' then
    v_call.repo := coord.resolve_repo(p_repo);
    if not coord.granted(v_call.repo) then
      return coord.deny(v_call, 'repo_not_granted', format('%s is not granted to %s', v_call.repo, v_call.agent));
    end if;
  end if;
  perform coord.reclaim_verifications(v_call.repo, 5);
  v_now := clock_timestamp();
  select * into v_job from coord.verification_jobs j
  where j.executor = any (v_names) and j.state in ('pending', 'error', 'timed_out') and (j.next_at is null or j.next_at <= v_now)
    and (j.executor = any (p_executors) or j.executor || ':' || coalesce(j.target, '') = any (p_executors))
    and (v_call.repo is null or j.repo = v_call.repo) and j.author <> v_call.agent
    and not exists (select from coord.verification_jobs o where o.changeset = j.changeset and o.tier < j.tier and o.state <> 'passed')
    -- A stranger's code runs on nobody's machine before a person has looked at it.
    and not exists (
      select from coord.changesets c join coord.verification_jobs o on o.changeset = c.number
      where c.number = j.changeset and c.author_trust = 0 and o.executor = 'manual' and o.state <> 'passed')
  order by j.number limit 1
  for update skip locked;
  if not found then
    return coord.close_call(v_call, false, 'none', jsonb_build_object('retry_after_seconds', 5, 'waiting', (
        select count(*) from (select from coord.verification_jobs j
          where j.executor = any (v_names) and j.state in ('pending', 'error', 'timed_out')
            and (j.executor = any (p_executors) or j.executor || ':' || coalesce(j.target, '') = any (p_executors)) and (v_call.repo is null or j.repo = v_call.repo) limit 1000) w),
      'next', 'Nothing to run now: what waits needs lower tiers or a person first, backs off, or is your own.'), p_audited => false);
  end if;
  v_now := clock_timestamp();
  update coord.verification_jobs j
  set state = 'running', attempt = j.attempt + 1, next_at = null, taken_by = v_call.agent, taken_at = v_now,
    timeout_at = v_now + make_interval(secs => j.timeout_seconds), lease_until = v_now + make_interval(secs => least(v_lease, j.timeout_seconds))
  where j.number = v_job.number
  returning j.* into strict v_job;
  v_call.repo := v_job.repo;
  select * into strict v_changeset from coord.changesets c where c.number = v_job.changeset;
  return coord.close_call(v_call, true, 'taken', jsonb_strip_nulls(jsonb_build_object(
      'job', 'V-' || v_job.number, 'attempt', v_job.attempt, 'changeset', 'C-' || v_job.changeset, 'repo', v_job.repo,
      'tier', v_job.tier, 'executor', v_job.executor, 'target', v_job.target, 'base', v_changeset.base, 'head', v_changeset.head,
      'branch', v_changeset.branch, 'task', 'T-' || v_changeset.task, 'author', v_changeset.author, 'head_committed_at', v_changeset.head_committed_at,
      'timeout_seconds', v_job.timeout_seconds, 'timeout_at', v_job.timeout_at, 'lease_until', v_job.lease_until,
      'seconds_left', coord.seconds_until(v_job.lease_until), 'max_attempts', v_job.max_attempts, 'history', nullif(v_job.history, '[]')))
    || jsonb_build_object('paths_known', v_changeset.paths_known, 'changed_paths', v_changeset.paths,
      'base_verified', exists (select from coord.changesets c where c.repo = v_job.repo and c.head = v_changeset.base and c.state = 'verified'),
      'next', 'Run it on head, renew_verification before lease_until, then report_verification with the attempt.'),
    p_result => jsonb_build_object('job', 'V-' || v_job.number, 'attempt', v_job.attempt));
end
$$;

create function coord.open_job_call(p_function text, p_job text, p_args jsonb) returns coord.call
language plpgsql
as $$
declare
  v_call coord.call := coord.open_call(p_function, jsonb_build_object('job', p_job) || p_args);
begin
  if v_call.answer is null then
    select j.repo into v_call.repo from coord.verification_jobs j where j.number = coord.job_number(p_job);
    if not found then
      perform coord.fail('job_not_found', format('%s is no job that %s reaches', upper(p_job), v_call.agent));
    end if;
  end if;
  return v_call;
end
$$;
comment on function coord.open_job_call is 'Begins a command on a verification job; one of another repository is not found.';

create function coord.hold_job(p_job bigint) returns coord.verification_jobs
language plpgsql
as $$
declare
  v_job coord.verification_jobs;
begin
  perform from coord.changesets c
  where c.number = (select j.changeset from coord.verification_jobs j where j.number = p_job) for update;
  select * into strict v_job from coord.verification_jobs j where j.number = p_job for update;
  return v_job;
end
$$;
comment on function coord.hold_job is 'A job, locked after its changeset.';

create function coord.not_your_attempt(p_call coord.call, p_job coord.verification_jobs) returns jsonb
language plpgsql
as $$
begin
  return coord.close_call(p_call, false, case when p_job.ended_at is null then 'not_yours' else 'already_done' end, jsonb_strip_nulls(jsonb_build_object(
    'job', 'V-' || p_job.number, 'state', p_job.state, 'attempt', p_job.attempt, 'taken_by', p_job.taken_by, 'reported_by', p_job.reported_by,
    'next', 'Drop what you have of it; take_verification for the next.')), p_audited => false);
end
$$;
comment on function coord.not_your_attempt is 'Answers who has no attempt of this job under way.';

create function coord.renew_verification(p_job text, p_attempt integer, p_lease_seconds integer) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_call coord.call := coord.open_job_call('renew_verification', p_job, jsonb_build_object('attempt', p_attempt, 'lease_seconds', p_lease_seconds));
  v_lease integer := coalesce(p_lease_seconds, 900);
  v_job coord.verification_jobs;
begin
  if v_call.answer is not null then return v_call.answer; end if;
  if v_lease not between 60 and 28800 then
    perform coord.fail('lease_out_of_range', format('%s is not between 60 and 28800', v_lease));
  end if;
  select * into strict v_job from coord.verification_jobs j where j.number = coord.job_number(p_job) for update;
  if (v_job.state, v_job.taken_by, v_job.attempt) is distinct from ('running', v_call.agent, p_attempt) then
    return coord.not_your_attempt(v_call, v_job);
  end if;
  update coord.verification_jobs j
  set lease_until = least(j.timeout_at, greatest(j.lease_until, clock_timestamp() + make_interval(secs => v_lease)))
  where j.number = v_job.number returning j.* into v_job;
  return coord.close_call(v_call, true, 'renewed', jsonb_build_object('job', 'V-' || v_job.number, 'attempt', v_job.attempt,
    'lease_until', v_job.lease_until, 'timeout_at', v_job.timeout_at, 'seconds_left', coord.seconds_until(v_job.lease_until)), p_audited => false);
end
$$;

create function coord.check_evidence(p_job coord.verification_jobs, p_evidence jsonb, p_committed_at timestamptz) returns void
language plpgsql
as $$
declare
  v_started timestamptz;
  v_ended timestamptz;
  v_committed timestamptz;
begin
  if jsonb_typeof(p_evidence) is distinct from 'object' or octet_length(p_evidence::text) > 16384 then
    perform coord.fail('evidence_invalid', 'evidence is an object of at most 16384 bytes');
  elsif p_evidence ->> 'commit' is distinct from p_job.head then
    perform coord.fail('evidence_not_for_head', format('the head is %s', p_job.head));
  elsif p_evidence ->> 'log_url' !~ '^https?://[[:graph:]]+$' or length(p_evidence ->> 'log_url') > 2000 then
    perform coord.fail('evidence_invalid', 'log_url is an address with http:// or https://, of at most 2000 characters');
  end if;
  v_started := coord.moment('started_at', p_evidence ->> 'started_at');
  v_ended := coord.moment('ended_at', p_evidence ->> 'ended_at');
  if v_started is null or v_ended is null then
    perform coord.fail('evidence_invalid', 'started_at and ended_at say when it ran');
  elsif v_ended < v_started or v_ended > clock_timestamp() + interval '5 minutes' then
    perform coord.fail('evidence_invalid', 'it ended before it started, or has not ended yet');
  end if;
  select coalesce(c.head_committed_at, p_committed_at, c.submitted_at) into v_committed from coord.changesets c where c.number = p_job.changeset;
  if v_started < v_committed then
    perform coord.fail('evidence_stale', format('it began at %s, the head is of %s', v_started, v_committed));
  end if;
end
$$;
comment on function coord.check_evidence is 'Refuses evidence that is incomplete, not for the head, or older than it.';

create function coord.put_verdict(
  p_job coord.verification_jobs, p_passed boolean, p_evidence jsonb, p_by text, p_committed_at timestamptz default null
) returns jsonb
language plpgsql
as $$
begin
  perform coord.check_evidence(p_job, p_evidence, p_committed_at);
  update coord.verification_jobs j
  set state = case when p_passed then 'passed' else 'failed' end, evidence = coord.redacted(p_evidence), reported_by = p_by,
    next_at = null, ended_at = clock_timestamp()
  where j.number = p_job.number;
  return jsonb_build_object('job', 'V-' || p_job.number, 'state', case when p_passed then 'passed' else 'failed' end,
    'changeset', 'C-' || p_job.changeset, 'changeset_state', coord.conclude(p_job.changeset));
end
$$;
comment on function coord.put_verdict is 'Writes a verdict with its evidence, and what it means for the changeset.';

create function coord.report_verification(p_job text, p_status text, p_evidence jsonb, p_attempt integer) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_call coord.call := coord.open_job_call('report_verification', p_job,
    jsonb_build_object('status', p_status, 'evidence', p_evidence, 'attempt', p_attempt));
  v_job coord.verification_jobs;
  v_state text;
begin
  if v_call.answer is not null then return v_call.answer; end if;
  if coalesce(p_status, '') not in ('passed', 'failed', 'error', 'timed_out') then
    perform coord.fail('argument_invalid', 'status is passed, failed, error (it could not be run) or timed_out');
  elsif p_attempt is null then
    perform coord.fail('argument_required', 'attempt is what take_verification answered');
  end if;
  v_job := coord.hold_job(coord.job_number(p_job));
  if v_job.author = v_call.agent then
    return coord.deny(v_call, 'author_cannot_verify', format('V-%s is about a change of %s', v_job.number, v_call.agent));
  elsif (v_job.state, v_job.taken_by, v_job.attempt) is distinct from ('running', v_call.agent, p_attempt) then
    return coord.not_your_attempt(v_call, v_job);
  elsif p_status in ('passed', 'failed') then
    return coord.close_call(v_call, true, 'recorded', coord.put_verdict(v_job, p_status = 'passed', p_evidence, v_call.agent));
  end if;
  if octet_length(p_evidence::text) > 16384 then
    perform coord.fail('evidence_invalid', 'evidence is an object of at most 16384 bytes');
  end if;
  v_state := coord.end_attempt(v_job, p_status, coord.redacted_text(coalesce(p_evidence ->> 'summary', p_evidence::text, 'no reason was given')));
  select * into strict v_job from coord.verification_jobs j where j.number = v_job.number;
  return coord.close_call(v_call, v_state <> 'dead', case v_state when 'dead' then 'dead' else 'retrying' end, jsonb_strip_nulls(jsonb_build_object(
    'job', 'V-' || v_job.number, 'state', v_state, 'attempt', v_job.attempt, 'max_attempts', v_job.max_attempts, 'next_at', v_job.next_at,
    'changeset', 'C-' || v_job.changeset, 'changeset_state', (select c.state from coord.changesets c where c.number = v_job.changeset))));
end
$$;

create function coord.decide_verification(p_job text, p_approve boolean, p_note text) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_call coord.call := coord.open_job_call('decide_verification', p_job, jsonb_build_object('approve', p_approve, 'note', p_note));
  v_job coord.verification_jobs;
  v_now timestamptz;
begin
  if v_call.answer is not null then return v_call.answer; end if;
  if p_approve is null then
    perform coord.fail('argument_required', 'approve says whether the change is good (true) or not (false)');
  elsif not p_approve and coalesce(btrim(p_note), '') = '' then
    perform coord.fail('argument_required', 'note says what is wrong with the change');
  elsif length(p_note) > 500 then
    perform coord.fail('argument_too_long', 'note has at most 500 characters');
  end if;
  v_job := coord.hold_job(coord.job_number(p_job));
  if v_job.executor <> 'manual' then
    perform coord.fail('not_manual', format('V-%s is run by %s', v_job.number, v_job.executor));
  elsif v_job.author = v_call.agent then
    return coord.deny(v_call, 'author_cannot_verify', format('V-%s is about a change of %s', v_job.number, v_call.agent));
  elsif v_job.ended_at is not null then
    return coord.not_your_attempt(v_call, v_job);
  end if;
  v_now := clock_timestamp();
  return coord.close_call(v_call, true, 'recorded', coord.put_verdict(v_job, p_approve, jsonb_strip_nulls(jsonb_build_object(
    'commit', v_job.head, 'started_at', v_now, 'ended_at', v_now, 'summary', p_note)), v_call.agent), p_note);
end
$$;

-- Reads ------------------------------------------------------------------------------------

create function coord.task_verification(p_task bigint) returns jsonb
language sql stable
begin atomic
  -- The newest change of the task that was not superseded.
  select jsonb_strip_nulls(jsonb_build_object('verified', coalesce(c.state = 'verified' and coalesce(c.reached, -1) >= coalesce(t.requires_tier, -1), false),
    'requires_tier', t.requires_tier, 'changeset', 'C-' || c.number, 'state', c.state, 'tier', c.tier, 'reached', c.reached, 'reason', c.reason))
  from (select o.requires_tier from coord.tasks o where o.number = p_task
    union all select p.requires_tier from coord.past_tasks p where p.number = p_task) t
  left join lateral (
    select * from coord.changesets s where s.task = p_task and s.state <> 'superseded' order by s.number desc limit 1
  ) c on true;
end;
comment on function coord.task_verification is 'Whether what was done for a task is verified, and how far.';

create function coord.who_is_missing(p_changeset coord.changesets) returns text
language sql stable
begin atomic
  select format('%s is next, and nobody has taken it for %s minutes: coord dispatch runs it, where %s is configured.', 'V-' || j.number,
    (extract(epoch from clock_timestamp() - w.since) / 60)::integer, coord.full_executor(j.executor, j.target))
  from coord.verification_jobs j
    join coord.executors k on k.name = j.executor and k.taken,
    lateral (
      select greatest((p_changeset).submitted_at, max(o.ended_at)) as since, bool_and(o.state = 'passed') is not false as reached
      from coord.verification_jobs o where o.changeset = j.changeset and o.tier < j.tier
    ) w
  where j.changeset = (p_changeset).number and j.state = 'pending' and w.reached and w.since < clock_timestamp() - interval '1 minute'
    -- A stranger's waits for a person first.
    and not ((p_changeset).author_trust = 0
      and exists (select from coord.verification_jobs o where o.changeset = j.changeset and o.executor = 'manual' and o.state <> 'passed'))
  order by j.tier, j.number limit 1;
end;
comment on function coord.who_is_missing is 'The job that could run and that nobody takes, if there is one: no dispatcher serves its executor, or all are busy.';

create function coord.verification_status(p_changeset text) returns jsonb
language plpgsql stable security definer set search_path = ''
as $$
declare
  v_caller coord.caller := coord.open_read('verification_status');
  v_changeset coord.changesets;
begin
  select * into v_changeset from coord.changesets c where c.number = coord.changeset_number(p_changeset);
  if not found then
    perform coord.fail('changeset_not_found', format('%s is no changeset that %s reaches', upper(p_changeset), v_caller.agent));
  end if;
  return coord.describe_plan(v_changeset) || jsonb_strip_nulls(jsonb_build_object(
    'verified', v_changeset.state = 'verified', 'base', v_changeset.base, 'branch', v_changeset.branch, 'author_trust', v_changeset.author_trust,
    'reached', v_changeset.reached, 'reason', v_changeset.reason, 'superseded_by', 'C-' || v_changeset.superseded_by,
    'files', v_changeset.files, 'lines', v_changeset.lines, 'paths_known', v_changeset.paths_known,
    'submitted_by', v_changeset.submitted_by, 'submitted_at', v_changeset.submitted_at, 'head_committed_at', v_changeset.head_committed_at,
    'ended_at', v_changeset.ended_at, 'next', coord.who_is_missing(v_changeset), 'waits_for', (
      select jsonb_agg(coord.full_executor(j.executor, j.target) order by j.tier, j.number) from coord.verification_jobs j
      where j.changeset = v_changeset.number and j.ended_at is null)));
end
$$;

-- Housekeeping -----------------------------------------------------------------------------

grant execute on function coord.lose_verification, coord.end_attempt, coord.conclude, coord.cancel_jobs, coord.full_executor to coord_janitor;

set role coord_janitor;

create function coord.reclaim_verifications(p_repo text, p_max_jobs integer) returns integer
language plpgsql security definer set search_path = ''
as $$
declare
  v_number bigint;
  v_job coord.verification_jobs;
  v_call coord.call;
  v_lost integer := 0;
begin
  for v_number in
    select j.number from coord.verification_jobs j
    where j.state = 'running' and j.lease_until < clock_timestamp() and (p_repo is null or j.repo = p_repo)
    order by j.number limit p_max_jobs
  loop
    v_job := coord.lose_verification(v_number);
    continue when v_job.number is null;
    v_call.function := 'maintain';
    v_call.role := 'coord_janitor';
    v_call.agent := v_job.taken_by;
    v_call.agent_type := 'janitor';
    v_call.session_id := 'maintain';
    v_call.repo := v_job.repo;
    v_call.started_at := clock_timestamp();
    perform coord.write_audit(v_call, 'verification_lost', v_job.state, jsonb_build_object('job', 'V-' || v_number, 'attempt', v_job.attempt));
    v_lost := v_lost + 1;
  end loop;
  return v_lost;
end
$$;
comment on function coord.reclaim_verifications is 'Takes jobs back whose leases or times ran out, audited; of one repository, or of all.';
grant execute on function coord.reclaim_verifications to coord_owner;

create function coord.tidy_verifications(p_max_rows integer) returns jsonb
language plpgsql security definer set search_path = ''
as $$
begin
  delete from coord.changesets c where c.number in (
    select o.number from coord.changesets o where o.ended_at < clock_timestamp() - interval '90 days'
    order by o.ended_at limit p_max_rows for update skip locked);
  return jsonb_build_object('verifications_lost', coord.reclaim_verifications(null, p_max_rows));
end
$$;
comment on function coord.tidy_verifications is 'Takes jobs back whose leases or times ran out; forgets changesets that ended 90 days ago.';

set role coord_owner;

-- The contract -------------------------------------------------------------------------

create domain coord_v1.commit_id as text;
comment on domain coord_v1.commit_id is $$Whole commit id, as git rev-parse prints it.
@schema {"pattern": "^([0-9a-f]{40}|[0-9a-f]{64})$"}$$;
create domain coord_v1.changed_paths as text[];
comment on domain coord_v1.changed_paths is $$What git diff --name-only base head prints; not known, every policy matches.
@schema {"maxItems": 5000}$$;
create domain coord_v1.branch as text;
comment on domain coord_v1.branch is $$Name of the branch, as agent/NAME/T-17.
@schema {"maxLength": 250}$$;
create domain coord_v1.author as text;
comment on domain coord_v1.author is $$Whose change it is.
@schema {"maxLength": 100}$$;
create domain coord_v1.size as integer;
comment on domain coord_v1.size is $$How many changed; not known, it counts as many.
@schema {"minimum": 0}$$;
create domain coord_v1.changeset_id as text;
comment on domain coord_v1.changeset_id is $$As C-17.$$;
create domain coord_v1.job_id as text;
comment on domain coord_v1.job_id is $$As V-17.$$;
create domain coord_v1.executor_list as text[];
comment on domain coord_v1.executor_list is $$What you can run: inline, local, github_actions, e2b, agentcore; of one, local:integration is that target alone.
@schema {"minItems": 1}$$;
create domain coord_v1.verdict as text;
comment on domain coord_v1.verdict is $$error: it could not be run.
@schema {"enum": ["passed", "failed", "error", "timed_out"]}$$;
create domain coord_v1.evidence as jsonb;
comment on domain coord_v1.evidence is $$What shows it: {commit, started_at, ended_at, log_url, summary}.$$;
create function coord_v1.submit_changeset(
  base coord_v1.commit_id,
  head coord_v1.commit_id,
  changed_paths coord_v1.changed_paths default null,
  branch coord_v1.branch default null,
  task coord_v1.task_id default null,
  lines coord_v1.size default null,
  files coord_v1.size default null,
  head_committed_at timestamptz default null,
  repo coord_v1.repo default null
) returns jsonb language sql
return coord.submit_changeset('submit_changeset', repo, base, head, changed_paths, branch, task, lines, files, head_committed_at, null);
comment on function coord_v1.submit_changeset is $$Have your change verified: answers which checks it takes, and why.
You are its author, and nobody verifies their own change. A newer head of the branch or task supersedes older ones; a base whose own change is not verified is taken in with it. With files above the number of changed_paths, they count as not all known.
Answers changeset, plan (tier, executors, reasons, skipped) and jobs[]. Outcomes: submitted; duplicate with what this head has already; denied. Errors: commit_invalid, changed_path_invalid, argument_required, argument_invalid, argument_too_long, task_invalid, task_not_found, task_of_another, repo_required, repo_invalid, repo_not_granted.
@toolset full$$;

create function coord_v1.submit_changeset_for(
  author coord_v1.author,
  base coord_v1.commit_id,
  head coord_v1.commit_id,
  changed_paths coord_v1.changed_paths default null,
  branch coord_v1.branch default null,
  task coord_v1.task_id default null,
  lines coord_v1.size default null,
  files coord_v1.size default null,
  head_committed_at timestamptz default null,
  repo coord_v1.repo default null
) returns jsonb language sql
return coord.submit_changeset('submit_changeset_for', repo, base, head, changed_paths, branch, task, lines, files, head_committed_at, author);
comment on function coord_v1.submit_changeset_for is $$Submit a change whose author is somebody else; operators only.
As submit_changeset. An author that is no enabled agent of the repository has no trust, so a person decides. More paths or another author for a head supersede what was submitted of it. Outcomes: submitted, duplicate, denied. Errors: commit_invalid, changed_path_invalid, argument_required, argument_invalid, argument_too_long, task_invalid, task_not_found, task_of_another, repo_required, repo_invalid, repo_not_granted.
@toolset full$$;

create function coord_v1.verification_status(changeset coord_v1.changeset_id) returns jsonb
language sql stable
return coord.verification_status(changeset);
comment on function coord_v1.verification_status is $$See how far a change is verified: its plan, its jobs, their evidence.
state is pending, verified, rejected or superseded; waits_for names what is open, next the job that could run and that nobody takes. Errors: changeset_invalid, changeset_not_found.
@toolset full$$;

create function coord_v1.take_verification(
  executors coord_v1.executor_list,
  lease_seconds coord_v1.lease_seconds default 900,
  repo coord_v1.repo default null
) returns jsonb language sql
return coord.take_verification(repo, executors, lease_seconds);
comment on function coord_v1.take_verification is $$Take the next verification job to run; for dispatchers.
Lower tiers go first. Never a job about one's own change. Without repo: of every repository you are granted. Outcomes: taken, with job, attempt, executor, target, repo, base, head, changed_paths, timeout_at; none; denied. Errors: argument_required, argument_invalid, lease_out_of_range, repo_invalid.
@toolset full$$;

create function coord_v1.renew_verification(job coord_v1.job_id, attempt coord_v1.attempt, lease_seconds coord_v1.lease_seconds default 900) returns jsonb
language sql
return coord.renew_verification(job, attempt, lease_seconds);
comment on function coord_v1.renew_verification is $$Keep a verification job that still runs; never past its time.
Outcomes: renewed; not_yours; already_done (cancelled, or reported by somebody else): stop the run. Errors: job_invalid, job_not_found, lease_out_of_range.
@toolset full
@idempotent$$;

create function coord_v1.report_verification(
  job coord_v1.job_id,
  status coord_v1.verdict,
  evidence coord_v1.evidence default null,
  attempt coord_v1.attempt default null
) returns jsonb language sql
return coord.report_verification(job, status, evidence, attempt);
comment on function coord_v1.report_verification is $$Say what a verification job came to, with evidence of a run on the head.
passed and failed end the job; error and timed_out give it back, until its attempts are used up. Evidence: commit (the head), started_at (after the head was committed), ended_at, log_url, summary.
Outcomes: recorded, with changeset_state; retrying with next_at; dead; not_yours; already_done; denied (author_cannot_verify). Errors: job_invalid, job_not_found, argument_required, argument_invalid, evidence_invalid, evidence_not_for_head, evidence_stale.
@toolset full$$;

create function coord_v1.decide_verification(job coord_v1.job_id, approve boolean, note coord_v1.note default null) returns jsonb
language sql
return coord.decide_verification(job, approve, note);
comment on function coord_v1.decide_verification is $$Decide a manual verification: operators and trust 4, never its author.
To turn it down takes a note. Outcomes: recorded, with changeset_state; already_done; denied (author_cannot_verify). Errors: job_invalid, job_not_found, not_manual, argument_required, argument_too_long.
@toolset full$$;

create view coord_v1.verifications with (security_invoker = true) as
  select 'C-' || c.number as changeset, c.number, c.repo, c.base, c.head, c.branch, 'T-' || c.task as task, t.state as task_state, t.requires_tier,
    c.author, c.author_trust, c.submitted_by, c.submitted_at, c.head_committed_at, c.paths, c.paths_known, c.files, c.lines, c.tier, c.executors,
    c.reasons, c.skipped, c.state, c.state = 'verified' and coalesce(c.reached, -1) >= coalesce(t.requires_tier, -1) as verified, c.reached, c.reason,
    'C-' || c.superseded_by as superseded_by, c.ended_at, extract(epoch from c.ended_at - c.submitted_at)::integer as seconds
  from coord.changesets c
  left join lateral (
    select o.state, o.requires_tier from coord.tasks o where o.number = c.task
    union all select p.state, p.requires_tier from coord.past_tasks p where p.number = c.task
  ) t on true;
comment on view coord_v1.verifications is 'Changes and how far they are verified, in the repositories you are granted; for 90 days after their end.';
comment on column coord_v1.verifications.changeset is 'As C-17.';
comment on column coord_v1.verifications.number is 'The number in changeset.';
comment on column coord_v1.verifications.repo is 'host/owner/name.';
comment on column coord_v1.verifications.base is 'Commit that it begins after.';
comment on column coord_v1.verifications.head is 'Commit that is verified.';
comment on column coord_v1.verifications.branch is 'Its branch.';
comment on column coord_v1.verifications.task is 'The task it was made for.';
comment on column coord_v1.verifications.task_state is 'State of that task: completed is not verified.';
comment on column coord_v1.verifications.requires_tier is 'How far the task wants it verified.';
comment on column coord_v1.verifications.author is 'Whose change it is.';
comment on column coord_v1.verifications.author_trust is 'The trust of its author when it was routed.';
comment on column coord_v1.verifications.submitted_by is 'Who submitted it.';
comment on column coord_v1.verifications.submitted_at is 'When.';
comment on column coord_v1.verifications.head_committed_at is 'When the head was committed.';
comment on column coord_v1.verifications.paths is 'What changed.';
comment on column coord_v1.verifications.paths_known is 'Whether that is all.';
comment on column coord_v1.verifications.files is 'How many files.';
comment on column coord_v1.verifications.lines is 'How many lines.';
comment on column coord_v1.verifications.tier is 'Highest tier of its plan: 0 static to 4 manual.';
comment on column coord_v1.verifications.executors is 'Who checks it.';
comment on column coord_v1.verifications.reasons is 'Why each.';
comment on column coord_v1.verifications.skipped is 'Tiers that its author is trusted to skip.';
comment on column coord_v1.verifications.state is 'pending, verified, rejected or superseded.';
comment on column coord_v1.verifications.verified is 'Whether it is verified as far as its task requires.';
comment on column coord_v1.verifications.reached is 'Highest tier that passed.';
comment on column coord_v1.verifications.reason is 'Why it was rejected, or skipped.';
comment on column coord_v1.verifications.superseded_by is 'The changeset that took its place.';
comment on column coord_v1.verifications.ended_at is 'When that was settled.';
comment on column coord_v1.verifications.seconds is 'How long it took.';

create view coord_v1.verification_jobs with (security_invoker = true) as
  select 'V-' || j.number as job, j.number, j.repo, 'C-' || j.changeset as changeset, j.head, j.author, j.tier, j.executor, j.target, j.state, j.attempt,
    j.max_attempts, j.timeout_seconds, j.next_at, j.taken_by, j.taken_at, case when j.state = 'running' then j.lease_until end as lease_until,
    j.evidence, j.reported_by, j.history, j.created_at, j.ended_at
  from coord.verification_jobs j;
comment on view coord_v1.verification_jobs is 'The single checks of changes, in the repositories you are granted.';
comment on column coord_v1.verification_jobs.job is 'As V-17.';
comment on column coord_v1.verification_jobs.number is 'The number in job.';
comment on column coord_v1.verification_jobs.repo is 'host/owner/name.';
comment on column coord_v1.verification_jobs.changeset is 'What it checks.';
comment on column coord_v1.verification_jobs.head is 'Commit that it runs on.';
comment on column coord_v1.verification_jobs.author is 'Whose change it is; never who checks it.';
comment on column coord_v1.verification_jobs.tier is '0 static, 1 unit, 2 integration, 3 system, 4 manual.';
comment on column coord_v1.verification_jobs.executor is 'Who runs it.';
comment on column coord_v1.verification_jobs.target is 'What of it, as a workflow file.';
comment on column coord_v1.verification_jobs.state is 'pending, running, passed, failed, error, timed_out, cancelled or dead.';
comment on column coord_v1.verification_jobs.attempt is 'How often it was taken: the fencing token of the run.';
comment on column coord_v1.verification_jobs.max_attempts is 'How often it may be.';
comment on column coord_v1.verification_jobs.timeout_seconds is 'How long a run may take.';
comment on column coord_v1.verification_jobs.next_at is 'Backs off until then.';
comment on column coord_v1.verification_jobs.taken_by is 'Who runs it, or ran it last.';
comment on column coord_v1.verification_jobs.taken_at is 'Since when.';
comment on column coord_v1.verification_jobs.lease_until is 'When it is taken back, unless renewed.';
comment on column coord_v1.verification_jobs.evidence is 'What the verdict rests on.';
comment on column coord_v1.verification_jobs.reported_by is 'Whose verdict.';
comment on column coord_v1.verification_jobs.history is 'Attempts that came to nothing.';
comment on column coord_v1.verification_jobs.created_at is 'When it was planned.';
comment on column coord_v1.verification_jobs.ended_at is 'When it ended.';

create view coord_v1.verification_metrics with (security_invoker = true) as
  select j.repo, j.author as agent, j.tier,
    count(*) filter (where j.state in ('pending', 'error', 'timed_out')) as waiting,
    count(*) filter (where j.state = 'running') as running,
    count(*) filter (where j.state = 'passed') as passed,
    count(*) filter (where j.state = 'failed') as failed,
    count(*) filter (where j.state = 'dead') as dead,
    round(count(*) filter (where j.state = 'passed')::numeric / nullif(count(*) filter (where j.state in ('passed', 'failed')), 0), 3) as pass_rate,
    extract(epoch from percentile_cont(0.5) within group (order by j.ended_at - j.created_at) filter (where j.state in ('passed', 'failed')))::integer as median_seconds,
    extract(epoch from clock_timestamp() - min(j.created_at) filter (where j.ended_at is null))::integer as oldest_seconds
  from coord.verification_jobs j
  group by j.repo, j.author, j.tier;
comment on view coord_v1.verification_metrics is 'Queue depth, time to a verdict and pass rates by repository, agent and tier, over 90 days.';
comment on column coord_v1.verification_metrics.repo is 'host/owner/name.';
comment on column coord_v1.verification_metrics.agent is 'Whose changes.';
comment on column coord_v1.verification_metrics.tier is 'Which tier.';
comment on column coord_v1.verification_metrics.waiting is 'Jobs that wait to be run or decided.';
comment on column coord_v1.verification_metrics.running is 'Jobs that run.';
comment on column coord_v1.verification_metrics.passed is 'Jobs that passed.';
comment on column coord_v1.verification_metrics.failed is 'Jobs that failed.';
comment on column coord_v1.verification_metrics.dead is 'Jobs that nobody could run.';
comment on column coord_v1.verification_metrics.pass_rate is 'Share of verdicts that were good, 0 to 1.';
comment on column coord_v1.verification_metrics.median_seconds is 'Half of the verdicts took no longer, from the plan on.';
comment on column coord_v1.verification_metrics.oldest_seconds is 'Age of the oldest open job.';

create view coord_v1.verification_policies with (security_invoker = true) as
  select p.name, p.spec, p.managed, p.changed_at, p.changed_by from coord.verification_policies p;
comment on view coord_v1.verification_policies is 'Which changes take which checks, as declared (coord apply).';
comment on column coord_v1.verification_policies.name is 'Its name.';
comment on column coord_v1.verification_policies.spec is 'What it says: paths, except, trust, lines, files; tier, executors, sensitive, skips.';
comment on column coord_v1.verification_policies.managed is 'Whether a configuration brought it.';
comment on column coord_v1.verification_policies.changed_at is 'When it was declared last.';
comment on column coord_v1.verification_policies.changed_by is 'By whom.';

grant usage on type coord_v1.commit_id, coord_v1.changed_paths, coord_v1.branch, coord_v1.author, coord_v1.size, coord_v1.changeset_id, coord_v1.job_id,
  coord_v1.executor_list, coord_v1.verdict, coord_v1.evidence to coord_agent, coord_operator, coord_auditor;
grant execute on function coord.submit_changeset, coord.take_verification, coord.renew_verification, coord.report_verification, coord.decide_verification,
  coord_v1.submit_changeset, coord_v1.take_verification, coord_v1.renew_verification, coord_v1.report_verification, coord_v1.decide_verification
  to coord_agent, coord_operator;
grant execute on function coord_v1.submit_changeset_for to coord_operator;
grant execute on function coord.verification_status, coord_v1.verification_status to coord_agent, coord_operator, coord_auditor;
grant select on coord.changesets, coord.verification_jobs, coord_v1.verifications, coord_v1.verification_jobs, coord_v1.verification_metrics,
  coord_v1.verification_policies to coord_agent, coord_operator, coord_auditor;

reset role;
notify pgrst, 'reload schema';
