-- Rules do what their examples say, a bad one cannot be stored, and the catastrophic ones stay.
begin;
\ir ../helpers.sql
select no_plan();

select is(coord.rule_problems(r.id, r.spec), '{}', r.id || ' does what its examples say') from coord.guardrail_rules r;
select cmp_ok((select count(distinct k.pattern) from coord.guardrail_conditions k), '<=', 24::bigint, 'few regular expressions');

-- What cannot be stored.
create temp table wrong (spec jsonb, problem text);
create function tests.rule(p_more jsonb) returns jsonb language sql
return '{"severity": "ask", "when": {"program": "frob"}, "remedy": "Do not.", "matches": ["frob x"], "passes": ["frobnicate"]}'::jsonb || p_more;
insert into wrong values ('{}', null), ('{"severity": "maybe"}', 'severity: this is log_only, warn, ask or deny'), ('{"remedy": ""}', 'remedy: a rule says what to do instead, in at most 500 characters'), ('{"colour": 1}', 'colour: no such key; these are known: category, severity, enabled, remedy, when, profiles, max_trust, matches, passes'),
  ('{"when": {"programm": "x"}}', 'when/programm: no such key; these are known: program, except_program, subcommand, except_subcommand, flags, all_flags, except_flags, operands, except_operands, path, except_path, reads, writes, from, except_from, sql, does, except_does, content, operation, text'), ('{"when": {}}', 'when: this is a mapping of conditions, or a list of such'), ('{"when": {"program": 1}}', 'when/program: this is a text or a list of texts'), ('{"matches": []}', 'matches: this is a list of at least one text'),
  ('{"passes": [1]}', 'passes: this is a list of at least one text'), ('{"max_trust": 5}', 'max_trust: trust is 0 to 4'), ('{"matches": ["frob x", "grob x"]}', 'must match, and does not: grob x'), ('{"passes": ["frob y"]}', 'must not match, and does: frob y'),
  ('{"when": {"text": "(frob"}}', 'when/text: invalid regular expression: parentheses () not balanced'), ('{"when": {"text": "(f)rob\\1"}}', 'when/text: a regular expression has no back-references'), ('{"when": {"text": "(?x)frob x"}}', 'when/text: a regular expression begins with no options; the case of letters never counts'), ('{"when": {"program": "frob", "text": "frob x"}}', null);
select is((coord.rule_problems('a.b', tests.rule(spec)))[1], problem, coalesce(problem, spec::text || ' is a rule')) from wrong;
select matches((coord.rule_problems('a.b', tests.rule('{"when": {"text": "(a|aa|b)*(a|b)*(a+b*)*c(a|b)*(d.*e|f.*g)*h.{0,200}k.{0,200}m"}, "matches": ["ach"]}')))[1], '64 kB|must match', 'nor a slow one');
select is(tests.pick(tests.as_agent('agent-a', format('coord_v1.test_guardrail_rule(%L)', tests.rule('{"id": "a.b"}'))), 'holds', 'problems', 'examples'), 'true [] 2', 'anybody may try one');

-- A configuration.
create function tests.apply(p_rules jsonb, p_plan boolean default false) returns jsonb language sql
return tests.as_operator(format('coord_v1.apply_config(%L, %L)', jsonb_build_object('guardrails', p_rules), p_plan));
create function tests.judged(p_command text, p_agent text default 'agent-a') returns text language sql
return (select tests.pick(a, 'decision', 'violations.0.rule') from (select tests.as_agent(p_agent, format('coord_v1.check_guardrails(%L)', p_command)) as a) x);
create function tests.place_of(p_rules jsonb) returns text language plpgsql as $$
declare
  v_detail text;
begin
  perform tests.apply(p_rules, true);
  return 'accepted';
exception when sqlstate 'PT422' then
  get stacked diagnostics v_detail = pg_exception_detail;
  return (regexp_match(v_detail, '^at (.*?): '))[1];
end
$$;
select is(tests.judged('frob x'), 'allow -', 'before');
select is(tests.pick(tests.apply(jsonb_build_object('a.b', tests.rule('{}')), true), 'outcome', 'added.0.kind', 'added.0.name'), 'planned guardrail a.b', 'a plan');
select is(tests.judged('frob x'), 'allow -', 'changes nothing');
select is(tests.pick(tests.apply(jsonb_build_object('a.b', tests.rule('{}'))), 'outcome', 'added.0.name', 'changed', 'removed'), 'applied a.b [] []', 'applied');
select is(tests.judged('frob x'), 'ask a.b', 'it binds the next call');
select is(tests.apply(jsonb_build_object('a.b', tests.rule('{}'))) ->> 'outcome', 'unchanged', 'twice is once');
select is(tests.pick(tests.apply(jsonb_build_object('a.b', tests.rule('{"severity": "deny"}'), 'git.clean', '{"severity": "deny"}'::jsonb)), 'outcome', 'added.0.name', 'changed.0.name'), 'applied git.clean a.b', 'changed, and a built-in one made harder');
select is(tests.judged('frob x') || ' ' || tests.judged('git clean -f'), 'deny a.b deny git.clean', 'both at once');
select is(tests.pick(tests.apply('{"git.clean": {"enabled": false}}'), 'changed.0.name', 'removed.0.name'), 'git.clean a.b', 'one off, one gone');
select is(tests.judged('frob x') || ' ' || tests.judged('git clean -f'), 'allow - allow -', 'at once');
select is(tests.pick(tests.apply('{}'), 'removed.0.name'), 'git.clean', 'out of the configuration');
select is(tests.judged('git clean -f'), 'ask git.clean', 'a built-in rule is as it was');
select is(tests.place_of(rules::jsonb), place, place) from (values ('{"filesystem.wipe": {"enabled": false}}', 'guardrails/filesystem.wipe'), ('{"filesystem.wipe": {"severity": "warn"}}', 'guardrails/filesystem.wipe'), ('{"reader.unreadable": {"enabled": false}}', 'guardrails/reader.unreadable'),
  ('{"reader.unreadable": {"severity": "log_only"}}', 'guardrails/reader.unreadable'), ('{"A b": {}}', 'guardrails/A b'), ('{"git.clean": {"severity": "no"}}', 'guardrails/git.clean/severity'), ('{"git.clean": {"matches": ["git status"]}}', 'guardrails/git.clean'), ('{"x.y": {"when": {"no": 1}}}', 'guardrails/x.y/severity'), ('{"git.clean": 1}', 'guardrails/git.clean')) v (rules, place);

