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
-- The log counts by agent, host, decision and hour, for 30 days.

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

create function coord.punycode(p_label text) returns text
language plpgsql immutable
as $$
-- RFC 3492, for one label.
declare
  v_points integer[] := array(select ascii(c) from regexp_split_to_table(p_label, '') with ordinality u (c, n) where c <> '' order by n);
  v_out text := coalesce((select string_agg(chr(p), '' order by n) from unnest(v_points) with ordinality u (p, n) where p < 128), '');
  v_handled integer := length(v_out);
  v_basic integer := v_handled;
  v_point integer := 128;
  v_delta bigint := 0;
  v_bias integer := 72;
  v_next integer;
  v_rest bigint;
  v_digit integer;
  v_step integer;
  v_threshold integer;
  v_each integer;
begin
  if v_basic = cardinality(v_points) then
    return p_label;
  end if;
  v_out := v_out || case when v_basic > 0 then '-' else '' end;
  while v_handled < cardinality(v_points) loop
    select min(p) into v_next from unnest(v_points) p where p >= v_point;
    v_delta := v_delta + (v_next - v_point)::bigint * (v_handled + 1);
    v_point := v_next;
    foreach v_each in array v_points loop
      if v_each < v_point then
        v_delta := v_delta + 1;
      elsif v_each = v_point then
        v_rest := v_delta;
        v_step := 36;
        loop
          v_threshold := least(greatest(v_step - v_bias, 1), 26);
          exit when v_rest < v_threshold;
          v_digit := v_threshold + (v_rest - v_threshold) % (36 - v_threshold);
          v_out := v_out || substr('abcdefghijklmnopqrstuvwxyz0123456789', v_digit + 1, 1);
          v_rest := (v_rest - v_threshold) / (36 - v_threshold);
          v_step := v_step + 36;
        end loop;
        v_out := v_out || substr('abcdefghijklmnopqrstuvwxyz0123456789', v_rest::integer + 1, 1);
        v_delta := case when v_handled = v_basic then v_delta / 700 else v_delta / 2 end;
        v_delta := v_delta + v_delta / (v_handled + 1);
        v_step := 0;
        while v_delta > 455 loop
          v_delta := v_delta / 35;
          v_step := v_step + 36;
        end loop;
        v_bias := v_step + (36 * v_delta / (v_delta + 38))::integer;
        v_delta := 0;
        v_handled := v_handled + 1;
      end if;
    end loop;
    v_delta := v_delta + 1;
    v_point := v_point + 1;
  end loop;
  return 'xn--' || v_out;
end
$$;
comment on function coord.punycode is 'A label of a host name in the form that DNS takes.';

create function coord.ipv4(p_host text) returns text
language plpgsql immutable
as $$
-- As browsers and inet_aton read it: 1 to 4 numbers, decimal, octal (0…) or hexadecimal
-- (0x…), the last of which fills what is left. Null for what is no address.
declare
  v_part text;
  v_number numeric;
  v_digit text;
  v_numbers numeric[] := array[]::numeric[];
  v_value numeric := 0;
begin
  if p_host !~ '^(0x[0-9a-f]*|[0-9]+)(\.(0x[0-9a-f]*|[0-9]+)){0,3}$' then
    return null;
  end if;
  foreach v_part in array string_to_array(p_host, '.') loop
    if v_part ~ '^0[0-9]*[89]' or length(v_part) > 20 then
      return null;
    end if;
    v_number := 0;
    foreach v_digit in array regexp_split_to_array(regexp_replace(v_part, '^0x', ''), '') loop
      v_number := v_number * case when v_part ~ '^0x' then 16 when v_part ~ '^0.' then 8 else 10 end
        + case when v_digit = '' then 0 else strpos('0123456789abcdef', v_digit) - 1 end;
    end loop;
    v_numbers := v_numbers || v_number;
  end loop;
  for v_place in 1 .. cardinality(v_numbers) - 1 loop
    if v_numbers[v_place] > 255 then
      return null;
    end if;
    v_value := v_value + v_numbers[v_place] * 256 ^ (4 - v_place);
  end loop;
  v_number := v_numbers[cardinality(v_numbers)];
  if v_number >= 256 ^ (5 - cardinality(v_numbers)) then
    return null;
  end if;
  return host('0.0.0.0'::inet + (v_value + v_number)::bigint);
end
$$;
comment on function coord.ipv4 is 'An IPv4 address in any spelling as four decimal numbers; null for what is none.';

create function coord.ipv6(p_host text) returns text
language plpgsql immutable
as $$
declare
  v_address inet;
begin
  if p_host !~ '^[0-9a-f:.]+$' or p_host !~ ':' then
    return null;
  end if;
  v_address := p_host::inet;
  -- An IPv4 address in disguise is that address.
  if v_address <<= '::ffff:0:0/96'::inet then
    return host('0.0.0.0'::inet + (v_address - '::ffff:0:0'::inet));
  end if;
  return host(v_address);
exception when invalid_text_representation then
  return null;
end
$$;
comment on function coord.ipv6 is 'An IPv6 address in its shortest form; null for what is none.';

