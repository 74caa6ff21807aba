-- Webhooks: what GitHub and other machines tell, without a server of our own.
--
-- A source is who may tell: its kind, its secret, the repositories it may speak of, and the
-- principal that it acts as. An event comes without a token. Its signature, an HMAC-SHA256
-- of the body as it came (x-hub-signature-256), tells which source it is from; with
-- x-coord-timestamp, of "timestamp.body", and then it is good for five minutes.
-- Headers are not signed: nothing is believed for them but the name of the event.
--
-- An event is stored once: a body that was signed and seen before is refused, whatever
-- its headers say. Bodies are kept for a week, without secrets; what identifies them for 400
-- days, so change secrets once a year and nothing that was ever seen can come again.
--
-- What an event does, it does as the principal of its source, through the same bodies as
-- any call, with that principal's profile, limits and grants, and audited in its name; the
-- request id names the source and the delivery. Where an issue names an agent
-- (agent:NAME) that the source may speak for, its locks are that agent's.
--
-- States of an event
--   received -> accepted   it did something; result says what, and what came of it
--   received -> ignored    nothing to do: unknown, or nobody waits for it
--   received -> refused    what it asked for is not permitted or makes no sense
--
-- GitHub
--   workflow_run, check_run   completed: the verdict of the job of that head and that
--                             workflow file (github_actions:ci.yml) or app and check
--                             (github_check:app-slug/name)
--   push                      of agent/NAME/T-17: a changeset of NAME, if the task is its
--   pull_request              opened, reopened or with a new head: a changeset
--   issues                    locked:PATH put on takes the lock, taken off or closed releases it;
--                             agent:NAME with status:assigned queues a task for NAME alone
-- The database wins: a label takes no lock that somebody else holds, and keeps none that ran out.
--
-- What no webhook told, and the way back, is `coord github sync`. It shows an issue to
-- sync_github_issue, which does what the labels ask for as their events would have done, where
-- that was never asked before, and answers which labels and comment the issue should have.
--
-- Lock order: the event's row first, then what its commands lock.

set role coord_owner;

create table coord.webhook_sources (
  name text primary key,
  kind text not null,
  principal text not null references coord.agents (id),
  repos text[] not null,
  speaks_for text[] not null default '{}',
  secret bytea not null,
  set_at timestamptz not null default clock_timestamp(),
  set_by text not null,
  constraint name_is_a_name check (name ~ '^[a-z0-9][a-z0-9._-]{0,49}$'),
  constraint kind_is_known check (kind in ('github', 'agent', 'agentcore')),
  constraint secret_has_a_size check (octet_length(secret) between 16 and 800)
);
comment on table coord.webhook_sources is 'Who may tell by webhook, and as whom that acts.';
create index webhook_sources_by_principal on coord.webhook_sources (principal);
alter table coord.webhook_sources enable row level security;
alter table coord.webhook_sources force row level security;
create policy oversight on coord.webhook_sources
  for all to coord_owner, coord_operator, coord_auditor
  using ((select nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'role') in ('coord_operator', 'coord_auditor'))
  with check ((select nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'role') = 'coord_operator');
create policy janitor on coord.webhook_sources for all to coord_janitor using (true);
grant select on coord.webhook_sources to coord_janitor;
-- Not the secret: nobody reads that again.
grant select (name, kind, principal, repos, speaks_for, set_at, set_by) on coord.webhook_sources to coord_operator, coord_auditor;

create table coord.webhook_events (
  id uuid primary key default gen_random_uuid(),
  source text not null,
  digest bytea not null,
  event text not null,
  delivery text,
  repo text,
  received_at timestamptz not null default clock_timestamp(),
  body jsonb,
  outcome text not null default 'received',
  result jsonb,
  constraint seen_once unique (digest),
  constraint outcome_is_known check (outcome in ('received', 'accepted', 'ignored', 'refused')),
  constraint result_says_what check ((outcome = 'received') = (result is null))
);
comment on table coord.webhook_events is 'Events that webhooks told, and what they did.';
comment on column coord.webhook_events.digest is 'Of signature and body: what makes a second one a replay.';
create index webhook_events_by_age on coord.webhook_events (received_at);
create index webhook_events_with_body on coord.webhook_events (received_at) where body is not null;
do $$
begin
  perform coord.protect_by_repo('webhook_events');
end
$$;
grant select on coord.webhook_events to coord_operator, coord_auditor;
grant select, insert, update, delete on coord.webhook_events to coord_janitor;

insert into coord.operations (name, trust) values
  ('set_webhook_source', 4), ('remove_webhook_source', 4), ('webhook_github', 2), ('webhook_agent', 2), ('webhook_agentcore', 2),
  ('sync_github_issue', 2);

insert into coord.error_codes (code, status, meaning, remedy) values
  ('webhook_signature_invalid', 401, 'No source signed this body.', 'Send x-hub-signature-256: sha256=HEX, made with the secret that set_webhook_source was given.'),
  ('webhook_out_of_time', 401, 'The signed timestamp is more than five minutes away.', 'Set the clock, and sign anew for each try.'),
  ('webhook_replayed', 409, 'This body was received before.', 'There is nothing to do; a new event has a new body.'),
  ('webhook_too_large', 413, 'A webhook''s body has at most 1048576 bytes.', 'Subscribe to fewer events, or send less.'),
  ('webhook_source_not_found', 404, 'No webhook source has this name.', 'Check the name; the view webhook_sources lists them.'),
  ('webhook_secret_invalid', 400, 'A secret has 16 to 200 characters.', 'Make one with openssl rand -hex 32.');

-- Signatures -------------------------------------------------------------------------------

