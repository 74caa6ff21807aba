-- Which checks a change takes: paths, trust and size in, tier, executors and reasons out.
begin;
\ir ../helpers.sql
\ir ../verification_helpers.sql
select no_plan();

-- Globs ----------------------------------------------------------------------------------

select is(path ~ coord.globs_regex(jsonb_build_array(glob)), expected, format('%s %s %s', glob, case when expected then 'matches' else 'does not match' end, path))
from (values
  ('src/a.rs', 'src/a.rs', true), ('src/a.rs', 'src/b.rs', false), ('src/a.rs', 'x/src/a.rs', false), ('src/a.rs', 'src/aXrs', false),
  ('src/*.rs', 'src/a.rs', true), ('src/*.rs', 'src/x/a.rs', false), ('src/*', 'src/a', true), ('src/*', 'src/', true), ('src/?.rs', 'src/a.rs', true), ('src/?.rs', 'src/ab.rs', false), ('src?a.rs', 'src/a.rs', false),
  ('src/', 'src/a.rs', true), ('src/', 'src/x/y', true), ('src/', 'src', false), ('src/', 'srcx/a', false),
  ('**/*.md', 'README.md', true), ('**/*.md', 'docs/x/y.md', true), ('**/*.md', 'docs/xmd', false), ('**', 'anything/at/all', true), ('src/**', 'src/a', true),
  ('src/**/test.rs', 'src/test.rs', true), ('src/**/test.rs', 'src/a/b/test.rs', true), ('src/**/test.rs', 'src/atest.rs', false), ('**/auth/**', 'auth/x', true), ('**/auth/**', 'src/auth/x', true), ('**/auth/**', 'src/author/x', false),
  ('app/[id]/page.tsx', 'app/[id]/page.tsx', true), ('app/[id]/page.tsx', 'app/i/page.tsx', false), ('a+(b){2}$^|.c', 'a+(b){2}$^|.c', true), ('a\b', 'a\b', true), ('.env*', '.env.local', true), ('.env*', 'xenv', false), ('größe/?.md', 'größe/ä.md', true)) v (glob, path, expected);
select is(coord.globs_regex('[]'), null, 'no globs, no expression');

-- Routes ---------------------------------------------------------------------------------

select is(tests.configure($${
  "code": {"paths": ["**"], "except": ["**/*.md", "docs/"], "tier": 1, "executors": ["github_actions:ci.yml"], "skips": [0, 1]},
  "prose": {"paths": ["**/*.md", "docs/"], "tier": 0, "executors": ["inline"], "skips": [0]},
  "services": {"paths": ["supabase/"], "tier": 2, "executors": ["local:integration", "e2b"], "skips": [1]},
  "large": {"lines": {"min": 1000}, "paths": ["src/"], "except": ["**/*.lock"], "tier": 3, "executors": ["local:system"]},
  "wide": {"files": {"min": 50}, "tier": 3},
  "newcomer": {"trust": {"max": 2}, "paths": ["src/core/"], "tier": 2, "executors": ["agentcore"]},
  "tiny": {"lines": {"max": 5}, "paths": ["config/"], "tier": 0, "executors": ["inline:tiny"], "skips": [0, 1]},
  "security": {"sensitive": true, "paths": ["**/auth/**", ".github/"]},
  "payments": {"sensitive": true, "tier": 2, "executors": ["local:payments"], "paths": ["src/pay/"]}}$$) ->> 'outcome', 'applied', 'a configuration');

