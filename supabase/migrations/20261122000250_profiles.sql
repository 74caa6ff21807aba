-- Profiles: who may do what, and how much of it.
--
-- A profile gives trust, operations and limits. What it leaves out it inherits from
-- the profile it extends, at last from the built-in limits; what a parent blocks stays
-- blocked. Declared profiles stand in coord.profiles; what they come to is worked out
-- when they change (coord.effective_profiles), so that a call reads one narrow row.
--
-- Which profile: the one assigned to the agent, else the one its token names, else the
-- default of its type, else the default of every type (*). None of these, a disabled
-- one, or trust 0: the call is refused before anything runs.
--
-- Trust    0 suspended   1 reads   2 standard writes   3 elevated: breaks locks, cancels
--          others' work   4 admin. Operators have 4 and auditors 1 without a profile.
--
-- An operation is a function of the contract. It is permitted when the profile allows
-- it (or *), does not block it, and trusts enough. Everything fails closed: an operation
-- that is not listed here is permitted to nobody.
--
-- Limits. Static ones (paths of a call, seconds of a lease, bytes) refuse the call that
-- exceeds them; counted ones (locks held) the call that would; writes an hour by a
-- sliding window of twelve slots, with 429 and Retry-After. Counting costs one row of
-- the backend's own: sessions of one agent never wait for each other.
--
-- Lock order: profiles are changed one apply at a time (an advisory lock).

set role coord_owner;

create table coord.operations (
  name text primary key,
  trust integer not null,
  constraint trust_is_a_level check (trust between 1 and 4)
);
comment on table coord.operations is 'Functions of the contract and the trust they take.';

create table coord.profiles (
  name text primary key,
  description text,
  extends text references coord.profiles (name) deferrable initially deferred,
  enabled boolean not null default true,
  trust integer,
  allowed text[],
  blocked text[] not null default '{}',
  limits jsonb not null default '{}',
  network_policy text references coord.network_policies (name) deferrable initially deferred,
  guardrails text,
  capabilities text[],
  when_down text,
  managed boolean not null default true,
  changed_at timestamptz not null default clock_timestamp(),
  changed_by text not null,
  constraint name_is_a_name check (name ~ '^[a-z0-9][a-z0-9._-]{0,49}$'),
  constraint extends_another check (extends <> name),
  constraint trust_is_a_level check (trust between 0 and 4),
  constraint guardrails_are_a_mode check (guardrails in ('enforce', 'warn', 'log')),
  constraint when_down_is_a_way check (when_down in ('deny', 'allow', 'git'))
);
comment on table coord.profiles is 'Profiles as they were declared. What is not managed stands until a configuration names it.';
create index profiles_by_parent on coord.profiles (extends);
create index profiles_by_network_policy on coord.profiles (network_policy);

create table coord.effective_profiles (
  name text primary key references coord.profiles (name) on delete cascade,
  enabled boolean not null,
  trust integer not null,
  allowed text[] not null,
  blocked text[] not null,
  max_locks integer not null,
  max_paths_per_call integer not null,
  max_ttl_seconds integer not null,
  max_tasks integer not null,
  max_writes_per_hour integer not null,
  max_payload_bytes integer not null,
  network_policy text,
  guardrails text not null,
  capabilities text[] not null,
  when_down text not null
);
comment on table coord.effective_profiles is 'Profiles with all that they inherit; made by coord.resolve_profiles.';

create table coord.profile_defaults (
  agent_type text primary key,
  profile text not null references coord.profiles (name),
  managed boolean not null default true,
  constraint agent_type_is_a_name check (agent_type = '*' or agent_type ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,49}$')
);
comment on table coord.profile_defaults is 'The profile of agents that were assigned none, by type; * is every other type.';
create index profile_defaults_by_profile on coord.profile_defaults (profile);

alter table coord.agents add constraint has_a_profile foreign key (profile) references coord.profiles (name);
create index agents_by_profile on coord.agents (profile);

create table coord.write_counts (
  agent text not null,
  slot timestamptz not null,
  backend integer not null,
  writes integer not null,
  primary key (agent, slot, backend)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02);
comment on table coord.write_counts is 'Committed writes by agent, five minutes and backend, for an hour.';
create index write_counts_by_slot on coord.write_counts (slot);

do $$
declare
  v_table text;
begin
  foreach v_table in array array['profiles', 'effective_profiles', 'profile_defaults'] loop
    execute format($f$
      alter table coord.%1$I enable row level security;
      alter table coord.%1$I force row level security;
      create policy everyone_reads on coord.%1$I
        for all to coord_owner, coord_agent, coord_operator, coord_auditor using (true)
        with check ((select nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'role') = 'coord_operator');
      create policy janitor on coord.%1$I for all to coord_janitor using (true);
      grant select on coord.%1$I to coord_janitor, coord_agent, coord_operator, coord_auditor;
    $f$, v_table);
  end loop;
end
$$;
alter table coord.operations enable row level security;
alter table coord.operations force row level security;
create policy everyone_reads on coord.operations
  for all to coord_owner, coord_janitor, coord_agent, coord_operator, coord_auditor using (true);
