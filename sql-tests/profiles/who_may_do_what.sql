-- One decision for every function: profile, operation, trust. What is not known is denied.
begin;
\ir ../helpers.sql
select no_plan();

create function tests.config(p_config text, p_plan boolean default false, p_prune boolean default true) returns jsonb language sql
return tests.as_operator(format('coord_v1.apply_config(%L, %L, %L)', p_config, p_plan, p_prune));

select is(tests.config($${"profiles": {
    "t0": {"trust": 0, "allowed": ["*"]}, "t1": {"trust": 1, "allowed": ["*"]}, "t2": {"trust": 2, "allowed": ["*"]},
    "t3": {"trust": 3, "allowed": ["*"]}, "t4": {"trust": 4, "allowed": ["*"]},
    "base": {"trust": 3, "allowed": ["*"], "blocked": ["force_release_lock"]},
    "child": {"extends": "base", "blocked": ["cancel_wait"]},
    "few": {"trust": 4, "allowed": ["acquire_lock", "check_locks"]},
    "none": {"trust": 4}, "off": {"trust": 4, "allowed": ["*"], "enabled": false}},
  "defaults": {"aider": "t1"}}$$) ->> 'outcome', 'applied', 'profiles for every case');
create function tests.with_profile(p_profile text, p_expression text) returns text language plpgsql as $$
begin
  perform tests.as_operator(format('coord_v1.assign_profile(%L, %L)', 'agent-a', p_profile));
  return (select coalesce(a ->> 'code', a ->> 'decision', a ->> 'outcome', left(a::text, 20)) from (select tests.as_agent('agent-a', p_expression) as a) x);
end
$$;

-- Trust by trust.
create temp table cell (profile text, call text, expected text);
insert into cell values
  ('t1', $$coord_v1.check_locks()$$, '{"repo": "github.com'), ('t1', $$coord_v1.acquire_lock('{a}')$$, 'insufficient_trust_level'),
  ('t1', $$coord_v1.release_lock()$$, 'insufficient_trust_level'), ('t1', $$coord_v1.end_session()$$, 'ended'), ('t1', $$coord_v1.heartbeat()$$, 'alive'),
  ('t2', $$coord_v1.acquire_lock('{a}')$$, 'acquired'), ('t2', $$coord_v1.force_release_lock('{a}', 'why')$$, 'insufficient_trust_level'),
  ('t3', $$coord_v1.force_release_lock('{a}', 'why')$$, 'released'),
  ('child', $$coord_v1.force_release_lock('{a}', 'why')$$, 'operation_not_permitted'), ('child', $$coord_v1.cancel_wait('W-1')$$, 'operation_not_permitted'),
  ('child', $$coord_v1.acquire_lock('{b}')$$, 'acquired'),
  ('few', $$coord_v1.acquire_lock('{b}')$$, 'renewed'), ('few', $$coord_v1.release_lock()$$, 'operation_not_permitted'),
  ('none', $$coord_v1.acquire_lock('{b}')$$, 'operation_not_permitted');
select is(tests.with_profile(profile, call), expected, profile || ': ' || call) from cell;
select is((select count(*) from coord.audit_log where agent = 'agent-a' and outcome = 'denied'), 7::bigint, 'each denial is audited');
select throws_ok(format('select tests.with_profile(%L, %L)', p, c), 'PT403', e, p || ': ' || e)
from (values ('t0', 'coord_v1.check_locks()', 'agent_suspended'), ('t0', 'coord_v1.my_profile()', 'agent_suspended'),
  ('off', 'coord_v1.check_locks()', 'profile_disabled'), ('none', 'coord_v1.check_locks()', 'operation_not_permitted'), ('few', $$coord_v1.verify_locks('{a}')$$, 'operation_not_permitted')) v (p, c, e);

