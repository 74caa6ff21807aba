-- Network: which hosts an agent may talk to.
--
-- A policy lists patterns to allow and to deny: a domain (example.com), everything below
-- one (*.example.com, which is not example.com itself), an address, or * for all. A
-- profile names its policy; without one nothing is allowed. A policy inherits the
-- patterns of the one it extends.
--
-- Decision: what any deny pattern matches is denied; else what the most specific allow
-- pattern matches is allowed; else the policy's fallback. Hosts and patterns are
-- compared in one form: lower case, IDN as punycode, no final dot, no port, no user;
-- an address in any spelling as that address, which no domain pattern matches.
--
-- Nothing here stops a packet. The environment does, from `coord network export`, made
-- from the same rows; check_network is for agents that ask first, and keeps a log.
--
-- A fallback speaks of names alone: no address is let in by it. What programs would read in
-- different ways (backslashes, control and invisible characters, percent signs, a scheme
-- without //) is refused, not guessed at.
--
-- The log counts by agent, host, decision and hour, for 30 days: a thousand hosts an hour
-- for each agent, and one row more for all others.
--
-- Invariants
--   N1  *.P matches only what ends in .P
--   N2  nothing that a policy denies is allowed, by whatever other rule or inheritance

set role coord_owner;

create table coord.network_policies (
  name text primary key,
  description text,
  extends text references coord.network_policies (name) deferrable initially deferred,
  allow text[] not null default '{}',
  deny text[] not null default '{}',
  fallback text,
  managed boolean not null default true,
  changed_at timestamptz not null default clock_timestamp(),
  changed_by text not null,
  constraint name_is_a_name check (name ~ '^[a-z0-9][a-z0-9._-]{0,49}$'),
  constraint extends_another check (extends <> name),
  constraint fallback_is_a_decision check (fallback in ('allow', 'deny'))
);
comment on table coord.network_policies is 'Which hosts agents may talk to, as it was declared.';
create index network_policies_by_parent on coord.network_policies (extends);

create table coord.network_checks (
  agent text not null,
  hour timestamptz not null,
  host text not null,
  allowed boolean not null,
  policy text,
  rule text,
  checks integer not null,
  last_at timestamptz not null,
  primary key (agent, hour, host, allowed)
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02);
comment on table coord.network_checks is 'What check_network was asked and answered, counted by the hour.';
create index network_checks_by_hour on coord.network_checks (hour);

alter table coord.network_policies enable row level security;
alter table coord.network_policies force row level security;
create policy everyone_reads on coord.network_policies
  for all to coord_owner, coord_agent, coord_operator, coord_auditor using (true)
  with check ((select nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'role') = 'coord_operator');
grant select on coord.network_policies to coord_agent, coord_operator, coord_auditor;

alter table coord.network_checks enable row level security;
alter table coord.network_checks force row level security;
create policy own on coord.network_checks
  for all to coord_owner
  using (agent = (select nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub'));
create policy own_or_oversight on coord.network_checks
  for all to coord_agent, coord_operator, coord_auditor
  using (
    agent = (select nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub')
    or (select nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'role') in ('coord_operator', 'coord_auditor')
  );
create policy janitor on coord.network_checks for all to coord_janitor using (true);
grant select on coord.network_checks to coord_agent, coord_operator, coord_auditor;
grant select, update, delete on coord.network_checks to coord_janitor;

insert into coord.error_codes (code, status, meaning, remedy) values
  ('host_invalid', 400, 'This is no host that could be connected to.', 'Pass a host name or a URL, as api.example.com or https://api.example.com/.'),
  ('policy_not_found', 404, 'No network policy has this name.', 'Check the name; the view network_policies lists them.');

-- One form of a host ---------------------------------------------------------------------

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

create function coord.canonical_host(p_host text) returns text
language plpgsql stable
as $$
declare
  v_text text := btrim(coalesce(p_host, ''), ' ');
  v_parts text[];
  v_host coord.host;
begin
  -- Some drop control characters, or take https:/a and https:\\a for https://a: nobody knows which host is meant.
  if octet_length(v_text) > 2048 or v_text ~ '[\x01-\x1f\x7f\\]' or v_text ~ '^[^/?#]*:/([^/]|$)' then
    perform coord.fail('host_invalid', 'a host is not longer than 2048 bytes, and holds no control character or backslash, nor a scheme without //');
  end if;
  v_text := regexp_replace(v_text, '^([A-Za-z][A-Za-z0-9+.-]*:)?//', '');
  -- What is before the last @ names a user, whatever it looks like.
  v_text := regexp_replace(substring(v_text from '^[^/?#]*'), '^.*@', '');
  v_parts := regexp_match(v_text, '^(\[[^]]*\]|[^:]*)(?::([0-9]{0,5}))?$');
  if nullif(v_parts[2], '')::integer > 65535 then
    perform coord.fail('host_invalid', 'a port is at most 65535');
  end if;
  v_host := coord.read_host(coalesce(v_parts[1], v_text));
  if v_host.problem is not null then
    perform coord.fail('host_invalid', format('%s %s', quote_literal(left(v_text, 100)), v_host.problem));
  end if;
  return v_host.name;
end
$$;
comment on function coord.canonical_host is 'The one form of a host, given as a name, an address, host:port or a URL.';

create function coord.canonical_pattern(p_pattern text) returns text
language plpgsql stable
as $$
declare
  v_host coord.host;
begin
  if p_pattern = '*' then
    return p_pattern;
  end if;
  v_host := coord.read_host(left(regexp_replace(p_pattern, '^\*\.', ''), 1100));
  if v_host.problem is not null then
    perform coord.fail('host_invalid', format('%s %s', quote_literal(left(p_pattern, 100)), v_host.problem));
  elsif p_pattern ~ '^\*\.' and v_host.is_address then
    perform coord.fail('host_invalid', format('%s is an address with a wildcard: name addresses one by one', quote_literal(left(p_pattern, 100))));
  end if;
  return case when p_pattern ~ '^\*\.' then '*.' else '' end || v_host.name;
end
$$;
comment on function coord.canonical_pattern is 'The one form of a pattern: a host, *.host or *.';

create function coord.is_address(p_host text) returns boolean
language sql immutable
-- Of a canonical host: no name's last part is a number.
return p_host ~ ':|(^|\.)[0-9]+$';
comment on function coord.is_address is 'Whether a canonical host is an address.';

create function coord.patterns_for(p_host text) returns text[]
language sql immutable
begin atomic
  -- The host itself, everything below each name above it, everything; an address has no names above it.
  select array[p_host]
    || case when not coord.is_address(p_host) then array(
      select '*.' || array_to_string((string_to_array(p_host, '.'))[n:], '.')
      from generate_series(2, cardinality(string_to_array(p_host, '.'))) n order by n) else '{}' end
    || '*'::text;
end;
comment on function coord.patterns_for is 'All patterns that match a host, the most specific first.';

-- The decision ---------------------------------------------------------------------------

create function coord.effective_network(p_policy text) returns table (allow text[], deny text[], fallback text)
language sql stable
begin atomic
  with recursive line as (
    select p.name, p.extends, p.allow, p.deny, p.fallback, array[p.name] as seen from coord.network_policies p where p.name = p_policy
    union all
    select p.name, p.extends, p.allow, p.deny, p.fallback, l.seen || p.name
    from line l join coord.network_policies p on p.name = l.extends
    where p.name <> all (l.seen)
  )
  select array(select distinct a from line l, unnest(l.allow) a order by a), array(select distinct d from line l, unnest(l.deny) d order by d),
    coalesce((select l.fallback from line l where l.fallback is not null order by cardinality(l.seen) limit 1), 'deny')
  where exists (select from line);
end;
comment on function coord.effective_network is 'A policy with all that it inherits; no row for a policy that is not there.';

create function coord.check_network(p_host text) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_caller coord.caller := coord.caller();
  v_code text := coord.objection('check_network');
  v_policy text := (coord.profile()).network_policy;
  v_host text := coord.canonical_host(p_host);
  v_patterns text[] := coord.patterns_for(v_host);
  v_rules record;
  v_rule text;
  v_allowed boolean;
  v_hour timestamptz := date_bin('1 hour', clock_timestamp(), '2000-01-01 00:00+00');
  v_counted text := v_host;
begin
  -- A question about permission: answered with 200 to whoever may not even ask it.
  select * into v_rules from coord.effective_network(v_policy) where v_code is null;
  select p into v_rule from unnest(v_patterns) with ordinality u (p, n) where p = any (v_rules.deny) order by n limit 1;
  v_allowed := v_rule is null and v_rules.fallback is not null;
  if v_allowed then
    select p into v_rule from unnest(v_patterns) with ordinality u (p, n) where p = any (v_rules.allow) order by n limit 1;
    -- A fallback speaks of names; an address takes a rule.
    v_allowed := v_rule is not null or v_rules.fallback = 'allow' and not coord.is_address(v_host);
  end if;
  -- A tally that a crash may cost its last moments; no decision hangs on it.
  perform set_config('synchronous_commit', 'off', true);
  if not exists (select from coord.network_checks c
      where c.agent = v_caller.agent and c.hour = v_hour and c.host = v_host and c.allowed = v_allowed)
    and (select count(*) >= 1000 from (select from coord.network_checks c where c.agent = v_caller.agent and c.hour = v_hour limit 1000) whole)
  then
    v_counted := '(others)';
  end if;
  insert into coord.network_checks as c (agent, hour, host, allowed, policy, rule, checks, last_at)
  values (v_caller.agent, v_hour, v_counted, v_allowed, v_policy, v_rule, 1, clock_timestamp())
  on conflict (agent, hour, host, allowed) do update set
    checks = c.checks + 1, last_at = excluded.last_at, policy = excluded.policy, rule = excluded.rule;
  return jsonb_build_object('ok', true, 'decision', case when v_allowed then 'allow' else 'deny' end, 'allowed', v_allowed,
    'host', v_host, 'policy', v_policy, 'rule', v_rule,
    'next', case when v_allowed then 'Go ahead.'
      when v_code is not null then coalesce(coord.objection_text('check_network', v_code), v_code) || '; ask an operator.'
      when v_policy is null then 'Your profile has no network policy, so nothing is allowed; an operator gives it one.'
      when v_rule is not null then format('The policy denies %s; do without this host, or ask an operator.', v_rule)
      when coord.is_address(v_host) then 'No rule of the policy names this address, and an address takes one; do without it, or ask an operator.'
      else 'The policy does not name this host; do without it, or ask an operator.' end);
end
$$;

create function coord.network_rules(p_policy text) returns jsonb
language plpgsql stable security definer set search_path = ''
as $$
declare
  v_policy text;
  v_rules record;
begin
  perform coord.open_read('network_rules');
  v_policy := coalesce(p_policy, (coord.profile()).network_policy);
  select * into v_rules from coord.effective_network(v_policy);
  if not found then
    perform coord.fail('policy_not_found', coalesce(format('no network policy is called %s', quote_literal(left(v_policy, 100))), 'your profile names no network policy'));
  end if;
  return jsonb_build_object('ok', true, 'policy', v_policy, 'allow', v_rules.allow, 'deny', v_rules.deny, 'fallback', v_rules.fallback);
end
$$;

-- The contract -------------------------------------------------------------------------

create domain coord_v1.host as text;
comment on domain coord_v1.host is $$A host name, an address, or a URL.
@schema {"maxLength": 2048}$$;
create domain coord_v1.network_policy as text;
comment on domain coord_v1.network_policy is $$Name of a network policy.
@schema {"maxLength": 50}$$;

create function coord_v1.check_network(domain coord_v1.host) returns jsonb
language sql
return coord.check_network(domain);
comment on function coord_v1.check_network is $$Ask whether you may talk to a host; the answer is logged.
Answers allowed and decision (allow, deny), the host as it is compared, the policy and the rule that decided; always 200 for a host, denied or not. Errors: host_invalid.
@toolset full
@idempotent$$;

create function coord_v1.network_rules(policy coord_v1.network_policy default null) returns jsonb
language sql stable
return coord.network_rules(policy);
comment on function coord_v1.network_rules is $$Read a network policy with all that it inherits; your own by default.
Answers allow[], deny[] (which goes before allow) and fallback for every other host. Errors: policy_not_found, operation_not_permitted.
@toolset full$$;

create view coord_v1.network_policies with (security_invoker = true) as
  select p.name, p.description, p.extends, p.allow, p.deny, p.fallback, p.changed_at, p.changed_by from coord.network_policies p;
comment on view coord_v1.network_policies is 'Network policies as they were declared.';
comment on column coord_v1.network_policies.name is 'Its name.';
comment on column coord_v1.network_policies.description is 'What it is for.';
comment on column coord_v1.network_policies.extends is 'The policy whose patterns it inherits.';
comment on column coord_v1.network_policies.allow is 'Patterns of hosts that are allowed.';
comment on column coord_v1.network_policies.deny is 'Patterns of hosts that are denied, whatever is allowed.';
comment on column coord_v1.network_policies.fallback is 'What holds for every other host.';
comment on column coord_v1.network_policies.changed_at is 'When it was declared last.';
comment on column coord_v1.network_policies.changed_by is 'By whom.';

create view coord_v1.network_log with (security_invoker = true) as
  select c.agent, c.hour, c.host, c.allowed, c.policy, c.rule, c.checks, c.last_at from coord.network_checks c;
comment on view coord_v1.network_log is 'What check_network was asked: your own; all of it for operators and auditors. 30 days.';
comment on column coord_v1.network_log.agent is 'Who asked.';
comment on column coord_v1.network_log.hour is 'The hour.';
comment on column coord_v1.network_log.host is 'The host, as it is compared; (others) for what came after a thousand of them in that hour.';
comment on column coord_v1.network_log.allowed is 'What the answer was.';
comment on column coord_v1.network_log.policy is 'The policy that decided last.';
comment on column coord_v1.network_log.rule is 'Its rule; null for the fallback.';
comment on column coord_v1.network_log.checks is 'How often in this hour.';
comment on column coord_v1.network_log.last_at is 'When last.';

grant usage on type coord_v1.host, coord_v1.network_policy to coord_agent, coord_operator, coord_auditor;
grant execute on function coord.check_network, coord.network_rules, coord_v1.check_network, coord_v1.network_rules
  to coord_agent, coord_operator, coord_auditor;
grant select on coord_v1.network_policies, coord_v1.network_log to coord_agent, coord_operator, coord_auditor;

reset role;
notify pgrst, 'reload schema';
