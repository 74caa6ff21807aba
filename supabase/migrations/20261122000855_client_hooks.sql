-- Client hooks: the event of an agent's client in, its answer out.
--
-- Claude Code and Codex ask before they use a tool. What they ask is turned into the
-- questions that other doors ask as well (check_guardrails, acquire_lock,
-- check_network), and the answers into the client's own words. The caller's rights are
-- those of its token; nothing in the event adds to them.
--
-- Always 200: a client takes anything else as leave to go on. What cannot be understood
-- is answered as the profile's guardrails say: denied under enforce, told under warn,
-- passed under log. (A token that is refused is refused before this runs, and so is
-- everything while the coordinator is down: coord hook, the program, denies then.)
--
-- Lock order: as the functions that are called, guardrails before locks.

set role coord_owner;

insert into coord.operations (name, trust) values ('hook_claude_code', 1);

create function coord.patched_files(p_text text) returns text[]
language sql immutable
begin atomic
  select coalesce(array_agg(distinct btrim(m[1])), '{}')
  from regexp_matches(p_text, '^\*\*\* (?:Add File|Update File|Delete File|Move to): (.+?)\r?$', 'gn') m;
end;
comment on function coord.patched_files is 'Files that a patch in the form of apply_patch touches.';

create function coord.repo_path(p_path text, p_cwd text, p_root text) returns text
language plpgsql immutable
as $$
declare
  v_path text := case when p_path like '/%' then p_path else rtrim(coalesce(p_cwd, p_root, ''), '/') || '/' || p_path end;
  v_root text := rtrim(p_root, '/') || '/';
  v_part text;
  v_parts text[] := array[]::text[];
begin
  foreach v_part in array string_to_array(v_path, '/') loop
    if v_part = '..' then
      v_parts := v_parts[:greatest(cardinality(v_parts) - 1, 0)];
    elsif v_part not in ('', '.') then
      v_parts := v_parts || v_part;
    end if;
  end loop;
  v_path := '/' || array_to_string(v_parts, '/');
  return case when p_root is not null and starts_with(v_path, v_root) then coord.literal_path(substr(v_path, length(v_root) + 1)) end;
end
$$;
comment on function coord.repo_path is 'A file of the client''s machine as a path of the repository; null outside of it.';

create function coord.repo_paths(p_paths text[], p_cwd text, p_root text) returns text[]
language sql immutable
begin atomic
  -- What git keeps for itself is no file of the repository.
  select coalesce(array_agg(f), '{}') from (select distinct coord.repo_path(p, p_cwd, p_root) as f from unnest(p_paths) p) u
  where f is not null and f !~ '^\.git(/|$)';
end;
comment on function coord.repo_paths is 'Those of some files that lie in the repository.';

