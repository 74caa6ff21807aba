-- A configuration is planned, then applied whole or not at all; a mistake is named by its place.
begin;
\ir ../helpers.sql
select no_plan();

create function tests.config(p_config text, p_plan boolean default false, p_prune boolean default true) returns jsonb language sql
return tests.as_operator(format('coord_v1.apply_config(%L, %L, %L)', p_config, p_plan, p_prune));
create temp table one (config text);
insert into one values ($${"profiles": {"base": {"description": "b", "trust": 2, "allowed": ["*"], "limits": {"max_locks": 10}, "guardrails": "warn"},
  "leaf": {"extends": "base", "trust": 1, "blocked": ["acquire_lock"], "limits": {"max_tasks": 3}, "enabled": true}}, "defaults": {"aider": "leaf"}}$$);

select is(tests.pick(tests.config(config, true), 'outcome', 'added.0.name', 'added.1.name', 'added.2.name', 'changed', 'removed'), 'planned aider base leaf [] []', 'a plan') from one;
select is((select count(*) from coord.profiles), 1::bigint, 'changes nothing');
select is(tests.config(config) ->> 'outcome', 'applied', 'applied') from one;
select is(tests.pick(tests.config(config), 'outcome', 'added', 'changed', 'removed'), 'unchanged [] [] []', 'twice is once') from one;
select is(tests.pick(tests.config(config, true), 'outcome', 'added', 'changed', 'removed'), 'planned [] [] []', 'the second plan is empty') from one;
select is((select count(*) from coord.audit_log where function = 'apply_config'), 1::bigint, 'and so is the audit of it');
select is(tests.as_operator($$(select to_jsonb(p) - 'changed_at' from coord_v1.profiles p where p.name = 'leaf')$$),
  '{"name": "leaf", "description": null, "extends": "base", "enabled": true, "trust": 1, "allowed": ["*"], "blocked": ["acquire_lock"],
    "limits": {"max_locks": 10, "max_paths_per_call": 64, "max_ttl_seconds": 28800, "max_tasks": 3, "max_writes_per_hour": 100000, "max_payload_bytes": 262144},
    "network_policy": null, "guardrails": "warn", "capabilities": ["*"], "when_down": "deny", "default_for": ["aider"], "changed_by": "operator"}', 'what leaf comes to');
select is(tests.pick(tests.config($${"profiles": {"base": {"trust": 3, "allowed": ["*"]}, "new": {"extends": "base"}}, "defaults": {}}$$, true),
  'added.0.name', 'changed.0.name', 'changed.0.before.trust', 'changed.0.after.trust', 'removed.0.name', 'removed.1.name'), 'new base 2 3 aider leaf', 'added, changed, removed');