grant select on coord.operations to coord_janitor, coord_agent, coord_operator, coord_auditor;
alter table coord.write_counts enable row level security;
alter table coord.write_counts force row level security;
create policy own on coord.write_counts
  for all to coord_owner
  using (agent = (select nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub'));
create policy janitor on coord.write_counts for all to coord_janitor using (true);
grant select, update, delete on coord.write_counts to coord_janitor;

insert into coord.error_codes (code, status, meaning, remedy) values
  ('no_profile', 403, 'No profile applies to this agent, so nothing is permitted.', 'An operator assigns one (assign_profile) or makes a default for its type (coord apply).'),
  ('profile_disabled', 403, 'The profile of this agent is disabled.', 'Ask an operator.'),
  ('agent_suspended', 403, 'The agent''s trust is 0: it is suspended.', 'Ask an operator.'),
  ('operation_not_permitted', 403, 'The agent''s profile does not permit this operation.', 'Do without it, or ask an operator; my_profile tells what is permitted.'),
  ('insufficient_trust_level', 403, 'The caller is not trusted with this operation.', 'Ask an operator to do it.'),
  ('resource_limit_exceeded', 403, 'The call would exceed a limit of the agent''s profile.', 'Ask for less, or release something first; my_profile tells the limits.'),
  ('profile_not_found', 404, 'No profile has this name.', 'Check the name; the view profiles lists them.'),
  ('config_invalid', 422, 'The configuration cannot be applied; nothing of it was.', 'Mend the place that details name.');

-- What profiles come to ----------------------------------------------------------------

create function coord.resolve_profiles() returns void
language plpgsql
as $$
begin
  delete from coord.effective_profiles e where e.name is not null;
  insert into coord.effective_profiles
  with recursive line as (
    select p.name, p.extends, p.enabled, p.trust, p.allowed, p.blocked, p.limits, p.network_policy, p.guardrails, p.capabilities, p.when_down,
      array[p.name] as seen
    from coord.profiles p
    union all
    -- The child's own goes first, but nothing that is blocked is ever let go.
    select l.name, p.extends, l.enabled, coalesce(l.trust, p.trust), coalesce(l.allowed, p.allowed), l.blocked || p.blocked,
      p.limits || l.limits, coalesce(l.network_policy, p.network_policy), coalesce(l.guardrails, p.guardrails),
      coalesce(l.capabilities, p.capabilities), coalesce(l.when_down, p.when_down), l.seen || p.name
    from line l join coord.profiles p on p.name = l.extends
    where p.name <> all (l.seen)
  )
  select l.name, l.enabled, coalesce(l.trust, 0), coalesce(l.allowed, '{}'),
    coalesce((select array_agg(distinct b) from unnest(l.blocked) b), '{}'),
    coalesce((l.limits ->> 'max_locks')::integer, 1000), coalesce((l.limits ->> 'max_paths_per_call')::integer, 64),
    coalesce((l.limits ->> 'max_ttl_seconds')::integer, 28800), coalesce((l.limits ->> 'max_tasks')::integer, 10),
    coalesce((l.limits ->> 'max_writes_per_hour')::integer, 100000), coalesce((l.limits ->> 'max_payload_bytes')::integer, 262144),
    l.network_policy, coalesce(l.guardrails, 'enforce'), coalesce(l.capabilities, '{*}'), coalesce(l.when_down, 'deny')
  from line l
  where l.extends is null;
end
$$;
comment on function coord.resolve_profiles is 'Works out what the declared profiles come to.';

-- Who is nobody's agent in particular gets the standard writes; coord apply brings the rest.
do $$
begin
  perform set_config('request.jwt.claims', '{"role": "coord_operator", "sub": "operator"}', true);
  insert into coord.profiles (name, description, trust, allowed, managed, changed_by)
  values ('standard', 'Reads and standard writes, for agents of any type', 2, '{*}', false, 'operator');
  insert into coord.profile_defaults (agent_type, profile, managed) values ('*', 'standard', false);
  insert into coord.operations (name, trust) values
    ('register_agent', 4), ('disable_agent', 4), ('enable_agent', 4), ('revoke_token', 4),
    ('check_network', 1), ('network_rules', 1),
    ('apply_config', 4), ('set_profile', 4), ('remove_profile', 4), ('assign_profile', 4);
  perform coord.resolve_profiles();
  perform set_config('request.jwt.claims', '', true);
end
$$;

-- The decision ---------------------------------------------------------------------------

create function coord.profile() returns coord.effective_profiles
language plpgsql stable
as $$
begin
  return nullif(current_setting('coord.profile', true), '')::coord.effective_profiles;
end
$$;
comment on function coord.profile is 'What applies to the admitted caller (coord.admit).';

create function coord.objection(p_operation text) returns text
language plpgsql stable
as $$
declare
  v_profile coord.effective_profiles := coord.profile();
  v_trust integer;
begin
  select o.trust into v_trust from coord.operations o where o.name = p_operation;
  if v_profile.trust is null then
    return 'no_profile';
  elsif v_trust is null or p_operation = any (v_profile.blocked) or not v_profile.allowed && array['*', p_operation] then
    return 'operation_not_permitted';
  elsif v_profile.trust < v_trust then
    return 'insufficient_trust_level';
  end if;
  return null;
end
$$;
comment on function coord.objection is 'Why the caller may not do this: the code of the denial; null if it may.';

create function coord.objection_text(p_operation text, p_code text) returns text
language plpgsql stable
as $$
declare
  v_profile coord.effective_profiles := coord.profile();
begin
  return case p_code
    when 'insufficient_trust_level' then format('%s takes trust %s; profile %s has %s', p_operation,
      (select o.trust from coord.operations o where o.name = p_operation), v_profile.name, v_profile.trust)
    when 'operation_not_permitted' then format('profile %s does not permit %s', v_profile.name, p_operation)
  end;
end
$$;
comment on function coord.objection_text is 'The same in words.';

create function coord.write_slot(p_at timestamptz) returns timestamptz
language sql immutable
return date_bin('5 minutes', p_at, '2000-01-01 00:00+00');
comment on function coord.write_slot is 'The slot of the sliding window that a moment falls into.';

create function coord.writes_left(p_agent text, p_max integer) returns integer
-- PL/pgSQL, which keeps the plan: SQL that cannot be inlined is planned anew in every
-- transaction, and that is most of what this would cost.
language plpgsql stable
as $$
begin
  return p_max - (
    select coalesce(sum(w.writes), 0)::integer from coord.write_counts w
    where w.agent = p_agent and w.slot > clock_timestamp() - interval '1 hour');
end
$$;
comment on function coord.writes_left is 'Writes that an agent has left in this hour.';

create function coord.seconds_to_write(p_agent text) returns integer
language sql stable
begin atomic
  select greatest(1, ceil(extract(epoch from min(w.slot) + interval '1 hour' - clock_timestamp())))::integer
  from coord.write_counts w
  where w.agent = p_agent and w.slot > clock_timestamp() - interval '1 hour';
end;
comment on function coord.seconds_to_write is 'When the oldest of its writes leave the window.';

create function coord.count_write(p_agent text) returns void
language plpgsql
as $$
begin
  insert into coord.write_counts as w (agent, slot, backend, writes)
  values (p_agent, coord.write_slot(clock_timestamp()), pg_backend_pid(), 1)
  on conflict (agent, slot, backend) do update set writes = w.writes + 1;
end
$$;
comment on function coord.count_write is 'Counts a committed write, in a row that no other backend touches.';

create function coord.authorize(p_operation text, p_resource jsonb) returns jsonb
language plpgsql stable security definer set search_path = ''
as $$
declare
  v_caller coord.caller := coord.caller();
  v_profile coord.effective_profiles := coord.profile();
  v_code text := coord.objection(p_operation);
  v_details text := coord.objection_text(p_operation, v_code);
  v_trust integer := (select o.trust from coord.operations o where o.name = p_operation);
  v_repo text;
  v_limit jsonb;
begin
  if coalesce(p_operation, '') = '' then
    perform coord.fail('argument_required', 'operation is the name of a function');
  elsif p_resource is not null and jsonb_typeof(p_resource) <> 'object' then
    perform coord.fail('argument_invalid', 'resource is an object: repo, paths, ttl_seconds');
  end if;
  if v_code is null and p_resource ? 'repo' then
    v_repo := coord.resolve_repo(p_resource ->> 'repo');
    if not coord.granted(v_repo) then
      v_code := 'repo_not_granted';
      v_details := format('%s is not granted to %s', v_repo, v_caller.agent);
    end if;
  end if;
  if v_code is null then
    v_limit := case
      when jsonb_typeof(p_resource -> 'paths') = 'array' and jsonb_array_length(p_resource -> 'paths') > v_profile.max_paths_per_call
        then jsonb_build_object('limit', 'max_paths_per_call', 'value', v_profile.max_paths_per_call, 'asked', jsonb_array_length(p_resource -> 'paths'))
      when jsonb_typeof(p_resource -> 'ttl_seconds') = 'number' and (p_resource ->> 'ttl_seconds')::numeric > v_profile.max_ttl_seconds
        then jsonb_build_object('limit', 'max_ttl_seconds', 'value', v_profile.max_ttl_seconds, 'asked', p_resource -> 'ttl_seconds')
      when v_trust > 1 and coord.writes_left(v_caller.agent, v_profile.max_writes_per_hour) <= 0
        then jsonb_build_object('limit', 'max_writes_per_hour', 'value', v_profile.max_writes_per_hour,
          'retry_after_seconds', coord.seconds_to_write(v_caller.agent))
      when p_operation = 'acquire_lock' and coord.locks_held(v_caller.agent, v_profile.max_locks)
          + coalesce(jsonb_array_length(case when jsonb_typeof(p_resource -> 'paths') = 'array' then p_resource -> 'paths' end), 1) > v_profile.max_locks
        then jsonb_build_object('limit', 'max_locks', 'value', v_profile.max_locks, 'held', coord.locks_held(v_caller.agent, v_profile.max_locks))
      when p_operation = 'get_work' and coord.tasks_claimed(v_caller.agent, v_profile.max_tasks) >= v_profile.max_tasks
        then jsonb_build_object('limit', 'max_tasks', 'value', v_profile.max_tasks)
    end;
    if v_limit is not null then
      v_code := 'resource_limit_exceeded';
      v_details := format('%s is %s', v_limit ->> 'limit', v_limit ->> 'value');
    end if;
  end if;
  return jsonb_strip_nulls(jsonb_build_object(
    'ok', true, 'decision', case when v_code is null then 'allow' else 'deny' end, 'operation', p_operation,
    'code', v_code, 'details', v_details, 'hint', (select e.remedy from coord.error_codes e where e.code = v_code),
    'profile', v_profile.name, 'trust', v_profile.trust, 'trust_needed', v_trust)) || coalesce(v_limit, '{}');
end
$$;

create function coord.my_profile() returns jsonb
language plpgsql stable security definer set search_path = ''
as $$
declare
  v_caller coord.caller := coord.caller();
  v_profile coord.effective_profiles := coord.profile();
begin
  return jsonb_build_object('ok', true, 'agent', v_caller.agent, 'agent_type', v_caller.agent_type, 'session_id', v_caller.session_id,
    'role', substr(v_caller.role, 7), 'repos', to_jsonb(string_to_array(current_setting('coord.repos'), ' ')),
    'profile', v_profile.name, 'trust', v_profile.trust, 'allowed', v_profile.allowed, 'blocked', v_profile.blocked,
    'limits', jsonb_build_object('max_locks', v_profile.max_locks, 'max_paths_per_call', v_profile.max_paths_per_call,
      'max_ttl_seconds', v_profile.max_ttl_seconds, 'max_tasks', v_profile.max_tasks,
      'max_writes_per_hour', v_profile.max_writes_per_hour, 'max_payload_bytes', v_profile.max_payload_bytes),
    'used', jsonb_build_object('locks', coord.locks_held(v_caller.agent, v_profile.max_locks),
      'tasks', coord.tasks_claimed(v_caller.agent, v_profile.max_tasks),
      'writes_this_hour', v_profile.max_writes_per_hour - coord.writes_left(v_caller.agent, v_profile.max_writes_per_hour)),
    'network_policy', v_profile.network_policy, 'guardrails', v_profile.guardrails, 'capabilities', v_profile.capabilities,
    'when_down', v_profile.when_down);
end
$$;

-- Profiles as code -------------------------------------------------------------------------

create function coord.refuse_config(p_place text, p_why text) returns void
language plpgsql
as $$
begin
  perform coord.fail('config_invalid', format('at %s: %s', p_place, p_why));
end
$$;
comment on function coord.refuse_config is 'Refuses a configuration, with the place (profiles/NAME/KEY) first.';

create function coord.check_keys(p_place text, p_spec jsonb, variadic p_known text[]) returns void
language plpgsql
as $$
declare
  v_key text;
begin
  if jsonb_typeof(p_spec) is distinct from 'object' then
    perform coord.refuse_config(p_place, 'this is a mapping');
  end if;
  select k into v_key from jsonb_object_keys(p_spec) k where k <> all (p_known) limit 1;
  if found then
    perform coord.refuse_config(p_place || '/' || v_key, format('no such key; these are known: %s', array_to_string(p_known, ', ')));
  end if;
end
$$;
comment on function coord.check_keys is 'Refuses what is no mapping or has keys that nobody knows.';

create function coord.check_texts(p_place text, p_list jsonb) returns void
language plpgsql
as $$
begin
  if p_list is not null and (jsonb_typeof(p_list) <> 'array' or jsonb_path_exists(p_list, '$[*] ? (@.type() != "string")')) then
    perform coord.refuse_config(p_place, 'this is a list of texts');
  end if;
end
$$;
comment on function coord.check_texts is 'Refuses what is no list of texts.';

create function coord.check_profile(p_name text, p_spec jsonb) returns void
language plpgsql
as $$
declare
  v_place text := 'profiles/' || p_name;
  v_text text;
  v_limit record;
begin
  if p_name !~ '^[a-z0-9][a-z0-9._-]{0,49}$' then
    perform coord.refuse_config(v_place, 'a name has 1 to 50 small letters, digits and . _ -');
  end if;
  perform coord.check_keys(v_place, p_spec, 'description', 'extends', 'enabled', 'trust', 'allowed', 'blocked', 'limits', 'network_policy', 'guardrails', 'capabilities', 'when_down');
  perform coord.check_texts(v_place || '/allowed', p_spec -> 'allowed'), coord.check_texts(v_place || '/blocked', p_spec -> 'blocked'),
    coord.check_texts(v_place || '/capabilities', p_spec -> 'capabilities');
  if jsonb_typeof(p_spec -> 'trust') <> 'number' or (p_spec ->> 'trust') !~ '^[0-4]$' then
    perform coord.refuse_config(v_place || '/trust', 'trust is 0 to 4');
  elsif jsonb_typeof(p_spec -> 'enabled') <> 'boolean' then
    perform coord.refuse_config(v_place || '/enabled', 'enabled is true or false');
  elsif p_spec ->> 'guardrails' not in ('enforce', 'warn', 'log') then
    perform coord.refuse_config(v_place || '/guardrails', 'guardrails is enforce, warn or log');
  elsif p_spec ->> 'when_down' not in ('deny', 'allow', 'git') then
    perform coord.refuse_config(v_place || '/when_down', 'when_down is deny, allow or git');
  elsif length(p_spec ->> 'description') > 500 then
    perform coord.refuse_config(v_place || '/description', 'a description has at most 500 characters');
  end if;
  foreach v_text in array array['description', 'extends', 'network_policy'] loop
    if jsonb_typeof(p_spec -> v_text) <> 'string' then
      perform coord.refuse_config(v_place || '/' || v_text, 'this is a text');
    end if;
  end loop;
  select o into v_text
  from jsonb_array_elements_text(coalesce(p_spec -> 'allowed', '[]') || coalesce(p_spec -> 'blocked', '[]')) o
  where o <> '*' and not exists (select from coord.operations k where k.name = o) limit 1;
  if found then
    perform coord.refuse_config(v_place || case when p_spec -> 'allowed' ? v_text then '/allowed/' else '/blocked/' end || v_text, 'no operation has this name');
  end if;
  if p_spec ? 'limits' then
    perform coord.check_keys(v_place || '/limits', p_spec -> 'limits',
      'max_locks', 'max_paths_per_call', 'max_ttl_seconds', 'max_tasks', 'max_writes_per_hour', 'max_payload_bytes');
    select l.key, m.most into v_limit
    from jsonb_each(p_spec -> 'limits') l
    join (values ('max_locks', 100000), ('max_paths_per_call', 64), ('max_ttl_seconds', 28800), ('max_tasks', 1000),
      ('max_writes_per_hour', 1000000), ('max_payload_bytes', 10485760)) m (name, most) on m.name = l.key
    where jsonb_typeof(l.value) <> 'number' or l.value::text !~ '^[0-9]{1,9}$' or l.value::text::bigint > m.most limit 1;
    if found then
      perform coord.refuse_config(v_place || '/limits/' || v_limit.key, format('this is a whole number from 0 to %s', v_limit.most));
    end if;
  end if;
end
$$;
comment on function coord.check_profile is 'Refuses a profile that says anything unknown or impossible.';

create function coord.check_network_policy(p_name text, p_spec jsonb) returns void
language plpgsql
as $$
declare
  v_place text := 'network_policies/' || p_name;
  v_list text;
  v_pattern text;
begin
  if p_name !~ '^[a-z0-9][a-z0-9._-]{0,49}$' then
    perform coord.refuse_config(v_place, 'a name has 1 to 50 small letters, digits and . _ -');
  end if;
  perform coord.check_keys(v_place, p_spec, 'description', 'extends', 'allow', 'deny', 'fallback');
  perform coord.check_texts(v_place || '/allow', p_spec -> 'allow'), coord.check_texts(v_place || '/deny', p_spec -> 'deny');
  if p_spec ->> 'fallback' not in ('allow', 'deny') then
    perform coord.refuse_config(v_place || '/fallback', 'fallback is allow or deny');
  elsif jsonb_typeof(p_spec -> 'extends') <> 'string' then
    perform coord.refuse_config(v_place || '/extends', 'this is a text');
  elsif jsonb_typeof(p_spec -> 'description') <> 'string' or length(p_spec ->> 'description') > 500 then
    perform coord.refuse_config(v_place || '/description', 'a description is a text of at most 500 characters');
  end if;
  foreach v_list in array array['allow', 'deny'] loop
    for v_pattern in select jsonb_array_elements_text(coalesce(p_spec -> v_list, '[]')) loop
      begin
        perform coord.canonical_pattern(v_pattern);
      exception when sqlstate 'PT400' then
        perform coord.refuse_config(format('%s/%s/%s', v_place, v_list, v_pattern), 'this is no host, *.host or *');
      end;
    end loop;
  end loop;
end
$$;
comment on function coord.check_network_policy is 'Refuses a network policy that says anything unknown or impossible.';

create function coord.canonical_patterns(p_list jsonb) returns jsonb
language sql stable
begin atomic
  select jsonb_agg(distinct coord.canonical_pattern(p)) from jsonb_array_elements_text(p_list) p;
end;
comment on function coord.canonical_patterns is 'Patterns in their one form, each once; null for none.';

-- In PL/pgSQL, for the guardrails' table comes later.
create function coord.declared() returns table (kind text, name text, spec jsonb, managed boolean)
language plpgsql stable
as $$
begin
  return query select 'profile', p.name, jsonb_strip_nulls(jsonb_build_object('description', p.description, 'extends', p.extends,
    'enabled', case when not p.enabled then false end, 'trust', p.trust, 'allowed', p.allowed,
    'blocked', case when p.blocked <> '{}' then p.blocked end, 'limits', case when p.limits <> '{}' then p.limits end,
    'network_policy', p.network_policy, 'guardrails', p.guardrails, 'capabilities', p.capabilities, 'when_down', p.when_down)), p.managed
  from coord.profiles p
  union all
  select 'network_policy', n.name, jsonb_strip_nulls(jsonb_build_object('description', n.description, 'extends', n.extends,
    'allow', coord.canonical_patterns(to_jsonb(n.allow)), 'deny', coord.canonical_patterns(to_jsonb(n.deny)), 'fallback', n.fallback)), n.managed
  from coord.network_policies n
  union all
  select 'default', d.agent_type, to_jsonb(d.profile), d.managed from coord.profile_defaults d
  union all
  select 'guardrail', g.id, g.declared, true from coord.guardrail_rules g where g.declared is not null;
end
$$;
comment on function coord.declared is 'The configuration as it stands.';

create function coord.wanted(p_config jsonb) returns table (kind text, name text, spec jsonb)
language sql stable
begin atomic
  select 'profile', p.key, p.value - array(
    select k.key from jsonb_each(p.value) k
    where k.value in ('null', '{}', '[]') and k.key not in ('allowed', 'capabilities') or k.key = 'enabled' and k.value = 'true')
  from jsonb_each(coalesce(p_config -> 'profiles', '{}')) p
  union all
  select 'network_policy', n.key, jsonb_strip_nulls(n.value || jsonb_build_object(
    'allow', coord.canonical_patterns(n.value -> 'allow'), 'deny', coord.canonical_patterns(n.value -> 'deny')))
  from jsonb_each(coalesce(p_config -> 'network_policies', '{}')) n
  union all
  select 'default', d.key, d.value from jsonb_each(coalesce(p_config -> 'defaults', '{}')) d
  union all
  select 'verification', v.key, v.value - array(
    select k.key from jsonb_each(v.value) k where k.value in ('{}', '[]') or k.key = 'sensitive' and k.value = 'false')
  from jsonb_each(coalesce(p_config -> 'verification', '{}')) v
  union all
  select 'guardrail', g.key, g.value from jsonb_each(coalesce(p_config -> 'guardrails', '{}')) g;
end;
comment on function coord.wanted is 'A configuration in the form of coord.declared.';

create function coord.check_config(p_config jsonb) returns void
language plpgsql
as $$
declare
  v_text text;
begin
  perform coord.check_keys('the top', p_config, 'profiles', 'defaults', 'network_policies', 'guardrails', 'verification');
  foreach v_text in array array['profiles', 'defaults', 'network_policies', 'guardrails', 'verification'] loop
    if jsonb_typeof(p_config -> v_text) <> 'object' then
      perform coord.refuse_config(v_text, 'this is a mapping');
    end if;
  end loop;
  perform coord.check_profile(p.key, p.value) from jsonb_each(p_config -> 'profiles') p;
  perform coord.check_network_policy(n.key, n.value) from jsonb_each(p_config -> 'network_policies') n;
  perform coord.check_guardrail(g.key, g.value) from jsonb_each(p_config -> 'guardrails') g;
  perform coord.check_verification_policy(v.key, v.value) from jsonb_each(p_config -> 'verification') v;
  select d.key into v_text from jsonb_each(p_config -> 'defaults') d
  where jsonb_typeof(d.value) <> 'string' or d.key <> '*' and d.key !~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,49}$' limit 1;
  if found then
    perform coord.refuse_config('defaults/' || v_text, 'a type of agent, and the name of its profile');
  end if;
end
$$;
comment on function coord.check_config is 'Refuses a configuration that says anything unknown or impossible, whatever stands already.';

create function coord.check_names() returns void
language plpgsql
as $$
declare
  v_name text;
  v_other text;
begin
  select p.name, p.extends into v_name, v_other from coord.profiles p
  where p.extends is not null and not exists (select from coord.profiles o where o.name = p.extends) limit 1;
  if found then
    perform coord.refuse_config(format('profiles/%s/extends', v_name), format('no profile is called %s', v_other));
  end if;
  select p.name, p.network_policy into v_name, v_other from coord.profiles p
  where p.network_policy is not null and not exists (select from coord.network_policies n where n.name = p.network_policy) limit 1;
  if found then
    perform coord.refuse_config(format('profiles/%s/network_policy', v_name), format('no network policy is called %s', v_other));
  end if;
  select n.name, n.extends into v_name, v_other from coord.network_policies n
  where n.extends is not null and not exists (select from coord.network_policies o where o.name = n.extends) limit 1;
  if found then
    perform coord.refuse_config(format('network_policies/%s/extends', v_name), format('no network policy is called %s', v_other));
  end if;
  -- A profile of a circle comes to nothing.
  select p.name into v_name from coord.profiles p
  where not exists (select from coord.effective_profiles e where e.name = p.name) limit 1;
  if found then
    perform coord.refuse_config(format('profiles/%s/extends', v_name), 'it extends itself, through others');
  end if;
end
$$;
comment on function coord.check_names is 'Refuses names that lead nowhere, and profiles that extend each other.';

create function coord.apply_config(p_function text, p_config jsonb, p_plan boolean, p_prune boolean) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_call coord.call := coord.open_call(p_function, jsonb_build_object('config', p_config, 'plan', p_plan, 'prune', p_prune));
  v_config jsonb := jsonb_strip_nulls(p_config);
  v_change record;
  v_added jsonb := jsonb '[]';
  v_changed jsonb := jsonb '[]';
  v_removed jsonb := jsonb '[]';
  v_answer jsonb;
  v_agents text;
begin
  if v_call.answer is not null then return v_call.answer; end if;
  perform coord.check_config(v_config);
  perform pg_advisory_xact_lock(hashtextextended('coord.profiles', 6));

  for v_change in
    select coalesce(w.kind, d.kind) as kind, coalesce(w.name, d.name) as name, d.spec as before, w.spec as after
    from coord.wanted(v_config) w
    full join (select * from coord.declared() union all select * from coord.declared_verification()) d on d.kind = w.kind and d.name = w.name
    where w.spec is distinct from d.spec
      -- Gone from a section that the configuration speaks of.
      and (w.kind is not null or p_prune and d.managed
        and v_config ? case d.kind when 'network_policy' then 'network_policies' when 'verification' then 'verification' else d.kind || 's' end)
    order by 1, 2
  loop
    if v_change.before is null then
      v_added := v_added || jsonb_build_object('kind', v_change.kind, 'name', v_change.name, 'after', v_change.after);
    elsif v_change.after is null then
      v_removed := v_removed || jsonb_build_object('kind', v_change.kind, 'name', v_change.name, 'before', v_change.before);
    else
      v_changed := v_changed || jsonb_build_object('kind', v_change.kind, 'name', v_change.name, 'before', v_change.before, 'after', v_change.after);
    end if;
  end loop;
  v_answer := jsonb_build_object('added', v_added, 'changed', v_changed, 'removed', v_removed);

  -- Written even for a plan, and undone by it: what cannot be applied is refused the same way.
  begin
    perform coord.write_verification(v_added || v_changed, v_removed, v_call.agent);
    delete from coord.profile_defaults d
    using jsonb_array_elements(v_removed) r where r ->> 'kind' = 'default' and d.agent_type = r ->> 'name';
    insert into coord.network_policies as n (name, description, extends, allow, deny, fallback, changed_by)
    select c ->> 'name', s ->> 'description', s ->> 'extends', array(select jsonb_array_elements_text(coalesce(s -> 'allow', '[]'))),
      array(select jsonb_array_elements_text(coalesce(s -> 'deny', '[]'))), s ->> 'fallback', v_call.agent
    from jsonb_array_elements(v_added || v_changed) c, lateral (select c -> 'after') a (s)
    where c ->> 'kind' = 'network_policy'
    on conflict (name) do update set
      description = excluded.description, extends = excluded.extends, allow = excluded.allow, deny = excluded.deny,
      fallback = excluded.fallback, managed = true, changed_at = clock_timestamp(), changed_by = excluded.changed_by;
    insert into coord.profiles as p (name, description, extends, enabled, trust, allowed, blocked, limits, network_policy, guardrails, capabilities, when_down, changed_by)
    select c ->> 'name', s ->> 'description', s ->> 'extends', coalesce((s ->> 'enabled')::boolean, true), (s ->> 'trust')::integer,
      case when s ? 'allowed' then array(select jsonb_array_elements_text(s -> 'allowed')) end,
      array(select jsonb_array_elements_text(coalesce(s -> 'blocked', '[]'))), coalesce(s -> 'limits', '{}'),
      s ->> 'network_policy', s ->> 'guardrails',
      case when s ? 'capabilities' then array(select jsonb_array_elements_text(s -> 'capabilities')) end, s ->> 'when_down', v_call.agent
    from jsonb_array_elements(v_added || v_changed) c, lateral (select c -> 'after') a (s)
    where c ->> 'kind' = 'profile'
    on conflict (name) do update set
      description = excluded.description, extends = excluded.extends, enabled = excluded.enabled, trust = excluded.trust,
      allowed = excluded.allowed, blocked = excluded.blocked, limits = excluded.limits, network_policy = excluded.network_policy,
      guardrails = excluded.guardrails, capabilities = excluded.capabilities, when_down = excluded.when_down, managed = true,
      changed_at = clock_timestamp(), changed_by = excluded.changed_by;
    select string_agg(g.id || ' has ' || g.profile, ', ' order by g.id) into v_agents
    from coord.agents g join jsonb_array_elements(v_removed) r on r ->> 'kind' = 'profile' and r ->> 'name' = g.profile;
    if v_agents is not null then
      perform coord.refuse_config('profiles', 'a profile that agents were assigned cannot go: ' || v_agents);
    end if;
    select d.agent_type || ' is ' || d.profile into v_agents from coord.profile_defaults d
    where d.profile in (select r ->> 'name' from jsonb_array_elements(v_removed) r where r ->> 'kind' = 'profile')
      and not coalesce(v_config -> 'defaults' ? d.agent_type, false) limit 1;
    if v_agents is not null then
      perform coord.refuse_config('profiles', 'a profile that is a default cannot go: ' || v_agents);
    end if;
    select c ->> 'name' || ' ' || (c ->> 'after') into v_agents from jsonb_array_elements(v_added || v_changed) c
    where c ->> 'kind' = 'default' and not exists (select from coord.profiles p where p.name = c ->> 'after'
      and p.name not in (select r ->> 'name' from jsonb_array_elements(v_removed) r where r ->> 'kind' = 'profile')) limit 1;
    if v_agents is not null then
      perform coord.refuse_config('defaults/' || split_part(v_agents, ' ', 1), format('no profile is called %s', split_part(v_agents, ' ', 2)));
    end if;
    insert into coord.profile_defaults as d (agent_type, profile)
    select c ->> 'name', c ->> 'after' from jsonb_array_elements(v_added || v_changed) c where c ->> 'kind' = 'default'
    on conflict (agent_type) do update set profile = excluded.profile, managed = true;
    delete from coord.effective_profiles e
    using jsonb_array_elements(v_removed) r where r ->> 'kind' = 'profile' and e.name = r ->> 'name';
    delete from coord.profiles p
    using jsonb_array_elements(v_removed) r where r ->> 'kind' = 'profile' and p.name = r ->> 'name';
    delete from coord.network_policies n
    using jsonb_array_elements(v_removed) r where r ->> 'kind' = 'network_policy' and n.name = r ->> 'name';
    perform coord.apply_guardrails(v_added || v_changed, v_removed, v_call.agent);
    perform coord.resolve_profiles();
    perform coord.check_names();
    if p_plan then
      raise exception using errcode = 'CP001';
    end if;
  exception when sqlstate 'CP001' then
    return jsonb_build_object('ok', true, 'outcome', 'planned') || v_answer;
  end;
  return coord.close_call(v_call, true, case when v_answer = '{"added": [], "changed": [], "removed": []}' then 'unchanged' else 'applied' end,
    v_answer, p_audited => v_answer <> '{"added": [], "changed": [], "removed": []}');
end
$$;

create function coord.remove_profile(p_name text) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_call coord.call := coord.open_call('remove_profile', jsonb_build_object('name', p_name));
begin
  if v_call.answer is not null then return v_call.answer; end if;
  perform pg_advisory_xact_lock(hashtextextended('coord.profiles', 6));
  if not exists (select from coord.profiles p where p.name = p_name) then
    perform coord.fail('profile_not_found', format('no profile is called %s', quote_literal(left(coalesce(p_name, ''), 100))));
  elsif exists (select from coord.agents g where g.profile = p_name) or exists (select from coord.profile_defaults d where d.profile = p_name)
    or exists (select from coord.profiles p where p.extends = p_name)
  then
    perform coord.refuse_config('profiles/' || p_name, 'it is assigned, a default, or extended by another');
  end if;
  delete from coord.profiles p where p.name = p_name;
  return coord.close_call(v_call, true, 'removed', jsonb_build_object('name', p_name));
end
$$;

create function coord.assign_profile(p_name text, p_profile text) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_call coord.call := coord.open_call('assign_profile', jsonb_build_object('name', p_name, 'profile', p_profile));
begin
  if v_call.answer is not null then return v_call.answer; end if;
  if p_profile is not null and not exists (select from coord.profiles p where p.name = p_profile) then
    perform coord.fail('profile_not_found', format('no profile is called %s', quote_literal(left(p_profile, 100))));
  end if;
  update coord.agents g set profile = p_profile where g.id = p_name;
  if not found then
    perform coord.fail('agent_not_found');
  end if;
  return coord.close_call(v_call, true, 'assigned', jsonb_build_object('name', p_name, 'profile', p_profile));
end
$$;

-- The contract -------------------------------------------------------------------------

create domain coord_v1.operation as text;
comment on domain coord_v1.operation is $$Name of a function, as acquire_lock.
@schema {"maxLength": 63}$$;
create domain coord_v1.resource as jsonb;
comment on domain coord_v1.resource is $$What it would be about: {"repo", "paths": [], "ttl_seconds"}.$$;
create domain coord_v1.config as jsonb;
comment on domain coord_v1.config is $$Configuration as in agents/*.yaml: {"profiles": {…}, "defaults": {…}, "network_policies": {…}, "guardrails": {…}, "verification": {…}}.$$;
create domain coord_v1.profile_spec as jsonb;
comment on domain coord_v1.profile_spec is $$What a profile says: description, extends, enabled, trust, allowed, blocked, limits, network_policy, guardrails, capabilities, when_down.$$;

create function coord_v1.authorize(operation coord_v1.operation, resource coord_v1.resource default null) returns jsonb
language sql stable
return coord.authorize(operation, resource);
comment on function coord_v1.authorize is $$Ask whether you may do something, and why not; changes nothing.
Answers decision (allow, deny) with code, details and hint, the profile, its trust and the trust needed; for a limit its name and value. Errors: argument_required, argument_invalid, repo_invalid.
@toolset full$$;

create function coord_v1.my_profile() returns jsonb
language sql stable
return coord.my_profile();
comment on function coord_v1.my_profile is $$Who you are here: profile, trust, permitted operations, limits and how much of them is used.
@toolset full$$;

create function coord_v1.apply_config(config coord_v1.config, plan boolean default false, prune boolean default true) returns jsonb
language sql
return coord.apply_config('apply_config', config, plan, prune);
comment on function coord_v1.apply_config is $$Make profiles, defaults, network policies, guardrails and verification policies what a configuration says, all or nothing; with plan, only tell what would change.
What earlier configurations brought and this one leaves out of a section is removed, unless prune is false. The built-in profile standard stays until a configuration names it.
Outcomes: planned, applied, unchanged, with added[], changed[], removed[]. The details of config_invalid begin with the place: profiles/NAME/KEY. Errors: config_invalid.
@toolset full
@destructive
@idempotent$$;

create function coord_v1.set_profile(name coord_v1.profile, spec coord_v1.profile_spec) returns jsonb
language sql
return coord.apply_config('set_profile', jsonb_build_object('profiles', jsonb_build_object(coalesce(name, ''), spec)), false, false);
comment on function coord_v1.set_profile is $$Make or replace one profile.
Outcomes: applied, unchanged. Errors: config_invalid.
@toolset full
@idempotent$$;

create function coord_v1.remove_profile(name coord_v1.profile) returns jsonb
language sql
return coord.remove_profile(name);
comment on function coord_v1.remove_profile is $$Remove a profile that nobody has.
Outcome: removed. Errors: profile_not_found, config_invalid.
@toolset full
@destructive$$;

create function coord_v1.assign_profile(name coord_v1.principal, profile coord_v1.profile default null) returns jsonb
language sql
return coord.assign_profile(name, profile);
comment on function coord_v1.assign_profile is $$Give a principal a profile of its own; without profile, the default of its type again.
Takes effect with its next call. Outcome: assigned. Errors: agent_not_found, profile_not_found.
@toolset full
@idempotent$$;

create view coord_v1.agents with (security_invoker = true) as
  select a.id as name, a.agent_type, substr(a.role, 7) as role, a.enabled, a.disabled_reason, a.all_repos,
    array(select g.repo from coord.repo_grants g where g.agent = a.id order by g.repo) as repos,
    e.name as profile, e.trust, a.profile is not null as profile_assigned, a.registered_at
  from coord.agents a
  left join coord.effective_profiles e on e.name = case when a.role <> 'coord_agent' then a.profile
    else coalesce(a.profile, (select d.profile from coord.profile_defaults d where d.agent_type = a.agent_type),
      (select d.profile from coord.profile_defaults d where d.agent_type = '*')) end;
comment on view coord_v1.agents is 'Principals: yourself; all of them for operators and auditors.';
comment on column coord_v1.agents.name is 'The sub of its tokens.';
comment on column coord_v1.agents.agent_type is 'Kind of client.';
comment on column coord_v1.agents.role is 'agent, operator or auditor.';
comment on column coord_v1.agents.enabled is 'Whether its calls are let in.';
comment on column coord_v1.agents.disabled_reason is 'Why not.';
comment on column coord_v1.agents.all_repos is 'Whether it reaches every repository.';
comment on column coord_v1.agents.repos is 'Repositories it is granted.';
comment on column coord_v1.agents.profile is 'The profile that applies, unless its token names another type or profile; null for people, whom their role binds.';
comment on column coord_v1.agents.trust is 'The trust of that profile: 0 to 4.';
comment on column coord_v1.agents.profile_assigned is 'Whether it was assigned, or is the default of the type.';
comment on column coord_v1.agents.registered_at is 'When it was registered.';

create view coord_v1.profiles with (security_invoker = true) as
  select p.name, p.description, p.extends, e.enabled, e.trust, e.allowed, e.blocked,
    jsonb_build_object('max_locks', e.max_locks, 'max_paths_per_call', e.max_paths_per_call, 'max_ttl_seconds', e.max_ttl_seconds,
      'max_tasks', e.max_tasks, 'max_writes_per_hour', e.max_writes_per_hour, 'max_payload_bytes', e.max_payload_bytes) as limits,
    e.network_policy, e.guardrails, e.capabilities, e.when_down, array(select d.agent_type from coord.profile_defaults d where d.profile = p.name order by 1) as default_for,
    p.changed_at, p.changed_by
  from coord.profiles p join coord.effective_profiles e using (name);
comment on view coord_v1.profiles is 'Profiles with all that they inherit.';
comment on column coord_v1.profiles.name is 'Its name.';
comment on column coord_v1.profiles.description is 'What it is for.';
comment on column coord_v1.profiles.extends is 'The profile it inherits from.';
comment on column coord_v1.profiles.enabled is 'Whether agents with it may call at all.';
comment on column coord_v1.profiles.trust is '0 suspended, 1 reads, 2 standard writes, 3 elevated, 4 admin.';
comment on column coord_v1.profiles.allowed is 'Permitted operations; * is all.';
comment on column coord_v1.profiles.blocked is 'Operations that are never permitted.';
comment on column coord_v1.profiles.limits is 'How much of each thing.';
comment on column coord_v1.profiles.network_policy is 'The network policy of its agents.';
comment on column coord_v1.profiles.guardrails is 'enforce, warn or log.';
comment on column coord_v1.profiles.capabilities is 'What its agents may say they can do (start_session); * is anything.';
comment on column coord_v1.profiles.when_down is 'What a client''s hook does while the coordinator cannot be asked: deny or allow; git allows and has locks taken as refs of the git remote.';
comment on column coord_v1.profiles.default_for is 'Types of agents that have it by default.';
comment on column coord_v1.profiles.changed_at is 'When it was declared last.';
comment on column coord_v1.profiles.changed_by is 'By whom.';

grant execute on function coord.profile, coord.objection, coord.objection_text, coord.count_write to coord_janitor;
grant usage on type coord_v1.operation, coord_v1.resource, coord_v1.config, coord_v1.profile_spec
  to coord_agent, coord_operator, coord_auditor;
grant execute on function coord.authorize, coord.my_profile, coord_v1.authorize, coord_v1.my_profile to coord_agent, coord_operator, coord_auditor;
grant execute on function coord.apply_config, coord.remove_profile, coord.assign_profile,
  coord_v1.apply_config, coord_v1.set_profile, coord_v1.remove_profile, coord_v1.assign_profile to coord_operator;
grant select on coord_v1.agents, coord_v1.profiles to coord_agent, coord_operator, coord_auditor;

reset role;
notify pgrst, 'reload schema';
