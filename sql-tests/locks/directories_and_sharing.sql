-- A directory is all below it; shared locks suffer each other; both decided symmetrically.
begin;
\ir ../helpers.sql
select no_plan();

-- Every pair of kinds, in both orders.
create temp table pair (one text, two text, overlap boolean);
insert into pair values
  ('src/', 'src/a.rs', true), ('src/', 'src/x/y/z.rs', true), ('./', 'README.md', true), ('./', 'src/', true),
  ('src/', 'src', false), ('src/', 'src0', false), ('src/', 'src.rs', false), ('src/', 'source/a', false), ('src/x/', 'src/y/', false),
  ('src/x/', 'src/', true), ('a', 'b', false), ('src/a', 'src/a/b', false), ('./', './', true),
  ('a ./', 'x', false), ('a ./', 'a ./b', true), ('./', 'a ./b', true), ('./', '!a', true), ('-a/', '-a/b', true), ('é/', 'é/x', true);

create function tests.try_pair(p_one text, p_two text, p_mode_one text, p_mode_two text) returns text language plpgsql as $$
declare
  v_answer text;
begin
  perform tests.as_agent('agent-a', format('coord_v1.acquire_lock(array[%L], mode => %L)', p_one, p_mode_one));
  v_answer := tests.as_agent('agent-b', format('coord_v1.acquire_lock(array[%L], mode => %L)', p_two, p_mode_two)) ->> 'outcome';
  perform tests.as_agent('agent-a', 'coord_v1.release_lock()'), tests.as_agent('agent-b', 'coord_v1.release_lock()');
  return v_answer;
end
$$;

select is(tests.try_pair(one, two, m1, m2), case when overlap and not (m1 = 'shared' and m2 = 'shared') then 'held' else 'acquired' end,
  format('%s %s then %s %s', m1, one, m2, two))
from (select one, two, overlap from pair union all select two, one, overlap from pair) p,
  unnest(array['exclusive', 'shared']) m1, unnest(array['exclusive', 'shared']) m2;

-- One's own locks never conflict, and shared becomes exclusive where nobody else holds.
select is(tests.pick(tests.as_agent('agent-a', $$coord_v1.acquire_lock('{lib/}', mode => 'shared')$$), 'outcome', 'locks.0.mode'), 'acquired shared', 'shared');
select is(tests.pick(tests.as_agent('agent-a', $$coord_v1.acquire_lock('{lib/x}')$$), 'outcome'), 'acquired', 'exclusive below an own shared directory');
select is(tests.pick(tests.as_agent('agent-a', $$coord_v1.acquire_lock('{lib/}')$$), 'outcome', 'locks.0.mode'), 'acquired exclusive', 'the upgrade is a new lock');
select is(tests.pick(tests.as_agent('agent-a', $$coord_v1.acquire_lock('{lib/}', mode => 'shared')$$), 'outcome', 'locks.0.mode'), 'renewed exclusive',
  'asking for less keeps what is held');
select is(tests.pick(tests.as_agent('agent-a', $$coord_v1.release_lock('{lib/,lib/x}')$$), 'outcome', 'not_held'), 'released -', 'released together');
select is(tests.pick(tests.as_agent('agent-a', $$coord_v1.acquire_lock('{lib/}', mode => 'shared')$$), 'outcome'), 'acquired', 'shared by one');
select is(tests.pick(tests.as_agent('agent-b', $$coord_v1.acquire_lock('{lib/}', mode => 'shared')$$), 'outcome'), 'acquired', 'shared by two');
select is(tests.pick(tests.as_agent('agent-a', $$coord_v1.acquire_lock('{lib/}')$$), 'outcome', 'blockers.0.holder'), 'held agent-b', 'no upgrade while another shares');

select * from finish();
rollback;
