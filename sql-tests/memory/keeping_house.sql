-- Housekeeping counts, archives by worth and by caps, proposes procedures and deletes; in bounded steps.
begin;
\ir ../helpers.sql
select no_plan();

create function tests.told(p_agent text, p_arguments text) returns text language sql
return tests.as_agent(p_agent, format('coord_v1.remember(%s)', p_arguments)) ->> 'id';
create function tests.tidied(p_max integer default 1000) returns text language sql
return tests.pick(tests.as_operator(format('coord_v1.maintain(%s)', p_max)), 'memories_counted', 'memories_archived', 'memories_deleted', 'procedures_proposed');
create function tests.count(p_word text) returns bigint language sql
return (select sum(memories) from coord.memory_words where word = p_word);

select ok(tests.told('agent-a', format('%L', 'heron ' || i)) is not null, 'heron ' || i) from generate_series(1, 5) i;
select is(tests.tidied(3), '3 0 0 0', 'three at a time');
select is(tests.tidied(3), '2 0 0 0', 'then the rest');
select is(tests.tidied(3), '0 0 0 0', 'and nothing twice');
select is(tests.count('heron'), 5::bigint, 'each memory that has the word');

-- Worth moves the end.
create function tests.days(p_summary text) returns integer language sql
return (select round(extract(epoch from keep_until - clock_timestamp()) / 86400) from coord.memories where summary = p_summary and superseded_by is null limit 1);
select is(tests.days('heron 1'), 180, 'half a year');
select is(tests.as_agent('agent-b', format('coord_v1.rate_memory(%L, true)', id)) ->> 'outcome', 'rated', 'useful') from coord_v1.memories where summary = 'heron 1';
select is(tests.days('heron 1'), 360, 'a useful one is kept twice as long');
select is(tests.as_agent('agent-b', format('coord_v1.rate_memory(%L, false)', id)) ->> 'outcome', 'rated', 'useless') from coord_v1.memories where summary = 'heron 2';
select is(tests.days('heron 2'), 90, 'a useless one half as long');
select is(tests.told('agent-a', $$'heron 3'$$) is not null, true, 'told again');
select is(tests.days('heron 3'), 198, 'a tenth more for each telling');
select ok(tests.told('agent-a', $$'heron until tomorrow', valid_until => clock_timestamp() + interval '1 day'$$) is not null, 'valid for a day');
select is(tests.days('heron until tomorrow'), 31, 'what expires is kept a month more');

update coord.memories set keep_until = clock_timestamp() - interval '1 day' where summary in ('heron 1', 'heron 2', 'heron 4');
select is(tests.tidied(2), '1 2 0 0', 'two are archived at a time');
select is(tests.tidied(2), '0 1 0 0', 'then the third');
select is(tests.count('heron'), 3::bigint, 'and are counted no more');
select is(jsonb_array_length(tests.as_agent('agent-b', $$coord_v1.recall('heron')$$) -> 'memories'), 3, 'recall does not find them');
select is((select count(*) from coord_v1.memories where archived_at is not null), 3::bigint, 'the view still shows them');
update coord.memories set archived_at = archived_at - interval '366 days' where summary = 'heron 1';
select is(tests.tidied(), '0 0 1 0', 'after a year they are deleted');
select is((select count(*) from coord.memory_ratings), 1::bigint, 'with their ratings');

-- Caps: the counts say who has too many, the least worthy go.
update coord.memory_words set memories = 20002 where word = '~agent-a';
select is(tests.tidied(), '0 2 0 0', 'two over the cap of an agent');
select results_eq($$select summary from coord.memories where archived_at is null$$, array['heron 3'], 'those that would have gone first');

update coord.memory_words set memories = 1 where word = '~agent-a';

-- Three that ended well under one set of tags are a procedure in the making.
select ok(tests.told('agent-' || a, format($$%L, event_type => 'bugfix', outcome => 'positive', lessons => array['check the plan', %L], tags => '{index,postgres}', paths => array[%L]$$,
  'slow query ' || i, 'lesson ' || i, 'db/' || i)) is not null, 'episode ' || i) from (values (1, 'a'), (2, 'b'), (3, 'a')) v (i, a);
select ok(tests.told('agent-a', $$'slow query 4', event_type => 'bugfix', outcome => 'negative', lessons => '{no}', tags => '{index,postgres}'$$) is not null, 'one that ended badly');
select ok(tests.told('agent-c', format($$%L, event_type => 'bugfix', outcome => 'positive', lessons => '{other}', tags => '{index,postgres}'$$, i)) is not null, 'and two elsewhere') from generate_series(1, 2) i;
select is(tests.tidied(), '6 0 0 1', 'one procedure is proposed');
select results_eq($$select summary, said_by, candidate, details, tags, paths, repo from coord_v1.memories where kind = 'procedural'$$,
  $$values ('Lessons of bugfix: index, postgres', 'coordinator', true, '{"check the plan","lesson 1","lesson 2","lesson 3"}'::text[], '{index,postgres}'::text[], '{db/1,db/2,db/3}'::text[], 'github.com/acme/app')$$,
  'of what they taught, the most told first, in the name of nobody');
select is(tests.days('slow query 1'), 30, 'what it was made of is kept a month');
select ok(tests.told('agent-b', $$'slow query 5', event_type => 'bugfix', outcome => 'positive', lessons => '{x}', tags => '{index,postgres}'$$) is not null, 'another');
select is(tests.tidied(), '2 0 0 0', 'proposes nothing twice');
select is(tests.pick(tests.as_agent('agent-a', $$coord_v1.record_procedure('Lessons of bugfix: index, postgres', true)$$), 'tries'), '1', 'it works');
select is((select candidate from coord_v1.memories where kind = 'procedural'), false, 'and is a candidate no more');

select * from finish();
rollback;
