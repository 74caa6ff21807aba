-- Bad input is refused with its code, and nothing is written.
begin;
\ir ../helpers.sql
select no_plan();

create temp table bad (call text, state text, code text);
insert into bad values
  ($$acquire_lock('{../x}')$$, 'PT400', 'path_outside_repo'),
  ($$acquire_lock('{a/../../x}')$$, 'PT400', 'path_outside_repo'),
  ($$acquire_lock('{/x}')$$, 'PT400', 'path_absolute'),
  ($$acquire_lock('{"C:\\\\x"}')$$, 'PT400', 'path_absolute'),
  ($$acquire_lock('{""}')$$, 'PT400', 'path_empty'),
  ($$acquire_lock(array[null])$$, 'PT400', 'path_empty'),
  ($$acquire_lock('{}')$$, 'PT400', 'paths_required'),
  ($$acquire_lock(null)$$, 'PT400', 'paths_required'),
  ($$acquire_lock(array[e'a\nb'])$$, 'PT400', 'path_control_character'),
  ($$acquire_lock('{"a "}')$$, 'PT400', 'path_trailing_blank'),
  ($$acquire_lock('{../*.rs}')$$, 'PT400', 'path_outside_repo'),
  ($$acquire_lock('{port:}')$$, 'PT400', 'path_empty'),
  ($$acquire_lock('{nope:x}')$$, 'PT400', 'path_unknown_scheme'),
  ($$acquire_lock(array[repeat('a', 1025)])$$, 'PT400', 'path_too_long'),
  ($$acquire_lock(array(select 'f' || i from generate_series(1, 65) i))$$, 'PT400', 'too_many_paths'),
  ($$acquire_lock('{a}', ttl_seconds => 29)$$, 'PT400', 'ttl_out_of_range'),
  ($$acquire_lock('{a}', ttl_seconds => 28801)$$, 'PT400', 'ttl_out_of_range'),
  ($$acquire_lock('{a}', wait_seconds => -1)$$, 'PT400', 'wait_out_of_range'),
  ($$acquire_lock('{a}', wait_seconds => 3601)$$, 'PT400', 'wait_out_of_range'),
  ($$cancel_wait('17')$$, 'PT400', 'ticket_invalid'),
  ($$cancel_wait(null)$$, 'PT400', 'ticket_invalid'),
  ($$acquire_lock('{a}', mode => 'EXCLUSIVE')$$, 'PT400', 'mode_unknown'),
  ($$acquire_lock('{a}', reason => repeat('x', 501))$$, 'PT400', 'argument_too_long'),
  ($$acquire_lock('{a}', repo => 'nonsense')$$, 'PT400', 'repo_invalid'),
  ($$acquire_lock('{a}', repo => 'a/../b')$$, 'PT400', 'repo_invalid'),
  ($$release_lock('{}')$$, 'PT400', 'paths_required'),
  ($$release_lock('{../x}')$$, 'PT400', 'path_outside_repo'),
  ($$verify_locks('{}')$$, 'PT400', 'paths_required'),
  ($$verify_locks('{a,b}', '{1}')$$, 'PT400', 'fences_do_not_match'),
  ($$check_locks('{../x}')$$, 'PT400', 'path_outside_repo'),
  ($$check_locks(repo => 'github.com/acme/other')$$, 'PT403', 'repo_not_granted'),
  ($$heartbeat(-1)$$, 'PT400', 'busy_out_of_range'),
  ($$end_session(repeat('x', 2001))$$, 'PT400', 'argument_too_long'),
  ($$tool_catalog('half')$$, 'PT400', 'argument_invalid');

create temp table before as select (select count(*) from coord.locks) as locks, (select count(*) from coord.audit_log) as rows;
select throws_ok(format('select tests.as_agent(%L, %L)', 'agent-a', 'coord_v1.' || call), state, code, code || ': ' || left(call, 60)) from bad;
select is((select count(*) from coord.locks), locks, 'no lock was written') from before;
select is((select count(*) from coord.audit_log), rows, 'a refusal that raises writes no audit') from before;

select is(tests.pick(tests.as_agent('agent-a', $$coord_v1.acquire_lock('{a}', mode => null, ttl_seconds => null, repo => null)$$), 'outcome', 'locks.0.mode', 'locks.0.seconds_left'),
  'acquired exclusive 1800', 'an explicit null is an absent argument');

-- Canonical spellings.
select is(coord.canonical_path(given), expected, format('%s is %s', given, expected))
from (values ('a', 'a'), ('./a', 'a'), ('a/', 'a/'), ('a//b', 'a/b'), ('a/./b', 'a/b'), ('a/../b', 'b'), ('.', './'), ('./', './'), ('a/..', './'),
  ('a/b/..', 'a/'), ('a/.', 'a/'), ('.git', '.git'), ('..a', '..a'), ('a..', 'a..'), ('...', '...'), ('app/[id]/page.tsx', 'app/[id]/page.tsx'),
  ('./nope:x', './nope:x'), ('x/../nope:x/', './nope:x/'), ('a b', 'a b'), ('./src/./x/../y//', 'src/y/'), ('a/nope:x', 'a/nope:x'), ('a.b:x', 'a.b:x'),
  ('*.rs', './'), ('src/**/*.rs', 'src/'), ('src/a?.rs', 'src/'), ('./a/../b/x*/c', 'b/'), ('./c:d/*', './c:d/'),
  ('port:5432', 'port:5432'), ('PORT: 5432', 'port:5432'), ('api:GET /v1//users/', 'api:GET /v1//users'), ('feature:x:pause', 'feature:x:pause'),
  ('api:GET /v1/*', 'api:GET /v1/*'), ('./Port:5432', './Port:5432')) v (given, expected);
select is(coord.canonical_path(coord.canonical_path(p)), coord.canonical_path(p), 'canonical is final: ' || p)
from unnest(array['./a', 'a//b/', '.', 'x/../y', './nope:x', './nope:x/y/', 'PORT:1', 'api:GET /v1/*', 'src/*.rs']) p;

select * from finish();
rollback;
