-- R1: a row of another repository, or of another agent where rows are one's own, is seen by
-- nobody who was not granted it: not through views, not by a role, not by a function whose filter is gone.
begin;
\ir ../helpers.sql
select no_plan();
select tests.as_operator($q$coord_v1.register_agent('spectator', 'person', 'auditor', '{github.com/acme/app}')$q$) ->> 'outcome' as quiet \gset

-- Rows in every table, for agent-a in acme/app and agent-c in acme/other.
select tests.as_agent(agent, $$coord_v1.acquire_lock('{held,gone}', reason => 'a secret')$$, '{"idempotency-key": "one"}') ->> 'outcome' as quiet,
  tests.as_agent(agent, $$coord_v1.release_lock('{gone}')$$) ->> 'outcome' as quiet2,
  tests.as_agent(agent, $$coord_v1.acquire_lock('{held}', wait_seconds => 60)$$, '{"x-session-id": "second"}') ->> 'outcome' as quiet3,
  tests.as_agent(agent, $$coord_v1.check_network('example.com')$$) ->> 'decision' as quiet4,
  tests.as_agent(agent, format('coord_v1.rate_memory(%L, true)', tests.as_agent(agent, $$coord_v1.remember('a secret')$$) ->> 'id')) ->> 'outcome' as quiet5,
  tests.as_agent(agent, $$coord_v1.set_context('note', 'a secret')$$) ->> 'outcome' as quiet6,
  tests.as_agent(agent, $$coord_v1.check_guardrails('git push --force')$$) ->> 'decision' as quiet7,
  tests.as_agent(agent, $$coord_v1.request_approval('deploy')$$) ->> 'outcome' as quiet8,
  tests.as_agent(agent, $$coord_v1.submit_changeset(repeat('a', 40), repeat('b', 40), '{a/secret}')$$) ->> 'outcome' as quiet9
from unnest(array['agent-a', 'agent-c']) agent;
do $$
declare
  v_agent text;
  v_repo text;
  v_task text;
begin
  foreach v_agent in array array['agent-a', 'agent-c'] loop
    v_repo := case v_agent when 'agent-a' then 'github.com/acme/app' else 'github.com/acme/other' end;
    for n in 1..5 loop
      perform tests.as_agent(v_agent, $q$coord_v1.cancel_wait('W-1')$q$);
    end loop;
    perform tests.as_agent(v_agent, $q$coord_v1.write_handoff('a secret')$q$);
    v_task := tests.as_agent(v_agent, $q$coord_v1.submit_work('a secret', priority => 1)$q$) ->> 'task';
    perform tests.as_agent(v_agent, 'coord_v1.get_work()'), tests.as_agent(v_agent, format('coord_v1.complete_work(%L, true)', v_task));
    v_task := tests.as_agent(v_agent, $q$coord_v1.submit_work('a secret', priority => 1)$q$) ->> 'task';
    perform tests.as_agent(v_agent, 'coord_v1.get_work()'), tests.as_operator(format('coord_v1.cancel_work(%L)', v_task));
    v_task := tests.as_agent(v_agent, $q$coord_v1.submit_work('a secret')$q$) ->> 'task';
    perform tests.as_agent(v_agent, format($q$coord_v1.submit_work('a secret', depends_on => array[%L])$q$, v_task));
  end loop;
end
$$;
insert into coord.webhook_events (source, digest, event, repo, body) values ('a', '\x01', 'push', 'github.com/acme/app', '{}'), ('a', '\x02', 'push', 'github.com/acme/other', '{}');
update coord.locks set released_at = released_at - interval '2 hours' where released_at is not null;
select tests.as_operator('coord_v1.maintain()') ->> 'outcome' as quiet \gset
select tests.as_operator(format('coord_v1.verify_push(%L, %L)', jsonb_build_array(jsonb_build_object('id', 'abcdef1', 'agent', l.agent, 'sessions', jsonb_build_array(l.session_id),
  'locks', jsonb_build_array(jsonb_build_object('fence', l.fence, 'path', l.path)), 'paths', '["held"]'::jsonb)), l.repo)) ->> 'outcome' as pushed
from coord.locks l where path = 'held';