-- Which profile: assigned, named by the token, default of the type, default of all.
create function tests.my(p_claims jsonb) returns text language sql
return tests.as_claims(tests.claims('agent-c') || p_claims, 'coord_v1.my_profile()') ->> 'profile';
select is(tests.my('{}'), 'standard', 'no type of its own: the default of all');
select is(tests.my('{"agent_type": "aider"}'), 't1', 'the default of its type');
select is(tests.my('{"agent_type": "aider", "profile": "t2"}'), 't2', 'the token names another');
select is(tests.as_operator($$coord_v1.assign_profile('agent-c', 't3')$$) ->> 'outcome', 'assigned', 'one is assigned');
select is(tests.my('{"agent_type": "aider", "profile": "t2"}'), 't3', 'which goes before all');
select is(tests.as_operator($$coord_v1.assign_profile('agent-c')$$) ->> 'outcome', 'assigned', 'and taken away');
select throws_ok($$select tests.my('{"profile": "nonsense"}')$$, 'PT403', 'no_profile', 'a profile that does not exist permits nothing');
select is(tests.config('{"defaults": {}}', false, true) ->> 'outcome', 'applied', 'the defaults of the configuration go');
select is(tests.my('{"agent_type": "aider"}'), 'standard', 'so the type has none');
delete from coord.profile_defaults;
select throws_ok($$select tests.my('{}')$$, 'PT403', 'no_profile', 'nothing applies: nothing is permitted');
select is(tests.as_operator('coord_v1.my_profile()') ->> 'trust', '4', 'an operator needs none');
select is(tests.as_operator($$coord_v1.assign_profile('operator', 't1')$$) ->> 'outcome', 'assigned', 'but may be bound by one');
select is(tests.as_operator($$coord_v1.assign_profile('operator', 't4')$$) ->> 'code', 'insufficient_trust_level', 'as tightly');
update coord.agents set profile = null where id = 'operator';
update coord.agents set profile = 'standard' where id in ('agent-a', 'agent-b', 'agent-c');

-- Asked directly it explains and changes nothing.
create temp table rows as select (select count(*) from coord.audit_log) as audit;
select is(tests.pick(tests.as_agent('agent-a', $$coord_v1.authorize('acquire_lock')$$), 'ok', 'decision', 'profile', 'trust', 'trust_needed'), 'true allow standard 2 2', 'may lock');
select is(tests.pick(tests.as_agent('agent-a', $$coord_v1.authorize('force_release_lock')$$), 'ok', 'decision', 'code', 'trust_needed'), 'true deny insufficient_trust_level 3', 'may not break');
select is(tests.pick(tests.as_agent('agent-a', $$coord_v1.authorize('drop_everything')$$), 'decision', 'code'), 'deny operation_not_permitted', 'what is not known is denied');
select is(tests.pick(tests.as_agent('agent-a', $$coord_v1.authorize('acquire_lock', '{"repo": "github.com/acme/other"}')$$), 'decision', 'code'), 'deny repo_not_granted', 'in another repository');
select is(tests.pick(tests.as_agent('agent-a', $$coord_v1.authorize('acquire_lock', '{"ttl_seconds": 30000}')$$), 'decision', 'limit', 'value'), 'deny max_ttl_seconds 28800', 'for too long');
select is((select count(*) from coord.audit_log), audit, 'nothing was written') from rows;

-- Every function that writes is an operation; the others that agents may call are too, or are free.
select is_empty($$select p.proname from pg_proc p where p.pronamespace = 'coord_v1'::regnamespace and p.provolatile = 'v'
  and not exists (select from coord.operations o where o.name = p.proname)$$, 'every function that writes is an operation');
select set_eq($$select p.proname::text from pg_proc p where p.pronamespace = 'coord_v1'::regnamespace and p.provolatile <> 'v'
  and not exists (select from coord.operations o where o.name = p.proname)$$,
  array['authorize', 'my_profile', 'health', 'version', 'tool_catalog', 'prompt_start_editing', 'prompt_start_work', 'prompt_finish_work'], 'free is what tells nothing of others');
select is_empty($$select o.name from coord.operations o where not exists (
  select from pg_proc p where p.pronamespace = 'coord_v1'::regnamespace and p.proname = o.name)$$, 'no operation without a function');

select * from finish();
rollback;
