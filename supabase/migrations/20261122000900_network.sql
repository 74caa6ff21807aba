-- Network: which hosts an agent may reach, decided here and exported to whoever enforces it.
--
-- A policy has patterns that it allows, patterns that it denies, and a default for the rest.
--   example.com      that name alone
--   *.example.com    every name below it, at any depth, and not example.com itself
--   *                everything
--   192.0.2.1        that address alone, however it is written
-- It takes the rules of the policy that it extends as well. A deny wins over every allow,
-- inherited ones too; among rules of one kind the most specific is named; else the default
-- decides, which is deny. An address is no name: only a rule for it, or *, speaks of it,
-- and without one it is denied, whatever the default.
--
-- Whose policy: the caller's profile names it. No policy: everything is denied.
--
-- Hosts are compared in one form: lower case, without trailing dot, names beyond ASCII in
-- punycode (RFC 3492) of their NFKC form, IPv4 with four decimal parts, IPv6 as PostgreSQL
-- prints it, IPv4-mapped ones as IPv4. What programs would read in different ways (control
-- characters, backslashes, percent signs, invisible characters) is bad input, not a guess.
--
-- Invariants
--   N1  a name is matched by *.P only if it ends in .P
--   N2  nothing that a policy denies is allowed, by whatever other rule
--   N3  a decision is counted once, in the agent's row of that hour; an agent has at most
--       a thousand rows an hour, and one more that counts all others
--
-- Lock order: policies change under the lock of profiles (coord.apply_config); a decision
-- locks one row of its own agent's tally.

set role coord_owner;

create table coord.network_policies (
  name text primary key,
  description text,
  extends text references coord.network_policies (name) deferrable initially deferred,
  default_decision text,
  allow text[] not null default '{}',
  deny text[] not null default '{}',
  -- The default with what is inherited; made by coord.resolve_network_policies.
  falls_to text not null default 'deny',
  managed boolean not null default true,
  changed_at timestamptz not null default clock_timestamp(),
  changed_by text not null,
  constraint name_is_a_name check (name ~ '^[a-z0-9][a-z0-9._-]{0,49}$'),
  constraint extends_another check (extends <> name),
  constraint default_is_a_decision check (default_decision in ('allow', 'deny')),
  constraint falls_to_a_decision check (falls_to in ('allow', 'deny'))
);
comment on table coord.network_policies is 'Network policies as they were declared.';
create index network_policies_by_parent on coord.network_policies (extends);

create table coord.network_rules (
  policy text not null references coord.network_policies (name) on delete cascade,
  pattern text collate "C" not null,
  decision text not null,
  primary key (policy, pattern, decision),
  constraint decision_is_known check (decision in ('allow', 'deny'))
);
comment on table coord.network_rules is 'The rules of each policy with those it inherits; made by coord.resolve_network_policies.';

alter table coord.profiles add constraint has_a_network_policy
  foreign key (network_policy) references coord.network_policies (name) deferrable initially deferred;
create index profiles_by_network_policy on coord.profiles (network_policy);

create table coord.network_log (
  agent text not null,
  hour timestamptz not null,
  domain text collate "C" not null,
  decision text not null,
  times integer not null default 1,
  agent_type text not null,
  policy text,
  rule text,
  first_at timestamptz not null default clock_timestamp(),
  last_at timestamptz not null default clock_timestamp(),
  last_session text not null,
  primary key (agent, hour, domain, decision)
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05);
comment on table coord.network_log is 'Decisions of check_network, one row for an agent, hour, domain and decision, for 30 days.';
create index network_log_by_hour on coord.network_log (hour);

do $$
declare
  v_table text;
begin
  foreach v_table in array array['network_policies', 'network_rules'] loop
    execute format($f$
      alter table coord.%1$I enable row level security;
      alter table coord.%1$I force row level security;
      create policy everyone_reads on coord.%1$I
        for all to coord_owner, coord_agent, coord_operator, coord_auditor using (true)
        with check ((select nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'role') = 'coord_operator');
      grant select on coord.%1$I to coord_agent, coord_operator, coord_auditor;
    $f$, v_table);
  end loop;
