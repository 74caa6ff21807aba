-- Hosts have one form, patterns match what they say, forbid wins, and nothing is allowed by accident.
begin;
\ir ../helpers.sql
select no_plan();

-- One form.
select is(coord.canonical_host(given), expected, format('%s is %s', given, expected))
from (values ('Example.COM', 'example.com'), ('example.com.', 'example.com'), ('example.com:443', 'example.com'), ('example.com:', 'example.com'), ('https://example.com/a?b#c', 'example.com'),
  ('http://user:pw@example.com:8080/x', 'example.com'), ('https://good.com@evil.com/', 'evil.com'), ('https://good.com:80@evil.com', 'evil.com'), ('https://a@b@evil.com', 'evil.com'),
  ('evil.com/good.com', 'evil.com'), ('evil.com?good.com', 'evil.com'), ('evil.com#@good.com', 'evil.com'), ('good.com/@evil.com', 'good.com'), ('  example.com ', 'example.com'), ('localhost', 'localhost'),
  ('bücher.example', 'xn--bcher-kva.example'), ('BÜCHER.example', 'xn--bcher-kva.example'), ('xn--bcher-kva.example', 'xn--bcher-kva.example'), ('münchen.de', 'xn--mnchen-3ya.de'),
  ('例え.jp', 'xn--r8jz45g.jp'), ('россия.рф', 'xn--h1alffa9f.xn--p1ai'), ('例え。jp', 'xn--r8jz45g.jp'), ('ｅｘａｍｐｌｅ．ｃｏｍ', 'example.com'), ('аpple.com', 'xn--pple-43d.com'), ('faß.de', 'xn--fa-hia.de'),
  ('127.0.0.1', '127.0.0.1'), ('127.1', '127.0.0.1'), ('2130706433', '127.0.0.1'), ('0x7f000001', '127.0.0.1'), ('0x7f.1', '127.0.0.1'), ('0177.0.0.1', '127.0.0.1'), ('127.0.0.1.', '127.0.0.1'),
  ('http://0x7f.0.0.1:80/', '127.0.0.1'), ('10.0.0.255:22', '10.0.0.255'), ('１２７.0.0.1', '127.0.0.1'), ('[::1]', '::1'), ('[::1]:443', '::1'), ('::1', '::1'), ('0:0:0:0:0:0:0:1', '::1'), ('http://[2001:DB8::1]/x', '2001:db8::1'),
  ('[::ffff:127.0.0.1]', '127.0.0.1'), ('::ffff:7f00:1', '127.0.0.1'), ('a-b.example', 'a-b.example'), ('_dmarc.example.com', '_dmarc.example.com')) v (given, expected);
select throws_ok(format('select coord.canonical_host(%L)', given), 'PT400', 'host_invalid', 'no host: ' || coalesce(quote_literal(left(given, 40)), 'null'))
from unnest(array[null, '', ' ', '.', 'a..b', '.a', '-a.com', 'a-.com', 'a b.com', e'a\nb', 'a\b.com', 'a%2eb.com', 'https://', 'http:///x', '@', repeat('a', 64) || '.com', repeat('a.', 127) || 'com',
  '256.0.0.1', '1.2.3.4.5', '08.0.0.1', '1.2.3.4.5.6', '0xfffffffff', '[::1', '[example.com]', '[1.2.3.4]', ':::', '1::2::3', 'exa*mple.com', 'a,b', 'a;b', 'foo.0x', repeat('x', 3000)]) given;

