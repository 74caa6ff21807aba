-- Bad input is refused with its code, and nothing is written.
begin;
\ir ../helpers.sql
select no_plan();

create temp table bad (call text, state text, code text);
insert into bad values
  ($$remember(null)$$, 'PT400', 'argument_required'),
  ($$remember('  ')$$, 'PT400', 'argument_required'),
  ($$remember(repeat('x', 501))$$, 'PT400', 'argument_too_long'),
  ($$remember('x', repeat('x', 20001))$$, 'PT400', 'argument_too_long'),
  ($$remember('x', event_type => 'two words')$$, 'PT400', 'argument_invalid'),
  ($$remember('x', outcome => 'good')$$, 'PT400', 'argument_invalid'),
  ($$remember('x', scope => 'organisation')$$, 'PT400', 'argument_invalid'),
  ($$remember('x', commit => 'HEAD')$$, 'PT400', 'argument_invalid'),
  ($$remember('x', lessons => array_fill('x'::text, '{21}'))$$, 'PT400', 'argument_too_long'),
  ($$remember('x', lessons => array[repeat('x', 1001)])$$, 'PT400', 'argument_too_long'),
  ($$remember('x', tags => array_fill('x'::text, '{21}'))$$, 'PT400', 'argument_too_long'),
  ($$remember('x', tags => array[repeat('x', 51)])$$, 'PT400', 'argument_too_long'),
  ($$remember('x', paths => '{../x}')$$, 'PT400', 'path_outside_repo'),
  ($$remember('x', paths => array(select 'f' || i from generate_series(1, 65) i))$$, 'PT400', 'too_many_paths'),
  ($$remember('x', supersedes => '17')$$, 'PT404', 'memory_not_found'),
  ($$remember('x', repo => 'nonsense')$$, 'PT400', 'repo_invalid'),
  ($$recall(repeat('x', 1001))$$, 'PT400', 'argument_too_long'),
  ($$recall(max_results => 0)$$, 'PT400', 'argument_invalid'),
  ($$recall(max_results => 51)$$, 'PT400', 'argument_invalid'),
  ($$recall(min_relevance => 1.1)$$, 'PT400', 'argument_invalid'),
  ($$recall(min_relevance => 'nan')$$, 'PT400', 'argument_invalid'),
  ($$recall(kinds => '{working}')$$, 'PT400', 'argument_invalid'),
  ($$recall(paths => '{/x}')$$, 'PT400', 'path_absolute'),
  ($$recall(tags => array_fill('x'::text, '{21}'))$$, 'PT400', 'argument_too_long'),
  ($$rate_memory('M-1', null)$$, 'PT400', 'argument_required'),
  ($$rate_memory(null, true)$$, 'PT404', 'memory_not_found'),
  ($$forget_memory('M-99999999999999999999')$$, 'PT404', 'memory_not_found'),
  ($$link_memory('M-1', 'Agent Core', 'x')$$, 'PT400', 'argument_invalid'),
  ($$link_memory('M-1', 'p', '')$$, 'PT400', 'argument_required'),
  ($$link_memory('M-1', 'p', repeat('x', 501))$$, 'PT400', 'argument_too_long'),
  ($$learn_procedure('', '{a}')$$, 'PT400', 'argument_required'),
  ($$learn_procedure('x', '{}')$$, 'PT400', 'argument_required'),
  ($$learn_procedure('x', '{"  "}')$$, 'PT400', 'argument_required'),
  ($$learn_procedure(repeat('x', 201), '{a}')$$, 'PT400', 'argument_too_long'),
  ($$learn_procedure('x', array_fill('x'::text, '{51}'))$$, 'PT400', 'argument_too_long'),
  ($$record_procedure('x', null)$$, 'PT400', 'argument_required'),
  ($$record_procedure('x', true)$$, 'PT404', 'memory_not_found'),
  ($$set_context('', 'x')$$, 'PT400', 'argument_required'),
  ($$set_context(repeat('x', 101), 'x')$$, 'PT400', 'argument_too_long'),
  ($$set_context('x', repeat('x', 50001))$$, 'PT400', 'argument_too_long'),
  ($$set_context('x', 'x', -1)$$, 'PT400', 'argument_invalid'),
  ($$get_context(149)$$, 'PT400', 'argument_invalid'),
  ($$export_memories(max_results => 0)$$, 'PT400', 'argument_invalid'),
  ($$export_memories(cursor => 'x')$$, 'PT400', 'cursor_invalid');

create temp table before as select (select count(*) from coord.memories) as memories, (select count(*) from coord.audit_log) as rows;
select throws_ok(format('select tests.as_agent(%L, %L)', 'agent-a', 'coord_v1.' || call), state, code, code || ': ' || left(call, 60)) from bad;
select is((select count(*) from coord.memories), memories, 'no memory was written') from before;
select is((select count(*) from coord.audit_log), rows, 'a refusal that raises writes no audit') from before;

select is(tests.pick(tests.as_agent('agent-a', $$coord_v1.remember('x', null, null, null, null, null, null, null, null, null, null, null)$$), 'outcome', 'scope'),
  'created repo', 'an explicit null is an absent argument');
select is(jsonb_array_length(tests.as_agent('agent-a', $$coord_v1.recall(null, null, null, null, null, null, null, null)$$) -> 'memories'), 1, 'in recall as well');
select throws_ok($$select tests.as_agent('agent-a', format('coord_v1.set_context(%L, %L, pinned => true)', i, 'x')) from generate_series(1, 21) i$$, 'PT400', 'argument_invalid', 'twenty notes are pinned at most');

select * from finish();
rollback;