select is(tests.pick(tests.config($${"profiles": {"extra": {"trust": 1}}}$$, false, false), 'outcome', 'added.0.name', 'removed'), 'applied extra []', 'without pruning, one is added');
select is(tests.pick(tests.config($${"profiles": {"away": {"trust": 2, "allowed": ["*"], "when_down": "git"}}}$$, true, false), 'outcome', 'added.0.after.when_down'), 'planned git', 'locks by git while the coordinator is away');
select is(tests.config($${"profiles": {"standard": {"trust": 1, "allowed": ["*"]}}}$$, false, false) #>> '{changed,0,name}', 'standard', 'the built-in one may be changed');
select is(tests.as_agent('agent-b', 'coord_v1.my_profile()') ->> 'trust', '1', 'which holds at once');

-- Mistakes.
create temp table wrong (config text, place text);
insert into wrong values
  ('[]', 'the top'), ('{"profile": {}}', 'the top/profile'), ('{"profiles": []}', 'profiles'), ('{"profiles": {"A b": {}}}', 'profiles/A b'), ('{"profiles": {"a": 1}}', 'profiles/a'),
  ('{"profiles": {"a": {"trusst": 1}}}', 'profiles/a/trusst'), ('{"profiles": {"a": {"trust": 5}}}', 'profiles/a/trust'), ('{"profiles": {"a": {"trust": "2"}}}', 'profiles/a/trust'),
  ('{"profiles": {"a": {"trust": 1.5}}}', 'profiles/a/trust'), ('{"profiles": {"a": {"enabled": "yes"}}}', 'profiles/a/enabled'),
  ('{"profiles": {"a": {"allowed": "acquire_lock"}}}', 'profiles/a/allowed'), ('{"profiles": {"a": {"allowed": [1]}}}', 'profiles/a/allowed'),
  ('{"profiles": {"a": {"allowed": ["aquire_lock"]}}}', 'profiles/a/allowed/aquire_lock'), ('{"profiles": {"a": {"blocked": ["x"]}}}', 'profiles/a/blocked/x'),
  ('{"profiles": {"a": {"limits": {"max_lock": 1}}}}', 'profiles/a/limits/max_lock'), ('{"profiles": {"a": {"limits": {"max_locks": -1}}}}', 'profiles/a/limits/max_locks'),
  ('{"profiles": {"a": {"limits": {"max_locks": "1"}}}}', 'profiles/a/limits/max_locks'), ('{"profiles": {"a": {"limits": {"max_paths_per_call": 65}}}}', 'profiles/a/limits/max_paths_per_call'),
  ('{"profiles": {"a": {"limits": []}}}', 'profiles/a/limits'), ('{"profiles": {"standard": {"trust": 1, "allowed": ["*"]}, "a": {"extends": "nobody"}}, "defaults": {}}', 'profiles/a/extends'), ('{"profiles": {"a": {"extends": 1}}}', 'profiles/a/extends'),
  ('{"profiles": {"standard": {"trust": 1, "allowed": ["*"]}, "a": {"extends": "b"}, "b": {"extends": "a"}}, "defaults": {}}', 'profiles/a/extends'), ('{"profiles": {"a": {"guardrails": "maybe"}}}', 'profiles/a/guardrails'), ('{"profiles": {"a": {"when_down": "maybe"}}}', 'profiles/a/when_down'),
  ('{"defaults": {"x": "nobody"}}', 'defaults/x'), ('{"defaults": {"x": 1}}', 'defaults/x'), ('{"defaults": {"x y": "base"}}', 'defaults/x y'), ('{"profiles": {"new": {}}}', 'profiles');
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
select is(tests.place_of(config, plan), place, format('%s: %s', place, left(config, 60))) from wrong, unnest(array[true, false]) plan;
select is((select string_agg(name, ' ' order by name) from coord.profiles), 'base extra leaf standard', 'nothing of it was applied');

-- Operators make single ones.
select is(tests.as_operator($$coord_v1.set_profile('mine', '{"extends": "base", "trust": 4}')$$) ->> 'outcome', 'applied', 'one is made');
select is(tests.as_operator($$coord_v1.assign_profile('agent-a', 'mine')$$) ->> 'outcome', 'assigned', 'assigned');
select throws_ok($$select tests.as_operator($q$coord_v1.remove_profile('mine')$q$)$$, 'PT422', 'config_invalid', 'cannot go while somebody has it');
select throws_ok($$select tests.as_operator($q$coord_v1.remove_profile('base')$q$)$$, 'PT422', 'config_invalid', 'nor while it is extended');
select is(tests.as_operator($$coord_v1.assign_profile('agent-a', null)$$) ->> 'outcome', 'assigned', 'taken away');
select is(tests.as_operator($$coord_v1.remove_profile('mine')$$) ->> 'outcome', 'removed', 'then it goes');
select throws_ok($$select tests.as_operator($q$coord_v1.remove_profile('mine')$q$)$$, 'PT404', 'profile_not_found', 'once');
select throws_ok($$select tests.as_operator($q$coord_v1.assign_profile('agent-a', 'mine')$q$)$$, 'PT404', 'profile_not_found', 'and is assigned to nobody');
select throws_ok($$select tests.as_operator($q$coord_v1.assign_profile('nobody', 'base')$q$)$$, 'PT404', 'agent_not_found', 'nobody');
select is(tests.as_agent('agent-b', $$(select to_jsonb(count(*)) from coord_v1.profiles)$$), '4', 'agents may read them');

select * from finish();
rollback;
