-- What is exported and imported again is the same, and only once.
begin;
\ir ../helpers.sql
select no_plan();

create function tests.told(p_agent text, p_arguments text) returns text language sql
return tests.as_agent(p_agent, format('coord_v1.remember(%s)', p_arguments)) ->> 'id';
create function tests.import(p_lines jsonb, p_repo text default 'github.com/acme/app') returns text language sql
return tests.pick(tests.as_operator(format('coord_v1.import_memories(%L, %L)', p_lines, p_repo)), 'outcome', 'imported', 'skipped');
create function tests.exported(p_repo text default 'github.com/acme/app') returns jsonb language sql
return tests.as_operator(format('coord_v1.export_memories(%L)', p_repo)) -> 'memories';

create temp table ids as select tests.told('agent-a', $$'older', 'd"e\tails ü', lessons => '{one,two}', tags => '{x}', paths => '{src/a.rs}', commit => 'abcdef1'$$) as old;
select ok(tests.told('agent-b', format($$'newer', supersedes => %L, valid_until => '2100-01-01'$$, old)) is not null, 'a successor') from ids;
select ok(tests.told('agent-a', $$'mine', scope => 'own'$$) is not null, 'one of agent-a alone');
select is(tests.as_agent('agent-a', $$coord_v1.learn_procedure('do it', '{a,b}', '{c}')$$) ->> 'outcome', 'learned', 'a procedure');
select is(tests.as_agent('agent-a', $$coord_v1.record_procedure('do it', true)$$) ->> 'outcome', 'recorded', 'that worked');
select is(tests.as_agent('agent-b', format($$coord_v1.rate_memory(%L, true)$$, old)) ->> 'outcome', 'rated', 'a rating') from ids;
select is(tests.pick(tests.as_agent('agent-a', format($$coord_v1.link_memory(%L, 'agentcore', 'mem-1')$$, old)), 'outcome'), 'linked', 'known elsewhere') from ids;
select is(tests.pick(tests.as_agent('agent-a', format($$coord_v1.link_memory(%L, 'agentcore', 'mem-1')$$, (select id from coord_v1.memories where summary = 'newer'))), 'outcome'), 'linked', 'one id is one memory');
select is((select string_agg(summary, ' ') from coord_v1.memories where external_ref = 'mem-1'), 'newer', 'the last');

create temp table export as select tests.exported() as lines;
select is(jsonb_array_length(lines), 4, 'an operator exports all') from export;
select is(tests.import(lines), 'imported 0 4', 'what is here is skipped') from export;
select set_config('coord.repos', '', true);
delete from coord.memories;
select is(tests.import(lines), 'imported 4 0', 'what is not is brought in') from export;
select is((select jsonb_agg(l - 'id') from jsonb_array_elements(tests.exported()) l), (select jsonb_agg(l - 'id') from jsonb_array_elements(lines) l), 'a round trip changes nothing but numbers') from export;
select is(tests.import((select jsonb_agg(l) from (select l from jsonb_array_elements(lines) with ordinality r (l, n) order by n desc) r)), 'imported 0 4', 'again, in another order') from export;
delete from coord.memories;
select is(tests.import((select jsonb_agg(l) from (select l from jsonb_array_elements(lines) with ordinality r (l, n) order by n desc) r)), 'imported 4 0', 'successors may come first') from export;
select is((select m.superseded_by is not null from coord_v1.memories m where summary = 'older'), true, 'and still supersede');
select is(tests.as_agent('agent-b', $$coord_v1.recall('older newer')$$) #>> '{memories,0,said_by}', 'agent-b', 'who said it is kept');

-- Pages.
create temp table pages as select tests.as_agent('agent-b', 'coord_v1.export_memories(max_results => 2)') as one;
alter table pages add two jsonb;
update pages set two = tests.as_agent('agent-b', format('coord_v1.export_memories(cursor => %L, max_results => 2)', one ->> 'cursor'));
select is(tests.pick(one, 'more') || tests.pick(two, 'more') || jsonb_array_length(one -> 'memories') || jsonb_array_length(two -> 'memories'), 'truefalse21', 'page by page, without what agent-b does not see') from pages;
select is(tests.as_agent('agent-b', format('coord_v1.export_memories(cursor => %L)', two ->> 'cursor')) -> 'memories', '[]', 'to the end') from pages;
select is(tests.as_agent('agent-c', 'coord_v1.export_memories()') -> 'memories', '[]', 'another repository has none of it');

-- A line needs only its summary.
select is(tests.import('[{"summary": "bare"}]'), 'imported 1 0', 'bare');
select is((select concat_ws(' ', kind, scope, event_type, outcome, said_by, told) from coord_v1.memories where summary = 'bare'), 'episodic repo discovery neutral unknown 1', 'with what goes without saying');
select is(tests.import('[{"summary": "bare"}]'), 'imported 0 1', 'and is still the same the second time');
select throws_ok(format('select tests.import(%L)', lines), 'PT422', 'memory_invalid', lines::text)
from unnest(array['[1]', '[{"summary": ""}]', '[{"details": ["x"]}]', '[{"summary": "x", "uid": "no"}]', '[{"summary": "x", "kind": "working"}]', '[{"summary": "x", "learned_at": "soon"}]',
  '[{"summary": "x", "kind": "procedural"}]', '[{"summary": "x", "successes": 2}]', '[{"summary": "x", "told": 0}]', '[{"summary": "x", "lessons": "one"}]', '[{"summary": "x", "provider": "p"}]',
  '[{"summary": "x", "said_by": "a b"}]', '[{"summary": "x", "learned_at": "infinity"}]', '[{"summary": "x", "details": [null]}]', '[{"summary": "x", "told": 1e20}]']::jsonb[]) lines;
select throws_ok($$select tests.as_operator($q$coord_v1.import_memories('{}', 'github.com/acme/app')$q$)$$, 'PT400', 'argument_invalid', 'a list it must be');
select is((select count(*) from coord.memories), 5::bigint, 'nothing of a bad list is imported');

select * from finish();
rollback;
