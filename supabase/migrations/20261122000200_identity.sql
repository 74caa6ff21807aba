-- Identity: principals, repositories, who may reach which, and token checks.
--
-- Who calls is told by the verified JWT alone (role, sub, agent_type, aud, exp,
-- jti, session_id), never by an argument. A token is good when its audience is
-- ours, it expires, it has a jti that is not revoked, and its sub is a
-- registered, enabled principal of exactly the role that it names.
--
-- Invariants
--   I1  no argument names the caller
--   R1  a row of a repo is visible only to principals granted that repo
--   a principal's role never changes; only operators and auditors reach all repos
--
-- Lock order: agents, then repos, then repo_grants.

set role coord_owner;

-- The claims -----------------------------------------------------------------

create function coord.claims() returns jsonb
language sql stable
return nullif(current_setting('request.jwt.claims', true), '')::jsonb;
comment on function coord.claims is 'The verified claims, or null. Pooled connections leave an empty string behind.';

-- Tables ---------------------------------------------------------------------

create table coord.agents (
  id text primary key,
  agent_type text not null,
  role text not null,
  all_repos boolean not null default false,
  enabled boolean not null default true,
  disabled_reason text,
  profile text,
  registered_at timestamptz not null default clock_timestamp(),
  registered_by text not null,
  constraint id_is_a_name check (id ~ '^[A-Za-z0-9][A-Za-z0-9._@-]{0,99}$'),
  constraint agent_type_is_a_name check (agent_type ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,49}$'),
  constraint role_is_known check (role in ('coord_agent', 'coord_operator', 'coord_auditor')),
  constraint agents_never_reach_all_repos check (not (all_repos and role = 'coord_agent')),
  constraint disabled_says_why check (enabled = (disabled_reason is null))
);
comment on table coord.agents is 'Principals: agents, operators and auditors.';

create table coord.repos (
  id text primary key,
  added_at timestamptz not null default clock_timestamp(),
  added_by text not null,
  lock_policy text not null default 'enforce',
  constraint lock_policy_is_known check (lock_policy in ('off', 'warn', 'enforce')),
  constraint id_is_canonical check (id ~ '^[^/[:space:]]+(/[^/[:space:]]+)+$' and octet_length(id) <= 255)
);
comment on table coord.repos is 'Repositories by canonical name, host/owner/name: the namespace of everything coordinated.';

create table coord.repo_grants (
  agent text not null references coord.agents (id),
  repo text not null references coord.repos (id),
  granted_at timestamptz not null default clock_timestamp(),
  granted_by text not null,
  primary key (agent, repo)
);
comment on table coord.repo_grants is 'Which principal may reach which repository.';
create index repo_grants_by_repo on coord.repo_grants (repo);

create table coord.revoked_tokens (
  jti text primary key,
  expires_at timestamptz,
  revoked_at timestamptz not null default clock_timestamp(),
  revoked_by text not null,
  reason text,
  constraint jti_has_a_size check (octet_length(jti) between 1 and 200)
);
comment on table coord.revoked_tokens is 'Tokens refused before their time. Rows may go once expires_at has passed.';

-- Row-level security -----------------------------------------------------------
--
-- Every policy reads the claims inside a scalar sub-select, so that it is
-- evaluated once a statement and not once a row. Views and Realtime know the
-- claims alone, so policies for their roles look the grants up; bodies run after
-- coord.admit(), which leaves the caller's repos in the setting coord.repos
-- (space-separated, * for all): for coord_owner policies read that, and without a
-- sub-select: looking the grants up in each statement was half the cost of a lock.