-- The owner of the table cannot either.
select throws_ok($$update coord.guardrail_rules set enabled = false where id = 'filesystem.wipe'$$, 'PT403', null, 'a catastrophic rule is not changed');
select throws_ok($$delete from coord.guardrail_rules where id = 'filesystem.wipe'$$, 'PT403', null, 'nor deleted');
select throws_ok($$delete from coord.guardrail_conditions where rule = 'filesystem.wipe'$$, 'PT403', null, 'nor are its conditions');
select throws_ok($$update coord.guardrail_conditions set program = 'x' where rule = 'execution.fork_bomb'$$, 'PT403', null, 'or changed');
select throws_ok($$truncate coord.guardrail_conditions$$, 'PT403', null, 'nor are all forgotten');

-- Whom a rule binds.
select is(tests.as_operator($q$coord_v1.apply_config('{"profiles": {"low": {"trust": 1, "allowed": ["*"]}, "high": {"trust": 3, "allowed": ["*"]}, "warned": {"trust": 2, "allowed": ["*"], "guardrails": "warn"}, "logged": {"trust": 2, "allowed": ["*"], "guardrails": "log"}}}', false, false)$q$) ->> 'outcome', 'applied', 'profiles');
select is(tests.apply(jsonb_build_object('a.low', tests.rule('{"max_trust": 2}'), 'a.one', tests.rule('{"profiles": ["high"], "when": {"program": "grob"}, "matches": ["grob"], "passes": ["ls"]}'))) ->> 'outcome', 'applied', 'one for low trust, one for a profile');
create function tests.under(p_profile text, p_command text) returns text language plpgsql as $$
begin
  perform tests.as_operator(format('coord_v1.assign_profile(%L, %L)', 'agent-a', p_profile));
  return tests.judged(p_command);
end
$$;
select is(tests.under(profile, command), answer, format('%s: %s', profile, command)) from (values ('low', 'frob x', 'ask a.low'), ('high', 'frob x', 'allow -'), ('low', 'grob', 'allow -'), ('high', 'grob', 'ask a.one'),
  ('low', 'git reset --hard', 'ask git.discard_changes'), ('high', 'git push -f', 'deny git.force_push'), ('warned', 'git push -f', 'warn git.force_push'), ('warned', 'ls', 'allow -'), ('warned', '$X', 'warn reader.unreadable'), ('logged', '$X', 'allow reader.unreadable'),
  ('logged', 'git push -f', 'allow git.force_push'), ('warned', 'rm -rf /', 'deny filesystem.wipe'), ('logged', 'rm -rf ~', 'deny filesystem.wipe'), ('high', 'rm -rf /', 'deny filesystem.wipe'), ('low', '"', 'ask reader.unreadable')) v (profile, command, answer);
select is(tests.as_operator($$coord_v1.check_guardrails('rm -rf /')$$) ->> 'decision', 'deny', 'an operator is bound as well');

-- Many regular expressions are tried in groups, and find what they found.
select is(tests.apply((select jsonb_object_agg('own.many' || n, jsonb_build_object('severity', 'deny', 'when', jsonb_build_object('text', format('(zap%s|^zop%s$)', n, n)), 'remedy', 'Do not.',
  'matches', jsonb_build_array('x zap' || n), 'passes', jsonb_build_array('zup'))) from generate_series(1000, 1099) n)) ->> 'outcome', 'applied', 'a hundred more');
select cmp_ok((select count(distinct coalesce(k.group_pattern, k.pattern)) from coord.guardrail_conditions k), '<=', 24::bigint, 'few are tried on each command');
select is((select count(*) from generate_series(1000, 1099) n where tests.judged('x zap' || n) = 'deny own.many' || n and tests.judged('ZOP' || n) = 'deny own.many' || n), 100::bigint, 'each is found');
select is(tests.judged('x zap999'), 'allow -', 'and nothing else');
select isnt(tests.place_of((select jsonb_object_agg('own.many' || n, jsonb_build_object('severity', 'deny', 'when', jsonb_build_object('text', 'zap' || n), 'remedy', 'Do not.',
  'matches', jsonb_build_array('x zap' || n), 'passes', jsonb_build_array('zup'))) from generate_series(1000, 1240) n)), 'accepted', 'but not any number');
select is(tests.apply('{}') ->> 'outcome', 'applied', 'without them');
select is((select count(k.group_pattern) from coord.guardrail_conditions k), 0::bigint, 'nothing is grouped');

select * from finish();
rollback;
