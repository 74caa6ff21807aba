-- Network policies are part of the configuration: planned, applied and pruned with it, and never named in vain.
begin;
\ir ../helpers.sql
select no_plan();

create function tests.config(p_config text, p_plan boolean default false, p_prune boolean default true) returns jsonb language sql
return tests.as_operator(format('coord_v1.apply_config(%L, %L, %L)', p_config, p_plan, p_prune));
create temp table one (config text);
insert into one values ($${"network_policies": {"base": {"description": "b", "default": "deny", "allow": ["B.example.", "*.Bücher.example", "a.example", "a.example", "0x7f.1", "[::1]"], "deny": []},
  "leaf": {"extends": "base", "deny": ["x.example"]}}, "profiles": {"cloud": {"trust": 2, "allowed": ["*"], "network_policy": "leaf"}}}$$);

select is(tests.pick(tests.config(config, true), 'outcome', 'added.0.kind', 'added.0.name', 'added.1.name', 'added.2.name', 'changed', 'removed'),
  'planned network_policy base leaf cloud [] []', 'a plan') from one;
select is((select count(*) from coord.network_policies), 0::bigint, 'changes nothing');
select is(tests.config(config) ->> 'outcome', 'applied', 'applied') from one;
select is(tests.pick(tests.config(config), 'outcome', 'added', 'changed', 'removed'), 'unchanged [] [] []', 'twice is once, however patterns are written') from one;
select is(tests.pick(tests.config(config, true), 'outcome', 'added', 'changed', 'removed'), 'planned [] [] []', 'the second plan is empty') from one;
select is(tests.as_operator($$(select jsonb_build_array(p.default_decision, p.allow, p.deny, p.profiles) from coord_v1.network_policies p where p.name = 'leaf')$$),
  '["deny", ["*.xn--bcher-kva.example", "127.0.0.1", "::1", "a.example", "b.example"], ["x.example"], ["cloud"]]', 'what leaf comes to');
select is(tests.pick(tests.config($${"network_policies": {"base": {"default": "allow"}, "leaf": {"extends": "base", "deny": ["x.example"]}, "new": {}}}$$, true),
  'added.0.name', 'changed.0.name', 'changed.0.before.allow.1', 'changed.0.after.default', 'removed'), 'new base 127.0.0.1 allow []', 'added and changed');
select is(tests.pick(tests.config($${"network_policies": {"base": {}}}$$, false, false), 'changed.0.name', 'removed'), 'base []', 'without pruning nothing goes');
select is(tests.pick(tests.config($${"network_policies": {"other": {}, "leaf": {"extends": "other"}}}$$), 'outcome', 'added.0.name', 'changed.0.name', 'removed.0.name'), 'applied other leaf base', 'pruned');
select is((select string_agg(pattern, ' ') from coord.network_rules), null, 'with their rules');
select is(tests.config($${"profiles": {"cloud": {"trust": 2, "allowed": ["*"], "network_policy": "leaf"}}}$$) ->> 'outcome', 'unchanged', 'a section that is not there stays as it is');
select is(tests.as_operator($$coord_v1.set_profile('mine', '{"trust": 2, "allowed": ["*"], "network_policy": "other"}')$$) ->> 'outcome', 'applied', 'a profile may name what there is');

create temp table wrong (config text, place text);
insert into wrong values
  ('{"network_policies": []}', 'network_policies'), ('{"network_policies": {"A b": {}}}', 'network_policies/A b'), ('{"network_policies": {"a": 1}}', 'network_policies/a'),
  ('{"network_policies": {"a": {"alow": []}}}', 'network_policies/a/alow'), ('{"network_policies": {"a": {"default": "maybe"}}}', 'network_policies/a/default'), ('{"network_policies": {"a": {"default": true}}}', 'network_policies/a/default'),
  ('{"network_policies": {"a": {"allow": "x"}}}', 'network_policies/a/allow'), ('{"network_policies": {"a": {"allow": [1]}}}', 'network_policies/a/allow'), ('{"network_policies": {"a": {"description": 1}}}', 'network_policies/a/description'),
  ('{"network_policies": {"a": {"allow": ["https://x.test/"]}}}', 'network_policies/a/allow/https://x.test/'), ('{"network_policies": {"a": {"deny": ["ok.test", "a.*.test"]}}}', 'network_policies/a/deny/a.*.test'),
  ('{"network_policies": {"a": {"allow": ["*x.test"]}}}', 'network_policies/a/allow/*x.test'), ('{"network_policies": {"a": {"allow": ["*."]}}}', 'network_policies/a/allow/*.'), ('{"network_policies": {"a": {"allow": ["*.*"]}}}', 'network_policies/a/allow/*.*'),
  ('{"network_policies": {"a": {"allow": [""]}}}', 'network_policies/a/allow/'), ('{"network_policies": {"a": {"allow": ["*.1.2.3.4"]}}}', 'network_policies/a/allow/*.1.2.3.4'), ('{"network_policies": {"a": {"allow": ["10.0.0.0/8"]}}}', 'network_policies/a/allow/10.0.0.0/8'),
  ('{"network_policies": {"a": {"extends": 1}}}', 'network_policies/a/extends'), ('{"network_policies": {"leaf": {}, "other": {}, "a": {"extends": "nobody"}}}', 'network_policies/a/extends'),
  ('{"network_policies": {"leaf": {}, "other": {}, "a": {"extends": "b"}, "b": {"extends": "a"}}}', 'network_policies/a/extends'),
  ('{"profiles": {"cloud": {"trust": 2, "network_policy": "nobody"}}}', 'profiles/cloud/network_policy'), ('{"network_policies": {"leaf": {}}}', 'network_policies'),
  ('{"network_policies": {"other": {}}, "profiles": {"mine": {"network_policy": "other"}, "cloud": {"trust": 2, "network_policy": "leaf"}}}', 'profiles/cloud/network_policy'), ('{"network_policies": {}}', 'network_policies');
create function tests.place_of(p_config text, p_plan boolean) returns text language plpgsql as $$
declare
  v_detail text;
begin
  perform tests.config(p_config, p_plan);
  return 'accepted';
exception when sqlstate 'PT422' then
  get stacked diagnostics v_detail = pg_exception_detail;
  return (regexp_match(v_detail, '^at (.*?): '))[1];
end
$$;
select is(tests.place_of(config, plan), place, format('%s: %s', place, left(config, 80))) from wrong, unnest(array[true, false]) plan;
select throws_ok($$select tests.as_operator($q$coord_v1.set_profile('mine', '{"trust": 2, "network_policy": "nobody"}')$q$)$$, 'PT422', 'config_invalid', 'nor may a single one');
select is(tests.config($${"network_policies": {}, "profiles": {"mine": {"trust": 1}, "standard": {"trust": 2, "allowed": ["*"]}}}$$) ->> 'outcome', 'applied', 'policies go with the profiles that named them');
select is((select count(*) from coord.network_policies), 0::bigint, 'all of them');
set constraints all immediate;

select * from finish();
rollback;