create function coord.quoted_words(p_words jsonb) returns text
language sql immutable
begin atomic
  select string_agg(case when w ~ '^[A-Za-z0-9_./:=@%+,-]+$' then w else '''' || replace(w, '''', '''\''''') || '''' end, ' ' order by n)
  from jsonb_array_elements_text(p_words) with ordinality u (w, n);
end;
comment on function coord.quoted_words is 'A list of arguments as a command line.';

create function coord.hook_answer(p_event text, p_decision text, p_text text) returns jsonb
language sql immutable
return case
  when p_decision = 'deny' and p_event = 'PreToolUse' then jsonb_build_object('hookSpecificOutput', jsonb_build_object(
    'hookEventName', p_event, 'permissionDecision', 'deny', 'permissionDecisionReason', p_text))
  -- To the person and to the model: neither client shows one of them to both.
  when p_decision = 'warn' and p_event = 'PreToolUse' then jsonb_build_object('systemMessage', p_text, 'hookSpecificOutput', jsonb_build_object(
    'hookEventName', p_event, 'additionalContext', p_text))
  when p_decision = 'tell' and p_event = 'SessionStart' then jsonb_build_object('hookSpecificOutput', jsonb_build_object(
    'hookEventName', p_event, 'additionalContext', p_text))
  when p_decision <> 'allow' then jsonb_build_object('systemMessage', p_text)
  else '{}' end;
comment on function coord.hook_answer is 'An answer in the clients'' own shape. To let a tool run is to say nothing: allow would skip the user''s own questions.';

create function coord.why_stopped(p_check jsonb) returns text
language sql stable
begin atomic
  select concat_ws(' ',
    (select string_agg(format('%s: %s. %s', v ->> 'rule', v ->> 'matched', v ->> 'remedy'), ' ')
      from jsonb_array_elements(p_check -> 'violations') v where v ->> 'severity' <> 'log_only'),
    p_check ->> 'details',
    case when p_check #>> '{approval,state}' = 'open' then
      format('Approval %s was asked for: somebody else decides it (coord approvals approve %1$s), then do exactly this again.', p_check #>> '{approval,id}') end);
end;
comment on function coord.why_stopped is 'What a check found, for the agent whose command it was.';

create function coord.question(p_tool text, p_input jsonb, out command text, out files text[], out content text, out operation text)
language plpgsql
as $$
declare
  v_file text := coalesce(p_input ->> 'file_path', p_input ->> 'notebook_path');
  v_command jsonb := coalesce(p_input -> 'command', p_input -> 'cmd');
begin
  files := '{}';
  if p_tool in ('Bash', 'shell', 'local_shell', 'exec_command', 'unified_exec') then
    command := case jsonb_typeof(v_command) when 'array' then coord.quoted_words(v_command) when 'string' then v_command #>> '{}' end;
    -- Codex may send its patches through the shell.
    files := coord.patched_files(coalesce(command, ''));
    operation := case when files <> '{}' then 'edit' end;
  elsif p_tool in ('Edit', 'Write', 'MultiEdit', 'NotebookEdit') then
    files := array[v_file];
    content := concat_ws(e'\n', p_input ->> 'content', p_input ->> 'new_string', p_input ->> 'new_source',
      (select string_agg(e ->> 'new_string', e'\n')
        from jsonb_array_elements(case jsonb_typeof(p_input -> 'edits') when 'array' then p_input -> 'edits' end) e));
    operation := 'edit';
  elsif p_tool = 'apply_patch' then
    content := coalesce(p_input ->> 'command', p_input ->> 'input', p_input ->> 'patch');
    files := coord.patched_files(coalesce(content, ''));
    operation := 'edit';
  elsif p_tool in ('Read', 'NotebookRead') then
    files := array[v_file];
    operation := 'read';
  else
    return;
  end if;
  if coalesce(command, files[1], '') = '' then
    perform coord.fail('argument_required', format('%s says neither a command nor a file', p_tool));
  end if;
end
$$;
comment on function coord.question is 'What the use of a tool is about; nothing for tools that nobody judges.';

create function coord.lock_edited(p_tool text, p_paths text[], p_repo text, out decision text, out said text)
language plpgsql
as $$
declare
  v_policy text;
  v_answer jsonb;
begin
  decision := 'allow';
  if p_paths = '{}' then
    return;
  end if;
  v_policy := coord.lock_policy(coord.resolve_repo(p_repo));
  if v_policy = 'off' then
    return;
  end if;
  v_answer := coord.acquire_lock(p_repo, p_paths, 'exclusive', null, 'editing with ' || p_tool, 0);
  decision := coord.decision(v_policy, (v_answer ->> 'ok')::boolean);
  said := coalesce(
    (select string_agg(format('%s: %s, %s, holds %s for up to %s more minutes%s.', b ->> 'path', b ->> 'holder', b ->> 'agent_type', b ->> 'held_path',
        ceil((b ->> 'seconds_left')::numeric / 60), ' (' || (b ->> 'reason') || ')'), ' ') || ' Do something else and try again later, or ask the holder.'
      from jsonb_array_elements(v_answer -> 'blockers') b),
    concat_ws(' ', v_answer ->> 'message', v_answer ->> 'details', v_answer ->> 'hint', v_answer ->> 'next'));
end
$$;
comment on function coord.lock_edited is 'Takes the locks of files that are about to be edited: allow, warn or deny, and who is in the way.';

create function coord.judge_tool(p_event jsonb, p_root text, p_repo text, p_dry_run boolean, out decision text, out said text)
language plpgsql
as $$
declare
  v_tool text := case jsonb_typeof(p_event -> 'tool_name') when 'string' then p_event ->> 'tool_name' end;
  v_input jsonb := p_event -> 'tool_input';
  v_cwd text := p_event ->> 'cwd';
  v_asked record;
  v_answer jsonb;
  v_locks record;
begin
  if v_tool is null then
    perform coord.fail('argument_required', 'the event names no tool');
  elsif v_tool = 'WebFetch' then
    v_answer := coord.check_network(v_input ->> 'url');
    decision := v_answer ->> 'decision';
    said := v_answer ->> 'next';
    return;
  end if;
  v_asked := coord.question(v_tool, v_input);
  decision := 'allow';
  if coalesce(v_asked.command, v_asked.operation) is null then
    return;
  end if;

  v_answer := coord.check_guardrails(v_asked.command, v_asked.files, v_asked.content, v_asked.operation, v_cwd, p_root, p_dry_run);
  if v_answer ->> 'decision' is distinct from 'allow' then
    decision := case v_answer ->> 'decision' when 'warn' then 'warn' else 'deny' end;
    said := coord.why_stopped(v_answer);
  end if;
  if decision <> 'deny' and v_asked.operation = 'edit' and not p_dry_run then
    v_locks := coord.lock_edited(v_tool, coord.repo_paths(v_asked.files, v_cwd, p_root), p_repo);
    if v_locks.decision <> 'allow' then
      decision := v_locks.decision;
      said := concat_ws(' ', said, v_locks.said);
    end if;
  end if;
end
$$;
comment on function coord.judge_tool is 'Whether a tool may be used: allow, warn or deny, and what to say; takes the locks that an edit needs.';

create function coord.session_news(p_repo text) returns text
language plpgsql
as $$
declare
  v_start jsonb := coord.start_session(null, p_repo, null);
begin
  return concat_ws(e'\n', coord.instructions(),
    (select string_agg(format('Notice: %s', n ->> 'text'), e'\n') from jsonb_array_elements(v_start -> 'notices') n),
    (select string_agg(format('You have claimed %s (%s), attempt %s.', t ->> 'task', t ->> 'title', t ->> 'attempt'), e'\n')
      from jsonb_array_elements(v_start -> 'tasks') t),
    case when jsonb_typeof(v_start -> 'handoff') = 'object' then concat_ws(' ', format('The last handoff, by %s, in its own words:',
      v_start #>> '{handoff,agent}'), left(v_start #>> '{handoff,summary}', 2000), 'Next: ' || left(v_start #>> '{handoff,next_steps}', 1000)) end);
end
$$;
comment on function coord.session_news is 'What an agent is told when its client starts.';

create function coord.client_hook(p_event jsonb) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_headers jsonb := coalesce(nullif(current_setting('request.headers', true), '')::jsonb, '{}');
  -- What names no event is taken for the one that asks.
  v_event text := case jsonb_typeof(p_event -> 'hook_event_name') when 'string' then p_event ->> 'hook_event_name' else 'PreToolUse' end;
  v_repo text := nullif(v_headers ->> 'x-coord-repo', '');
  v_canary boolean := p_event -> 'coord_canary' is not distinct from 'true';
  v_mode text;
  v_verdict record;
  v_code text;
  v_details text;
  v_hint text;
begin
  -- The client's session is the session, unless token or header say otherwise.
  if coord.claims() ->> 'session_id' is null and v_headers ->> 'x-session-id' is null and p_event ->> 'session_id' ~ '^[A-Za-z0-9._:-]{1,128}$' then
    perform set_config('request.headers', (v_headers || jsonb_build_object('x-session-id', p_event ->> 'session_id'))::text, true);
    perform coord.admit();
  else
    perform coord.caller();
  end if;
  v_mode := (coord.profile()).guardrails;
  begin
    perform coord.open_read('hook_claude_code');
    if v_headers ->> 'x-coord-unreadable' is not null then
      perform coord.fail('argument_invalid', 'the event holds what is no text: ' || (v_headers ->> 'x-coord-unreadable'));
    elsif v_event = 'PreToolUse' then
      v_verdict := coord.judge_tool(p_event, coalesce(nullif(v_headers ->> 'x-coord-root', ''), p_event ->> 'cwd'), v_repo, v_canary);
    elsif v_event = 'SessionStart' then
      select 'tell' as decision, coord.session_news(v_repo) as said into v_verdict;
    else
      if v_event = 'SessionEnd' then
        perform coord.end_session(null);
      end if;
      select 'allow' as decision, null as said into v_verdict;
    end if;
  exception when sqlstate 'PT400' or sqlstate 'PT403' or sqlstate 'PT404' or sqlstate 'PT409' or sqlstate 'PT422' then
    get stacked diagnostics v_code = message_text, v_details = pg_exception_detail, v_hint = pg_exception_hint;
    select case v_mode when 'enforce' then 'deny' when 'warn' then 'warn' else 'allow' end as decision,
      format('The coordinator could not judge this (%s). %s', concat_ws(': ', v_code, nullif(v_details, '')), v_hint) as said into v_verdict;
  end;
  -- A denial inside has set its own status; a client would take that as leave.
  perform set_config('response.status', '200', true);
  return coord.hook_answer(v_event, v_verdict.decision, v_verdict.said)
    || case when v_canary then jsonb_build_object('canary', jsonb_build_object('decision', v_verdict.decision, 'mode', v_mode)) else '{}' end;
end
$$;

-- The contract -------------------------------------------------------------------------

create function coord_v1.hook_claude_code(json) returns json
language sql
return coord.client_hook($1::jsonb)::json;
comment on function coord_v1.hook_claude_code is $$Judge an event of a client's hook: Claude Code's, and Codex's, which is the same.
The body is the event as the client gives it; the answer is what its hook prints. PreToolUse: commands, edits, reads and fetches are checked, and the locks of edits taken. SessionStart: what is open. SessionEnd: the session ends.
Headers: X-Coord-Root, the root of the checkout (else the event's cwd); X-Coord-Repo, unless the caller is granted one repository; X-Coord-Unreadable, where the event held what is no text. Always 200.
With coord_canary true in the event nothing is recorded, asked for or locked, and the answer says in canary what was decided.
@toolset full$$;

grant execute on function coord.client_hook, coord_v1.hook_claude_code to coord_agent, coord_operator;

reset role;
notify pgrst, 'reload schema';
