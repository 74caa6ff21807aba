-- Forbid wins, else the most specific rule, else the default; no policy denies; every answer is counted.
begin;
\ir ../helpers.sql
select no_plan();

select is(tests.as_operator($q$coord_v1.apply_config($$
  {"network_policies": {
     "cloud": {"default": "deny", "allow": ["example.com", "*.example.org", "API.Example.NET.", "*.bücher.example", "192.0.2.1", "2001:db8::1", "a.b.wild.test", "*.wild.test"],
               "deny": ["secret.example.org", "*.internal.example.org", "*.wild.test.evil"]},
     "open": {"default": "allow", "deny": ["*.bad.test", "pastebin.com", "203.0.113.7"]},
     "all": {"allow": ["*"], "deny": ["evil.test", "10.0.0.1"]},
     "child": {"extends": "cloud", "allow": ["secret.example.org", "child.test"], "deny": ["example.com"]},
     "grandchild": {"extends": "child", "default": "allow"}, "empty": {}},
   "profiles": {"base": {"trust": 2, "allowed": ["*"]}, "cloud": {"extends": "base", "network_policy": "cloud"}, "open": {"extends": "base", "network_policy": "open"},
     "all": {"extends": "base", "network_policy": "all"}, "child": {"extends": "base", "network_policy": "child"}, "grandchild": {"extends": "base", "network_policy": "grandchild"},
     "empty": {"extends": "base", "network_policy": "empty"}, "leaf": {"extends": "cloud"}, "few": {"extends": "cloud", "allowed": ["acquire_lock"]}, "standard": {"trust": 2, "allowed": ["*"]}},
   "defaults": {"*": "standard"}}$$)$q$) ->> 'outcome', 'applied', 'policies for every case');

create function tests.asked(p_profile text, p_domain text) returns jsonb language plpgsql as $$
begin
  perform tests.as_operator(format('coord_v1.assign_profile(%L, %L)', 'agent-a', p_profile));
  return tests.as_agent('agent-a', format('coord_v1.check_network(%L)', p_domain));
end
$$;
create temp table asked (profile text, domain text, expected text);
insert into asked values
  -- policy cloud: exact names
  ('cloud', 'example.com', 'allow example.com'), ('cloud', 'EXAMPLE.COM.', 'allow example.com'), ('cloud', 'https://example.com:8443/x', 'allow example.com'),
  ('cloud', 'www.example.com', 'deny -'), ('cloud', 'evil-example.com', 'deny -'), ('cloud', 'example.com.evil.com', 'deny -'), ('cloud', 'examplexcom', 'deny -'),
  ('cloud', 'https://example.com@evil.com', 'deny -'), ('cloud', 'https://evil.com/?example.com', 'deny -'), ('cloud', 'xexample.com', 'deny -'), ('cloud', 'com', 'deny -'),
  ('cloud', 'exаmple.com', 'deny -'), ('cloud', 'api.example.net', 'allow api.example.net'),
  -- below a name
  ('cloud', 'a.example.org', 'allow *.example.org'), ('cloud', 'a.b.c.d.example.org', 'allow *.example.org'), ('cloud', 'example.org', 'deny -'), ('cloud', 'evil-example.org', 'deny -'),
  ('cloud', 'evilexample.org', 'deny -'), ('cloud', 'a.example.org.evil.com', 'deny -'), ('cloud', 'example.org.evil.com', 'deny -'), ('cloud', 'a.example.org.', 'allow *.example.org'),
  ('cloud', 'a.example.orgx', 'deny -'), ('cloud', 'example.org@evil.com', 'deny -'), ('cloud', 'a.example.org@evil.com', 'deny -'), ('cloud', 'x@a.example.org', 'allow *.example.org'),
  -- forbid wins
  ('cloud', 'secret.example.org', 'deny secret.example.org'), ('cloud', 'SECRET.example.org.', 'deny secret.example.org'), ('cloud', 'x.secret.example.org', 'allow *.example.org'),
  ('cloud', 'a.internal.example.org', 'deny *.internal.example.org'), ('cloud', 'a.b.internal.example.org', 'deny *.internal.example.org'), ('cloud', 'internal.example.org', 'allow *.example.org'),
  ('cloud', 'xinternal.example.org', 'allow *.example.org'), ('cloud', 'a.wild.test', 'allow *.wild.test'), ('cloud', 'a.b.wild.test', 'allow a.b.wild.test'), ('cloud', 'wild.test', 'deny -'),
  -- beyond ASCII
  ('cloud', 'shop.bücher.example', 'allow *.xn--bcher-kva.example'), ('cloud', 'SHOP.BÜCHER.example', 'allow *.xn--bcher-kva.example'), ('cloud', 'shop.xn--bcher-kva.example', 'allow *.xn--bcher-kva.example'),
  ('cloud', 'bücher.example', 'deny -'), ('cloud', 'shop.bucher.example', 'deny -'),
  -- addresses
  ('cloud', '192.0.2.1', 'allow 192.0.2.1'), ('cloud', '3221225985', 'allow 192.0.2.1'), ('cloud', '[::ffff:192.0.2.1]', 'allow 192.0.2.1'), ('cloud', '0300.0.2.1', 'allow 192.0.2.1'),
  ('cloud', '192.0.2.2', 'deny -'), ('cloud', '[2001:db8:0::1]:443', 'allow 2001:db8::1'), ('cloud', '[2001:db8::2]', 'deny -'), ('cloud', '127.0.0.1', 'deny -'), ('cloud', '0x7f000001', 'deny -'),
  ('cloud', 'localhost', 'deny -'), ('cloud', '192.0.2.1.example.org', 'allow *.example.org'),
  -- by default allowed
  ('open', 'anything.test', 'allow -'), ('open', 'bad.test', 'allow -'), ('open', 'a.bad.test', 'deny *.bad.test'), ('open', 'a.BAD.test.', 'deny *.bad.test'), ('open', 'a.b.bad.test', 'deny *.bad.test'),
  ('open', 'a.bad.test:443', 'deny *.bad.test'), ('open', 'https://x@a.bad.test', 'deny *.bad.test'), ('open', 'a。bad。test', 'deny *.bad.test'), ('open', 'ａ.ｂad.test', 'deny *.bad.test'),
  ('open', 'pastebin.com', 'deny pastebin.com'), ('open', 'PasteBin.com', 'deny pastebin.com'), ('open', 'notpastebin.com', 'allow -'), ('open', 'pastebin.com.test', 'allow -'),
  ('open', '8.8.8.8', 'deny -'), ('open', '[::1]', 'deny -'), ('open', '0x7f.1', 'deny -'), ('open', '2130706433', 'deny -'), ('open', '203.0.113.7', 'deny 203.0.113.7'), ('open', '0xcb007107', 'deny 203.0.113.7'),
  -- everything
  ('all', 'a.test', 'allow *'), ('all', '8.8.8.8', 'allow *'), ('all', '[::1]', 'allow *'), ('all', 'evil.test', 'deny evil.test'), ('all', 'a.evil.test', 'allow *'), ('all', '10.1', 'deny 10.0.0.1'),
  -- inherited
  ('child', 'child.test', 'allow child.test'), ('child', 'secret.example.org', 'deny secret.example.org'), ('child', 'example.com', 'deny example.com'), ('child', 'a.example.org', 'allow *.example.org'),
  ('child', 'other.test', 'deny -'), ('grandchild', 'other.test', 'allow -'), ('grandchild', 'example.com', 'deny example.com'), ('grandchild', 'child.test', 'allow child.test'), ('grandchild', '8.8.8.8', 'deny -'),
  ('empty', 'example.com', 'deny -'), ('leaf', 'example.com', 'allow example.com');
