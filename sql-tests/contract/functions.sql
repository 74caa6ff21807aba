-- What holds for every function, read from the catalog (design: the function contract).
begin;
select no_plan();

create temp view functions as
select p.oid, n.nspname as schema, p.proname as name, p.oid::regprocedure::text as signature,
  l.lanname as language, p.prosecdef as definer, p.proowner::regrole::text as owner, p.proconfig as settings,
  p.prosqlbody is not null as parsed, p.proacl, p.proowner, p.prorettype,
  p.proargnames, p.proargtypes, p.pronargs,
  -- the code without its comments
  regexp_replace(regexp_replace(coalesce(pg_get_function_sqlbody(p.oid), p.prosrc), '--[^\n]*', '', 'g'), '/\*.*?\*/', '', 'g') as code
from pg_proc p
join pg_namespace n on n.oid = p.pronamespace
join pg_language l on l.oid = p.prolang
where n.nspname in ('coord', 'coord_v1');

create temp view arguments as
select f.signature, f.proargnames[t.position] as name, t.type, has_function_privilege('coord_agent', f.oid, 'execute') as agents
from functions f, unnest(f.proargtypes::oid[]) with ordinality as t (type, position)
where f.schema = 'coord_v1';

select cmp_ok((select count(*) from functions where schema = 'coord_v1'), '>', 0::bigint, 'the contract has functions');

select is_empty(
  $$select schema, name, array_agg(signature) from functions group by schema, name having count(*) > 1$$,
  'a name has one signature: a second one is a function that nobody meant to leave behind');

select is_empty(
  $$select signature from functions where schema = 'coord_v1' and coalesce(obj_description(oid, 'pg_proc'), '') = ''$$,
  'every exposed function has a comment: it is its documentation behind every door');

select is_empty(
  $$select d.typname from pg_type d where d.typnamespace = 'coord_v1'::regnamespace and d.typtype = 'd'
    and coalesce(obj_description(d.oid, 'pg_type'), '') = ''$$,
  'every domain of the contract has a comment: it describes arguments');

select is_empty(
  $$select f.signature from functions f where f.schema = 'coord_v1'
    and (f.definer or f.language <> 'sql' or f.owner <> 'coord_owner')$$,
  'exposed functions are SECURITY INVOKER wrappers in SQL, owned by coord_owner');

select is_empty(
  $$select f.signature from functions f where f.schema = 'coord_v1' and f.code ~* '\mfrom\M'$$,
  'wrappers have no FROM: there a column would silently beat a parameter');

-- A helper that only bodies can call runs under their empty path: a SET of its own would
-- cost microseconds a call, and keep SQL from being inlined. Wrappers: the next rule.
-- pre_request, SECURITY INVOKER, reads the path to learn which schema is called.
select is_empty(
  $$select f.signature from functions f where f.schema = 'coord' and f.signature <> 'coord.pre_request()'
    and (f.definer or f.prorettype = 'trigger'::regtype or exists (
      select from pg_roles r where r.rolname in ('anon', 'coord_agent', 'coord_operator', 'coord_auditor')
      and r.oid <> f.proowner and has_function_privilege(r.oid, f.oid, 'execute') and f.language <> 'sql'))
    and not coalesce(f.settings @> array['search_path=""'], false)$$,
  'search_path is empty in every function that is SECURITY DEFINER, a trigger, or called from outside');

select is_empty(
  $$select f.signature from functions f where f.schema = 'coord_v1'
    and not f.parsed and not coalesce(f.settings @> array['search_path=""'], false)$$,
  'wrappers are parsed when made, or have an empty search_path');

select is_empty(
  $$select f.signature, f.owner from functions f where f.owner not in ('coord_owner', 'coord_janitor')$$,
  'functions belong to coord_owner or coord_janitor, never to who migrated');

-- coord_janitor sees all rows. Each of its functions was read with that in mind.
select set_eq(
  $$select f.name::text from functions f where f.owner = 'coord_janitor'$$,
  array[
    'admit',            -- the token's check: who calls is not known yet
    'admit_as',         -- the body of admit
    'refuse_token',     -- part of admit: says what is wrong with the claims
    'open_session',     -- part of admit: the session's row before there is a caller
    'renew_session',    -- the same
    'end_sessions_of',  -- the sessions of an agent that an operator disables
    'reap_sessions',    -- ends dead sessions of all agents
    'lapse_locks_of_session', -- the locks of a session that reap_sessions ends
    'lapse_locks',      -- stamps locks that expired
    'purge_locks',      -- moves released locks that are long over, drops tickets nobody polls
    'renew_claims',     -- part of renew_session: the claims of that session
    'try_graphs_of_session', -- before reap_sessions gives the tasks of a session back
    'reclaim_tasks',    -- tasks whose leases ran out, of the repository a claim asks in
    'expire_tasks',     -- the same from housekeeping, and deadlines
    'lose_task',        -- part of both
    'purge_tasks',      -- forgets tasks that ended long ago
    'purge_team',       -- forgets old notices and handoffs
    'purge_refusals',   -- forgets old refusals
    'purge_approvals',  -- forgets old approvals
    'team',             -- sessions belong to no repository; it shows those of agents that share one with the caller
    'waiting_circle',   -- a circle of waiting may lead through repos the caller does not see; it shows nothing of those
    'author_trust',     -- the trust of the author of a change, which another agent or a webhook submits; it shows nothing else
    'reclaim_verifications', -- takes verification jobs back whose leases or times ran out
    'tidy_verifications', -- the same from housekeeping; forgets changesets that ended long ago
    'act_for',          -- lets a webhook act as the principal of its source, or an agent that it may speak for
    'github_voices',    -- in whose names the principal of a GitHub source may speak: its own sources alone
    'receive_webhook',  -- nobody calls: the signature tells which source it is
    'purge_webhooks',   -- forgets old events
    'seal_batches',     -- seals rows of everybody, from housekeeping too, where nobody calls
    'empty_audit_details', -- erases details of another principal's rows, for the operator's erase_audit_details
    'weigh_words',      -- counts of terms stand in one table for all spaces; asked for the caller's, answers numbers about the caller's own words
    'like_words',       -- part of weigh_words: words of the caller's spaces that are spelt alike
    'count_terms',      -- the same for tags and paths
    'memory_candidates', -- @@ is not leakproof, so no index serves it under a policy: filters by the caller's spaces, tells numbers; rows are read under the policy
    'nearest_memories', -- the same for embeddings
    'count_ratings',    -- the count of all agents' ratings of a memory, for one that rates it
    'count_words',      -- part of tidy_memories
    'archive_memories', -- the same
    'propose_procedures', -- the same
    'tidy_memories',    -- counts, archives and deletes memories of all repos
    'purge_guardrails', -- forgets what everybody asked of the guardrails, long ago
    'maintain'          -- the bounded housekeeping as a whole
  ],
  'coord_janitor owns exactly the functions reviewed for it');

