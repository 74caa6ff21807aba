-- Included after helpers.sql: a configuration, a dispatcher, and ways to submit and report.

create function tests.a(p_expression text) returns jsonb language sql return tests.as_agent('agent-a', 'coord_v1.' || p_expression);
create function tests.b(p_expression text) returns jsonb language sql return tests.as_agent('agent-b', 'coord_v1.' || p_expression);
-- Runs checks; of trust 3.
create function tests.d(p_expression text) returns jsonb language sql return tests.as_agent('dispatcher', 'coord_v1.' || p_expression);

do $$
begin
  perform tests.as_operator($q$coord_v1.set_profile('runner', '{"trust": 3, "allowed": ["*"]}')$q$),
    tests.as_operator($q$coord_v1.set_profile('reader', '{"trust": 1, "allowed": ["*"]}')$q$),
    tests.as_operator($q$coord_v1.set_profile('admin', '{"trust": 4, "allowed": ["*"]}')$q$),
    tests.as_operator($q$coord_v1.register_agent('dispatcher', 'dispatcher', 'agent', '{github.com/acme/app,github.com/acme/other}', 'runner')$q$);
end
$$;

create function tests.configure(p_config jsonb) returns jsonb language sql
return tests.as_operator(format('coord_v1.apply_config(%L)', jsonb_build_object('verification', p_config)));

-- A commit by a letter.
create function tests.sha(p_letter text) returns text language sql immutable
return encode(sha256(convert_to(p_letter, 'UTF8')), 'hex');

create function tests.submit(p_head text, p_paths text[] default '{src/a.rs}', p_rest text default '', p_agent text default 'agent-a') returns jsonb language sql
return tests.as_agent(p_agent, format('coord_v1.submit_changeset(%L, %L, %L, head_committed_at => %L%s)', tests.sha('base'), tests.sha(p_head), p_paths,
  clock_timestamp() - interval '1 hour', case when p_rest = '' then '' else ', ' || p_rest end));

create function tests.evidence(p_head text, p_fields jsonb default '{}') returns jsonb language sql
return jsonb_build_object('commit', tests.sha(p_head), 'started_at', clock_timestamp() - interval '1 minute', 'ended_at', clock_timestamp(),
  'log_url', 'https://ci.example/1', 'summary', 'ran') || p_fields;

create function tests.report(p_job text, p_status text, p_evidence jsonb, p_attempt integer default 1, p_agent text default 'dispatcher') returns jsonb language sql
return tests.as_agent(p_agent, format('coord_v1.report_verification(%L, %L, %L, %L)', p_job, p_status, p_evidence, p_attempt));

-- The number of the job of a changeset that an executor has.
create function tests.job(p_changeset text, p_executor text) returns text language sql stable
return (select 'V-' || j.number from coord.verification_jobs j where 'C-' || j.changeset = p_changeset and coord.full_executor(j.executor, j.target) = p_executor);

create function tests.states(p_changeset text) returns text language sql stable
return (select c.state || ': ' || string_agg(coord.full_executor(j.executor, j.target) || ' ' || j.state, ', ' order by j.tier, j.executor)
  from coord.changesets c join coord.verification_jobs j on j.changeset = c.number where 'C-' || c.number = p_changeset group by c.number);

-- Time passes for jobs: leases, times and back-offs.
create function tests.pass(p_seconds integer) returns void language plpgsql as $$
begin
  -- What no door may do.
  perform set_config('session_replication_role', 'replica', true);
  update coord.verification_jobs set lease_until = lease_until - make_interval(secs => p_seconds), timeout_at = timeout_at - make_interval(secs => p_seconds),
    taken_at = taken_at - make_interval(secs => p_seconds), next_at = next_at - make_interval(secs => p_seconds);
  perform set_config('session_replication_role', 'origin', true);
end
$$;