create temp table routes (n serial, paths text[], trust integer, files integer, lines integer, expected text, why text);
insert into routes (paths, trust, files, lines, expected, why) values
  -- tier: executors / skipped                         and a reason that has to be among those given
  ('{README.md}', 2, 1, 3, '0: inline', 'prose: README.md'),
  ('{README.md}', 3, 1, 3, '0:  / skips 0', 'an author of trust 3 skips tier 0'),
  ('{README.md}', 4, 1, 3, '0:  / skips 0', 'an author of trust 4 skips tier 0'),
  ('{README.md}', 1, 1, 3, '4: inline manual', 'the author has trust 1'),
  ('{README.md}', 0, 1, 3, '4: inline manual', 'the author has trust 0'),
  ('{docs/a/b.txt}', 2, 1, 3, '0: inline', 'prose: docs/a/b.txt'),
  ('{src/a.rs}', 2, 1, 3, '1: inline github_actions:ci.yml', 'code: src/a.rs'),
  ('{src/a.rs}', 2, 1, 3, '1: inline github_actions:ci.yml', 'static checks always run'),
  ('{src/a.rs,src/b.rs,src/c.rs}', 2, 3, 3, '1: inline github_actions:ci.yml', 'code: src/a.rs'),
  ('{src/a.rs}', 3, 1, 3, '1:  / skips 0,1', 'an author of trust 3 skips tier 0 and 1'),
  ('{src/a.rs}', 1, 1, 3, '4: inline github_actions:ci.yml manual', 'the author has trust 1'),
  ('{src/a.rs,README.md}', 2, 2, 3, '1: inline github_actions:ci.yml', 'prose: README.md'),
  ('{src/a.rs,README.md}', 3, 2, 3, '1: github_actions:ci.yml / skips 0', 'an author of trust 3 skips tier 0'),
  ('{supabase/x.sql}', 2, 1, 3, '2: inline github_actions:ci.yml e2b local:integration', 'services: supabase/x.sql'),
  ('{supabase/x.sql}', 3, 1, 3, '2: inline e2b local:integration / skips 1', 'an author of trust 3 skips tier 1'),
  ('{supabase/x.md}', 2, 1, 3, '2: inline e2b local:integration', 'prose: supabase/x.md'),
  ('{supabase/x.md}', 4, 1, 3, '2: inline e2b local:integration', 'services: supabase/x.md'),
  ('{src/a.rs}', 2, 1, 999, '1: inline github_actions:ci.yml', 'code: src/a.rs'),
  ('{src/a.rs}', 2, 1, 1000, '3: inline github_actions:ci.yml local:system', 'large: src/a.rs, 1000 lines'),
  ('{src/a.rs}', 3, 1, 1000, '3: inline github_actions:ci.yml local:system', 'large: src/a.rs, 1000 lines'),
  ('{src/a.rs}', 2, 1, null, '3: inline github_actions:ci.yml local:system', 'large: src/a.rs, lines are not known'),
  ('{src/x.lock}', 2, 1, 90000, '1: inline github_actions:ci.yml', 'code: src/x.lock'),
  ('{src/x.lock,src/a.rs}', 2, 2, 90000, '3: inline github_actions:ci.yml local:system', 'large: src/a.rs, 90000 lines'),
  ('{lib/a.rs}', 2, 1, 90000, '1: inline github_actions:ci.yml', 'code: lib/a.rs'),
  ('{lib/a.rs}', 2, 49, 3, '1: inline github_actions:ci.yml', 'code: lib/a.rs'),
  ('{lib/a.rs}', 2, 50, 3, '3: inline github_actions:ci.yml local', 'wide: 50 files'),
  ('{lib/a.rs}', 2, null, 3, '3: inline github_actions:ci.yml local', 'wide: files are not known'),
  ('{lib/a.rs}', 4, 50, 3, '3: inline github_actions:ci.yml local', 'wide: 50 files'),
  ('{src/core/a.rs}', 2, 1, 3, '2: inline github_actions:ci.yml agentcore', 'newcomer: src/core/a.rs, trust 2'),
  ('{src/core/a.rs}', 3, 1, 3, '1:  / skips 0,1', 'code: src/core/a.rs'),
  ('{src/core/a.rs}', 1, 1, 3, '4: inline github_actions:ci.yml agentcore manual', 'newcomer: src/core/a.rs, trust 1'),
  ('{src/core/README.md}', 2, 1, 3, '2: inline agentcore', 'newcomer: src/core/README.md, trust 2'),
  ('{config/a.toml}', 2, 1, 5, '1: inline:tiny github_actions:ci.yml', 'tiny: config/a.toml, 5 lines'),
  ('{config/a.toml}', 2, 1, 6, '1: inline github_actions:ci.yml', 'code: config/a.toml'),
  ('{config/a.toml}', 2, 1, null, '1: inline github_actions:ci.yml', 'code: config/a.toml'),
  ('{config/a.toml}', 3, 1, 5, '1:  / skips 0,1', 'an author of trust 3 skips tier 0 and 1'),
  ('{src/auth/a.rs}', 2, 1, 3, '4: inline github_actions:ci.yml manual', 'security: src/auth/a.rs'),
  ('{src/auth/a.rs}', 4, 1, 3, '4: inline github_actions:ci.yml manual', 'security: src/auth/a.rs'),
  ('{auth/README.md}', 3, 1, 3, '4: inline manual', 'security: auth/README.md'),
  ('{src/author/a.rs}', 3, 1, 3, '1:  / skips 0,1', 'code: src/author/a.rs'),
  ('{.github/workflows/ci.yml}', 4, 1, 3, '4: inline github_actions:ci.yml manual', 'security: .github/workflows/ci.yml'),
  ('{src/pay/a.rs}', 4, 1, 3, '4: inline github_actions:ci.yml local:payments manual', 'payments: security-sensitive: src/pay/a.rs'),
  ('{src/pay/a.rs,src/auth/b.rs,supabase/x.sql}', 2, 60, 5000, '4: inline github_actions:ci.yml e2b local:integration local:payments local local:system manual', 'services: supabase/x.sql'),
  ('{SRC/Auth/a.rs}', 3, 1, 3, '1:  / skips 0,1', 'code: SRC/Auth/a.rs'),
  ('{.github}', 2, 1, 3, '1: inline github_actions:ci.yml', 'code: .github');