alter table coord.agents enable row level security;
alter table coord.agents force row level security;
create policy self_or_oversight on coord.agents
  for all to coord_owner, coord_agent, coord_operator, coord_auditor
  using (
    id = (select nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub')
    or (select nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'role') in ('coord_operator', 'coord_auditor')
  )
  with check ((select nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'role') = 'coord_operator');
create policy janitor on coord.agents for all to coord_janitor using (true);

alter table coord.repos enable row level security;
alter table coord.repos force row level security;
create policy granted_or_oversight on coord.repos
  for all to coord_owner, coord_agent, coord_operator, coord_auditor
  using (
    id = any (array(
      select g.repo from coord.repo_grants g
      where g.agent = (select nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub')))
    or (select nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'role') in ('coord_operator', 'coord_auditor')
  )
  with check ((select nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'role') = 'coord_operator');

alter table coord.repo_grants enable row level security;
alter table coord.repo_grants force row level security;
create policy own_or_oversight on coord.repo_grants
  for all to coord_owner, coord_agent, coord_operator, coord_auditor
  using (
    agent = (select nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub')
    or (select nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'role') in ('coord_operator', 'coord_auditor')
  )
  with check ((select nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'role') = 'coord_operator');
create policy janitor on coord.repo_grants for all to coord_janitor using (true);

alter table coord.revoked_tokens enable row level security;
alter table coord.revoked_tokens force row level security;
create policy operators on coord.revoked_tokens
  for all to coord_owner
  using ((select nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'role') = 'coord_operator');
create policy janitor on coord.revoked_tokens for all to coord_janitor using (true);

grant select on coord.agents, coord.repo_grants to coord_janitor, coord_agent, coord_operator, coord_auditor;
grant select on coord.repos to coord_agent, coord_operator, coord_auditor;
grant select, delete on coord.revoked_tokens to coord_janitor;

-- The first operator registers everybody else. The policies bind the owner too,
-- so this row is written in that operator's name.
do $$
begin
  perform set_config('request.jwt.claims', '{"role": "coord_operator", "sub": "operator"}', true);
  insert into coord.agents (id, agent_type, role, all_repos, registered_by)
  values ('operator', 'operator', 'coord_operator', true, 'operator');
  perform set_config('request.jwt.claims', '', true);
end
$$;

create function coord.protect_by_repo(p_table text) returns void
language plpgsql
as $$
begin
  -- No sub-select for the owner: bodies touch few rows, and setting one up costs more than it saves.
  -- Realtime knows nothing of coord.admit: for its roles the policy itself looks whether the
  -- principal is enabled and has the role, or an open subscription would outlive disable_agent.
  execute format($f$
    alter table coord.%1$I enable row level security;
    alter table coord.%1$I force row level security;
    create policy repo_admitted on coord.%1$I
      for all to coord_owner
      using (
        current_setting('coord.repos', true) in (repo, '*')
        or repo = any (string_to_array(current_setting('coord.repos', true), ' ')));
    create policy repo_granted on coord.%1$I
      for all to coord_agent, coord_operator, coord_auditor
      using (
        repo = any (array(
          select g.repo from coord.repo_grants g join coord.agents a on a.id = g.agent
          where a.id = (select nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub')
            and a.enabled and a.role = current_user))
        or (select a.all_repos from coord.agents a
          where a.id = (select nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub')
            and a.enabled and a.role = current_user));
    create policy janitor on coord.%1$I for all to coord_janitor using (true);
    grant select on coord.%1$I to coord_agent, coord_operator, coord_auditor;
  $f$, p_table);
end
$$;
comment on function coord.protect_by_repo is 'Row-level security of what belongs to a repository: its rows are for those who are granted it.';

-- Errors -----------------------------------------------------------------------

insert into coord.error_codes (code, status, meaning, remedy) values
  ('token_required', 401, 'No token came with the call.', 'Send Authorization: Bearer <token>; an operator mints one with coord token mint.'),
  ('token_invalid', 401, 'The token lacks a claim that we need, or it has the wrong type or value.', 'Mint a new token with coord token mint.'),
  ('token_expired', 401, 'The token has expired.', 'Mint a new token with coord token mint.'),
  ('token_revoked', 401, 'The token was revoked.', 'Ask an operator for a new token.'),
  ('agent_unknown', 403, 'The token''s sub is not registered here.', 'An operator registers it with coord token mint or register_agent.'),
  ('agent_disabled', 403, 'This principal is disabled.', 'Ask an operator; enable_agent lifts it.'),
  ('role_not_allowed', 403, 'The token names a role that its principal does not have.', 'Mint a token with the role the principal was registered with.'),
  ('view_is_read_only', 403, 'Views are read, with GET.', 'Call a function (POST /rpc/NAME) to change anything.'),
  ('session_id_invalid', 400, 'A session id has 1 to 128 printable characters.', 'Send another X-Session-Id, or none.'),
  ('repo_required', 400, 'The caller is not granted exactly one repository, so the call must name one.', 'Pass repo as host/owner/name.'),
  ('repo_invalid', 400, 'This is no repository: host/owner/name, or the URL of a git remote.', 'Pass repo as host/owner/name.'),
  ('repo_not_granted', 403, 'The caller is not granted this repository.', 'Ask an operator to grant it: coord token mint --agent NAME --type TYPE --repo REPO.'),
  ('agent_not_found', 404, 'No principal has this name.', 'Check the name; register_agent makes a new one.'),
  ('agent_role_fixed', 409, 'A principal keeps the role it was registered with.', 'Register another name for the other role.'),
  ('agent_name_invalid', 400, 'A name has 1 to 100 letters, digits and . _ @ -, and begins with a letter or digit.', 'Choose another name.'),
  ('all_repos_refused', 422, 'Only operators and auditors may be granted *.', 'Name the repositories one by one.');

-- Repositories -------------------------------------------------------------------

create function coord.canonical_repo(p_repo text) returns text
language plpgsql stable
as $$
declare
  v_repo text := btrim(p_repo);
  v_host text;
begin
  if octet_length(v_repo) > 1024 then
    perform coord.fail('argument_too_long', 'repo has at most 1024 bytes');
  end if;
  -- ssh://git@host:22/owner/name.git, https://user@host/owner/name, git@host:owner/name.git
  if v_repo ~ '^[A-Za-z][A-Za-z0-9+.-]*://' then
    v_repo := regexp_replace(v_repo, '^[A-Za-z][A-Za-z0-9+.-]*://', '');
    v_repo := regexp_replace(v_repo, '^[^/@]*@', '');
    v_repo := regexp_replace(v_repo, '^([^/:]+):[0-9]+/', '\1/');
  elsif v_repo ~ '^[^/]*@[^/]*:' or v_repo ~ '^[^/@:]+\.[^/@:]+:[^0-9/]' then
    v_repo := regexp_replace(v_repo, '^[^/@]*@', '');
    v_repo := regexp_replace(v_repo, ':/*', '/');
  end if;
  v_repo := regexp_replace(v_repo, '(\.git)?/*$', '');
  v_host := lower(split_part(v_repo, '/', 1));
  v_repo := v_host || substr(v_repo, length(v_host) + 1);
  -- These hosts know one repository under every case of its name.
  if v_host in ('github.com', 'gitlab.com', 'bitbucket.org', 'codeberg.org') then
    v_repo := lower(v_repo);
  end if;
  if v_repo !~ '^[a-z0-9][a-z0-9._-]*(/[A-Za-z0-9._~+@-]+)+$' or v_repo ~ '/\.{1,2}(/|$)'
    or octet_length(v_repo) > 255 then
    perform coord.fail('repo_invalid', format('%s is not host/owner/name', quote_literal(left(p_repo, 100))));
  end if;
  return v_repo;
end
$$;
comment on function coord.canonical_repo is 'host/owner/name of a repository given as that or as the URL of a git remote.';

-- Who calls ------------------------------------------------------------------------

create type coord.caller as (
  agent text,
  agent_type text,
  role text,
  session_id text,
  jti text
);
comment on type coord.caller is 'The principal behind a call, as its verified token and session header tell.';

create type coord.call as (
  function text,
  agent text,
  agent_type text,
  role text,
  session_id text,
  repo text,
  args jsonb,
  request_id text,
  idempotency_key text,
  args_hash bytea,
  answer jsonb,
  token_id text,
  started_at timestamptz
);
comment on type coord.call is 'A command under way (coord.open_call to coord.close_call). With an answer already, it is a replay or a denial and only has to be returned.';
grant usage on type coord.caller, coord.call to coord_janitor;
grant execute on function coord.claims to coord_janitor;

set role coord_janitor;

create function coord.refuse_token(p_claims jsonb) returns void
language plpgsql
as $$
begin
  if p_claims is null then
    perform coord.fail('token_required');
  elsif jsonb_typeof(p_claims -> 'sub') is distinct from 'string' or p_claims ->> 'sub' = '' then
    perform coord.fail('token_invalid', 'the claim sub must be the name of a principal');
  elsif jsonb_typeof(p_claims -> 'jti') is distinct from 'string' or octet_length(p_claims ->> 'jti') not between 1 and 200 then
    perform coord.fail('token_invalid', 'the claim jti must be a text of 1 to 200 bytes');
  elsif jsonb_typeof(p_claims -> 'exp') is distinct from 'number' then
    perform coord.fail('token_invalid', 'the claim exp must be a number: seconds since 1970');
  elsif (p_claims ->> 'exp')::numeric <= extract(epoch from clock_timestamp()) then
    perform coord.fail('token_expired');
  end if;
  perform coord.fail('token_invalid', 'the claim aud must be coord');
end
$$;
comment on function coord.refuse_token is 'Says what is wrong with a token that coord.admit did not take.';

create function coord.admit_as(p_role text) returns coord.caller
language plpgsql
as $$
declare
  v_claims jsonb := coord.claims();
  v_session text;
  v_principal record;
  v_caller coord.caller;
begin
  -- One look at the whole: this runs before every call. A jsonb number is compared as a number.
  if not coalesce(
    jsonb_typeof(v_claims -> 'sub') = 'string' and v_claims ->> 'sub' <> ''
    and jsonb_typeof(v_claims -> 'jti') = 'string' and octet_length(v_claims ->> 'jti') between 1 and 200
    and jsonb_typeof(v_claims -> 'exp') = 'number' and v_claims -> 'exp' > to_jsonb(extract(epoch from clock_timestamp()))
    and (v_claims -> 'aud' = '"coord"' or (jsonb_typeof(v_claims -> 'aud') = 'array' and v_claims -> 'aud' ? 'coord')), false) then
    perform coord.refuse_token(v_claims);
  end if;
  v_session := coalesce(
    v_claims ->> 'session_id',
    nullif(current_setting('request.headers', true), '')::jsonb ->> 'x-session-id',
    v_claims ->> 'jti');
  -- Not as one pattern with {0,126}, which costs 18 times as much.
  if length(v_session) not between 1 and 128 or v_session ~ '[^[:print:]]|^[^[:graph:]]|[^[:graph:]]$' then
    perform coord.fail('session_id_invalid');
  end if;

  select a.role, a.agent_type, a.enabled, a.disabled_reason, r.jti as revoked, s.live, s.renewed_at, s.renew_every,
    case when a.all_repos then '*' else array_to_string(array(select g.repo from coord.repo_grants g where g.agent = a.id), ' ') end as repos,
    e as profile, e.name as profile_name, e.enabled as profile_enabled, e.trust
  into v_principal
  from coord.agents a
  left join coord.revoked_tokens r on r.jti = v_claims ->> 'jti'
  left join coord.sessions s on s.agent = a.id and s.id = v_session
  left join coord.effective_profiles e on e.name = case when a.role <> 'coord_agent' then a.profile
    else coalesce(a.profile, v_claims ->> 'profile',
      (select d.profile from coord.profile_defaults d where d.agent_type = coalesce(nullif(v_claims ->> 'agent_type', ''), a.agent_type)),
      (select d.profile from coord.profile_defaults d where d.agent_type = '*')) end
  where a.id = v_claims ->> 'sub';
  if not found then
    perform coord.fail('agent_unknown', format('no principal is called %s', quote_literal(left(v_claims ->> 'sub', 100))));
  elsif v_principal.revoked is not null then
    perform coord.fail('token_revoked');
  elsif not v_principal.enabled then
    perform coord.fail('agent_disabled', v_principal.disabled_reason);
  elsif v_principal.role <> p_role or v_claims ->> 'role' is distinct from p_role then
    perform coord.fail('role_not_allowed', format('%s is registered as %s', v_claims ->> 'sub', v_principal.role));
  end if;
  if v_principal.profile_name is null then
    if p_role = 'coord_agent' then
      perform coord.fail('no_profile', format('no profile applies to %s', v_claims ->> 'sub'));
    end if;
    -- People are bound by their role, unless they are assigned a profile.
    v_principal.profile := row(substr(p_role, 7), true, case p_role when 'coord_operator' then 4 else 1 end, '{*}', '{}',
      2147483647, 64, 28800, 2147483647, 2147483647, 2147483647, null, 'enforce', '{*}', 'deny')::coord.effective_profiles;
  elsif not v_principal.profile_enabled then
    perform coord.fail('profile_disabled', format('profile %s is disabled', v_principal.profile_name));
  elsif v_principal.trust = 0 then
    perform coord.fail('agent_suspended', format('profile %s gives %s no trust', v_principal.profile_name, v_claims ->> 'sub'));
  end if;
  v_caller := row(v_claims ->> 'sub', coalesce(nullif(left(v_claims ->> 'agent_type', 50), ''), v_principal.agent_type),
    p_role, v_session, v_claims ->> 'jti');

  -- Without this, a view that no row could be put into would be a server error.
  if current_setting('request.method', true) not in ('GET', 'HEAD') and current_setting('request.path', true) !~ '^/(rpc/|$)' then
    perform coord.fail('view_is_read_only');
  end if;

  -- Any call that may write is a heartbeat, but seldom a write.
  if current_setting('transaction_read_only') = 'off' then
    if v_principal.live is not true then
      perform coord.open_session(v_caller.agent, v_session, v_caller.agent_type);
    elsif v_principal.renewed_at < clock_timestamp() - make_interval(secs => v_principal.renew_every) then
      perform coord.renew_session(v_caller.agent, v_session);
    end if;
  end if;

  -- Remembered for the rest of the transaction, with the claims it was found from.
  perform set_config('coord.repos', v_principal.repos, true), set_config('coord.caller', v_caller::text, true),
    set_config('coord.profile', v_principal.profile::text, true), set_config('coord.claims', current_setting('request.jwt.claims'), true);
  return v_caller;
end
$$;
comment on function coord.admit_as is 'Checks the claims for a role, opens or renews the session and tells who calls; refuses everything else.';

create function coord.admit() returns coord.caller
language plpgsql security definer set search_path = ''
as $$
begin
  return coord.admit_as(current_setting('role'));
end
$$;
comment on function coord.admit is 'Checks the token behind this call, opens or renews its session and tells who calls; refuses everything else.';
grant execute on function coord.admit to coord_owner, coord_agent, coord_operator, coord_auditor;

set role coord_owner;

create function coord.refuse_anonymous() returns void
language plpgsql security definer set search_path = ''
as $$
begin
  perform coord.fail('token_required');
end
$$;
comment on function coord.refuse_anonymous is 'Refuses a call without a token, in words.';
grant execute on function coord.refuse_anonymous to anon;

-- SECURITY INVOKER and without a search_path of its own: PostgREST sets the path to
-- the schema that is called, and that tells which calls of anon are for us.
create function coord.pre_request() returns void
language plpgsql
as $$
begin
  if current_setting('role') in ('coord_agent', 'coord_operator', 'coord_auditor') then
    perform coord.admit();
  elsif current_setting('role') = 'anon' and current_setting('search_path') ~ '^"?coord_v1"?(,|$)'
    and current_setting('request.path', true) !~ '^/(rpc/(health|webhook_[a-z]+))?$' then
    -- The grants refuse it as well; this says why.
    perform coord.refuse_anonymous();
  end if;
  -- Supabase's own roles pass through the same PostgREST.
end
$$;
comment on function coord.pre_request is 'PostgREST''s db-pre-request: refuses bad tokens before views and functions run.';
grant execute on function coord.pre_request to public;
create function coord.caller() returns coord.caller
language plpgsql
as $$
begin
  if current_setting('coord.caller', true) <> '' and current_setting('coord.claims', true) = current_setting('request.jwt.claims', true) then
    return current_setting('coord.caller')::coord.caller;
  end if;
  -- The server was not told of the pre-request function: check now, fail closed.
  return coord.admit();
end
$$;
comment on function coord.caller is 'Who calls: as the pre-request function found, or found now.';

create function coord.granted(p_repo text) returns boolean
language sql stable
return coalesce(string_to_array(current_setting('coord.repos', true), ' ') && array[p_repo, '*'], false);
comment on function coord.granted is 'Whether the admitted caller reaches this repo.';

create function coord.resolve_repo(p_repo text) returns text
language plpgsql stable
as $$
declare
  v_repos text := current_setting('coord.repos', true);
begin
  if p_repo = any (string_to_array(v_repos, ' ')) and p_repo <> '*' then
    -- Grants are canonical.
    return p_repo;
  elsif p_repo <> '' then
    return coord.canonical_repo(p_repo);
  elsif v_repos in ('', '*') or strpos(v_repos, ' ') > 0 then
    perform coord.fail('repo_required');
  end if;
  return v_repos;
end
$$;
comment on function coord.resolve_repo is 'The canonical repo meant by an argument that may be left out. Tells nothing of permission.';

-- Operators' functions ---------------------------------------------------------------

create function coord.agent_types_like(p_type text) returns text[]
language sql immutable
as $$
  with known (name) as (
    values ('aider'), ('claude-code-cli'), ('claude-code-web'), ('cli'), ('codex-cli'), ('codex-cloud'), ('git-server'), ('github'), ('strands')
  ), pairs (name, pair) as (
    select distinct t.name, substr(b.bare, i, 2)
    from (select k.name from known k union select p_type) t (name)
      cross join lateral (values (regexp_replace(lower(t.name), '[^a-z0-9]', '', 'g'))) b (bare)
      cross join lateral generate_series(1, length(b.bare) - 1) i
  ), alike as (
    -- Pairs of letters in common, of all that both have (Dice).
    select k.name, 2.0 * count(t.pair) / (count(*) + (select count(*) from pairs o where o.name = p_type)) as score,
      max(2.0 * count(t.pair) / (count(*) + (select count(*) from pairs o where o.name = p_type))) over () as best
    from known k join pairs p on p.name = k.name left join pairs t on t.name = p_type and t.pair = p.pair
    group by k.name
  )
  select case when exists (select from known k where k.name = p_type) then '{}'
    else coalesce(array_agg(a.name order by a.score desc, a.name), '{}') end
  from alike a where a.score >= greatest(0.6, a.best - 0.2)
$$;
comment on function coord.agent_types_like is 'The types that this project knows, if this is none of them and like one: the most like first. Any other type is one of somebody''s own.';

create function coord.register_agent(p_name text, p_agent_type text, p_role text, p_repos text[], p_profile text) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_call coord.call := coord.open_call('register_agent', jsonb_build_object(
    'name', p_name, 'agent_type', p_agent_type, 'role', p_role, 'repos', p_repos, 'profile', p_profile));
  v_role text := 'coord_' || coalesce(nullif(p_role, ''), 'agent');
  v_all boolean := coalesce('*' = any (p_repos), false);
  v_repos text[];
  v_known coord.agents;
  v_like text[] := coord.agent_types_like(left(p_agent_type, 50));
begin
  if v_call.answer is not null then return v_call.answer; end if;
  if p_name is null or p_name !~ '^[A-Za-z0-9][A-Za-z0-9._@-]{0,99}$' then
    perform coord.fail('agent_name_invalid');
  end if;
  if p_agent_type !~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,49}$' then
    perform coord.fail('argument_invalid', 'agent_type has 1 to 50 letters, digits and . _ -');
  end if;
  if v_role not in ('coord_agent', 'coord_operator', 'coord_auditor') then
    perform coord.fail('argument_invalid', 'role is agent, operator or auditor');
  end if;
  if cardinality(p_repos) > 100 then
    perform coord.fail('argument_too_long', 'repos has at most 100 entries');
  end if;
  if v_all and v_role = 'coord_agent' then
    perform coord.fail('all_repos_refused');
  end if;
  select coalesce(array_agg(distinct coord.canonical_repo(r) order by coord.canonical_repo(r)), '{}')
  into v_repos from unnest(p_repos) r where r <> '*';

  if p_profile is not null and not exists (select from coord.profiles p where p.name = p_profile) then
    perform coord.fail('profile_not_found', format('no profile is called %s', quote_literal(left(p_profile, 100))));
  end if;

  insert into coord.agents as a (id, agent_type, role, all_repos, profile, registered_by)
  values (p_name, coalesce(p_agent_type, 'unknown'), v_role, v_all, p_profile, v_call.agent)
  on conflict (id) do update
    set agent_type = coalesce(p_agent_type, a.agent_type), all_repos = a.all_repos or excluded.all_repos,
      profile = coalesce(p_profile, a.profile)
    where a.role = excluded.role
  returning a.* into v_known;
  if not found then
    perform coord.fail('agent_role_fixed', format('%s is registered with another role', p_name));
  end if;
  insert into coord.repos (id, added_by) select r, v_call.agent from unnest(v_repos) r
  on conflict (id) do nothing;
  insert into coord.repo_grants (agent, repo, granted_by)
  select p_name, r, v_call.agent from unnest(v_repos) r
  on conflict (agent, repo) do nothing;

  return coord.close_call(v_call, true, 'registered', jsonb_build_object(
    'name', v_known.id, 'agent_type', v_known.agent_type, 'role', substr(v_known.role, 7),
    'enabled', v_known.enabled, 'all_repos', v_known.all_repos, 'profile', v_known.profile,
    'repos', coalesce((select jsonb_agg(g.repo order by g.repo) from coord.repo_grants g where g.agent = p_name), '[]'))
    || case when v_like = '{}' then '{}' else jsonb_build_object('next', format(
      '%s is a type of its own, which rules for %s do not mean: if it is one of these, register it again with that type.',
      v_known.agent_type, array_to_string(v_like, ' or '))) end);
end
$$;

create function coord.set_agent_enabled(p_function text, p_name text, p_enabled boolean, p_reason text) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_call coord.call := coord.open_call(p_function, jsonb_build_object('name', p_name, 'reason', p_reason));
  v_ended jsonb;
begin
  if v_call.answer is not null then return v_call.answer; end if;
  if not p_enabled and coalesce(btrim(p_reason), '') = '' then
    perform coord.fail('argument_required', 'reason says why the principal is disabled');
  end if;
  if length(p_reason) > 500 then
    perform coord.fail('argument_too_long', 'reason has at most 500 characters');
  end if;
  update coord.agents a
  set enabled = p_enabled, disabled_reason = case when not p_enabled then p_reason end
  where a.id = p_name;
  if not found then
    perform coord.fail('agent_not_found');
  end if;
  if not p_enabled then
    v_ended := coord.end_sessions_of(p_name);
  end if;
  return coord.close_call(v_call, true, case when p_enabled then 'enabled' else 'disabled' end,
    jsonb_strip_nulls(jsonb_build_object('name', p_name, 'sessions_ended', v_ended)), p_reason);
end
$$;

create function coord.revoke_token(p_jti text, p_expires_at timestamptz, p_reason text) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_call coord.call := coord.open_call('revoke_token', jsonb_build_object(
    'jti', p_jti, 'expires_at', p_expires_at, 'reason', p_reason));
begin
  if v_call.answer is not null then return v_call.answer; end if;
  if coalesce(p_jti, '') = '' then
    perform coord.fail('argument_required', 'jti is the id of the token to revoke');
  end if;
  if octet_length(p_jti) > 200 or length(p_reason) > 500 then
    perform coord.fail('argument_too_long', 'jti has at most 200 bytes, reason at most 500 characters');
  end if;
  insert into coord.revoked_tokens (jti, expires_at, revoked_by, reason)
  values (p_jti, p_expires_at, v_call.agent, p_reason)
  on conflict (jti) do nothing;
  return coord.close_call(v_call, true, 'revoked', jsonb_build_object('jti', p_jti), p_reason);
end
$$;

-- The contract -------------------------------------------------------------------------

create domain coord_v1.repo as text;
comment on domain coord_v1.repo is $$host/owner/name; optional if just one.$$;
create domain coord_v1.principal as text;
comment on domain coord_v1.principal is $$Name of an agent, operator or auditor.
@schema {"maxLength": 100}$$;
create domain coord_v1.principal_role as text;
comment on domain coord_v1.principal_role is $$What the principal is.
@schema {"enum": ["agent", "operator", "auditor"]}$$;
create domain coord_v1.agent_type as text;
comment on domain coord_v1.agent_type is $$Kind of client, as claude-code-cli or codex-cloud.
@schema {"maxLength": 50}$$;
create domain coord_v1.repo_list as text[];
comment on domain coord_v1.repo_list is $$Repositories as host/owner/name or remote URL; operators and auditors may be granted "*".
@schema {"maxItems": 100}$$;
create domain coord_v1.profile as text;
comment on domain coord_v1.profile is $$Name of a profile.
@schema {"maxLength": 50}$$;
create domain coord_v1.reason as text;
comment on domain coord_v1.reason is $$Why; others see it.
@schema {"maxLength": 500}$$;
create domain coord_v1.token_id as text;
comment on domain coord_v1.token_id is $$The jti claim of a token.
@schema {"maxLength": 200}$$;

create function coord_v1.register_agent(
  name coord_v1.principal,
  agent_type coord_v1.agent_type default null,
  role coord_v1.principal_role default 'agent',
  repos coord_v1.repo_list default '{}',
  profile coord_v1.profile default null
) returns jsonb language sql
return coord.register_agent(name, agent_type, role, repos, profile);
comment on function coord_v1.register_agent is $$Register a principal and grant it repositories.
Registering again adds repositories, renames the type and assigns the profile; the role stays what it was.
Outcome: registered. Errors: agent_name_invalid, agent_role_fixed, profile_not_found, all_repos_refused, repo_invalid, argument_invalid, argument_too_long.
@toolset full
@idempotent$$;

create function coord_v1.disable_agent(name coord_v1.principal, reason coord_v1.reason) returns jsonb
language sql
return coord.set_agent_enabled('disable_agent', name, false, reason);
comment on function coord_v1.disable_agent is $$Refuse every further call of a principal, whatever token it holds.
Ends its sessions: what they hold is free at once, and counts as broken where it is pushed.
Outcome: disabled, with sessions_ended[] and what each released. Errors: agent_not_found, argument_required, argument_too_long.
@toolset full
@destructive
@idempotent$$;

create function coord_v1.enable_agent(name coord_v1.principal) returns jsonb
language sql
return coord.set_agent_enabled('enable_agent', name, true, null);
comment on function coord_v1.enable_agent is $$Let a disabled principal call again.
Outcome: enabled. Errors: agent_not_found.
@toolset full
@idempotent$$;

create function coord_v1.revoke_token(
  jti coord_v1.token_id,
  expires_at timestamptz default null,
  reason coord_v1.reason default null
) returns jsonb language sql
return coord.revoke_token(jti, expires_at, reason);
comment on function coord_v1.revoke_token is $$Refuse a token from its next call on.
expires_at is the token's own end: after it the record may be forgotten.
Outcome: revoked. Errors: argument_required, argument_too_long.
@toolset full
@destructive
@idempotent$$;

create view coord_v1.repos with (security_invoker = true) as
  select r.id as repo, r.lock_policy, r.added_at from coord.repos r;
comment on view coord_v1.repos is 'Repositories that you are granted; all of them for operators and auditors.';
comment on column coord_v1.repos.repo is 'host/owner/name.';
comment on column coord_v1.repos.lock_policy is 'What git hooks do with changes that no lock covers: off, warn or enforce.';
comment on column coord_v1.repos.added_at is 'When it was first named.';

grant usage on type coord_v1.repo, coord_v1.principal, coord_v1.principal_role, coord_v1.agent_type,
  coord_v1.repo_list, coord_v1.profile, coord_v1.reason, coord_v1.token_id to coord_agent, coord_operator, coord_auditor;
grant execute on function coord.register_agent, coord.set_agent_enabled, coord.revoke_token,
  coord_v1.register_agent, coord_v1.disable_agent, coord_v1.enable_agent, coord_v1.revoke_token to coord_operator;
grant select on coord_v1.repos to coord_agent, coord_operator, coord_auditor;

reset role;
notify pgrst, 'reload schema';