create function coord.hmac_sha256(p_key bytea, p_data bytea) returns bytea
language sql immutable
begin atomic
  -- RFC 2104, without pgcrypto: a long key is hashed, a short one filled up to a block of 64 bytes.
  select sha256(p.outside || sha256(p.inside || p_data))
  from (
    select string_agg(set_byte('\x00', 0, get_byte(k.key, i) # 54), '' order by i) as inside,
      string_agg(set_byte('\x00', 0, get_byte(k.key, i) # 92), '' order by i) as outside
    from (
      select case when octet_length(p_key) > 64 then sha256(p_key) else p_key end || decode(repeat('00', 64), 'hex') as key
    ) k, generate_series(0, 63) i
  ) p;
end;
comment on function coord.hmac_sha256 is 'HMAC-SHA256 (RFC 2104).';

create function coord.same_bytes(p_one bytea, p_two bytea) returns boolean
language plpgsql volatile
as $$
declare
  v_salt bytea := uuid_send(gen_random_uuid());
begin
  -- How soon two hashes differ says nothing of how soon these do.
  return sha256(v_salt || p_one) = sha256(v_salt || p_two);
end
$$;
comment on function coord.same_bytes is 'Whether two values are the same, in a time that does not tell where they differ.';
grant execute on function coord.hmac_sha256, coord.same_bytes, coord.canonical_repo to coord_janitor;

-- Acting -----------------------------------------------------------------------------------

set role coord_janitor;

create function coord.act_for(p_agent text, p_session_id text, p_request_id text) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  v_role text := (select a.role from coord.agents a where a.id = p_agent);
begin
  -- As if it had called: the same checks, and nothing of the caller's headers.
  perform set_config('request.jwt.claims', jsonb_build_object('sub', p_agent, 'role', v_role, 'aud', 'coord', 'jti', 'webhook',
      'exp', extract(epoch from clock_timestamp() + interval '1 minute'), 'session_id', left(p_session_id, 128))::text, true),
    set_config('request.headers', jsonb_build_object('x-request-id', p_request_id)::text, true), set_config('coord.caller', '', true);
  perform coord.admit_as(v_role);
end
$$;
comment on function coord.act_for is 'Goes on as this principal, admitted like any caller; for webhooks.';
grant execute on function coord.act_for to coord_owner;

set role coord_owner;

create function coord.put_result(
  p_call coord.call, p_executor text, p_target text, p_head text, p_conclusion text, p_committed_at timestamptz, p_evidence jsonb
) returns jsonb
language plpgsql
as $$
declare
  v_number bigint;
  v_job coord.verification_jobs;
begin
  select j.number into v_number from coord.verification_jobs j
  where j.repo = p_call.repo and j.head = p_head and j.executor = p_executor and j.target = p_target and j.ended_at is null;
  if not found then
    return jsonb_build_object('outcome', 'ignored', 'why', format('no job waits for %s', coord.full_executor(p_executor, p_target)));
  end if;
  v_job := coord.hold_job(v_number);
  if v_job.author = p_call.agent then
    perform coord.fail('author_cannot_verify');
  elsif v_job.ended_at is not null or p_conclusion not in ('success', 'failure', 'timed_out', 'cancelled', 'startup_failure')
    or p_conclusion not in ('success', 'failure') and v_job.state <> 'running' then
    return jsonb_build_object('outcome', 'ignored', 'why', format('%s says nothing of V-%s', p_conclusion, v_number));
  elsif p_conclusion in ('success', 'failure') then
    return coord.put_verdict(v_job, p_conclusion = 'success', p_evidence, p_call.agent, p_committed_at) || '{"outcome": "accepted"}';
  end if;
  return jsonb_build_object('outcome', 'accepted', 'job', 'V-' || v_number,
    'state', coord.end_attempt(v_job, case p_conclusion when 'timed_out' then 'timed_out' else 'error' end, p_conclusion));
end
$$;
comment on function coord.put_result is 'What a run elsewhere came to, for the job that waits for it.';

create function coord.branch_author(p_new coord.changesets, p_login text) returns coord.changesets
language plpgsql
as $$
declare
  v_new coord.changesets := p_new;
  v_agent text := (regexp_match(p_new.branch, '^agent/([^/]+)/.'))[1];
begin
  v_new.author := v_agent;
  v_new.author_trust := coord.author_trust(v_agent, p_new.repo);
  if v_new.author_trust is null then
    v_new.author := left('github:' || p_login, 100);
    v_new.author_trust := 0;
  end if;
  v_new.task := substr((regexp_match(p_new.branch, '^agent/[^/]+/(T-[0-9]{1,18})$', 'i'))[1], 3)::bigint;
  -- A name that anybody could have given a branch is trusted as far as a task of that agent bears it out (put_changeset).
  if v_new.task is null then
    v_new.author_trust := least(v_new.author_trust, 1);
  end if;
  return v_new;
end
$$;
comment on function coord.branch_author is 'Whose change a branch agent/NAME/TASK holds: NAME''s, if it is an agent of the repository.';

create function coord.act_on_push(p_call coord.call, p_body jsonb) returns jsonb
language plpgsql
as $$
declare
  c_nothing constant text := repeat('0', 40);
  v_new coord.changesets;
begin
  v_new.branch := (regexp_match(p_body ->> 'ref', '^refs/heads/(agent/[^/]+/.+)$'))[1];
  if v_new.branch is null or p_body ->> 'after' = c_nothing then
    return jsonb_build_object('outcome', 'ignored', 'why', 'only branches like agent/NAME/T-17 are changes of agents');
  end if;
  v_new.repo := p_call.repo;
  v_new.base := p_body ->> 'before';
  v_new.head := p_body ->> 'after';
  v_new := coord.branch_author(v_new, p_body #>> '{sender,login}');
  v_new.paths := coalesce((
    select array_agg(distinct normalize(f, nfc))
    from jsonb_array_elements(p_body -> 'commits') c, unnest(array['added', 'modified', 'removed']) k, jsonb_array_elements_text(c -> k) f), '{}');
  -- What a push lists is what it adds: all there is on a new branch, or on a head that is known.
  v_new.paths_known := v_new.paths <> '{}' and cardinality(v_new.paths) <= 5000 and jsonb_array_length(p_body -> 'commits') < 2048
    and not coalesce((p_body ->> 'forced')::boolean, false)
    and (v_new.base = c_nothing or exists (select from coord.changesets c where c.repo = p_call.repo and c.head = v_new.base));
  v_new.paths := v_new.paths[:5000];
  v_new.files := case when v_new.paths_known then cardinality(v_new.paths) end;
  v_new.head_committed_at := coord.moment('head_commit.timestamp', p_body #>> '{head_commit,timestamp}');
  return coord.put_changeset(p_call, v_new, 'webhook');
end
$$;
comment on function coord.act_on_push is 'A push to the branch of an agent is a change of it.';

create function coord.act_on_pull_request(p_call coord.call, p_body jsonb) returns jsonb
language plpgsql
as $$
declare
  v_pull jsonb := p_body -> 'pull_request';
  v_new coord.changesets;
begin
  v_new.repo := p_call.repo;
  v_new.base := v_pull #>> '{base,sha}';
  v_new.head := v_pull #>> '{head,sha}';
  -- In a fork anybody names branches.
  v_new.branch := case when v_pull #>> '{head,repo,full_name}' = p_body #>> '{repository,full_name}' then v_pull #>> '{head,ref}' end;
  v_new := coord.branch_author(v_new, v_pull #>> '{user,login}');
  -- GitHub tells how much changed, and not what.
  v_new.paths := '{}';
  v_new.paths_known := false;
  v_new.files := (v_pull ->> 'changed_files')::integer;
  v_new.lines := (v_pull ->> 'additions')::integer + (v_pull ->> 'deletions')::integer;
  return coord.put_changeset(p_call, v_new, 'webhook');
end
$$;
comment on function coord.act_on_pull_request is 'A pull request is a change whose paths are not known, unless its head was submitted already.';

create function coord.act_on_issue(p_call coord.call, p_speaks_for text[], p_body jsonb) returns jsonb
language plpgsql
as $$
declare
  v_issue jsonb := p_body -> 'issue';
  v_name text := format('%s#%s', p_body #>> '{repository,full_name}', v_issue ->> 'number');
  v_session text := 'github:' || lower(v_name); -- to GitHub, names are the same in all letters
  v_action text := p_body ->> 'action';
  v_label text := p_body #>> '{label,name}';
  v_agents text[] := array(
    select substr(l ->> 'name', 7) from jsonb_array_elements(v_issue -> 'labels') l where l ->> 'name' like 'agent:%');
  v_agent text := case when cardinality(v_agents) = 1 and coord.author_trust(v_agents[1], p_call.repo) is not null then v_agents[1] end;
  v_holder text;
  v_path text;
  v_task bigint;
  v_did jsonb := jsonb '[]';
begin
  if v_action = 'labeled' and v_label like 'locked:%' then
    v_holder := case when p_speaks_for && array[v_agent, '*'] and v_agent is not null then v_agent else p_call.agent end;
    perform coord.act_for(v_holder, v_session, p_call.request_id);
    v_did := jsonb_build_array(coord.acquire_lock(p_call.repo, array[substr(v_label, 8)], 'exclusive', least(28800, (coord.profile()).max_ttl_seconds),
      left(format('issue %s: %s', v_name, v_issue ->> 'title'), 500), 0) || jsonb_build_object('function', 'acquire_lock', 'as', v_holder));
  elsif v_action = 'unlabeled' and v_label like 'locked:%' or v_action in ('closed', 'deleted', 'transferred') then
    -- Whoever it was taken for: the labels may say another by now.
    v_path := case when v_action = 'unlabeled' then coord.canonical_path(substr(v_label, 8)) end;
    for v_holder in
      select distinct l.agent from coord.locks l
      where l.repo = p_call.repo and l.session_id = v_session and l.released_at is null and l.path = coalesce(v_path, l.path) order by 1
    loop
      perform coord.act_for(v_holder, v_session, p_call.request_id);
      v_did := v_did || (coord.release_lock(p_call.repo, case when v_path is not null then array[v_path] end)
        || jsonb_build_object('function', 'release_lock', 'as', v_holder));
    end loop;
  elsif v_action = 'labeled' and (v_label = 'status:assigned' or v_label like 'agent:%')
    and v_issue -> 'labels' @> '[{"name": "status:assigned"}]' and v_agent is not null then
    v_did := jsonb_build_array(coord.submit_work(p_call.repo, jsonb_build_object('title', left(v_issue ->> 'title', 200),
      'description', left(v_issue ->> 'body', 20000), 'task_type', 'github_issue', 'dedup_key', v_session, 'requires', jsonb_build_object('agents', jsonb_build_array(v_agent)),
      'input', jsonb_build_object('issue', v_issue -> 'number', 'url', v_issue -> 'html_url'))) || '{"function": "submit_work"}');
  elsif v_action = 'unlabeled' and v_label = 'status:assigned' then
    select t.number into v_task from coord.tasks t
    where t.repo = p_call.repo and t.dedup_key = v_session and t.state = 'pending' and t.submitted_by = p_call.agent;
    if found then
      v_did := jsonb_build_array(coord.cancel_work(coord.task_name(v_task), 'no longer assigned') || '{"function": "cancel_work"}');
    end if;
  end if;
  return case when v_did = '[]' then jsonb_build_object('outcome', 'ignored', 'why', 'no label of ours, or no agent of this repository')
    else jsonb_build_object('outcome', 'accepted', 'did', v_did) end;
end
$$;
comment on function coord.act_on_issue is 'Labels of an issue take and release locks, and queue tasks.';

create function coord.why_no_verdict(p_event text, p_run jsonb, p_repository text) returns text
language sql immutable
return case
  -- A fork's run is of the fork's workflow file, whatever that says by now; a fork that is gone is none.
  when p_event = 'workflow_run' and lower(p_run #>> '{head_repository,full_name}') is distinct from lower(p_repository)
    or p_event = 'check_run' and p_run #>> '{app,slug}' = 'github-actions' and p_run #>> '{check_suite,head_branch}' is null
  then 'a run of a fork''s workflow is its author''s word'
  -- Others (pull_request_target, schedule, issue_comment) name a head that they need not have checked out.
  when p_event = 'workflow_run' and coalesce(p_run ->> 'event', '') not in ('push', 'pull_request', 'merge_group', 'workflow_dispatch')
  then format('a run that %s started says nothing of its head', coalesce(p_run ->> 'event', 'nobody knows what'))
end;
comment on function coord.why_no_verdict is 'Why a run at GitHub is no evidence for its head, whatever it came to; null where it is some.';

create function coord.act_on_github(p_call coord.call, p_speaks_for text[], p_event text, p_body jsonb) returns jsonb
language plpgsql
as $$
declare
  v_run jsonb := p_body -> p_event;
  v_action text := p_body ->> 'action';
  v_why text := case when v_action = 'completed' then coord.why_no_verdict(p_event, v_run, p_body #>> '{repository,full_name}') end;
begin
  return case
    when v_why is not null then jsonb_build_object('outcome', 'ignored', 'why', v_why)
    when p_event = 'workflow_run' and v_action = 'completed' then
      coord.put_result(p_call, 'github_actions', regexp_replace(v_run ->> 'path', '^\.github/workflows/|@.*$', '', 'g'), v_run ->> 'head_sha', v_run ->> 'conclusion',
        coord.moment('head_commit.timestamp', v_run #>> '{head_commit,timestamp}'), jsonb_strip_nulls(jsonb_build_object('commit', v_run -> 'head_sha',
          'log_url', v_run -> 'html_url', 'started_at', v_run -> 'run_started_at', 'ended_at', v_run -> 'updated_at', 'summary', v_run -> 'name', 'run', v_run -> 'id')))
    when p_event = 'check_run' and v_action = 'completed' then
      coord.put_result(p_call, 'github_check', (v_run #>> '{app,slug}') || '/' || (v_run ->> 'name'), v_run ->> 'head_sha', v_run ->> 'conclusion', null,
        jsonb_strip_nulls(jsonb_build_object('commit', v_run -> 'head_sha', 'log_url', coalesce(v_run -> 'html_url', v_run -> 'details_url'),
          'started_at', v_run -> 'started_at', 'ended_at', v_run -> 'completed_at', 'summary', v_run #> '{output,title}', 'run', v_run -> 'id')))
    when p_event = 'push' then coord.act_on_push(p_call, p_body)
    when p_event = 'pull_request' and v_action in ('opened', 'reopened', 'synchronize') then coord.act_on_pull_request(p_call, p_body)
    when p_event = 'issues' then coord.act_on_issue(p_call, p_speaks_for, p_body)
    else jsonb_build_object('outcome', 'ignored', 'why', 'nothing is done for this event') end;
end
$$;
comment on function coord.act_on_github is 'Does what an event of GitHub asks for.';

create function coord.act_on_webhook(
  p_function text, p_source text, p_session_id text, p_repos text[], p_speaks_for text[], p_repo text, p_event text, p_delivery text, p_body jsonb
) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_call coord.call := coord.open_call(p_function, jsonb_build_object('source', p_source, 'event', p_event, 'delivery', p_delivery));
  v_result jsonb;
  v_outcome text;
  v_repo text;
begin
  if v_call.answer is not null then return v_call.answer; end if;
  v_call.repo := p_repo;
  if p_repo is not null and not (p_repo = any (p_repos) and coord.granted(p_repo)) then
    return coord.deny(v_call, 'repo_not_granted', format('source %s does not speak of %s', p_source, p_repo));
  elsif p_function <> 'webhook_github' and p_body ? 'job' then
    select j.repo into v_repo from coord.verification_jobs j where j.number = coord.job_number(p_body ->> 'job');
    if v_repo <> all (p_repos) then
      return coord.deny(v_call, 'repo_not_granted', format('source %s does not speak of %s', p_source, v_repo));
    end if;
    v_result := coord.report_verification(p_body ->> 'job', p_body ->> 'status', p_body - '{job,status,attempt}'::text[], 
        case when p_body ->> 'attempt' ~ '^[0-9]{1,9}$' then (p_body ->> 'attempt')::integer end)
      || jsonb_build_object('function', 'report_verification');
    v_result := jsonb_build_object('outcome', 'accepted', 'did', jsonb_build_array(v_result));
  elsif p_function = 'webhook_github' and p_repo is not null then
    v_result := coord.act_on_github(v_call, p_speaks_for, p_event, p_body);
  else
    v_result := jsonb_build_object('outcome', 'ignored', 'why', 'nothing is done for this event');
  end if;
  v_outcome := case when v_result ->> 'outcome' = 'ignored' then 'ignored' else 'accepted' end;
  -- It may have gone on as somebody else.
  perform coord.act_for(v_call.agent, p_session_id, v_call.request_id);
  return coord.close_call(v_call, true, v_outcome, jsonb_build_object('repo', p_repo) || v_result - 'outcome', p_audited => v_outcome <> 'ignored');
end
$$;
comment on function coord.act_on_webhook is 'Does what an event asks for, as the principal of its source.';
grant execute on function coord.act_on_webhook to coord_janitor;

-- The way back -----------------------------------------------------------------------------

set role coord_janitor;

create function coord.github_voices(p_agent text, p_repo text) returns text[]
language sql stable security definer set search_path = ''
begin atomic
  select array_agg(distinct v.name)
  from coord.webhook_sources s cross join lateral unnest(s.speaks_for || s.principal) v (name)
  where s.kind = 'github' and s.principal = p_agent and p_repo = any (s.repos);
end;
comment on function coord.github_voices is 'In whose names this principal of a GitHub source may speak in a repository; null for everybody else.';
grant execute on function coord.github_voices to coord_owner;

set role coord_owner;

create function coord.as_code(p_text text) returns text
language sql immutable
return '`' || translate(left(p_text, 200), e'`|\n\r', e'\'/  ') || '`';
comment on function coord.as_code is 'A text as code in a table of GitHub: nothing in it is read as anything else.';

create function coord.label_path(p_label text) returns text
language plpgsql stable
as $$
begin
  return coord.canonical_path(substr(p_label, 8));
exception when sqlstate 'PT400' then
  return null;
end
$$;
comment on function coord.label_path is 'The path that a label locked:PATH is about; null where it is none.';

create function coord.missed_on_issue(p_repo text, p_session text, p_labels text[], p_open boolean) returns jsonb
language plpgsql stable
as $$
begin
  if not p_open then
    return case when exists (select from coord.locks l where l.repo = p_repo and l.session_id = p_session and l.released_at is null and l.expires_at > clock_timestamp())
      then '[{"action": "closed"}]' else jsonb '[]' end;
  end if;
  -- A lock or task that there ever was is the database's to judge.
  return (
    select coalesce(jsonb_agg(jsonb_build_object('action', 'labeled', 'label', jsonb_build_object('name', a.label)) order by a.label), '[]')
    from unnest(p_labels) a (label)
    where a.label like 'locked:%' and coord.label_path(a.label) is not null
        and not exists (select from coord.locks l where l.repo = p_repo and l.session_id = p_session and l.path = coord.label_path(a.label))
        and not exists (select from coord.past_locks l where l.repo = p_repo and l.session_id = p_session and l.path = coord.label_path(a.label))
      or a.label = 'status:assigned'
        and not exists (select from coord.tasks t where t.repo = p_repo and t.dedup_key = p_session)
        and not exists (select from coord.past_tasks t where t.repo = p_repo and t.dedup_key = p_session));
end
$$;
comment on function coord.missed_on_issue is 'What an issue asks for and no event told.';

create function coord.issue_labels(p_labels text[], p_locks jsonb, p_task jsonb, out to_add text[], out to_remove text[])
language plpgsql stable
as $$
declare
  v_state text := p_task ->> 'state';
  v_want text[] := array(select 'locked:' || (l ->> 'path') from jsonb_array_elements(p_locks) l);
begin
  if p_task is not null then
    -- Assigned stays as long as it is open: its loss cancels a task that waits.
    v_want := v_want || case v_state when 'pending' then array['status:assigned'] when 'claimed' then array['status:assigned', 'status:in-progress']
      else array['status:' || v_state] end
      || array(select 'agent:' || f from jsonb_array_elements_text(p_task -> 'for') f where jsonb_array_length(p_task -> 'for') = 1);
  end if;
  -- GitHub's labels have at most 50 characters; what is longer stands in the comment alone.
  to_add := array(
    select w from unnest(v_want) w
    where length(w) <= 50 and w <> all (p_labels)
      and not (w like 'locked:%' and exists (select from unnest(p_labels) l where l like 'locked:%' and 'locked:' || coord.label_path(l) = w)) order by 1);
  to_remove := array(
    select l from unnest(p_labels) l
    where l like 'locked:%' and 'locked:' || coord.label_path(l) <> all (v_want)
      or p_task is not null and l in ('status:assigned', 'status:in-progress', 'status:completed', 'status:dead', 'status:cancelled') and l <> all (v_want) order by 1);
end
$$;
comment on function coord.issue_labels is 'Which labels an issue should get and lose.';

create function coord.issue_comment(p_locks jsonb, p_task jsonb, p_open_tasks text) returns text
language sql stable
return '**Coordination**' || e'\n\n' || coalesce(e'| locked | mode | by | fence | until |\n|---|---|---|---|---|\n' || (
    select string_agg(format('| %s | %s | %s | %s | %s UTC |', coord.as_code(l ->> 'path'), l ->> 'mode', coord.as_code(l ->> 'holder'), l ->> 'fence',
      to_char((l ->> 'expires_at')::timestamptz at time zone 'UTC', 'YYYY-MM-DD HH24:MI')), e'\n' order by l ->> 'path')
    from jsonb_array_elements(p_locks) l), 'Nothing is locked.')
  || coalesce(e'\n\n' || p_open_tasks, '')
  || coalesce(format(e'\n\n%s is %s%s.', p_task ->> 'task', p_task ->> 'state', coalesce(' by ' || coord.as_code(p_task ->> 'agent'), '')), '');
comment on function coord.issue_comment is 'What the comment of an issue says.';

create function coord.open_tasks_told(p_repo text) returns text
language sql stable
begin atomic
  select coalesce(e'| task | | state | |\n|---|---|---|---|\n' || string_agg(format('| %s | %s | %s | %s |', coord.task_name(t.number), coord.as_code(t.title), t.state,
    coord.as_code(t.who)), e'\n' order by t.number), 'No task is open.')
  from (
    select o.number, o.title, o.state, coalesce(case when o.state = 'claimed' then o.agent end, array_to_string(o.only_agents, ', ')) as who
    from coord.tasks o where o.repo = p_repo order by o.number limit 100
  ) t;
end;
comment on function coord.open_tasks_told is 'The open tasks of a repository as a table of GitHub.';

create function coord.sync_github_issue(p_repo text, p_issue jsonb, p_overview boolean, p_plan boolean) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_call coord.call := coord.open_repo_call('sync_github_issue',
    jsonb_build_object('repo', p_repo, 'issue', p_issue - 'body', 'overview', p_overview, 'plan', p_plan));
  v_name text := case when jsonb_typeof(p_issue) = 'object' then p_issue ->> 'full_name' end;
  v_voices text[];
  v_session text;
  v_labels text[];
  v_event jsonb;
  v_missed jsonb := jsonb '[]';
  v_ask jsonb;
  v_did jsonb := jsonb '[]';
  v_locks jsonb;
  v_task jsonb;
  v_change record;
begin
  if v_call.answer is not null then return v_call.answer; end if;
  if p_issue ->> 'number' !~ '^[1-9][0-9]{0,8}$' or jsonb_typeof(p_issue -> 'labels') is distinct from 'array'
    or lower(v_name) is distinct from lower(substr(v_call.repo, strpos(v_call.repo, '/') + 1)) then
    perform coord.fail('argument_invalid', 'issue has full_name (owner/name of the repository), number, labels (names), state, title, body and url');
  end if;
  v_voices := coord.github_voices(v_call.agent, v_call.repo);
  if v_voices is null and v_call.role <> 'coord_operator' then
    return coord.deny(v_call, 'operation_not_permitted', format('%s is the principal of no GitHub source (set_webhook_source) of %s', v_call.agent, v_call.repo));
  end if;
  v_session := format('github:%s#%s', lower(v_name), p_issue ->> 'number');
  v_labels := coord.text_array('labels', p_issue -> 'labels', 200, 200);
  p_overview := coalesce(p_overview, false);
  p_plan := coalesce(p_plan, false);

  if not p_overview then
    v_missed := coord.missed_on_issue(v_call.repo, v_session, v_labels, p_issue ->> 'state' is distinct from 'closed');
    v_event := jsonb_build_object('repository', jsonb_build_object('full_name', v_name), 'issue', jsonb_build_object('number', p_issue -> 'number',
      'title', coalesce(p_issue ->> 'title', ''), 'body', p_issue -> 'body', 'html_url', p_issue -> 'url',
      'labels', (select coalesce(jsonb_agg(jsonb_build_object('name', l)), '[]') from unnest(v_labels) l)));
  end if;
  for v_ask in select a from jsonb_array_elements(v_missed) a where not p_plan loop
    -- As the webhook would have: with nothing of the headers, whose idempotency key is this call's.
    perform coord.act_for(v_call.agent, v_call.session_id, v_call.request_id);
    v_did := v_did || coalesce(coord.act_on_issue(v_call, coalesce(v_voices, '{}'), v_event || v_ask) -> 'did', '[]');
    perform coord.act_for(v_call.agent, v_call.session_id, v_call.request_id);
  end loop;

  select coalesce(jsonb_agg(coord.describe_lock(l, clock_timestamp()) order by l.path), '[]') into v_locks
  from (
    select * from coord.locks o
    where o.repo = v_call.repo and (p_overview or o.session_id = v_session) and o.released_at is null and o.expires_at > clock_timestamp()
    order by o.path limit 200
  ) o, lateral (select (o).*) l;
  select jsonb_build_object('task', coord.task_name(t.number), 'title', t.title, 'state', t.state, 'agent', t.agent, 'for', t.only_agents) into v_task
  from (
    select o.number, o.title, o.state, case when o.state = 'claimed' then o.agent end as agent, o.only_agents
    from coord.tasks o where o.repo = v_call.repo and o.dedup_key = v_session and not p_overview
    union all
    select p.number, p.title, p.state, p.agent, p.only_agents
    from coord.past_tasks p where p.repo = v_call.repo and p.dedup_key = v_session and not p_overview
    order by 1 desc limit 1
  ) t;
  v_change := coord.issue_labels(case when p_overview then '{}' else v_labels end, case when p_overview then '[]' else v_locks end, v_task);
  return coord.close_call(v_call, true, case when p_plan then 'planned' else 'synced' end, jsonb_build_object(
      'repo', v_call.repo, 'issue', p_issue -> 'number', 'did', case when p_plan then v_missed else v_did end, 'add', to_jsonb(v_change.to_add),
      -- A plan counts what it would take as taken.
      'remove', (select coalesce(jsonb_agg(r order by r), '[]') from unnest(v_change.to_remove) r
        where not (p_plan and v_missed @> jsonb_build_array(jsonb_build_object('label', jsonb_build_object('name', r))))),
      'locks', v_locks, 'task', v_task, 'comment', coord.issue_comment(v_locks, v_task, case when p_overview then coord.open_tasks_told(v_call.repo) end),
      'empty', v_locks = '[]' and v_task is null and not p_overview),
    p_audited => v_did <> '[]', p_result => jsonb_build_object('issue', p_issue -> 'number', 'did', v_did));
end
$$;

-- Receiving --------------------------------------------------------------------------------

set role coord_janitor;

create function coord.receive_webhook(p_kind text, p_body json) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_headers jsonb := coalesce(nullif(current_setting('request.headers', true), ''), '{}')::jsonb;
  v_text text := p_body::text;
  v_stamp text := v_headers ->> 'x-coord-timestamp';
  v_signature text := substr(v_headers ->> 'x-hub-signature-256', 8);
  v_signed bytea := convert_to(coalesce(v_stamp || '.', '') || v_text, 'UTF8');
  v_source coord.webhook_sources;
  v_body jsonb;
  v_event text;
  v_delivery text;
  v_repo text;
  v_session text;
  v_id uuid;
  v_code text;
  v_details text;
  v_result jsonb;
begin
  if v_text is null then
    perform coord.fail('argument_required', 'a webhook has a body');
  elsif octet_length(v_text) > 1048576 then
    perform coord.fail('webhook_too_large');
  elsif v_headers ->> 'x-hub-signature-256' !~ '^sha256=[0-9a-f]{64}$' or v_signature is null then
    perform coord.fail('webhook_signature_invalid', 'the header x-hub-signature-256 is sha256= and 64 hexadecimal digits');
  end if;
  select * into v_source from coord.webhook_sources s
  where s.kind = p_kind and coord.same_bytes(coord.hmac_sha256(s.secret, v_signed), decode(v_signature, 'hex')) order by s.name limit 1;
  if not found then
    perform coord.fail('webhook_signature_invalid');
  elsif v_stamp is not null and coalesce(v_stamp !~ '^[0-9]{1,12}$' or abs(extract(epoch from clock_timestamp()) - v_stamp::bigint) > 300, true) then
    perform coord.fail('webhook_out_of_time');
  end if;
  v_body := v_text::jsonb;
  if jsonb_typeof(v_body) <> 'object' then
    perform coord.fail('argument_invalid', 'the body of a webhook is an object');
  end if;
  v_event := left(coalesce(v_headers ->> 'x-github-event', v_body ->> 'event', 'unknown'), 100);
  v_delivery := left(coalesce(v_headers ->> 'x-github-delivery', v_headers ->> 'x-request-id'), 100);
  v_repo := coalesce(v_body #>> '{repository,html_url}', v_body ->> 'repo');
  v_repo := case when v_repo <> '' then coord.canonical_repo(v_repo) end;
  insert into coord.webhook_events (source, digest, event, delivery, repo, body)
  values (v_source.name, sha256(decode(v_signature, 'hex') || sha256(convert_to(v_text, 'UTF8'))), v_event, v_delivery, v_repo, coord.redacted(v_body))
  on conflict (digest) do nothing
  returning id into v_id;
  if v_id is null then
    perform coord.fail('webhook_replayed');
  end if;

  v_session := 'webhook:' || v_source.name;
  begin
    perform coord.act_for(v_source.principal, v_session, left(format('webhook %s %s', v_source.name, v_delivery), 200));
    v_result := coord.act_on_webhook('webhook_' || p_kind, v_source.name, v_session, v_source.repos, v_source.speaks_for, v_repo, v_event, v_delivery, v_body);
  exception when sqlstate 'PT400' or sqlstate 'PT401' or sqlstate 'PT403' or sqlstate 'PT404' or sqlstate 'PT409' or sqlstate 'PT422' then
    -- Kept with what was wrong with it; nothing else of it is.
    get stacked diagnostics v_code = message_text, v_details = pg_exception_detail;
    v_result := jsonb_build_object('ok', false, 'outcome', 'refused', 'code', v_code, 'details', v_details);
  end;
  if v_result ->> 'outcome' = 'denied' then
    v_result := v_result || '{"outcome": "refused"}';
  end if;
  update coord.webhook_events e set outcome = v_result ->> 'outcome', result = coord.redacted(v_result - '{ok,outcome}'::text[]) where e.id = v_id;
  -- Received is received: what came of it is in the answer. And nobody goes on as its principal.
  perform set_config('request.jwt.claims', '', true), set_config('coord.caller', '', true), set_config('coord.repos', '', true),
    set_config('coord.profile', '', true), set_config('response.status', '200', true), set_config('response.headers', '', true);
  return v_result || jsonb_build_object('event', v_id);
end
$$;
comment on function coord.receive_webhook is 'Checks the signature of an event, keeps it and has it acted on.';

create function coord.purge_webhooks(p_max_rows integer) returns void
language sql security definer set search_path = ''
begin atomic
  update coord.webhook_events e set body = null where e.id in (
    select o.id from coord.webhook_events o
    where o.body is not null and o.received_at < clock_timestamp() - interval '7 days' order by o.received_at limit p_max_rows for update skip locked);
  delete from coord.webhook_events e where e.id in (
    select o.id from coord.webhook_events o
    where o.received_at < clock_timestamp() - interval '400 days' order by o.received_at limit p_max_rows for update skip locked);
end;
comment on function coord.purge_webhooks is 'Forgets bodies of events after a week, and events after 400 days.';
grant execute on function coord.receive_webhook to anon;

set role coord_owner;

-- Sources ----------------------------------------------------------------------------------

create function coord.set_webhook_source(
  p_name text, p_kind text, p_principal text, p_secret text, p_repos text[], p_speaks_for text[]
) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_call coord.call := coord.open_call('set_webhook_source', jsonb_build_object('name', p_name, 'kind', p_kind, 'principal', p_principal,
    'secret', sha256(convert_to(coalesce(p_secret, ''), 'UTF8')), 'repos', p_repos, 'speaks_for', p_speaks_for));
  v_repos text[];
  v_speaks_for text[];
begin
  if v_call.answer is not null then return v_call.answer; end if;
  if p_name is null or p_name !~ '^[a-z0-9][a-z0-9._-]{0,49}$' then
    perform coord.fail('argument_invalid', 'name has 1 to 50 small letters, digits and . _ -');
  elsif coalesce(p_kind, '') not in ('github', 'agent', 'agentcore') then
    perform coord.fail('argument_invalid', 'kind is github, agent or agentcore');
  elsif p_secret is null or length(p_secret) not between 16 and 200 then
    perform coord.fail('webhook_secret_invalid');
  elsif not exists (select from coord.agents a where a.id = p_principal and a.role in ('coord_agent', 'coord_operator')) then
    perform coord.fail('agent_not_found', format('no agent or operator is called %s', quote_literal(left(coalesce(p_principal, ''), 100))));
  elsif coalesce(cardinality(p_repos), 0) not between 1 and 100 then
    perform coord.fail('argument_required', 'repos has 1 to 100 entries');
  end if;
  v_repos := array(select distinct coord.canonical_repo(r) from unnest(p_repos) r order by 1);
  v_speaks_for := coord.text_array('speaks_for', to_jsonb(p_speaks_for), 100, 100);
  insert into coord.webhook_sources as s (name, kind, principal, repos, speaks_for, secret, set_by)
  values (p_name, p_kind, p_principal, v_repos, v_speaks_for, convert_to(p_secret, 'UTF8'), v_call.agent)
  on conflict (name) do update set kind = excluded.kind, principal = excluded.principal, repos = excluded.repos, speaks_for = excluded.speaks_for,
    secret = excluded.secret, set_at = clock_timestamp(), set_by = excluded.set_by;
  return coord.close_call(v_call, true, 'set', jsonb_build_object('name', p_name, 'kind', p_kind, 'principal', p_principal, 'repos', v_repos,
    'speaks_for', v_speaks_for, 'path', '/rpc/webhook_' || p_kind));
end
$$;

create function coord.remove_webhook_source(p_name text) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_call coord.call := coord.open_call('remove_webhook_source', jsonb_build_object('name', p_name));
begin
  if v_call.answer is not null then return v_call.answer; end if;
  delete from coord.webhook_sources s where s.name = p_name;
  if not found then
    perform coord.fail('webhook_source_not_found', format('no source is called %s', quote_literal(left(coalesce(p_name, ''), 100))));
  end if;
  return coord.close_call(v_call, true, 'removed', jsonb_build_object('name', p_name));
end
$$;

-- The contract -------------------------------------------------------------------------

create domain coord_v1.webhook_source as text;
comment on domain coord_v1.webhook_source is $$Name of a source, as github-acme.
@schema {"maxLength": 50}$$;
create domain coord_v1.webhook_kind as text;
comment on domain coord_v1.webhook_kind is $$Whose events.
@schema {"enum": ["github", "agent", "agentcore"]}$$;
create domain coord_v1.webhook_secret as text;
comment on domain coord_v1.webhook_secret is $$What it signs with; never shown again.
@schema {"minLength": 16, "maxLength": 200}$$;
create domain coord_v1.principal_list as text[];
comment on domain coord_v1.principal_list is $$Agents in whose name its issue labels may take locks; * is any of the repository.
@schema {"maxItems": 100}$$;

create function coord_v1.webhook_github(json) returns jsonb
language sql
return coord.receive_webhook('github', $1);
comment on function coord_v1.webhook_github is $$Receive an event of GitHub; its signature stands for a token.
Payload URL: this address, content type application/json, with the secret of a source (set_webhook_source). A body is acted on once.
Outcomes: accepted with did[] or the changeset or job; ignored with why; refused with code and details. Errors: webhook_signature_invalid, webhook_out_of_time, webhook_replayed, webhook_too_large, argument_required, argument_invalid, repo_invalid.
@toolset full$$;

create function coord_v1.webhook_agent(json) returns jsonb
language sql
return coord.receive_webhook('agent', $1);
comment on function coord_v1.webhook_agent is $$Receive a signed report of an agent or a sandbox: {job, attempt, status, commit, started_at, ended_at, log_url}.
Signed like GitHub's events; with x-coord-timestamp over "timestamp.body". Its principal is who took the job.
Outcomes: accepted with did[]; ignored with why; refused with code and details. Errors: webhook_signature_invalid, webhook_out_of_time, webhook_replayed, webhook_too_large, argument_required, argument_invalid, repo_invalid.
@toolset full$$;

create function coord_v1.webhook_agentcore(json) returns jsonb
language sql
return coord.receive_webhook('agentcore', $1);
comment on function coord_v1.webhook_agentcore is $$Receive a signed report of a runtime of AgentCore; as webhook_agent.
Outcomes: accepted with did[]; ignored with why; refused with code and details. Errors: webhook_signature_invalid, webhook_out_of_time, webhook_replayed, webhook_too_large, argument_required, argument_invalid, repo_invalid.
@toolset full$$;

create function coord_v1.set_webhook_source(
  name coord_v1.webhook_source,
  kind coord_v1.webhook_kind,
  principal coord_v1.principal,
  secret coord_v1.webhook_secret,
  repos coord_v1.repo_list,
  speaks_for coord_v1.principal_list default '{}'
) returns jsonb language sql
return coord.set_webhook_source(name, kind, principal, secret, repos, speaks_for);
comment on function coord_v1.set_webhook_source is $$Let a machine tell by webhook, as a principal and of some repositories; or change its secret.
What its events do is done with the rights of the principal, and audited in its name. Outcome: set, with path: where it posts to. Errors: argument_invalid, argument_required, argument_too_long, webhook_secret_invalid, agent_not_found, repo_invalid.
@toolset full
@idempotent$$;

create function coord_v1.remove_webhook_source(name coord_v1.webhook_source) returns jsonb
language sql
return coord.remove_webhook_source(name);
comment on function coord_v1.remove_webhook_source is $$Listen to a webhook source no longer.
Outcome: removed. Errors: webhook_source_not_found.
@toolset full
@destructive$$;

create domain coord_v1.github_issue as jsonb;
comment on domain coord_v1.github_issue is $$An issue as GitHub has it: {"full_name": "acme/app", "number", "state", "title", "body", "url", "labels": ["locked:src/"]}.$$;
create domain coord_v1.overview as boolean;
comment on domain coord_v1.overview is 'The comment is about the whole repository, and no label is touched.';
create domain coord_v1.only_plan as boolean;
comment on domain coord_v1.only_plan is 'Say what would be done, and do nothing.';

create function coord_v1.sync_github_issue(
  issue coord_v1.github_issue,
  repo coord_v1.repo default null,
  overview coord_v1.overview default false,
  plan coord_v1.only_plan default false
) returns jsonb language sql
return coord.sync_github_issue(repo, issue, overview, plan);
comment on function coord_v1.sync_github_issue is $$Bring an issue of GitHub and the coordinator together: what its labels ask for and no webhook told is done; the answer says what it should show.
For operators, and the principal of a GitHub source of the repository, with its rights as for a webhook. The coordinator wins: labels of locks that ended, or that somebody else holds, are in remove.
Outcomes: synced, planned: did[] (what was asked for), add[] and remove[] (labels), comment, locks[], task, empty (nothing to show); denied. Errors: argument_invalid, argument_too_long, repo_required, repo_invalid, repo_not_granted, operation_not_permitted.
@toolset full$$;

create view coord_v1.webhook_sources with (security_invoker = true) as
  select s.name, s.kind, s.principal, s.repos, s.speaks_for, s.set_at, s.set_by from coord.webhook_sources s;
comment on view coord_v1.webhook_sources is 'Who may tell by webhook, without their secrets; for operators and auditors.';
comment on column coord_v1.webhook_sources.name is 'Its name.';
comment on column coord_v1.webhook_sources.kind is 'github, agent or agentcore.';
comment on column coord_v1.webhook_sources.principal is 'Whose rights its events have.';
comment on column coord_v1.webhook_sources.repos is 'What it may speak of.';
comment on column coord_v1.webhook_sources.speaks_for is 'Agents in whose name its issue labels take locks.';
comment on column coord_v1.webhook_sources.set_at is 'When it was set last.';
comment on column coord_v1.webhook_sources.set_by is 'By whom.';

create view coord_v1.webhook_events with (security_invoker = true) as
  select e.id, e.source, e.event, e.delivery, e.repo, e.received_at, e.outcome, e.result, e.body from coord.webhook_events e;
comment on view coord_v1.webhook_events is 'What webhooks told and what came of it; for operators and auditors.';
comment on column coord_v1.webhook_events.id is 'Its key.';
comment on column coord_v1.webhook_events.source is 'Who told.';
comment on column coord_v1.webhook_events.event is 'Which event.';
comment on column coord_v1.webhook_events.delivery is 'The sender''s own id of it.';
comment on column coord_v1.webhook_events.repo is 'host/owner/name.';
comment on column coord_v1.webhook_events.received_at is 'When.';
comment on column coord_v1.webhook_events.outcome is 'accepted, ignored or refused.';
comment on column coord_v1.webhook_events.result is 'What it did, or why nothing.';
comment on column coord_v1.webhook_events.body is 'What was told, without secrets; for a week.';

grant usage on type coord_v1.github_issue, coord_v1.overview, coord_v1.only_plan to coord_agent, coord_operator, coord_auditor;
grant execute on function coord.sync_github_issue, coord_v1.sync_github_issue to coord_agent, coord_operator;
grant usage on type coord_v1.webhook_source, coord_v1.webhook_kind, coord_v1.webhook_secret, coord_v1.principal_list
  to coord_agent, coord_operator, coord_auditor;
grant execute on function coord_v1.webhook_github, coord_v1.webhook_agent, coord_v1.webhook_agentcore to anon;
grant execute on function coord.set_webhook_source, coord.remove_webhook_source, coord_v1.set_webhook_source, coord_v1.remove_webhook_source to coord_operator;
grant select on coord_v1.webhook_sources, coord_v1.webhook_events to coord_operator, coord_auditor;

reset role;
notify pgrst, 'reload schema';
