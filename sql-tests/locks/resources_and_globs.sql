-- Resources meet only themselves; a glob locks the directory it stands in.
begin;
\ir ../helpers.sql
select no_plan();

select is(tests.pick(tests.as_agent('agent-a', $$coord_v1.acquire_lock('{PORT:5432,api:GET /v1/users,./port:5432}')$$), 'outcome', 'locks.0.path', 'locks.1.path', 'locks.2.path'),
  'acquired ./port:5432 api:GET /v1/users port:5432', 'two resources and a file of a like name');
select is(tests.pick(tests.as_agent('agent-b', $$coord_v1.acquire_lock('{port:5432}')$$), 'outcome', 'blockers.0.held_path'), 'held port:5432', 'a resource is held');
select is(tests.pick(tests.as_agent('agent-b', $$coord_v1.acquire_lock('{port:5433}')$$), 'outcome'), 'acquired', 'another is free');
select is(tests.pick(tests.as_agent('agent-b', $$coord_v1.acquire_lock('{./}')$$), 'outcome', 'blockers.0.held_path'), 'held ./port:5432', 'all files meet the file');
select is(tests.as_agent('agent-a', $$coord_v1.release_lock('{./port:5432}')$$) ->> 'outcome', 'released', 'which is released');
select is(tests.as_agent('agent-b', $$coord_v1.acquire_lock('{./}')$$) ->> 'outcome', 'acquired', 'all files are no resource');
select is(tests.as_agent('agent-a', $$coord_v1.acquire_lock('{api:GET /v1/users/1}')$$) ->> 'outcome', 'acquired', 'resources have no directories');
select is(tests.pick(tests.as_agent('agent-a', 'coord_v1.check_locks()'), 'total'), '5', 'check_locks shows files and resources');
select is(tests.pick(tests.as_agent('agent-a', $$coord_v1.check_locks('{./}')$$), 'total'), '1', 'or what overlaps');
select is(tests.as_agent('agent-b', $$coord_v1.release_lock()$$) -> 'released' @> '[{"path": "./"}, {"path": "port:5433"}]', true, 'release without paths takes resources too');

select is(tests.pick(tests.as_agent('agent-b', $$coord_v1.acquire_lock('{src/**/*.rs,lib/[id]/page.tsx,src/a?}')$$), 'outcome', 'locks.0.path', 'locks.1.path', 'widened.0.glob', 'widened.0.locked', 'widened.1.locked'),
  'acquired lib/[id]/page.tsx src/ src/**/*.rs src/ src/', 'a glob becomes its directory, and is said to');
select is(tests.pick(tests.as_agent('agent-a', $$coord_v1.acquire_lock('{src/x/y.c}')$$), 'outcome', 'blockers.0.held_path'), 'held src/', 'which is locked with all below it');
select is(tests.as_agent('agent-b', $$coord_v1.acquire_lock('{src/}')$$) -> 'widened', null, 'no glob, no word of it');

select is(tests.as_agent('agent-a', $$(select to_jsonb(count(*)) from coord_v1.path_schemes)$$), '7', 'the schemes can be read');

-- Every place is above, below or beside as its paths are.
select is(coord.places_to('r', './a:b/c'), array['r ./', 'r ./a:b/', 'r ./a:b/c'], 'a guarded name has directories');
select is(coord.places_to('r', 'api:GET /v1'), array['r#', 'r#api:GET /v1'], 'a resource has none, but the place of all resources');
select is(coord.canonical_path(coord.canonical_path('port:a / /')), 'port:a', 'blanks and slashes at its end are dropped');
select is(coord.literal_path(u&'\212A:x'), coord.canonical_path(u&'./\212A:x'), 'a file whose name becomes a scheme by normalization');

select * from finish();
rollback;