select cmp_ok((select count(*) from routes), '>=', 40::bigint, 'at least 40 cases');

create function tests.told(p_route jsonb) returns text language sql
return format('%s: %s%s', p_route ->> 'tier', (select string_agg(e, ' ' order by n) from jsonb_array_elements_text(p_route -> 'executors') with ordinality x (e, n)),
  case when p_route -> 'skipped' <> '[]' then ' / skips ' || (select string_agg(s, ',') from jsonb_array_elements_text(p_route -> 'skipped') s) end);
create function tests.whys(p_route jsonb) returns text[] language sql
return array(select coalesce(r ->> 'policy' || ': ', '') || (r ->> 'why') from jsonb_array_elements(p_route -> 'reasons') r);

select is(tests.told(coord.route(paths, true, trust, files, lines, null)), expected, format('%s: %s by trust %s, %s files, %s lines', n, paths, trust, coalesce(files::text, '?'), coalesce(lines::text, '?')))
from routes order by n;
select ok(why = any (tests.whys(coord.route(paths, true, trust, files, lines, null))), format('%s: because %s', n, why)) from routes order by n;

-- What is not known.
select is(coord.route('{README.md}', false, 3, 1, 3, null) ->> 'tier', '4', 'paths that are not all known match every policy');
select ok('security: not all changed paths are known' = any (tests.whys(coord.route('{README.md}', false, 3, 1, 3, null))), 'and it says so');
select is(coord.route('{}', false, 4, null, null, null) ->> 'tier', '4', 'as do none');

-- What a task requires.
select is(tests.told(coord.route('{README.md}', true, 2, 1, 3, 2)), '2: inline local', 'a task takes a change higher');
select is(tests.told(coord.route('{src/a.rs}', true, 3, 1, 3, 1)), '1: github_actions:ci.yml / skips 0', 'and what it requires is not skipped');
select is(tests.told(coord.route('{README.md}', true, 3, 1, 3, 4)), '4: inline manual', 'to a person');

-- Without policies.
select is(tests.configure('{}') ->> 'outcome', 'applied', 'no policies');
select is(tests.told(coord.route('{src/a.rs}', true, 2, 1, 3, null)), '0: inline', 'static alone');
select is(tests.whys(coord.route('{src/a.rs}', true, 2, 1, 3, null)), '{"no policy matches: static checks only"}', 'and it says so');
select is(tests.told(coord.route('{src/a.rs}', true, 4, 1, 3, null)), '0: inline', 'which nobody skips, since no policy says so');
select is(tests.told(coord.route('{src/a.rs}', true, 1, 1, 3, null)), '4: inline manual', 'trust 1 reaches a person even so');

-- Speed: 5,000 paths, 40 policies of 20 globs.
select tests.configure((select jsonb_object_agg('p' || p, jsonb_build_object('tier', 1, 'except', jsonb_build_array('**/never' || p),
  'paths', (select jsonb_agg(format('module%s/**/part%s/*.rs', p, g)) from generate_series(1, 20) g))) from generate_series(1, 40) p)) ->> 'outcome' as quiet \gset
create function tests.seconds() returns numeric language plpgsql as $$
declare
  v_paths text[] := array(select format('module%s/src/deep/part%s/file%s.rs', n % 60, n % 30, n) from generate_series(1, 5000) n);
  v_from timestamptz := clock_timestamp();
begin
  perform coord.route(v_paths, true, 2, 5000, 100, null);
  return extract(epoch from clock_timestamp() - v_from);