end
$$;
alter table coord.network_log enable row level security;
alter table coord.network_log force row level security;
create policy own on coord.network_log
  for all to coord_owner
  using (agent = (select nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub'));
create policy own_or_oversight on coord.network_log
  for all to coord_agent, coord_operator, coord_auditor
  using (
    agent = (select nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub')
    or (select nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'role') in ('coord_operator', 'coord_auditor')
  );
create policy janitor on coord.network_log for all to coord_janitor using (true);
grant select, update, delete on coord.network_log to coord_janitor;
grant select on coord.network_log to coord_agent, coord_operator, coord_auditor;

insert into coord.operations (name, trust) values ('check_network', 1), ('network_policy', 1);

insert into coord.error_codes (code, status, meaning, remedy) values
  ('domain_invalid', 400, 'This is no host that could be reached.', 'Pass a host name, an address, or the whole URL.'),
  ('network_policy_not_found', 404, 'No network policy has this name.', 'Check the name; the view network_policies lists them.');

-- Hosts in one form ----------------------------------------------------------------------

create type coord.host as (
  name text,
  is_address boolean,
  problem text
);
comment on type coord.host is 'A host in the one form that is compared, or what is wrong with it.';

create function coord.host_row(p_name text, p_is_address boolean, p_problem text) returns coord.host
language sql immutable
return row(p_name, p_is_address, p_problem)::coord.host;
comment on function coord.host_row is 'Puts the three together.';

create function coord.lower_code(p_code integer) returns integer
language sql immutable
return case
  when p_code between 192 and 222 and p_code <> 215 or p_code between 913 and 939 or p_code between 1040 and 1071 then p_code + 32
  when p_code = 376 then 255
  when p_code = 902 then 940
  when p_code between 904 and 906 then p_code + 37
  when p_code = 908 then 972
  when p_code between 910 and 911 then p_code + 63
  when p_code between 1024 and 1039 then p_code + 80
  when p_code = 1216 then 1231
  when p_code between 1329 and 1366 then p_code + 48
  -- Pairs, the capital at the even code.
  when p_code % 2 = 0 and (p_code between 256 and 310 and p_code <> 304 or p_code between 330 and 374 or p_code between 478 and 494
    or p_code between 504 and 562 and p_code not in (544) or p_code between 1120 and 1152 or p_code between 1162 and 1214
    or p_code between 1232 and 1326 or p_code between 7680 and 7828 or p_code between 7840 and 7934) then p_code + 1
  -- Pairs, the capital at the odd code.
  when p_code % 2 = 1 and (p_code between 313 and 327 or p_code between 377 and 381 or p_code between 461 and 475
    or p_code between 1217 and 1229) then p_code + 1
  else p_code
end;
comment on function coord.lower_code is 'The small letter of a capital, whatever the database''s locale knows (C knows none beyond ASCII).';

create function coord.punycode(p_label text) returns text
language plpgsql immutable
as $$
declare
  v_codes integer[] := array(select ascii(c) from regexp_split_to_table(p_label, '') with ordinality u (c, n) order by n);
  v_out text := coalesce((select string_agg(chr(c), '' order by n) from unnest(v_codes) with ordinality u (c, n) where c < 128), '');
  v_handled integer := length(v_out);
  v_basic integer := v_handled;
  v_least integer := 128;
  v_delta bigint := 0;
  v_bias integer := 72;
  v_next integer;
  v_code integer;
  v_q bigint;
  v_k integer;
  v_t integer;
  v_digits constant text := 'abcdefghijklmnopqrstuvwxyz0123456789';
begin
  if v_basic > 0 then
    v_out := v_out || '-';
  end if;
  while v_handled < cardinality(v_codes) loop
    select min(c) into v_next from unnest(v_codes) c where c >= v_least;
    v_delta := v_delta + (v_next - v_least)::bigint * (v_handled + 1);
    v_least := v_next;
    foreach v_code in array v_codes loop
      if v_code < v_least then
        v_delta := v_delta + 1;
      elsif v_code = v_least then
        v_q := v_delta;
        v_k := 36;
        loop
          v_t := least(greatest(v_k - v_bias, 1), 26);
          exit when v_q < v_t;
          v_out := v_out || substr(v_digits, (v_t + (v_q - v_t) % (36 - v_t))::integer + 1, 1);
          v_q := (v_q - v_t) / (36 - v_t);
          v_k := v_k + 36;
        end loop;
        v_out := v_out || substr(v_digits, v_q::integer + 1, 1);
        -- The bias for the next one.
        v_delta := v_delta / case when v_handled = v_basic then 700 else 2 end;
        v_delta := v_delta + v_delta / (v_handled + 1);
        v_k := 0;
        while v_delta > 455 loop
          v_delta := v_delta / 35;
          v_k := v_k + 36;
        end loop;
        v_bias := (v_k + 36 * v_delta / (v_delta + 38))::integer;
        v_delta := 0;
        v_handled := v_handled + 1;
      end if;
    end loop;
    v_delta := v_delta + 1;
    v_least := v_least + 1;
  end loop;
  return v_out;
end
$$;
comment on function coord.punycode is 'RFC 3492 of one label, without its xn--.';

create function coord.ascii_host(p_host text) returns coord.host
language plpgsql immutable
as $$
declare
  -- First the ASCII letters: some locales have other ideas about I.
  v_host text := lower(normalize(p_host, nfkc) collate "C");
  v_labels text[] := array[]::text[];
  v_label text;
begin
  v_host := replace(replace(replace(v_host, U&'\0130', U&'i\0307'), U&'\1E9E', 'ss'), U&'\3002', '.');
  select string_agg(chr(coord.lower_code(ascii(c))), '' order by n) into v_host
  from regexp_split_to_table(v_host, '') with ordinality u (c, n);
  -- And whatever else the locale may know.
  v_host := normalize(lower(v_host collate "default"), nfkc);
  -- Unseen or without meaning in a name; some programs drop these, and meet another host.
  if exists (
    select from regexp_split_to_table(v_host, '') c, lateral (select ascii(c)) a (code)
    where code between 128 and 173 or code in (847, 1564, 4447, 4448, 6068, 6069, 12288, 12644, 65279)
      or code between 6155 and 6159 or code between 8192 and 8303 or code between 55296 and 63743 or code between 65024 and 65039
      or code between 65520 and 65535 or code >= 917504)
  then
    return coord.host_row(null, false, 'has characters that are not seen');
  end if;
  foreach v_label in array string_to_array(v_host, '.') loop
    if v_label !~ '[^\x01-\x7f]' then
      v_labels := v_labels || v_label;
    elsif v_label ~ '^xn--' or v_label ~ '[^a-z0-9_\x80-\U0010ffff-]' then
      return coord.host_row(null, false, 'has characters that no name has');
    elsif length(v_label) > 63 then
      return coord.host_row(null, false, 'has a part of more than 63 characters');
    else
      v_labels := v_labels || ('xn--' || coord.punycode(v_label));
    end if;
  end loop;
  return coord.host_row(array_to_string(v_labels, '.'), false, null);
end
$$;
comment on function coord.ascii_host is 'A name beyond ASCII in punycode.';

create function coord.read_ipv4(p_host text) returns coord.host
language plpgsql immutable
as $$
declare
  v_parts text[] := string_to_array(p_host, '.');
  v_count integer := cardinality(v_parts);
  v_sum bigint := 0;
  v_part text;
  v_value bigint;
  v_bad constant coord.host := coord.host_row(null, true, 'ends in a number and is no IPv4 address');
begin
  if v_count > 4 then
    return v_bad;
  end if;
  for v_index in 1 .. v_count loop
    v_part := v_parts[v_index];
    if v_part ~ '^0x[0-9a-f]*$' then
      v_part := ltrim(substr(v_part, 3), '0');
      if length(v_part) > 8 then return v_bad; end if;
      v_value := ('x' || lpad(v_part, 16, '0'))::bit(64)::bigint;
    elsif v_part ~ '^0[0-7]*$' then
      v_part := ltrim(v_part, '0');
      if length(v_part) > 11 then return v_bad; end if;
      select coalesce(sum(d::bigint << (3 * (length(v_part) - n::integer))), 0) into v_value
      from regexp_split_to_table(v_part, '') with ordinality u (d, n) where d <> '';
    elsif v_part ~ '^[1-9][0-9]{0,9}$' then
      v_value := v_part::bigint;
    else
      return v_bad;
    end if;
    -- The last one fills what the others leave.
    if v_index < v_count and v_value > 255 or v_value >= 1::bigint << (8 * (5 - v_index)) then
      return v_bad;
    end if;
    v_sum := v_sum + (v_value << case when v_index = v_count then 0 else 8 * (4 - v_index) end);
  end loop;
  return coord.host_row(host('0.0.0.0'::inet + v_sum), true, null);
end
$$;
comment on function coord.read_ipv4 is 'An IPv4 address as any program would read it: decimal, hexadecimal, octal, one to four parts.';

create function coord.read_ipv6(p_host text) returns coord.host
language plpgsql immutable
as $$
declare
  v_address inet;
begin
  if p_host ~ '^[0-9A-Fa-f:.]{2,45}$' and p_host ~ ':' then
    v_address := p_host::inet;
    return coord.host_row(regexp_replace(host(v_address), '^::ffff:([0-9.]+)$', '\1'), true, null);
  end if;
  return coord.host_row(null, true, 'is no IPv6 address');
exception when invalid_text_representation then
  return coord.host_row(null, true, 'is no IPv6 address');
end
$$;
comment on function coord.read_ipv6 is 'An IPv6 address in one form; an IPv4-mapped one as IPv4.';

create function coord.read_host(p_host text) returns coord.host
language plpgsql immutable
as $$
declare
  v_host coord.host := coord.host_row(p_host, false, null);
begin
  if p_host = '' then
    return coord.host_row(null, false, 'is empty');
  elsif p_host ~ '^\[.*\]$' then
    return coord.read_ipv6(substr(p_host, 2, length(p_host) - 2));
  elsif p_host ~ ':.*:' then
    return coord.read_ipv6(p_host);
  elsif p_host ~ '[^\x01-\x7f]' then
    v_host := coord.ascii_host(p_host);
    if v_host.problem is not null then return v_host; end if;
  end if;
  v_host.name := regexp_replace(lower(v_host.name collate "C"), '\.$', '');
  if v_host.name ~ '(^|\.)(\.|$)' then
    return coord.host_row(null, false, 'has an empty part');
  elsif v_host.name ~ '[^a-z0-9._-]' then
    return coord.host_row(null, false, 'has characters that no name has');
  elsif v_host.name ~ '(^|\.)-|-(\.|$)' then
    return coord.host_row(null, false, 'has a part that begins or ends with -');
  elsif v_host.name ~ '[^.]{64}' then
    return coord.host_row(null, false, 'has a part of more than 63 characters');
  elsif length(v_host.name) > 253 then
    return coord.host_row(null, false, 'has more than 253 characters');
  elsif v_host.name ~ '(^|\.)([0-9]+|0x[0-9a-f]*)$' then
    return coord.read_ipv4(v_host.name);
  end if;
  return v_host;
end
$$;
comment on function coord.read_host is 'A host name or address in the one form that is compared.';

create function coord.read_pattern(p_pattern text) returns coord.host
language plpgsql immutable
as $$
declare
  v_host coord.host;
begin
  if p_pattern = '*' then
    return coord.host_row('*', false, null);
  end if;
  v_host := coord.read_host(left(regexp_replace(p_pattern, '^\*\.', ''), 1100));
  if v_host.problem is null and p_pattern ~ '^\*\.' then
    if v_host.is_address then
      return coord.host_row(null, true, 'is an address with a wildcard: name addresses one by one');
    end if;
    v_host.name := '*.' || v_host.name;
  end if;
  return v_host;
end
$$;
comment on function coord.read_pattern is 'A pattern of a rule in the one form that is compared.';

create function coord.read_domain(p_domain text) returns coord.host
language plpgsql stable
as $$
declare
  v_text text := btrim(p_domain, ' ');
  v_parts text[];
  v_host coord.host;
begin
  if coalesce(v_text, '') = '' then
    perform coord.fail('argument_required', 'domain is a host name, an address or a URL');
  elsif octet_length(v_text) > 2048 then
    perform coord.fail('argument_too_long', 'domain has at most 2048 bytes');
  elsif v_text ~ '[\x01-\x1f\x7f\\]' or v_text ~ '^[^/?#]*:/([^/]|$)' then
    -- Some drop these, or take https:/a and https:\\a for https://a: nobody knows which host is meant.
    perform coord.fail('domain_invalid', 'domain has control characters, backslashes, or a scheme without //');
  end if;
  v_text := regexp_replace(v_text, '^([A-Za-z][A-Za-z0-9+.-]*:)?//', '');
  -- What is before the last @ names a user, whatever it looks like.
  v_text := regexp_replace(substring(v_text from '^[^/?#]*'), '^.*@', '');
  v_parts := regexp_match(v_text, '^(\[[^]]*\]|[^:]*)(?::([0-9]{0,5}))?$');
  if nullif(v_parts[2], '')::integer > 65535 then
    perform coord.fail('domain_invalid', 'the port is above 65535');
  end if;
  v_host := coord.read_host(coalesce(v_parts[1], v_text));
  if v_host.problem is not null then
    perform coord.fail('domain_invalid', format('%s %s', quote_literal(left(v_text, 100)), v_host.problem));
  end if;
  return v_host;
end
$$;
comment on function coord.read_domain is 'The host that a name, an address, host:port or a URL leads to.';

-- The decision ---------------------------------------------------------------------------

create function coord.patterns_of(p_host coord.host) returns text[]
language plpgsql immutable
as $$
declare
  v_patterns text[] := array[p_host.name];
  v_rest text := p_host.name;
begin
  while not p_host.is_address and strpos(v_rest, '.') > 0 loop
    v_rest := substr(v_rest, strpos(v_rest, '.') + 1);
    v_patterns := v_patterns || ('*.' || v_rest);
  end loop;
  return v_patterns || '*'::text;
end
$$;
comment on function coord.patterns_of is 'Every pattern that matches a host, the most specific first.';

create function coord.tally_network(p_caller coord.caller, p_domain text, p_decision text, p_policy text, p_rule text) returns void
language plpgsql
as $$
declare
  v_hour timestamptz := date_bin('1 hour', clock_timestamp(), '2000-01-01 00:00+00');
  v_domain text := p_domain;
begin
  -- A tally that a crash may cost its last moments; no decision hangs on it.
  perform set_config('synchronous_commit', 'off', true);
  if not exists (select from coord.network_log l
      where l.agent = p_caller.agent and l.hour = v_hour and l.domain = p_domain and l.decision = p_decision)
    and (select count(*) >= 1000 from (select from coord.network_log l where l.agent = p_caller.agent and l.hour = v_hour limit 1000) full_hour)
  then
    v_domain := '(others)';
  end if;
  insert into coord.network_log as l (agent, hour, domain, decision, agent_type, policy, rule, last_session)
  values (p_caller.agent, v_hour, v_domain, p_decision, p_caller.agent_type, p_policy, p_rule, p_caller.session_id)
  on conflict (agent, hour, domain, decision) do update
    set times = l.times + 1, last_at = excluded.last_at, agent_type = excluded.agent_type, policy = excluded.policy,
      rule = excluded.rule, last_session = excluded.last_session;
end
$$;
comment on function coord.tally_network is 'Counts a decision in the agent''s row of this hour.';

create function coord.check_network(p_domain text) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_caller coord.caller := coord.caller();
  v_profile coord.effective_profiles := coord.profile();
  v_code text := coord.objection('check_network');
  v_host coord.host := coord.read_domain(p_domain);
  v_policy coord.network_policies;
  v_rule coord.network_rules;
  v_decision text := 'deny';
  v_because text;
  v_next text;
begin
  select * into v_policy from coord.network_policies p where p.name = v_profile.network_policy;
  if v_code is not null then
    v_because := coalesce(coord.objection_text('check_network', v_code), v_code);
    v_next := 'Do without it, or ask an operator: the profile does not even permit the question.';
  elsif v_policy.name is null then
    v_because := format('profile %s names no network policy', v_profile.name);
    v_next := case
      when exists (select from coord.profiles p where p.name = v_profile.name) then
        format('Do without it, or ask an operator to name a network_policy in profile %s (coord apply).', v_profile.name)
      else 'Ask as an agent, or have an operator assign you a profile that names a network_policy (assign_profile).'
    end;
  else
    select r.* into v_rule from coord.network_rules r
    where r.policy = v_policy.name and r.pattern = any (coord.patterns_of(v_host))
    order by r.decision = 'allow', array_position(coord.patterns_of(v_host), r.pattern::text) limit 1;
    if found then
      v_decision := v_rule.decision;
      v_because := format('policy %s %s %s', v_policy.name, case v_rule.decision when 'allow' then 'allows' else 'denies' end, v_rule.pattern);
    elsif v_host.is_address then
      v_because := format('policy %s has no rule for this address, and an address takes one', v_policy.name);
    else
      v_decision := v_policy.falls_to;
      v_because := format('policy %s has no rule for it and %s the rest', v_policy.name, case v_decision when 'allow' then 'allows' else 'denies' end);
    end if;
    if v_decision = 'deny' then
      v_next := format('Do without it, or ask an operator to allow %s in network policy %s (coord apply).', v_host.name, v_policy.name);
    end if;
  end if;
  perform coord.tally_network(v_caller, v_host.name, v_decision, v_policy.name, v_rule.pattern);
  return jsonb_build_object('ok', true, 'decision', v_decision, 'allowed', v_decision = 'allow', 'domain', v_host.name,
    'rule', v_rule.pattern, 'policy', v_policy.name, 'because', v_because)
    || case when v_next is null then '{}' else jsonb_build_object('next', v_next) end;
end
$$;

create function coord.network_policy(p_name text) returns jsonb
language plpgsql stable security definer set search_path = ''
as $$
declare
  v_caller coord.caller := coord.open_read('network_policy');
  v_name text := coalesce(nullif(p_name, ''), (coord.profile()).network_policy);
  v_policy coord.network_policies;
begin
  if v_name is null then
    perform coord.fail('argument_required', format('policy is the name of a network policy: the profile of %s names none', v_caller.agent));
  end if;
  select * into v_policy from coord.network_policies p where p.name = v_name;
  if not found then
    perform coord.fail('network_policy_not_found', format('no network policy is called %s', quote_literal(left(v_name, 100))));
  end if;
  return jsonb_build_object('ok', true, 'policy', v_policy.name, 'description', v_policy.description, 'extends', v_policy.extends,
    'default', v_policy.falls_to,
    'allow', to_jsonb(array(select r.pattern from coord.network_rules r where r.policy = v_name and r.decision = 'allow' order by r.pattern)),
    'deny', to_jsonb(array(select r.pattern from coord.network_rules r where r.policy = v_name and r.decision = 'deny' order by r.pattern)));
end
$$;

-- Policies as code -----------------------------------------------------------------------

create function coord.canonical_patterns(p_list jsonb) returns jsonb
language sql immutable
return (select jsonb_agg(distinct (coord.read_pattern(p)).name collate "C" order by (coord.read_pattern(p)).name collate "C")
  from jsonb_array_elements_text(p_list) p);
comment on function coord.canonical_patterns is 'Patterns in the one form, sorted, each once; null for none.';

create function coord.check_network_policy(p_name text, p_spec jsonb) returns void
language plpgsql
as $$
declare
  v_place text := 'network_policies/' || p_name;
  v_key text;
  v_bad record;
begin
  if p_name !~ '^[a-z0-9][a-z0-9._-]{0,49}$' then
    perform coord.refuse_config(v_place, 'a name has 1 to 50 small letters, digits and . _ -');
  end if;
  perform coord.check_keys(v_place, p_spec, 'description', 'extends', 'default', 'allow', 'deny');
  foreach v_key in array array['description', 'extends'] loop
    if jsonb_typeof(p_spec -> v_key) <> 'string' then
      perform coord.refuse_config(v_place || '/' || v_key, 'this is a text');
    end if;
  end loop;
  if length(p_spec ->> 'description') > 500 then
    perform coord.refuse_config(v_place || '/description', 'a description has at most 500 characters');
  elsif p_spec ->> 'default' not in ('allow', 'deny') then
    perform coord.refuse_config(v_place || '/default', 'default is allow or deny');
  end if;
  foreach v_key in array array['allow', 'deny'] loop
    perform coord.check_texts(v_place || '/' || v_key, p_spec -> v_key);
    if jsonb_array_length(p_spec -> v_key) > 1000 then
      perform coord.refuse_config(v_place || '/' || v_key, 'a policy has at most 1000 patterns of its own to allow, and as many to deny');
    end if;
    select p as pattern, (coord.read_pattern(p)).problem into v_bad
    from jsonb_array_elements_text(coalesce(p_spec -> v_key, '[]')) p where (coord.read_pattern(p)).problem is not null limit 1;
    if found then
      perform coord.refuse_config(v_place || '/' || v_key || '/' || v_bad.pattern,
        format('this %s; a pattern is example.com, *.example.com, * or an address', v_bad.problem));
    end if;
  end loop;
end
$$;
comment on function coord.check_network_policy is 'Refuses a network policy that says anything unknown or impossible.';

create function coord.declared_network() returns table (kind text, name text, spec jsonb, managed boolean)
language sql stable
begin atomic
  select 'network_policy', p.name, jsonb_strip_nulls(jsonb_build_object('description', p.description, 'extends', p.extends,
    'default', p.default_decision, 'allow', case when p.allow <> '{}' then p.allow end, 'deny', case when p.deny <> '{}' then p.deny end)), p.managed
  from coord.network_policies p;
end;
comment on function coord.declared_network is 'The network policies as they stand (coord.declared).';

create function coord.wanted_network(p_config jsonb) returns table (kind text, name text, spec jsonb)
language sql immutable
begin atomic
  select 'network_policy', p.key, jsonb_strip_nulls(p.value
    || jsonb_build_object('allow', coord.canonical_patterns(p.value -> 'allow'), 'deny', coord.canonical_patterns(p.value -> 'deny')))
  from jsonb_each(coalesce(p_config -> 'network_policies', '{}')) p;
end;
comment on function coord.wanted_network is 'Network policies of a configuration in the form of coord.declared_network.';

create function coord.resolve_network_policies() returns void
language plpgsql
as $$
begin
  delete from coord.network_rules r where r.policy is not null;
  with recursive line as (
    select p.name, p.extends, p.default_decision, p.allow, p.deny, array[p.name] as seen
    from coord.network_policies p
    union all
    select l.name, p.extends, coalesce(l.default_decision, p.default_decision), l.allow || p.allow, l.deny || p.deny, l.seen || p.name
    from line l join coord.network_policies p on p.name = l.extends
    where p.name <> all (l.seen)
  ),
  whole as (
    update coord.network_policies p set falls_to = coalesce(l.default_decision, 'deny')
    from line l where l.name = p.name and l.extends is null
    returning p.name, l.allow, l.deny
  )
  insert into coord.network_rules (policy, pattern, decision)
  select distinct w.name, r.pattern, r.decision from whole w, lateral (
    select unnest(w.allow), 'allow' union all select unnest(w.deny), 'deny') r (pattern, decision);
end
$$;
comment on function coord.resolve_network_policies is 'Works out what the declared network policies come to.';

create function coord.write_network_policies(p_changes jsonb, p_by text) returns void
language plpgsql
as $$
begin
  insert into coord.network_policies as p (name, description, extends, default_decision, allow, deny, changed_by)
  select c ->> 'name', s ->> 'description', s ->> 'extends', s ->> 'default',
    array(select jsonb_array_elements_text(coalesce(s -> 'allow', '[]'))), array(select jsonb_array_elements_text(coalesce(s -> 'deny', '[]'))), p_by
  from jsonb_array_elements(p_changes) c, lateral (select c -> 'after') a (s)
  where c ->> 'kind' = 'network_policy'
  on conflict (name) do update set
    description = excluded.description, extends = excluded.extends, default_decision = excluded.default_decision, allow = excluded.allow,
    deny = excluded.deny, managed = true, changed_at = clock_timestamp(), changed_by = excluded.changed_by;
end
$$;
comment on function coord.write_network_policies is 'Network policies that a configuration adds or changes.';

create function coord.remove_network_policies(p_removed jsonb, p_config jsonb) returns void
language plpgsql
as $$
declare
  v_name text;
  v_other text;
begin
  delete from coord.network_policies p
  using jsonb_array_elements(p_removed) r where r ->> 'kind' = 'network_policy' and p.name = r ->> 'name';
  select p.name, p.network_policy into v_name, v_other from coord.profiles p
  where p.network_policy is not null and not exists (select from coord.network_policies o where o.name = p.network_policy)
  order by p.name limit 1;
  if not found then
    null;
  elsif p_config -> 'profiles' ? v_name or not jsonb_path_exists(p_removed, '$[*] ? (@.kind == "network_policy" && @.name == $name)',
    jsonb_build_object('name', v_other))
  then
    perform coord.refuse_config(format('profiles/%s/network_policy', v_name), format('no network policy is called %s', v_other));
  else
    perform coord.refuse_config('network_policies', format('a policy that a profile names cannot go: %s names %s', v_name, v_other));
  end if;
  select p.name, p.extends into v_name, v_other from coord.network_policies p
  where p.extends is not null and not exists (select from coord.network_policies o where o.name = p.extends)
  order by p.name limit 1;
  if found then
    perform coord.refuse_config(format('network_policies/%s/extends', v_name), format('no network policy is called %s', v_other));
  end if;
  -- Upwards from each: who comes back to itself has no end.
  with recursive line as (
    select p.name, p.extends, 1 as depth from coord.network_policies p
    union all
    select l.name, p.extends, l.depth + 1 from line l join coord.network_policies p on p.name = l.extends
    where l.extends <> l.name and l.depth < 100
  )
  select l.name into v_name from line l where l.extends = l.name or l.depth = 100 order by l.name limit 1;
  if found then
    perform coord.refuse_config(format('network_policies/%s/extends', v_name), 'it extends itself, or a hundred others');
  end if;
  perform coord.resolve_network_policies();
end
$$;
comment on function coord.remove_network_policies is 'Removes what a configuration leaves out, refuses names that lead nowhere, and works out the rest.';

-- The contract -------------------------------------------------------------------------

create domain coord_v1.domain as text;
comment on domain coord_v1.domain is $$Host name or address, or a URL that leads there.
@schema {"maxLength": 2048}$$;
create domain coord_v1.network_policy_name as text;
comment on domain coord_v1.network_policy_name is $$Name of a network policy; left out, that of your profile.
@schema {"maxLength": 50}$$;

create function coord_v1.check_network(domain coord_v1.domain) returns jsonb
language sql
return coord.check_network(domain);
comment on function coord_v1.check_network is $$Ask whether you may reach a host, before you try; the question is recorded.
Always 200 for a host: decision (allow, deny), allowed, the domain in the form that was compared, rule, policy, because, and what to do next. What is no host is an error.
Errors: argument_required, argument_too_long, domain_invalid.
@toolset full$$;

create function coord_v1.network_policy(policy coord_v1.network_policy_name default null) returns jsonb
language sql stable
return coord.network_policy(policy);
comment on function coord_v1.network_policy is $$See a network policy with all that it inherits: default, allow[], deny[].
A deny wins over every allow. Errors: argument_required, network_policy_not_found, operation_not_permitted.
@toolset full$$;

create view coord_v1.network_policies with (security_invoker = true) as
  select p.name, p.description, p.extends, p.falls_to as default_decision,
    array(select r.pattern from coord.network_rules r where r.policy = p.name and r.decision = 'allow' order by r.pattern) as allow,
    array(select r.pattern from coord.network_rules r where r.policy = p.name and r.decision = 'deny' order by r.pattern) as deny,
    array(select e.name from coord.effective_profiles e where e.network_policy = p.name order by e.name) as profiles,
    p.changed_at, p.changed_by
  from coord.network_policies p;
comment on view coord_v1.network_policies is 'Network policies with all that they inherit.';
comment on column coord_v1.network_policies.name is 'Its name.';
comment on column coord_v1.network_policies.description is 'What it is for.';
comment on column coord_v1.network_policies.extends is 'The policy it inherits from.';
comment on column coord_v1.network_policies.default_decision is 'allow or deny: what becomes of names that no rule matches.';
comment on column coord_v1.network_policies.allow is 'Patterns that it allows.';
comment on column coord_v1.network_policies.deny is 'Patterns that it denies, whatever allows them.';
comment on column coord_v1.network_policies.profiles is 'Profiles whose agents it binds.';
comment on column coord_v1.network_policies.changed_at is 'When it was declared last.';
comment on column coord_v1.network_policies.changed_by is 'By whom.';

create view coord_v1.network_log with (security_invoker = true) as
  select l.agent, l.agent_type, l.hour, l.domain, l.decision, l.times, l.policy, l.rule, l.first_at, l.last_at, l.last_session
  from coord.network_log l;
comment on view coord_v1.network_log is 'What check_network answered in the last 30 days, by the hour: your own rows; all of them for operators and auditors.';
comment on column coord_v1.network_log.agent is 'Who asked.';
comment on column coord_v1.network_log.agent_type is 'Kind of client.';
comment on column coord_v1.network_log.hour is 'The hour that is counted.';
comment on column coord_v1.network_log.domain is 'The host; (others) for what came after a thousand of them in that hour.';
comment on column coord_v1.network_log.decision is 'allow or deny.';
comment on column coord_v1.network_log.times is 'How often.';
comment on column coord_v1.network_log.policy is 'The policy that decided last; null for none.';
comment on column coord_v1.network_log.rule is 'Its rule; null for its default.';
comment on column coord_v1.network_log.first_at is 'The first time in that hour.';
comment on column coord_v1.network_log.last_at is 'The last time in that hour.';
comment on column coord_v1.network_log.last_session is 'Session of the last time.';

grant usage on type coord_v1.domain, coord_v1.network_policy_name to coord_agent, coord_operator, coord_auditor;
grant execute on function coord.check_network, coord.network_policy, coord_v1.check_network, coord_v1.network_policy
  to coord_agent, coord_operator, coord_auditor;
grant select on coord_v1.network_policies, coord_v1.network_log to coord_agent, coord_operator, coord_auditor;

reset role;
notify pgrst, 'reload schema';
