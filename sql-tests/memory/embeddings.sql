-- Embeddings rank where pgvector is installed; elsewhere everything else works without a word.
begin;
\ir ../helpers.sql
select no_plan();

create function tests.told(p_agent text, p_summary text) returns text language sql
return tests.as_agent(p_agent, format('coord_v1.remember(%L)', p_summary)) ->> 'id';
create function tests.similar(p_agent text, p_arguments text) returns text language sql
return (select coalesce(string_agg(m ->> 'summary', ' | ' order by n), 'none')
  from jsonb_array_elements(tests.as_agent(p_agent, format('coord_v1.recall_similar(%s)', p_arguments)) -> 'memories') with ordinality r (m, n));

create temp table ids as select tests.told('agent-a', 'apples are red') as apple, tests.told('agent-a', 'bananas bend') as banana, tests.told('agent-c', 'cherries') as cherry;
select is(tests.as_operator('coord_v1.maintain()') ->> 'memories_counted', '3', 'terms are counted');
select is(tests.pick(tests.as_agent('agent-a', format($$coord_v1.embed_memory(%L, '{1,0,0}')$$, apple)), 'ok', 'outcome'), 'false unavailable', 'before they are enabled, none are kept') from ids;
select is(tests.similar('agent-a', $$'{1,2,3}', 'bananas'$$), 'bananas bend', 'and recall_similar is recall');
select throws_ok($$select tests.as_operator('coord_v1.enable_embeddings(2001)')$$, 'PT400', 'argument_invalid', 'a dimension is at most 2000');

select exists (select from pg_available_extensions where name = 'vector') as there \gset
\if :there
create extension if not exists vector;
select is(tests.pick(tests.as_operator('coord_v1.enable_embeddings(3)'), 'outcome', 'dimension'), 'enabled 3', 'an operator enables them');
select is(tests.pick(tests.as_operator('coord_v1.enable_embeddings(3)'), 'outcome'), 'unchanged', 'once');
select is(tests.pick(tests.as_agent('agent-a', format($$coord_v1.embed_memory(%L, '{1,0,0}')$$, apple)), 'outcome'), 'embedded', 'apple') from ids;
select is(tests.pick(tests.as_agent('agent-b', format($$coord_v1.embed_memory(%L, '{1,0,0}')$$, banana)), 'outcome'), 'embedded', 'banana') from ids;
select is(tests.pick(tests.as_agent('agent-b', format($$coord_v1.embed_memory(%L, '{0,1,0.1}')$$, banana)), 'outcome'), 'embedded', 'banana, better') from ids;
select is(tests.pick(tests.as_agent('agent-c', format($$coord_v1.embed_memory(%L, '{0,1,0}')$$, cherry)), 'outcome'), 'embedded', 'cherry') from ids;
select is(tests.similar('agent-b', $$'{0.9,0.1,0}', 'fruit'$$), 'apples are red | bananas bend', 'the nearest first');
select is(tests.similar('agent-b', $$'{0,1,0}'$$), 'bananas bend', 'what has nothing in common is not found, nor what is elsewhere');
select is(tests.similar('agent-b', $$'{0.7,0.7,0}', 'bananas'$$), 'bananas bend | apples are red', 'words and embedding together');
select throws_ok(format('select tests.similar(%L, %L)', 'agent-b', quote_literal(e)), 'PT422', 'embedding_invalid', e)
from unnest(array['{1,2}', '{1,2,3,4}', '{0,0,0}', '{1,nan,1}', '{1,infinity,1}', '{{1,0,0}}', '{1,null,1}']) e;
select throws_ok(format('select tests.as_agent(%L, %L)', 'agent-a', format($$coord_v1.embed_memory(%L, '{1,0,0}')$$, cherry)), 'PT404', 'memory_not_found', 'another repository''s memory is not there') from ids;
select is(tests.pick(tests.as_agent('agent-a', format('coord_v1.forget_memory(%L)', apple)), 'outcome'), 'forgotten', 'forgotten') from ids;
select is((select count(*) from coord.memory_embeddings), 2::bigint, 'with its embedding');
select is(tests.pick(tests.as_operator('coord_v1.enable_embeddings(2)'), 'outcome', 'dimension'), 'enabled 2', 'another model');
select is((select count(*) from coord.memory_embeddings), 0::bigint, 'begins anew');
select is((select relrowsecurity and relforcerowsecurity from pg_class where oid = 'coord.memory_embeddings'::regclass), true, 'under row-level security');
\else
select is(tests.pick(tests.as_operator('coord_v1.enable_embeddings(3)'), 'ok', 'outcome'), 'false unavailable', 'without pgvector there are none');
\endif

select * from finish();
rollback;