-- PUBLIC ----------------------------------------------------------------------

select set_eq(
  $$select f.name::text from functions f, aclexplode(coalesce(f.proacl, acldefault('f', f.proowner))) a
    where a.grantee = 0 and a.privilege_type = 'EXECUTE'$$,
  array['pre_request'],  -- PostgREST runs it as whatever role it serves, foreign ones included
  'PUBLIC may execute nothing but the pre-request function');

select set_eq(
  $$select f.name::text from functions f where f.schema = 'coord_v1' and has_function_privilege('anon', f.oid, 'execute')$$,
  array['health', 'webhook_github', 'webhook_agent', 'webhook_agentcore'],  -- their signature is checked
  'anon may call health and the webhooks, and nothing else');

select is_empty(
  $$select f.signature, r.rolname from functions f, pg_roles r
    where r.rolname in ('authenticated', 'service_role') and f.name <> 'pre_request'
    and has_function_privilege(r.oid, f.oid, 'execute')$$,
  'Supabase''s other roles may execute nothing of ours');

select is_empty(
  $$select f.signature, a.grantee::regrole from functions f, aclexplode(f.proacl) a where a.is_grantable and a.grantee <> f.proowner$$,
  'nobody may pass a grant on');

-- Arguments ---------------------------------------------------------------------

select is_empty(
  -- PostgREST hands the raw body, which may be what was signed, to a json without a name.
  $$select signature from arguments where coalesce(name, '') = '' and signature not like '%(json)'$$,
  'every argument of the contract has a name, raw bodies excepted');

select is_empty(
  $$select signature, name from arguments where name in ('limit', 'offset', 'order', 'select', 'columns', 'on_conflict', 'and', 'or', 'not')$$,
  'no argument is called like a query parameter of PostgREST: GET would read it as its own');

select is_empty(
  $$select signature, name from arguments where name like '%agent\_id%' or name in ('sub', 'session', 'session_id')
    or agents and name in ('role', 'agent_type')$$,
  'no argument says who calls: that is in the token');

select is_empty(
  $$select a.signature, a.name, format_type(a.type, null) from arguments a join pg_type t on t.oid = a.type
    left join pg_type e on e.oid = t.typelem
    where t.typtype = 'e' or e.typtype = 'e' or (t.typtype = 'd' and (t.typnotnull or t.typbasetype in (select oid from pg_type where typtype = 'e')))
    or exists (select from pg_constraint c where c.contypid in (t.oid, e.oid))$$,
  'no argument has an enum or a checked domain: its cast would fail before the body can name the mistake');

select is_empty(
  $$select d.typname, obj_description(d.oid, 'pg_type') from pg_type d
    where d.typnamespace = 'coord_v1'::regnamespace and d.typtype = 'd'
    and obj_description(d.oid, 'pg_type') ~ '@schema'
    and not obj_description(d.oid, 'pg_type') ~ '(^|\n)@schema \{.*\}(\n|$)'$$,
  'an @schema in a comment is an object on a line of its own');
select lives_ok(
  $$select (regexp_match(obj_description(d.oid, 'pg_type'), '(?:^|\n)@schema (\{.*?\})(?:\n|$)'))[1]::jsonb from pg_type d
    where d.typnamespace = 'coord_v1'::regnamespace and d.typtype = 'd'$$,
  'every @schema is JSON');

-- Code --------------------------------------------------------------------------

select is_empty(
  $$select signature from functions where code ~* '40001|serialization_failure'$$,
  'nothing raises 40001: PostgREST before v16 retries it for ever');

select is_empty(
  $$select signature from functions where code ~* '\m(now|transaction_timestamp|statement_timestamp)\(|\m(current_timestamp|localtimestamp|current_time)\M'$$,
  'times come from clock_timestamp(): now() is stale in a transaction that waited');

select is_empty(
  $$select signature from functions where code ~* '\mwhen\s+others\M'$$,
  'nothing catches everything');

select is_empty(
  $$select signature from functions where code ~* '\mpg_notify\s*\(|\mnotify\s+[a-z]'$$,
  'nothing notifies inside a transaction of the API: it serialises commits');

select * from finish();
rollback;
