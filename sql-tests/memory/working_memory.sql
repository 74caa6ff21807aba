-- A session's notes: read within a budget that is never exceeded, pinned ones kept, gone with the session.
begin;
\ir ../helpers.sql
select no_plan();

create function tests.note(p_arguments text, p_session text default 's1') returns text language sql
return tests.pick(tests.as_agent('agent-a', format('coord_v1.set_context(%s)', p_arguments), jsonb_build_object('x-session-id', p_session)), 'outcome', 'key');
create function tests.context(p_budget integer, p_session text default 's1') returns jsonb language sql
return tests.as_agent('agent-a', format('coord_v1.get_context(%s)', p_budget), jsonb_build_object('x-session-id', p_session));
-- The stated estimate: a token for three bytes of the whole answer.
create function tests.size(p_answer jsonb) returns integer language sql
return ceil(octet_length(p_answer::text) / 3.0);

select is(tests.context(150) -> 'items', '[]', 'nothing noted');
select is(tests.note($$'goal', 'move the parser', pinned => true$$), 'set goal', 'a pinned note');
select is(tests.note(format($$'step %s', %L$$, i, 'did thing ' || i || ' ' || repeat('and more ', i % 40))), 'set step ' || i, 'note ' || i) from generate_series(1, 60) i;
select is(tests.note($$'step 60', 'thing 60, told anew'$$), 'set step 60', 'a note is replaced');
select is(tests.note($$'wide', repeat(e'"ä\n\u0001', 100)$$), 'set wide', 'a note full of escapes');

create temp table answers as select b, tests.context(b) as a from unnest(array[150, 151, 160, 200, 333, 500, 1000, 2000, 3000, 5000, 100000]) b;
select cmp_ok(tests.size(a), '<=', b, 'the whole answer stays within ' || b) from answers;
select cmp_ok((a ->> 'tokens')::integer, '<=', b, 'and what it says of itself, too') from answers;
select cmp_ok((a ->> 'tokens')::integer, '>=', tests.size(a) - 10, 'which is no understatement') from answers;
select is(tests.pick(a, 'items.0.key', 'items.0.pinned', 'items.0.value'), 'goal true move the parser', 'the pinned note is there with ' || b) from answers;
select is((a ->> 'folded')::integer + jsonb_array_length(a -> 'items'), 62, 'what is not there is folded with ' || b) from answers;
select is(tests.pick(a, 'folded', 'summary', 'items.1.key'), '0 - wide', 'all of it with room enough, the newest after the pinned') from answers where b = 100000;
select matches(a ->> 'summary', '^[0-9]+ more: .*step [0-9]+', 'the summary names what was folded') from answers where b = 500;
select cmp_ok(octet_length(a ->> 'summary'), '<=', 150, 'in a line') from answers where b = 150;

-- Stated tokens count where they are more.
select is(tests.note($$'dear', 'short', 900$$, 's2') || tests.note($$'cheap', 'short', 1$$, 's2'), 'set dearset cheap', 'one says it is long');
select is(tests.context(500, 's2') #>> '{items,0,key}', 'cheap', 'and is folded for it');
select is(tests.context(500, 's2') ->> 'summary', '1 more: dear', 'by name');
select is(jsonb_array_length(tests.context(2000, 's2') -> 'items'), 2, 'until there is room');

-- Pinned values are cut before a pinned key goes.
select is(tests.note(format($$'pin %s', repeat('long ', 2000), pinned => true$$, i), 's3'), 'set pin ' || i, 'pinned ' || i) from generate_series(1, 10) i;
select is(tests.note($$'loose', 'x'$$, 's3'), 'set loose', 'and one that is not');
create temp table pinned as select b, tests.context(b, 's3') as a from unnest(array[600, 1000, 5000, 20000, 40000]) b;
select cmp_ok(tests.size(a), '<=', b, 'pinned values share ' || b) from pinned;
select is((select count(*) from jsonb_array_elements(a -> 'items') i where i ->> 'key' like 'pin %'), 10::bigint, 'all ten keys are there with ' || b) from pinned;
select is(bool_and(i ? 'cut'), b < 40000, 'and say that they were cut: ' || b) from pinned, jsonb_array_elements(a -> 'items') i where i ->> 'key' like 'pin %' group by b;
select throws_ok('select tests.context(200, ''s3'')', 'PT422', 'budget_too_small', 'a budget that does not hold the keys is refused');
select is(tests.note(format($$'pin %s', 'short', 5000, true$$, i), 's4'), 'set pin ' || i, 'pinned ' || i || ', said to be long') from generate_series(1, 2) i;
select is(tests.pick(tests.context(1000, 's4'), 'items.0.cut', 'items.1.cut'), 'true true', 'stated tokens bind pinned ones too');
select cmp_ok((tests.context(1000, 's4') ->> 'tokens')::integer, '<=', 1000, 'within the budget');

-- Any notes, any budget.
select setseed(0.7);
do $$
declare
  v_answer jsonb;
  v_budget integer;
begin
  for i in 1 .. 150 loop
    perform tests.note(format('%L, %L, %s, %s', 'k' || (random() * 15)::integer || repeat('ü', (random() * 20)::integer), repeat(substr(e'abc "\\\n\t\u0002ß語', 1 + (random() * 8)::integer, 3), (random() * 200)::integer),
      (random() * 100)::integer, (random() < 0.1)::text), 's5');
    v_budget := 400 + random() * 2500;
    begin
      v_answer := tests.context(v_budget, 's5');
      if tests.size(v_answer) > v_budget or (v_answer ->> 'tokens')::integer > v_budget then
        raise 'budget % exceeded: %', v_budget, v_answer;
      end if;
    exception when sqlstate 'PT422' then null;
    end;
  end loop;
end
$$;
select pass('150 random notes, no budget exceeded');

-- Mine alone, and only while the session lasts.
select is(tests.as_agent('agent-b', 'coord_v1.get_context()', '{"x-session-id": "s1"}') -> 'items', '[]', 'another agent''s session of that name has its own');
select is(tests.note($$'goal'$$), 'removed goal', 'without a value the note goes');
select is(tests.as_agent('agent-a', 'coord_v1.end_session()', '{"x-session-id": "s1"}') ->> 'outcome', 'ended', 'the session ends');
select is((select count(*) from coord.session_context where session_id = 's1'), 0::bigint, 'and its notes');
update coord.sessions set renewed_at = clock_timestamp() - interval '1 day' where agent = 'agent-a' and id = 's2';
select is(tests.as_operator('coord_v1.maintain()') ->> 'sessions_ended', '1', 'a dead session is reaped');
select is((select count(*) from coord.session_context where session_id = 's2'), 0::bigint, 'with its notes');
select is(tests.as_operator($$coord_v1.disable_agent('agent-a', 'test')$$) ->> 'outcome', 'disabled', 'an agent is disabled');
select is((select count(*) from coord.session_context), 0::bigint, 'and keeps none');
set constraints all immediate;

select * from finish();
rollback;