-- The policies.
select is(tests.as_operator($q$coord_v1.apply_config('{"network_policies": {
    "base": {"allow": ["example.com", "*.Example.org.", "10.0.0.1", "xn--bcher-kva.example"], "deny": ["bad.example.org", "*.worse.example.org"]},
    "child": {"extends": "base", "allow": ["github.com"], "deny": ["example.com"]},
    "open": {"fallback": "allow", "deny": ["*.evil.com", "evil.com"]}, "all": {"allow": ["*"], "deny": ["169.254.169.254"]}, "nothing": {}},
  "profiles": {"p-base": {"trust": 1, "allowed": ["*"], "network_policy": "base"}, "p-child": {"extends": "p-base", "network_policy": "child"},
    "p-open": {"extends": "p-base", "network_policy": "open"}, "p-all": {"extends": "p-base", "network_policy": "all"}, "p-nothing": {"extends": "p-base", "network_policy": "nothing"}}}')$q$) ->> 'outcome', 'applied', 'policies and profiles');

create function tests.ask(p_profile text, p_host text) returns text language plpgsql as $$
begin
  perform tests.as_operator(format('coord_v1.assign_profile(%L, %L)', 'agent-a', p_profile));
  return (select tests.pick(a, 'decision', 'rule') from (select tests.as_agent('agent-a', format('coord_v1.check_network(%L)', p_host)) as a) x);
end
$$;
create temp table asked (profile text, host text, answer text);
insert into asked values
  ('p-base', 'example.com', 'allow example.com'), ('p-base', 'EXAMPLE.com.', 'allow example.com'), ('p-base', 'https://example.com:8443/x', 'allow example.com'), ('p-base', 'www.example.com', 'deny -'),
  ('p-base', 'evil-example.com', 'deny -'), ('p-base', 'example.com.evil.com', 'deny -'), ('p-base', 'example.comx', 'deny -'), ('p-base', 'https://example.com@evil.com', 'deny -'), ('p-base', 'evil.com/example.com', 'deny -'),
  ('p-base', 'a.example.org', 'allow *.example.org'), ('p-base', 'a.b.c.example.org', 'allow *.example.org'), ('p-base', 'example.org', 'deny -'), ('p-base', 'evilexample.org', 'deny -'), ('p-base', 'evil-example.org', 'deny -'),
  ('p-base', 'a.example.org.evil.com', 'deny -'), ('p-base', 'bad.example.org', 'deny bad.example.org'), ('p-base', 'x.bad.example.org', 'allow *.example.org'), ('p-base', 'x.worse.example.org', 'deny *.worse.example.org'),
  ('p-base', 'worse.example.org', 'allow *.example.org'), ('p-base', '10.0.0.1', 'allow 10.0.0.1'), ('p-base', '167772161', 'allow 10.0.0.1'), ('p-base', '012.0.0.1', 'allow 10.0.0.1'), ('p-base', '10.0.0.2', 'deny -'), ('p-base', '[::ffff:10.0.0.1]', 'allow 10.0.0.1'),
  ('p-base', 'bücher.example', 'allow xn--bcher-kva.example'), ('p-base', 'xn--bcher-kva.example', 'allow xn--bcher-kva.example'), ('p-base', 'bucher.example', 'deny -'), ('p-base', 'ехample.com', 'deny -'),
  ('p-child', 'github.com', 'allow github.com'), ('p-child', 'a.example.org', 'allow *.example.org'), ('p-child', 'example.com', 'deny example.com'), ('p-child', 'bad.example.org', 'deny bad.example.org'),
  ('p-open', 'anything.net', 'allow -'), ('p-open', 'evil.com', 'deny evil.com'), ('p-open', 'very.evil.com', 'deny *.evil.com'), ('p-open', 'notevil.com', 'allow -'), ('p-open', '1.2.3.4', 'deny -'), ('p-open', '[::1]', 'deny -'), ('p-open', '0x7f.1', 'deny -'), ('p-open', 'very。EVIL。com', 'deny *.evil.com'),
  ('p-all', 'anything.net', 'allow *'), ('p-all', '8.8.8.8', 'allow *'), ('p-all', '169.254.169.254', 'deny 169.254.169.254'), ('p-all', '0xa9fea9fe', 'deny 169.254.169.254'), ('p-all', '2852039166', 'deny 169.254.169.254'), ('p-all', '[::ffff:a9fe:a9fe]', 'deny 169.254.169.254'),
  ('p-nothing', 'example.com', 'deny -'), ('standard', 'example.com', 'deny -');
select is(tests.ask(profile, host), answer, format('%s: %s', profile, host)) from asked;
select matches(tests.as_agent('agent-b', $$coord_v1.check_network('example.com')$$) ->> 'next', 'no network policy', 'without a policy the answer says so');

-- Nothing but what ends in .example.org, after a dot, is let in by *.example.org.
select is_empty($$select h from (select case n % 4 when 0 then 'x' || n || 'example.org' when 1 then 'example.org.' || chr(97 + n % 26) || '.net' when 2 then 'www.example-org' || n || '.com' else 'example' || n || '.org' end as h
  from generate_series(1, 400) n) x where coord.patterns_for(coord.canonical_host(h)) && array['*.example.org']$$, '400 look-alikes are not matched');

-- The log.
select is((select string_agg(checks || ' ' || allowed, ', ' order by allowed) from coord.network_checks where agent = 'agent-a' and host = 'example.com'), '3 false, 3 true', 'counted by answer');
select is(tests.as_agent('agent-b', $$(select jsonb_agg(distinct l.agent) from coord_v1.network_log l)$$), '["agent-b"]', 'one sees one''s own');
select cmp_ok(jsonb_array_length(tests.as_operator($$(select jsonb_agg(distinct l.agent) from coord_v1.network_log l)$$)), '=', 2, 'operators see all');
select is((select count(*) from coord.audit_log where function = 'check_network'), 0::bigint, 'and the audit is spared');
update coord.network_checks set hour = hour - interval '31 days';
select is(tests.as_operator('coord_v1.maintain()') ->> 'outcome', 'maintained', 'housekeeping');
select is((select count(*) from coord.network_checks), 0::bigint, 'forgets after 30 days');

-- Rules for the outside.
select is(tests.as_operator($$coord_v1.network_rules('child')$$) - 'ok', '{"policy": "child", "allow": ["*.example.org", "10.0.0.1", "example.com", "github.com", "xn--bcher-kva.example"],
  "deny": ["*.worse.example.org", "bad.example.org", "example.com"], "fallback": "deny"}', 'with all that is inherited');
select throws_ok($$select tests.as_operator($q$coord_v1.network_rules('none')$q$)$$, 'PT404', 'policy_not_found', 'which must exist');

-- Configuration.
select is(tests.pick(tests.as_operator($q$coord_v1.apply_config('{"network_policies": {
    "base": {"allow": ["EXAMPLE.com", "*.example.org", "xn--bcher-kva.example", "10.1"], "deny": ["bad.example.org", "*.worse.example.org"]},
    "child": {"extends": "base", "allow": ["github.com"], "deny": ["example.com"]},
    "open": {"fallback": "allow", "deny": ["*.evil.com", "evil.com"]}, "all": {"allow": ["*"], "deny": ["169.254.169.254"]}, "nothing": {}}}', true)$q$), 'added', 'changed', 'removed'),
  '[] [] []', 'another spelling of the same is no change');
create function tests.place_of(p_config text) returns text language plpgsql as $$
declare
  v_detail text;
begin
  perform tests.as_operator(format('coord_v1.apply_config(%L, true)', p_config));
  return 'accepted';
exception when sqlstate 'PT422' then
  get stacked diagnostics v_detail = pg_exception_detail;
  return (regexp_match(v_detail, '^at (.*?): '))[1];
end
$$;
select is(tests.place_of(config), place, place) from (values
  ('{"network_policies": []}', 'network_policies'), ('{"network_policies": {"a": {"alow": []}}}', 'network_policies/a/alow'), ('{"network_policies": {"a": {"allow": ["a..b"]}}}', 'network_policies/a/allow/a..b'),
  ('{"network_policies": {"a": {"allow": ["*.*.com"]}}}', 'network_policies/a/allow/*.*.com'), ('{"network_policies": {"a": {"deny": "x"}}}', 'network_policies/a/deny'), ('{"network_policies": {"a": {"fallback": "maybe"}}}', 'network_policies/a/fallback'),
  ('{"network_policies": {"base": {}, "child": {}, "open": {}, "all": {}, "nothing": {}, "a": {"extends": "zzz"}}}', 'network_policies/a/extends'), ('{"network_policies": {"base": {}}}', 'profiles/p-all/network_policy'),
  ('{"profiles": {"x": {"network_policy": "zzz"}}}', 'profiles/x/network_policy')) v (config, place);

-- A thousand hosts an hour.
insert into coord.network_checks (agent, hour, host, allowed, checks, last_at)
select 'agent-c', date_bin('1 hour', clock_timestamp(), '2000-01-01 00:00+00'), 'h' || n || '.test', false, 1, clock_timestamp() from generate_series(1, 1000) n;
select is(tests.pick(tests.as_agent('agent-c', format('coord_v1.check_network(%L)', h)), 'decision', 'host'), 'deny ' || h, 'past a thousand hosts an hour the answers go on') from unnest(array['one.test', 'two.test', 'h7.test']) h;
select is((select string_agg(host || ' ' || checks, ', ' order by host collate "C") from coord.network_checks where agent = 'agent-c' and checks > 1), '(others) 2, h7.test 2', 'known hosts have their rows, all others share one');

-- Who may not even ask has an answer.
select is(tests.as_operator($q$coord_v1.set_profile('p-few', '{"extends": "p-all", "allowed": ["acquire_lock"]}')$q$) ->> 'outcome', 'applied', 'a profile without the question');
select is(tests.ask('p-few', 'example.com'), 'deny -', 'is denied');
select is(current_setting('response.status', true), '', 'with 200');

-- N2: whatever is denied stays so, with what else a policy allows or inherits.
select is_empty($$select p, d from unnest(array['base', 'child', 'open', 'all']) p, coord.effective_network(p) e, unnest(e.deny) d
  where tests.ask('p-' || p, replace(d, '*', 'x.y')) not like 'deny %'$$, 'nothing that is denied is allowed');

select * from finish();
rollback;
