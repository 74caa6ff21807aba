-- The view of principals says which profile and trust apply to each.
begin;
\ir ../helpers.sql
select no_plan();

select is(tests.as_operator($q$coord_v1.apply_config('{"profiles": {"t1": {"trust": 1, "allowed": ["*"]}, "t3": {"trust": 3, "allowed": ["*"]}}, "defaults": {"aider": "t1"}}', false, false)$q$) ->> 'outcome', 'applied', 'profiles');
select is(tests.as_operator($$coord_v1.assign_profile('agent-b', 't3')$$) ->> 'outcome', 'assigned', 'assigned');
select is(tests.as_operator($$(select jsonb_agg(jsonb_build_array(g.name, g.profile, g.effective_profile, g.trust) order by g.name) from coord_v1.agents g)$$),
  '[["agent-a", null, "standard", 2], ["agent-b", "t3", "t3", 3], ["agent-c", null, "t1", 1], ["operator", null, null, 4]]', 'effective profile and trust');
select is(tests.as_agent('agent-c', $$(select jsonb_agg(jsonb_build_array(g.name, g.effective_profile, g.trust)) from coord_v1.agents g)$$), '[["agent-c", "t1", 1]]', 'an agent sees its own');

select * from finish();
rollback;
