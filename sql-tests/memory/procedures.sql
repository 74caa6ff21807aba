-- Procedures: steps that are kept, and how well they worked.
begin;
\ir ../helpers.sql
select no_plan();

create function tests.learn(p_agent text, p_arguments text) returns jsonb language sql
return tests.as_agent(p_agent, format('coord_v1.learn_procedure(%s)', p_arguments));
create function tests.recalled(p_query text) returns jsonb language sql
return tests.as_agent('agent-b', format('coord_v1.recall(%L, kinds => ''{procedural}'')', p_query)) #> '{memories,0}';

create temp table ids as select tests.learn('agent-a', $$'Roll back the gateway', '{find the tag,undo,watch}', '{cluster access}', tags => '{gateway,deploy}'$$) as answer;
select is(tests.pick(answer, 'outcome', 'effectiveness'), 'learned 0.50', 'an untried procedure is at one half') from ids;
select is(tests.pick(tests.learn('agent-a', $$'roll back the gateway', '{find the tag,undo,watch}', '{cluster access}'$$), 'outcome', 'id'), 'known ' || (answer ->> 'id'), 'told again it is known') from ids;
select is(tests.recalled('rollback of the gateway') - '{id,uid,said_by,learned_at,relevance,why,paths,lessons}'::text[],
  '{"kind": "procedural", "scope": "repo", "repo": "github.com/acme/app", "quoted": true, "event_type": "procedure", "summary": "Roll back the gateway", "name": "Roll back the gateway",
    "outcome": "neutral", "tags": ["deploy", "gateway"], "told": 2, "useful": 0, "useless": 0, "steps": ["find the tag", "undo", "watch"], "prerequisites": ["cluster access"], "tries": 0, "effectiveness": 0.50}',
  'recall brings its steps in order');

select is(tests.pick(tests.as_agent('agent-b', $$coord_v1.record_procedure('ROLL back the gateway', true)$$), 'outcome', 'tries', 'effectiveness'), 'recorded 1 0.67', 'it worked: (1 + 1) / (1 + 2)');
select is(tests.pick(tests.as_agent('agent-b', format('coord_v1.record_procedure(%L, false)', answer ->> 'id')), 'tries', 'effectiveness'), '2 0.50', 'it did not: (1 + 1) / (2 + 2)') from ids;
select is(tests.pick(tests.as_agent('agent-b', $$coord_v1.record_procedure('Roll back the gateway', true)$$, '{"idempotency-key": "once"}'), 'tries'), '3', 'it worked')
from generate_series(1, 3);
select is(tests.recalled('roll back gateway') ->> 'tries', '3', 'a retry under a key is one try');
select matches(tests.recalled('roll back gateway') ->> 'why', 'worked 2 of 3 times', 'and why says how it went');

-- Others know it differently: both are shown together.
create temp table other as select tests.learn('agent-b', $$'Roll back the gateway', '{revert the commit}'$$) as answer;
select is(tests.pick(o.answer, 'outcome', 'conflicts.0.id', 'conflicts.0.said_by', 'conflicts.0.steps.1'), 'learned ' || (i.answer ->> 'id') || ' agent-a undo', 'other steps under the name are a conflict') from other o, ids i;
select is(jsonb_array_length(m -> 'conflicts'), 1, 'which recall shows with each: ' || (m ->> 'said_by'))
from jsonb_array_elements(tests.as_agent('agent-b', $$coord_v1.recall('roll back the gateway')$$) -> 'memories') m;
select is(tests.as_agent('agent-b', $$coord_v1.recall('roll back the gateway')$$) #>> '{memories,0,said_by}', 'agent-a', 'what has proved itself first');
select is(tests.pick(tests.as_agent('agent-b', $$coord_v1.record_procedure('Roll back the gateway', false)$$), 'id', 'others.0'), (o.answer ->> 'id') || ' ' || (i.answer ->> 'id'), 'of several one''s own is meant, the others are named') from other o, ids i;
select is(tests.pick(tests.learn('agent-b', $$'Roll forward the gateway', '{fix it}', tags => '{deploy,gateway}'$$), 'outcome', 'conflicts'), 'learned -', 'the same tags are no conflict by themselves');
select is(tests.pick(tests.as_agent('agent-b', $$coord_v1.record_procedure('Roll forward the gateway', false)$$), 'effectiveness'), '0.33', 'but when one works and the other does not');
select is(tests.recalled('roll forward') #>> '{conflicts,0,name}', 'Roll back the gateway', 'they are shown together');

-- Better steps take the place of one's own.
select is(tests.pick(tests.learn('agent-a', $$'Roll back the gateway', '{find the tag,undo,watch for ten minutes}'$$), 'outcome', 'effectiveness'), 'revised 0.50', 'revised, and untried again');
select is((select superseded_by is not null from coord_v1.memories where id = answer ->> 'id'), true, 'the older is superseded') from ids;
select throws_ok($$select tests.as_agent('agent-c', $q$coord_v1.record_procedure('Roll back the gateway', true)$q$)$$, 'PT404', 'memory_not_found', 'another repository has no such procedure');

select * from finish();
rollback;
