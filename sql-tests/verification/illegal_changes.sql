-- V3, V4: every change of state that is not in the list is refused, past every function too.
begin;
\ir ../helpers.sql
\ir ../verification_helpers.sql
select no_plan();
select tests.configure('{"all": {"tier": 1, "max_attempts": 1}}') ->> 'outcome' as quiet \gset

-- A changeset in each state, and a job in each.
create temp table jobs (state text primary key, number bigint);
create function tests.any_job(p_state text) returns bigint language plpgsql as $$
declare
  v_head text := 'job ' || p_state;
  v_job text := tests.submit(v_head) ->> 'changeset';
begin
  v_job := tests.job(v_job, 'inline');
  perform set_config('session_replication_role', 'replica', true);
  update coord.verification_jobs j set state = p_state, attempt = case when p_state = 'pending' then 0 else 1 end, max_attempts = case when p_state = 'dead' then 1 else 3 end,
    taken_by = 'dispatcher', taken_at = created_at, lease_until = created_at, timeout_at = created_at,
    next_at = case when p_state in ('error', 'timed_out') then created_at end,
    evidence = case when p_state in ('passed', 'failed') then tests.evidence(v_head) end, reported_by = case when p_state in ('passed', 'failed') then 'dispatcher' end,
    ended_at = case when p_state in ('passed', 'failed', 'cancelled', 'dead') then created_at end
  where 'V-' || j.number = v_job;
  perform set_config('session_replication_role', 'origin', true);
  return substr(v_job, 3);
end
$$;
insert into jobs select s, tests.any_job(s) from unnest(array['pending', 'running', 'passed', 'failed', 'error', 'timed_out', 'cancelled', 'dead']) s;

-- What a row of a state looks like, so that nothing but the way there can be wrong.
create function tests.become(p_number bigint, p_state text) returns text language plpgsql as $$
begin
  update coord.verification_jobs j set state = p_state, next_at = case when p_state in ('error', 'timed_out') then clock_timestamp() end,
    attempt = j.attempt + (p_state = 'running' and j.state <> 'running')::integer,
    taken_by = 'dispatcher', taken_at = case when j.state = 'running' then taken_at else created_at end, lease_until = created_at, timeout_at = created_at,
    evidence = case when p_state in ('passed', 'failed') then jsonb_build_object('commit', j.head) end, reported_by = case when p_state in ('passed', 'failed') then 'dispatcher' end,
    ended_at = case when p_state in ('passed', 'failed', 'cancelled', 'dead') then clock_timestamp() end
  where j.number = p_number;
  raise exception using errcode = 'UNDO1';
exception
  when sqlstate 'UNDO1' then return 'legal';
  when sqlstate 'PT409' then return 'refused';
  when check_violation then return 'refused';
end
$$;
create temp table legal (here text, there text);
insert into legal values ('pending', 'running'), ('error', 'running'), ('timed_out', 'running'), ('running', 'running'), ('running', 'error'), ('running', 'timed_out'), ('pending', 'pending'), ('running', 'passed'), ('running', 'failed'), ('running', 'cancelled'),
  ('pending', 'passed'), ('pending', 'failed'), ('pending', 'cancelled'), ('error', 'passed'), ('error', 'failed'), ('error', 'cancelled'), ('timed_out', 'passed'), ('timed_out', 'failed'), ('timed_out', 'cancelled');
select is(tests.become(j.number, t.state), case when exists (select from legal l where (l.here, l.there) = (j.state, t.state)) and j.state <> t.state or (j.state, t.state) = ('running', 'running') then 'legal' else 'refused' end,
  format('a job from %s to %s', j.state, t.state))
from jobs j, jobs t where (j.state, t.state) not in (('running', 'dead'), ('pending', 'pending'));
select is(tests.become(number, 'dead'), 'refused', 'a job dies of its last attempt only') from jobs where state = 'running';