-- Tables by what tells whose a row is.
create temp table scoped as
select c.oid::regclass::text as name, a.attname as column_name, case a.attname when 'repo' then 'github.com/acme/other' else 'agent-c' end as others,
  case a.attname when 'repo' then 'github.com/acme/app' else 'agent-a' end as own
from pg_class c join pg_attribute a on a.attrelid = c.oid
where c.relnamespace in ('coord'::regnamespace, 'coord_v1'::regnamespace) and c.relkind in ('r', 'p', 'v') and not c.relispartition
  and a.attname = coalesce((select 'repo' from pg_attribute r where r.attrelid = c.oid and r.attname = 'repo'
    and c.relname not in ('audit_log', 'audit', 'repo_grants', 'repos', 'sessions', 'refusals', 'breakers', 'notices')), 'agent');
grant select on scoped to public;
select cmp_ok((select count(*) from scoped), '>=', 12::bigint, 'most tables and views tell whose their rows are');

create function tests.count_rows(p_table text, p_column text, p_value text) returns bigint language plpgsql as $$
declare
  v_count bigint;
begin
  execute format('select count(*) from %s where %I = %L', p_table, p_column, p_value) into v_count;
  return v_count;
exception when insufficient_privilege then
  return 0;
end
$$;
grant usage on schema tests to public;
grant execute on function tests.count_rows to public;
select is_empty($$select name from scoped where tests.count_rows(name, column_name, others) = 0 and name not in ('coord.write_counts', 'coord_v1.locks_expiring', 'coord_v1.lock_forgetters')$$, 'and has rows of agent-c, as the superuser sees');

-- As an agent, an operator and an auditor of one repository, through their roles alone, as Realtime and views do.
create function tests.seen(p_claims jsonb, p_own boolean) returns text language sql
return tests.as_claims(p_claims, format($q$(select to_jsonb(coalesce(string_agg(s.name, ' ' order by s.name), '')) from scoped s
  where tests.count_rows(s.name, s.column_name, case when %L then s.own else s.others end) > 0)$q$, p_own)) #>> '{}';
select is(tests.seen(tests.claims('agent-a'), false), '', 'agent-a sees nothing of agent-c');
select cmp_ok(length(tests.seen(tests.claims('agent-a'), true)), '>', 100, 'but of its own');
select is(tests.seen(tests.claims('agent-b'), false), '', 'agent-b sees nothing of agent-c');
select unalike(tests.seen(tests.claims('spectator', 'coord_auditor'), false), '%lock%', 'an auditor of one repository sees no lock of another');

-- As the owner: what a body could read after it was admitted.
create function tests.as_owner(p_own boolean) returns jsonb language plpgsql security definer as $$
begin
  return (select to_jsonb(coalesce(string_agg(s.name, ' ' order by s.name), '')) from scoped s
    where tests.count_rows(s.name, s.column_name, case when p_own then s.own else s.others end) > 0);
end
$$;
alter function tests.as_owner owner to coord_owner;
grant execute on function tests.as_owner to public;
select is(tests.as_agent('agent-a', 'tests.as_owner(false)') #>> '{}', '', 'nor do the bodies, which are the owner''s');
select cmp_ok(length(tests.as_agent('agent-a', 'tests.as_owner(true)') #>> '{}'), '>', 100, 'though they see agent-a''s');
select is(tests.as_agent('agent-a', 'tests.as_owner(false)', '{"x-session-id": "other"}') #>> '{}', '', 'in any session');

-- A function without its own filter.
create temp table broken as
select regexp_replace(pg_get_functiondef('coord.check_locks'::regproc), 'and \(v_repo is null or l\.place >= .*?\$''\)', '', 's') as definition,
  pg_get_functiondef('coord.check_locks'::regproc) as whole;
select isnt(definition, whole, 'check_locks without the words that keep it to one repository') from broken;
do $$
begin
  execute (select definition from broken);
end
$$;
select is((select string_agg(distinct l ->> 'repo', ' ') from jsonb_array_elements(tests.as_agent('agent-a', $$coord_v1.check_locks()$$) -> 'locks') l), 'github.com/acme/app',
  'still shows only what the caller was granted');

select * from finish();
rollback;
