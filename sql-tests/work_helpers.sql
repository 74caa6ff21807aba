-- Included after ../helpers.sql: agent-a and agent-b at work, and time.

create table tests.start as select nextval('coord.task_numbers') as base;

create function tests.t(p_nth integer) returns text language sql
return 'T-' || (select base from tests.start) + p_nth;

create function tests.a(p_expression text, p_session text default null) returns jsonb language sql
return tests.as_agent('agent-a', case when p_expression ~ '^\(' then '' else 'coord_v1.' end || p_expression, jsonb_strip_nulls(jsonb_build_object('x-session-id', p_session)));

create function tests.b(p_expression text, p_session text default null) returns jsonb language sql
return tests.as_agent('agent-b', case when p_expression ~ '^\(' then '' else 'coord_v1.' end || p_expression, jsonb_strip_nulls(jsonb_build_object('x-session-id', p_session)));

-- Time passes: for what waits, for leases and sessions, and for deadlines.
create function tests.pass(p_seconds integer) returns void language sql
begin atomic
  update coord.tasks set next_at = next_at - make_interval(secs => p_seconds), lease_until = lease_until - make_interval(secs => p_seconds),
    deadline = deadline - make_interval(secs => p_seconds);
  update coord.locks set acquired_at = acquired_at - make_interval(secs => p_seconds), expires_at = expires_at - make_interval(secs => p_seconds)
  where released_at is null;
  update coord.sessions set renewed_at = renewed_at - make_interval(secs => p_seconds), busy_until = busy_until - make_interval(secs => p_seconds) where live;
  update coord.refusals set first_at = first_at - make_interval(secs => p_seconds), last_at = last_at - make_interval(secs => p_seconds);
end;

-- A task without a door: its number.
create function tests.task(p_spec jsonb, p_agent text default 'agent-a') returns text language sql
return tests.as_agent(p_agent, format('coord.submit_work(null, %L)', p_spec)) ->> 'task';