select throws_ok(format('update coord.verification_jobs set %s where number = %s', change, (select number from jobs where state = v.state)), null, null, state || ': ' || change)
from (values
  ('pending', 'number = 1000000'), ('pending', $$repo = 'github.com/acme/other'$$), ('pending', $$author = 'agent-b'$$), ('pending', $$head = repeat('a', 40)$$), ('pending', 'tier = 1'), ('pending', $$executor = 'local'$$), ('pending', $$target = 'x'$$),
  ('pending', 'max_attempts = 9'), ('pending', 'attempt = 1'), ('running', 'attempt = 2'), ('running', $$taken_by = 'agent-b'$$), ('running', $$timeout_at = timeout_at + interval '1 hour'$$), ('running', $$lease_until = timeout_at + interval '1 second'$$),
  ('running', 'lease_until = null'), ('passed', $$evidence = '{}'$$), ('passed', $$reported_by = 'agent-b'$$), ('failed', 'ended_at = null'), ('running', $$state = 'passed', ended_at = created_at$$),
  ('running', $$state = 'passed', ended_at = created_at, evidence = '{"commit": "another"}', reported_by = 'dispatcher'$$), ('running', $$state = 'passed', ended_at = created_at, evidence = jsonb_build_object('commit', head), reported_by = author$$)) v (state, change);

-- Changesets.
create temp table changes (state text primary key, number bigint);
create function tests.any_changeset(p_state text) returns bigint language plpgsql as $$
declare
  v_number bigint := substr(tests.submit('change ' || p_state) ->> 'changeset', 3);
begin
  perform set_config('session_replication_role', 'replica', true);
  update coord.changesets set state = p_state, ended_at = case when p_state <> 'pending' then submitted_at end, reached = case when p_state = 'verified' then 1 end,
    reason = case when p_state = 'rejected' then 'x' end, superseded_by = case when p_state = 'superseded' then 1 end where number = v_number;
  perform set_config('session_replication_role', 'origin', true);
  return v_number;
end
$$;
insert into changes select s, tests.any_changeset(s) from unnest(array['pending', 'verified', 'rejected', 'superseded']) s;
create function tests.turn(p_number bigint, p_state text) returns text language plpgsql as $$
begin
  update coord.changesets set state = p_state, ended_at = case when p_state <> 'pending' then clock_timestamp() end,
    reached = case when p_state = 'verified' then 1 when p_state = 'superseded' then reached end, reason = case when p_state = 'rejected' then 'x' end,
    superseded_by = case when p_state = 'superseded' then 1 end where number = p_number;
  raise exception using errcode = 'UNDO1';
exception
  when sqlstate 'UNDO1' then return 'legal';
  when sqlstate 'PT409' then return 'refused';
end
$$;
select is(tests.turn(c.number, t.state), case when c.state = 'pending' or (c.state, t.state) = ('verified', 'superseded') then 'legal' else 'refused' end, format('a changeset from %s to %s', c.state, t.state))
from changes c, changes t;
select throws_ok(format('update coord.changesets set %s where number = %s', change, (select number from changes where state = 'pending')), null, null, change)
from (values ('number = 1000000'), ($$repo = 'github.com/acme/other'$$), ($$author = 'agent-b'$$), ('author_trust = 4'), ($$head = repeat('a', 40)$$), ('tier = 4'), ($$paths = '{}'$$), ('paths_known = false'), ($$state = 'verified'$$), ($$state = 'rejected', ended_at = submitted_at$$),
  ($$state = 'superseded', ended_at = submitted_at$$), ('reached = 0'), ($$executors = '{}'$$), ($$reasons = '[]'$$)) v (change);
select throws_ok(format('insert into coord.changesets select (jsonb_populate_record(c, ''{"number": 1000000}'')).* from coord.changesets c where number = %s', number), '23505', null, 'V5: a head has one that is ' || state) from changes where state in ('pending', 'verified');

select * from finish();
rollback;