select cmp_ok((select count(*) from asked), '>=', 80::bigint, 'many hosts');
select is(tests.pick(tests.asked(profile, domain), 'decision', 'rule'), expected, format('%s: %s', profile, domain)) from asked;
select is(tests.pick(tests.asked('cloud', 'HTTPS://A.Example.org/'), 'ok', 'allowed', 'domain', 'policy', 'because'), 'true true a.example.org cloud policy cloud allows *.example.org', 'an answer');
select is(tests.pick(tests.asked('cloud', 'x.test'), 'ok', 'allowed', 'because', 'next'),
  'true false policy cloud has no rule for it and denies the rest Do without it, or ask an operator to allow x.test in network policy cloud (coord apply).', 'says what to do');

-- A look-alike of what is denied or allowed below a name never passes as below it.
create temp table alike as
select prefix || base || suffix as domain
from (values ('example.org'), ('internal.example.org'), ('bad.test'), ('wild.test')) b (base),
  unnest(array['', 'a', 'a-', 'a.b-', 'evil', 'xn--a', '_', '1', 'a.evil-', 'www']) prefix,
  unnest(array['', '.evil.com', '.com', 'x', '-evil.com', '.a', '.example.com', '.net']) suffix
where prefix <> '' or suffix <> '';
select is_empty($$select domain, p.pattern from alike, lateral unnest(coord.patterns_of(coord.read_domain(domain))) p (pattern)
  where pattern ~ '^\*\..' and not right(domain, length(pattern) - 1) = substr(pattern, 2)$$, 'N1: *.P matches only what ends in .P');
select is_empty($$select domain from alike where domain not like '%.example.org' and domain <> 'example.com' and domain not like '%.wild.test'
  and tests.asked('cloud', domain) ->> 'decision' <> 'deny'$$, 'N1: no look-alike is allowed');
-- Whatever is allowed besides.
select is_empty($$select r.policy, r.pattern from coord.network_rules r where r.decision = 'deny' and exists (
    select from (values ('cloud'), ('open'), ('all'), ('child'), ('grandchild')) p (name)
    where p.name = r.policy and tests.asked(p.name, replace(r.pattern, '*', 'x.y')) ->> 'decision' <> 'deny')$$, 'N2: what is denied is not allowed');

