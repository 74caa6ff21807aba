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

create function coord.hook_answer(p_event text, p_decision text, p_text text) returns jsonb
language sql immutable
return case
  when p_decision = 'deny' and p_event = 'PreToolUse' then jsonb_build_object('hookSpecificOutput', jsonb_build_object(
    'hookEventName', p_event, 'permissionDecision', 'deny', 'permissionDecisionReason', p_text))
  when p_decision = 'tell' and p_event = 'SessionStart' then jsonb_build_object('hookSpecificOutput', jsonb_build_object(
    'hookEventName', p_event, 'additionalContext', p_text))
  when p_decision <> 'allow' then jsonb_build_object('systemMessage', p_text)
  else '{}' end;
comment on function coord.hook_answer is 'An answer in the clients'' own shape. To let a tool run is to say nothing: allow would skip the user''s own questions.';

create function coord.why_denied(p_check jsonb) returns text
language sql stable
begin atomic
  select concat_ws(' ',
    (select string_agg(format('%s: %s %s', v ->> 'rule', coalesce(v ->> 'matched', ''), coalesce(v ->> 'remedy', '')), ' ')
      from jsonb_array_elements(p_check -> 'violations') v where v ->> 'severity' in ('deny', 'ask', p_check ->> 'decision')),
    p_check ->> 'details',
    format('It needs approval %s: somebody else approves it (coord approvals approve %1$s), then do the same again.', p_check #>> '{approval,id}'));
end;
comment on function coord.why_denied is 'What stopped a command, for the agent that gave it.';

create function coord.judge_tool(p_tool text, p_input jsonb, p_cwd text, p_root text, p_repo text, out decision text, out said text)
language plpgsql
as $$
declare
  v_command text;
  v_content text;
  v_files text[] := array[]::text[];
  v_edits boolean := false;
  v_paths text[];
  v_check jsonb;
begin
  decision := 'allow';
  if p_tool in ('Bash', 'shell', 'local_shell', 'exec_command', 'unified_exec') then
    v_command := case jsonb_typeof(p_input -> 'command') when 'array' then coord.quoted_words(p_input -> 'command') else coalesce(p_input ->> 'command', p_input ->> 'cmd') end;
    -- Codex may send its patches through the shell.
    v_files := coord.patched_files(v_command);
    v_edits := v_files <> '{}';
  elsif p_tool in ('Edit', 'Write', 'MultiEdit', 'NotebookEdit') then
    v_files := array_remove(array[coalesce(p_input ->> 'file_path', p_input ->> 'notebook_path')], null);
    v_content := concat_ws(e'\n', p_input ->> 'content', p_input ->> 'new_string', p_input ->> 'new_source',
      (select string_agg(e ->> 'new_string', e'\n') from jsonb_array_elements(case jsonb_typeof(p_input -> 'edits') when 'array' then p_input -> 'edits' end) e));
    v_edits := true;
  elsif p_tool = 'apply_patch' then
    v_content := coalesce(p_input ->> 'command', p_input ->> 'input', p_input ->> 'patch');
    v_files := coord.patched_files(v_content);
    v_edits := true;
  elsif p_tool in ('Read', 'NotebookRead') then
    v_files := array_remove(array[coalesce(p_input ->> 'file_path', p_input ->> 'notebook_path')], null);
  elsif p_tool = 'WebFetch' then
    v_check := coord.check_network(substring(p_input ->> 'url' from '^[A-Za-z][A-Za-z0-9+.-]*://(?:[^/@]*@)?([^/?#]+)'));
    if v_check ->> 'decision' = 'deny' then
      decision := 'deny';
      said := format('Your network policy does not allow %s (%s).', v_check ->> 'host', coalesce(v_check ->> 'rule', 'nothing allows it'));
    end if;
    return;
  else
    return;
  end if;

  if coalesce(v_command, v_content) is not null or v_files <> '{}' then
    v_check := coord.check_guardrails(v_command, v_files, v_content, case when v_edits then 'edit' when v_command is null then 'read' end, p_cwd, p_root, false);
    if v_check ->> 'decision' in ('deny', 'ask') or v_check ->> 'outcome' = 'denied' then
      decision := 'deny';
      said := coord.why_denied(v_check);
      return;
    elsif v_check ->> 'decision' = 'warn' then
      decision := 'warn';
      said := coord.why_denied(v_check);
    end if;
  end if;

  if v_edits and p_root is not null then
    v_paths := array_remove(array(select coord.repo_path(f, p_cwd, p_root) from unnest(v_files) f), null);
    -- What git keeps for itself is no file of the repository.
    v_paths := array(select p from unnest(v_paths) p where p !~ '^\.git/');
    if v_paths <> '{}' and coord.lock_policy(coord.resolve_repo(p_repo)) <> 'off' then
      v_check := coord.acquire_lock(p_repo, v_paths, 'exclusive', null, 'editing with ' || p_tool, 0);
      if not (v_check ->> 'ok')::boolean then
        decision := case when coord.lock_policy(coord.resolve_repo(p_repo)) = 'enforce' then 'deny' else 'warn' end;
        said := concat_ws(' ', said, coalesce(v_check ->> 'next', v_check ->> 'details', v_check ->> 'message'));
      end if;
    end if;
  end if;
end
$$;
comment on function coord.judge_tool is 'Whether a tool may be used: allow, warn or deny, and what to say; takes the locks that an edit needs.';

create function coord.quoted_words(p_words jsonb) returns text
language sql immutable
begin atomic
  select string_agg(case when w ~ '^[A-Za-z0-9_./:=@%+,-]+$' then w else '''' || replace(w, '''', '''\''''') || '''' end, ' ' order by n)
  from jsonb_array_elements_text(p_words) with ordinality u (w, n);
end;
comment on function coord.quoted_words is 'A list of arguments as a command line.';

create function coord.session_news(p_repo text) returns text
language plpgsql
as $$
declare
  v_start jsonb := coord.start_session(null, p_repo, null);
begin
  return concat_ws(e'\n', coord.instructions(),
    (select string_agg(format('Notice: %s', n ->> 'text'), e'\n') from jsonb_array_elements(v_start -> 'notices') n),
    (select string_agg(format('You have claimed %s (%s), attempt %s.', t ->> 'task', t ->> 'title', t ->> 'attempt'), e'\n') from jsonb_array_elements(v_start -> 'tasks') t),
    case when jsonb_typeof(v_start -> 'handoff') = 'object' then format('The last handoff, by %s, in its own words: %s Next: %s', v_start #>> '{handoff,agent}',
      left(v_start #>> '{handoff,summary}', 2000), left(v_start #>> '{handoff,next_steps}', 1000)) end);
end
$$;
comment on function coord.session_news is 'What an agent is told when its client starts.';

create function coord.client_hook(p_event jsonb) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_headers jsonb := coalesce(nullif(current_setting('request.headers', true), '')::jsonb, '{}');
  v_event text := p_event ->> 'hook_event_name';
  v_root text := coalesce(v_headers ->> 'x-coord-root', p_event ->> 'cwd');
  v_repo text := v_headers ->> 'x-coord-repo';
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
    if v_event = 'PreToolUse' then
      select * into v_verdict from coord.judge_tool(p_event ->> 'tool_name', p_event -> 'tool_input', p_event ->> 'cwd', v_root, v_repo);
    elsif v_event = 'SessionStart' then
      select 'tell' as decision, coord.session_news(v_repo) as said into v_verdict;
    elsif v_event = 'SessionEnd' then
      perform coord.end_session(null);
      select 'allow' as decision, null as said into v_verdict;
    else
      select 'allow' as decision, null as said into v_verdict;
    end if;
  exception when sqlstate 'PT400' or sqlstate 'PT403' or sqlstate 'PT404' or sqlstate 'PT409' or sqlstate 'PT422' then
    get stacked diagnostics v_code = message_text, v_details = pg_exception_detail, v_hint = pg_exception_hint;
    select case v_mode when 'enforce' then 'deny' when 'warn' then 'warn' else 'allow' end as decision,
      format('The coordinator could not judge this (%s: %s). %s', v_code, v_details, v_hint) as said into v_verdict;
  end;
  -- A denial inside has set its own status; a client would take that as leave.
  perform set_config('response.status', '200', true);
  return coord.hook_answer(v_event, v_verdict.decision, v_verdict.said);
end
$$;

-- The contract -------------------------------------------------------------------------

create function coord_v1.hook_claude_code(json) returns json
language sql
return coord.client_hook($1::jsonb)::json;
comment on function coord_v1.hook_claude_code is $$Judge an event of a client's hook: Claude Code's, and Codex's, which is the same.
The body is the event as the client gives it; the answer is what its hook prints. PreToolUse: commands, edits, reads and fetches are checked, and the locks of edits taken. SessionStart: what is open. SessionEnd: the session ends.
Headers: X-Coord-Root, the root of the checkout (else the event's cwd); X-Coord-Repo, unless the caller is granted one repository. Always 200.
@toolset full$$;

grant execute on function coord.client_hook, coord_v1.hook_claude_code to coord_agent, coord_operator;

reset role;
notify pgrst, 'reload schema';