end
$$;
select cmp_ok(tests.seconds(), '<', 4::numeric, '5,000 paths against 800 globs are well within the time of a call');

-- Mistakes are named by their place, and nothing of them is applied.
create function tests.place_of(p_config jsonb) returns text language plpgsql as $$
declare
  v_detail text;
begin
  perform tests.configure(p_config);
  return 'accepted';
exception when sqlstate 'PT422' then
  get stacked diagnostics v_detail = pg_exception_detail;
  return (regexp_match(v_detail, '^at (.*?): '))[1];
end
$$;
select is(tests.place_of(config::jsonb), place, config)
from (values
  ('[]', 'verification'), ('{"A": {"tier": 1}}', 'verification/A'), ('{"a": 1}', 'verification/a'), ('{"a": {}}', 'verification/a'), ('{"a": {"tier": 5}}', 'verification/a/tier'), ('{"a": {"tier": "1"}}', 'verification/a/tier'),
  ('{"a": {"tier": 1, "path": ["x"]}}', 'verification/a/path'), ('{"a": {"tier": 1, "paths": "x"}}', 'verification/a/paths'), ('{"a": {"tier": 1, "paths": [1]}}', 'verification/a/paths'),
  ('{"a": {"tier": 1, "paths": ["/x"]}}', 'verification/a/paths//x'), ('{"a": {"tier": 1, "paths": [""]}}', 'verification/a/paths/'), ('{"a": {"tier": 1, "paths": ["a**b"]}}', 'verification/a/paths/a**b'), ('{"a": {"tier": 1, "except": ["***"]}}', 'verification/a/except/***'),
  ('{"a": {"tier": 1, "paths": ["a//b"]}}', 'verification/a/paths/a//b'), ('{"a": {"tier": 1, "paths": ["../x"]}}', 'verification/a/paths/../x'), ('{"a": {"tier": 1, "paths": ["./x/"]}}', 'verification/a/paths/./x/'),
  ('{"a": {"tier": 1, "executors": ["nobody"]}}', 'verification/a/executors/nobody'), ('{"a": {"tier": 1, "executors": ["manual"]}}', 'verification/a/executors/manual'), ('{"a": {"tier": 4, "executors": ["local"]}}', 'verification/a/executors/local'),
  ('{"a": {"tier": 1, "skips": [2]}}', 'verification/a/skips'), ('{"a": {"tier": 1, "skips": 0}}', 'verification/a/skips'), ('{"a": {"tier": 1, "trust": {"min": 5}}}', 'verification/a/trust'), ('{"a": {"tier": 1, "trust": {"least": 1}}}', 'verification/a/trust/least'),
  ('{"a": {"tier": 1, "lines": {"min": 5, "max": 4}}}', 'verification/a/lines'), ('{"a": {"tier": 1, "lines": 5}}', 'verification/a/lines'), ('{"a": {"sensitive": "yes"}}', 'verification/a/sensitive'), ('{"a": {"sensitive": false}}', 'verification/a'),
  ('{"a": {"tier": 1, "timeout_seconds": 5}}', 'verification/a/timeout_seconds'), ('{"a": {"tier": 1, "max_attempts": 0}}', 'verification/a/max_attempts'), ('{"a": {"tier": 1, "description": 1}}', 'verification/a/description'),
  ('{"a": {"tier": 4, "executors": ["manual:legal"]}}', 'accepted')) v (config, place);

-- Planned, applied, again.
select is(tests.pick(tests.as_operator($$coord_v1.apply_config('{"verification": {"b": {"tier": 2, "sensitive": false, "paths": []}}}', true)$$), 'outcome', 'added.0.kind', 'added.0.name', 'added.0.after', 'removed.0.name'),
  'planned verification b {"tier": 2} a', 'a plan');
select is(tests.configure('{"b": {"tier": 2, "sensitive": false}}') ->> 'outcome', 'applied', 'applied');
select is(tests.configure('{"b": {"tier": 2}}') ->> 'outcome', 'unchanged', 'twice is once');
select is(tests.pick(tests.configure('{"b": {"tier": 3}}'), 'outcome', 'changed.0.before.tier', 'changed.0.after.tier'), 'applied 2 3', 'changed');
select is(tests.as_agent('agent-a', $$(select to_jsonb(string_agg(name, ' ' order by name)) from coord_v1.verification_policies)$$) #>> '{}', 'b', 'agents may read them');

select * from finish();
rollback;