-- No policy, no permission: still an answer.
select is(tests.pick(tests.asked('base', 'example.com'), 'decision', 'policy', 'because'), 'deny - profile base names no network policy', 'no policy denies');
select matches(tests.asked('base', 'example.com') ->> 'next', 'name a network_policy in profile base', 'and says what to do');
select is(tests.pick(tests.as_operator($$coord_v1.check_network('example.com')$$), 'decision', 'because'), 'deny profile operator names no network policy', 'for operators, too');
select matches(tests.as_operator($$coord_v1.check_network('example.com')$$) ->> 'next', '^Ask as an agent', 'who have no profile by default');
select is(tests.pick(tests.asked('few', 'example.com'), 'decision', 'because'), 'deny profile few does not permit check_network', 'not even permitted to ask');
select is(current_setting('response.status', true), '', 'all with 200');
select throws_ok($$select tests.asked('cloud', 'a b')$$, 'PT400', 'domain_invalid', 'what is no host is bad input');

-- The tally.
select tests.as_operator($$coord_v1.assign_profile('agent-b', 'cloud')$$);
select is((select count(tests.as_agent('agent-b', format('coord_v1.check_network(%L)', d))) from unnest(array['example.com', 'Example.com.', 'https://example.com/', 'x.test']) d), 4::bigint, 'four questions');
select is(tests.as_agent('agent-b', $$(select jsonb_agg(jsonb_build_array(l.domain, l.decision, l.times, l.policy, l.rule) order by l.domain) from coord_v1.network_log l)$$),
  '[["example.com", "allow", 3, "cloud", "example.com"], ["x.test", "deny", 1, "cloud", null]]', 'are two rows, and nobody else''s');
select cmp_ok((tests.as_operator($$(select to_jsonb(count(*)) from coord_v1.network_log)$$))::integer, '>', 50, 'an operator sees all');
select is(tests.as_claims(tests.claims('agent-c'), '(select to_jsonb(count(*)) from coord_v1.network_log)'), '0', 'who asked nothing sees nothing');
select is((select count(*) from coord.audit_log where function = 'check_network'), 0::bigint, 'questions are no mutations');
insert into coord.network_log (agent, hour, domain, decision, agent_type, last_session)
select 'agent-b', date_bin('1 hour', clock_timestamp(), '2000-01-01 00:00+00'), 'd' || n || '.test', 'deny', 'x', 's' from generate_series(1, 1100) n;
select is(tests.pick(tests.as_agent('agent-b', $$coord_v1.check_network('one-more.test')$$), 'decision', 'domain'), 'deny one-more.test', 'past a thousand rows an hour the answer is the same');
select is(tests.as_agent('agent-b', $$coord_v1.check_network('two-more.test')$$) ->> 'decision', 'deny', 'again');
select is((select jsonb_agg(jsonb_build_array(l.domain, l.times)) from coord.network_log l where l.agent = 'agent-b' and l.domain ~ 'more|others'), '[["(others)", 2]]', 'N3: and one row counts the rest');
select is(tests.as_agent('agent-b', $$coord_v1.check_network('example.com')$$) ->> 'decision', 'allow', 'known rows go on');
select is((select l.times from coord.network_log l where l.agent = 'agent-b' and l.domain = 'example.com'), 4, 'counting');

-- Retention.
update coord.network_log set hour = hour - interval '31 days' where agent = 'agent-b';
select coord.maintain(10);
select cmp_ok((select count(*) from coord.network_log where agent = 'agent-b'), '>', 0::bigint, 'purged in steps');
select coord.maintain(10000);
select is((select count(*) from coord.network_log where agent = 'agent-b'), 0::bigint, 'after 30 days');
select cmp_ok((select count(*) from coord.network_log), '>', 0::bigint, 'and not before');

-- What a policy comes to.
select is(tests.as_operator($$coord_v1.network_policy('child')$$), '{"ok": true, "policy": "child", "description": null, "extends": "cloud", "default": "deny",
  "allow": ["*.example.org", "*.wild.test", "*.xn--bcher-kva.example", "192.0.2.1", "2001:db8::1", "a.b.wild.test", "api.example.net", "child.test", "example.com", "secret.example.org"],
  "deny": ["*.internal.example.org", "*.wild.test.evil", "example.com", "secret.example.org"]}'::jsonb, 'with what it inherits');
select is(tests.as_agent('agent-b', $$coord_v1.network_policy()$$) ->> 'policy', 'cloud', 'one''s own');
select throws_ok($$select tests.as_operator('coord_v1.network_policy()')$$, 'PT400', 'argument_required', 'operators have none');
select throws_ok($$select tests.as_operator($q$coord_v1.network_policy('no')$q$)$$, 'PT404', 'network_policy_not_found', 'unknown');
select is(tests.as_agent('agent-b', $$(select to_jsonb(p.profiles) from coord_v1.network_policies p where p.name = 'cloud')$$), '["cloud", "few", "leaf"]', 'the view says whom it binds');

select * from finish();
rollback;
