-- Recall finds by words, identifiers, misspellings, tags and paths, and says why.
begin;
\ir ../helpers.sql
select no_plan();

create function tests.top(p_arguments text) returns text language sql
return coalesce(tests.as_agent('agent-b', format('coord_v1.recall(%s)', p_arguments)) #>> '{memories,0,summary}', 'none');
create function tests.told(p_arguments text) returns boolean language sql
return tests.as_agent('agent-a', format('coord_v1.remember(%s)', p_arguments)) ->> 'outcome' = 'created';

select ok(tests.told(t), t) from unnest(array[
  $$'acquire_lock returns held under load', 'see src/locks.rs', 'bugfix', tags => '{locking,mutex}', paths => '{src/locks.rs}'$$,
  $$'The settings of the parser are read once', tags => '{config}', paths => '{src/parser/}'$$,
  $$'HTTPServer closes idle connections after getUserName', paths => '{net/server.rs}'$$,
  $$'Autovacuum is too slow for the events table', 'scale factor', lessons => '{"lower the threshold"}', tags => '{postgres}', paths => '{db/tuning.sql}'$$,
  $$'Running the tests needs Docker', event_type => 'decision', tags => '{tests}'$$,
  $$'Port 5432 is shared', paths => '{port:5432}'$$]) t;
select is(tests.as_operator('coord_v1.maintain()') ->> 'memories_counted', '6', 'terms are counted');

select is(tests.top(q), wanted, q) from (values
  ($$'acquireLock'$$, 'acquire_lock returns held under load'),
  ($$'ACQUIRE LOCK'$$, 'acquire_lock returns held under load'),
  ($$'src/locks.rs'$$, 'acquire_lock returns held under load'),
  ($$'get_user_name'$$, 'HTTPServer closes idle connections after getUserName'),
  ($$'http server'$$, 'HTTPServer closes idle connections after getUserName'),
  ($$'run test'$$, 'Running the tests needs Docker'),
  ($$'setting'$$, 'The settings of the parser are read once'),
  ($$'threshold'$$, 'Autovacuum is too slow for the events table'),
  ($$'mutex'$$, 'acquire_lock returns held under load'),
  ($$tags => '{MUTEX}'$$, 'acquire_lock returns held under load'),
  ($$paths => '{src/locks.rs}'$$, 'acquire_lock returns held under load'),
  ($$paths => '{src/parser/expr.rs}'$$, 'The settings of the parser are read once'),
  ($$paths => '{net/}'$$, 'HTTPServer closes idle connections after getUserName'),
  ($$paths => '{port:5432}'$$, 'Port 5432 is shared'),
  ($$paths => '{docs/none.md}'$$, 'none'),
  ($$'docker', event_type => 'bugfix'$$, 'none'),
  ($$'docker', event_type => 'decision'$$, 'Running the tests needs Docker'),
  ($$'docker', kinds => '{procedural}'$$, 'none'),
  ($$'nothing of the kind'$$, 'none'),
  ($$'the of and'$$, 'Port 5432 is shared')) v (q, wanted);
select is(case when exists (select from pg_extension where extname = 'pg_trgm') then tests.top($$'autovacum tabel'$$) else 'Autovacuum is too slow for the events table' end,
  'Autovacuum is too slow for the events table', 'misspelt, where pg_trgm is there');
select is(tests.as_agent('agent-b', 'coord_v1.recall()') #>> '{memories,0,summary}', 'Port 5432 is shared', 'without a question, the newest first');
select is(jsonb_array_length(tests.as_agent('agent-b', 'coord_v1.recall(max_results => 2)') -> 'memories'), 2, 'at most as many as asked for');

-- One score filters and ranks.
create temp table found as select m, n from jsonb_array_elements(tests.as_agent('agent-b', $$coord_v1.recall('tests docker postgres', tags => '{postgres}')$$) -> 'memories') with ordinality r (m, n);
select ok(bool_and((f.m ->> 'relevance')::numeric >= (g.m ->> 'relevance')::numeric), 'best first') from found f join found g on g.n = f.n + 1;
select ok(bool_and((m ->> 'relevance')::numeric between 0 and 1), 'relevance is a share') from found;
select is(jsonb_array_length(tests.as_agent('agent-b', format($$coord_v1.recall('tests docker postgres', tags => '{postgres}', min_relevance => %s)$$,
  (select (m ->> 'relevance')::numeric - 0.0006 from found where n = 1))) -> 'memories'), 1, 'min_relevance is held against what is shown');
select matches(m ->> 'why', 'words .*postgres.*; tags postgres; today', 'why says words, tags and age') from found where m ->> 'summary' like 'Autovacuum%';

-- Proven usefulness and age.
select ok(tests.told($$'gadget one'$$) and tests.told($$'gadget two'$$), 'two alike');
select is(tests.top($$'gadget'$$), 'gadget two', 'the newer first');
create temp table one as select id from coord_v1.memories where summary = 'gadget one';
select is(tests.pick(tests.as_agent('agent-b', format('coord_v1.rate_memory(%L, true)', id)), 'outcome', 'useful', 'useless'), 'rated 1 0', 'found useful') from one;
select is(tests.pick(tests.as_agent('agent-b', format('coord_v1.rate_memory(%L, true)', id)), 'useful'), '1', 'an agent has one voice') from one;
select is(tests.top($$'gadget'$$), 'gadget one', 'the useful one first');
select matches(tests.as_agent('agent-b', $$coord_v1.recall('gadget')$$) #>> '{memories,0,why}', 'rated \+1 -0', 'which why says');
select is(tests.pick(tests.as_agent('agent-a', format('coord_v1.rate_memory(%L, false)', id)), 'useful', 'useless'), '1 1', 'another agent did not find it so') from one;
update coord.memories set told_at = told_at - interval '100 days' where summary = 'gadget two';
select is(tests.top($$'gadget'$$), 'gadget one', 'age counts');

-- A filter is asked before any limit: what it lets pass is found behind any number of others.
select is(tests.as_operator(format('coord_v1.import_memories(%L, %L)', (select jsonb_agg(jsonb_build_object('summary', 'chatter ' || i, 'event_type', 'chat')) from generate_series(1, 700) i),
  'github.com/acme/app')) ->> 'imported', '700', 'many others');
select is(tests.as_operator('coord_v1.maintain(10000)') ->> 'memories_counted', '702', 'counted');
select is(tests.top($$event_type => 'decision'$$), 'Running the tests needs Docker', 'the one decision');
select is(tests.top($$event_type => 'bugfix'$$), 'acquire_lock returns held under load', 'the one bugfix');
select is(tests.as_agent('agent-a', $$coord_v1.learn_procedure('feed the heron', '{fish}')$$) ->> 'outcome', 'learned', 'a procedure');
update coord.memories set told_at = told_at - interval '1 hour' where kind = 'procedural';
select is(tests.top($$kinds => '{procedural}'$$), 'feed the heron', 'the one procedure');
update coord.memories set superseded_by = (select number from coord.memories where summary = 'gadget one') where event_type = 'chat';
select is(tests.top(''), 'gadget one', 'what is superseded takes nobody''s place');

-- What a task brings along.
grant create, usage on schema tests to coord_owner;
create function tests.fitting(p_text text, p_paths text[]) returns jsonb security definer language sql
return coord.fitting_memories('github.com/acme/app', p_text, p_paths, 5);
alter function tests.fitting owner to coord_owner;
grant usage on schema tests to coord_agent;
create temp table fitting as select tests.as_agent('agent-b', $$tests.fitting('make the autovacuum of events faster', '{db/tuning.sql}')$$) as f;
select is(tests.pick(f, '0.summary', '0.said_by', '0.quoted', '0.lessons.0'), 'Autovacuum is too slow for the events table agent-a true lower the threshold', 'memories that fit a task') from fitting;
select cmp_ok(jsonb_array_length(f), '<=', 5, 'five at most') from fitting;

select * from finish();
rollback;