create function coord.canonical_host(p_host text) returns text
language plpgsql stable
as $$
declare
  v_host text := lower(normalize(btrim(coalesce(p_host, '')), nfkc));
  v_address text;
begin
  if v_host = '' or octet_length(p_host) > 2048 or v_host ~ '[[:cntrl:][:space:]\\%]' then
    perform coord.fail('host_invalid', 'a host is empty, too long, or holds a blank, a control character, \ or %');
  end if;
  if octet_length(v_host) > length(v_host) and lower('Ü') = 'Ü' then
    -- Upper case would pass by a pattern in lower case.
    perform coord.fail('host_invalid', 'this database''s locale knows no letters beyond ASCII; write the name in its xn-- form');
  end if;
  -- Of a URL the host: what stands before the last @ is a user, whatever it looks like.
  v_host := regexp_replace(v_host, '^[a-z][a-z0-9+.-]*://', '');
  v_host := regexp_replace(v_host, '[/?#].*$', '');
  v_host := regexp_replace(v_host, '^.*@', '');
  if v_host ~ '^\[[^]]*\](:[0-9]*)?$' then
    v_host := regexp_replace(v_host, '^\[([^]]*)\].*$', '\1');
    v_address := coord.ipv6(v_host);
    if v_address is null then
      perform coord.fail('host_invalid', format('%s is no address', quote_literal(left(v_host, 100))));
    end if;
    return v_address;
  end if;
  v_address := case when v_host ~ ':.*:' then coord.ipv6(v_host) end;
  if v_address is not null then
    return v_address;
  end if;
  v_host := regexp_replace(v_host, ':[0-9]*$', '');
  -- The full stops of other scripts are dots to whoever resolves the name.
  v_host := regexp_replace(translate(v_host, U&'\3002', '.'), '\.$', '');
  if v_host ~ '(^|\.)(0x[0-9a-f]*|[0-9]+)$' then
    v_address := coord.ipv4(v_host);
    if v_address is null then
      perform coord.fail('host_invalid', format('%s looks like an address and is none', quote_literal(left(v_host, 100))));
    end if;
    return v_address;
  end if;
  select coalesce(string_agg(coord.punycode(l), '.' order by n), '') into v_host from unnest(string_to_array(v_host, '.')) with ordinality u (l, n);
  if v_host !~ '^([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?$' or length(v_host) > 253 then
    perform coord.fail('host_invalid', format('%s is no host name', quote_literal(left(coalesce(v_host, p_host), 100))));
  end if;
  return v_host;
end
$$;
comment on function coord.canonical_host is 'The one form of a host, given as a name, an address or a URL.';

create function coord.canonical_pattern(p_pattern text) returns text
language plpgsql stable
as $$
begin
  if p_pattern = '*' then
    return p_pattern;
  elsif starts_with(p_pattern, '*.') then
    return '*.' || coord.canonical_host(substr(p_pattern, 3));
  end if;
  return coord.canonical_host(p_pattern);
end
$$;
comment on function coord.canonical_pattern is 'The one form of a pattern: a host, *.host or *.';

create function coord.patterns_for(p_host text) returns text[]
language sql immutable
begin atomic
  -- The host itself, everything below each name above it, everything; an address has no names above it.
  select array[p_host]
    || case when p_host ~ '[a-z]' and p_host !~ ':' then array(
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
  v_caller coord.caller := coord.open_read('check_network');
  v_policy text := (coord.profile()).network_policy;
  v_host text := coord.canonical_host(p_host);
  v_patterns text[] := coord.patterns_for(v_host);
  v_rules record;
  v_rule text;
  v_allowed boolean;
begin
  select * into v_rules from coord.effective_network(v_policy);
  select p into v_rule from unnest(v_patterns) with ordinality u (p, n) where p = any (v_rules.deny) order by n limit 1;
  v_allowed := v_rule is null and v_rules.fallback is not null;
  if v_allowed then
    select p into v_rule from unnest(v_patterns) with ordinality u (p, n) where p = any (v_rules.allow) order by n limit 1;
    v_allowed := v_rule is not null or v_rules.fallback = 'allow';
  end if;
  insert into coord.network_checks as c (agent, hour, host, allowed, policy, rule, checks, last_at)
  values (v_caller.agent, date_bin('1 hour', clock_timestamp(), '2000-01-01 00:00+00'), v_host, v_allowed, v_policy, v_rule, 1, clock_timestamp())
  on conflict (agent, hour, host, allowed) do update set
    checks = c.checks + 1, last_at = excluded.last_at, policy = excluded.policy, rule = excluded.rule;
  return jsonb_build_object('ok', true, 'decision', case when v_allowed then 'allow' else 'deny' end, 'allowed', v_allowed,
    'host', v_host, 'policy', v_policy, 'rule', v_rule,
    'next', case when v_allowed then 'Go ahead.'
      when v_policy is null then 'Your profile has no network policy, so nothing is allowed; an operator gives it one.'
      when v_rule is not null then format('The policy denies %s; do without this host, or ask an operator.', v_rule)
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
Answers allowed and decision (allow, deny), the host as it is compared, the policy and the rule that decided. Errors: host_invalid, operation_not_permitted.
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
comment on column coord_v1.network_log.host is 'The host, as it is compared.';
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
