-- Every committed mutation and every returned denial has one audit row, for ever.
begin;
\ir ../helpers.sql
select no_plan();

create function tests.rows_of(p_agent text, p_expression text) returns text language plpgsql as $$
declare
  v_before bigint := (select max(id) from coord.audit_log);
  v_answer jsonb := tests.as_agent(p_agent, p_expression);
begin
  return coalesce((select string_agg(a.function || ' ' || a.outcome || coalesce(' ' || a.reason, ''), ', ') from coord_v1.audit a
    where a.id > v_before and a.agent = p_agent), 'none');
end
$$;

select is(tests.rows_of('agent-a', $$coord_v1.acquire_lock('{a}')$$), 'acquire_lock acquired', 'acquired');
select is(tests.rows_of('agent-a', $$coord_v1.acquire_lock('{a}')$$), 'acquire_lock renewed', 'renewed');
select is(tests.rows_of('agent-b', $$coord_v1.acquire_lock('{a}')$$), 'none', 'held changes nothing');
select is(tests.rows_of('agent-b', $$coord_v1.acquire_lock('{a}', 'github.com/acme/other')$$), 'acquire_lock denied repo_not_granted', 'denied');
select is(current_setting('response.status'), '403', 'and HTTP 403');
select is(tests.rows_of('agent-b', $$coord_v1.acquire_lock('{a}', 'github.com/acme/never-heard')$$), 'acquire_lock denied repo_not_granted',
  'a repo that does not exist is denied in the same words');
select is(tests.rows_of('agent-b', $$coord_v1.release_lock('{a}')$$), 'none', 'not_held changes nothing');
select is(tests.rows_of('agent-b', $$coord_v1.force_release_lock('{a}', 'x')$$), 'force_release_lock denied insufficient_trust_level', 'a refused break');
select is(tests.rows_of('agent-a', $$coord_v1.release_lock('{a}')$$), 'release_lock released', 'released');
select is(tests.rows_of('agent-a', $$coord_v1.release_lock()$$), 'none', 'releasing nothing changes nothing');
select is(tests.rows_of('agent-a', $$coord_v1.check_locks()$$), 'none', 'a read changes nothing');
select is(tests.rows_of('agent-a', $$coord_v1.end_session()$$), 'end_session ended', 'ended');
select is((select detail #>> '{args,paths,0}' || ' ' || (detail #>> '{result,released,0,path}') from coord_v1.audit where function = 'release_lock' order by id desc limit 1),
  'a a', 'a row tells what was asked and what was done');

-- Append only, for everybody.
select throws_ok('update coord.audit_log set outcome = ''x''', 'PT403', null, 'not even a superuser updates');
select throws_ok('delete from coord.audit_log', 'PT403', null, 'deletes');
select throws_ok('truncate coord.audit_log', 'PT403', null, 'or truncates');
set local role coord_owner;
select throws_ok('update coord.audit_log set outcome = ''x''', 'PT403', null, 'nor does the owner update');
select throws_ok('truncate coord.audit_log', 'PT403', null, 'or truncate');
set local role coord_janitor;
select throws_ok('truncate coord.audit_log', '42501', null, 'nor the janitor');
reset role;

select * from finish();
rollback;
