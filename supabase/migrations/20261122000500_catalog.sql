-- Catalog: the contract describes itself.
--
-- MCP tools, `coord call` and the API's description are made from coord_v1 as
-- it stands: signatures from pg_proc, prose from comments. A new function with
-- a comment and a grant is a new tool, without a change anywhere else.
--
-- A function's comment
--   its first line is the tool's description, the other lines are its help
--   @title T          of a resource or a prompt, for people
--   @toolset core     listed by default; everything else is `full`
--   @destructive      takes something away
--   @idempotent       the same call twice changes nothing more
--   @resource URI     readable as an MCP resource, called without arguments
--   @prompt NAME      an MCP prompt, not a tool; returns its messages
-- Stable functions are read-only. An argument is described by its domain's
-- comment: the first line, and `@schema {…}` merged into its JSON Schema.

set role coord_owner;

create function coord.annotation(p_comment text, p_name text) returns text
language sql immutable
return (regexp_match(p_comment, '^@' || p_name || '(?: +(.*?))? *$', 'n'))[1];
comment on function coord.annotation is 'The value of an @annotation in a comment; null when it is absent or bare.';

create function coord.annotated(p_comment text, p_name text) returns boolean
language sql immutable
return coalesce(p_comment ~ ('(?n)^@' || p_name || '\y'), false);
comment on function coord.annotated is 'Whether a comment carries an @annotation.';

create function coord.json_schema(p_type oid) returns jsonb
language plpgsql stable
as $$
declare
  v_type record;
  v_comment text := obj_description(p_type, 'pg_type');
  v_schema jsonb;
begin
  select t.typtype, t.typbasetype, t.typcategory, t.typelem, t.typname into v_type
  from pg_catalog.pg_type t where t.oid = p_type;
  if v_type.typtype = 'd' then
    return coord.json_schema(v_type.typbasetype)
      || coalesce(jsonb_build_object('description', split_part(v_comment, e'\n', 1)), '{}')
      || coalesce(coord.annotation(v_comment, 'schema')::jsonb, '{}');
  end if;
  v_schema := case
    when v_type.typcategory = 'A' then jsonb_build_object('type', 'array', 'items', coord.json_schema(v_type.typelem))
    when v_type.typcategory = 'B' then '{"type": "boolean"}'
    when v_type.typname in ('int2', 'int4', 'int8') then '{"type": "integer"}'
    when v_type.typcategory = 'N' then '{"type": "number"}'
    when v_type.typname in ('json', 'jsonb') then '{"type": "object"}'
    when v_type.typname = 'timestamptz' then '{"type": "string", "format": "date-time"}'
    when v_type.typname = 'uuid' then '{"type": "string", "format": "uuid"}'
    else '{"type": "string"}'
  end;
  return v_schema;
end
$$;
comment on function coord.json_schema is 'JSON Schema of a type, domains with their comments.';

create function coord.input_schema(p_function oid) returns json
language sql stable
begin atomic
  -- json, not jsonb: arguments stay in the order of the signature.
  select json_strip_nulls(json_build_object(
    'type', 'object',
    'properties', coalesce(json_object_agg(a.name, coord.json_schema(a.type)
      || case
        when a.default_text ~ '^-?[0-9]+$' then jsonb_build_object('default', a.default_text::bigint)
        when a.default_text ~ '^(true|false)$' then jsonb_build_object('default', a.default_text::boolean)
        when a.default_text ~ '^\(*''[^'']+''::(text|character varying)\M(?!\[)' then
          jsonb_build_object('default', (regexp_match(a.default_text, '''([^'']+)'''))[1])
        else '{}'
      end order by a.n) filter (where a.name is not null), '{}'),
    'required', json_agg(a.name order by a.n) filter (where a.n <= a.required)))
  from pg_catalog.pg_proc p
  left join lateral (
    select u.n, p.proargnames[u.n] as name, u.type, p.pronargs - p.pronargdefaults as required,
      pg_get_function_arg_default(p.oid, u.n::integer) as default_text
    from unnest(p.proargtypes::oid[]) with ordinality u (type, n)
  ) a on true
  where p.oid = p_function;
end;
comment on function coord.input_schema is 'JSON Schema of a function''s arguments.';

create function coord.instructions() returns text
language sql immutable
return 'Other agents work in this repository too. Before you edit files, call acquire_lock with their paths; '
  'if it answers held, do something else and ask again later, or ask with wait_seconds to stand in line. Release as soon as you are done. '
  'Paths are relative to the repository''s root; src/ locks a directory with everything in it. '
  'Any call keeps your session alive; ending it releases what it holds. '
  'Every answer says in next what to do now.';
comment on function coord.instructions is 'What an agent is told when it connects; at most 600 characters.';

create function coord.tool_catalog(p_toolset text, p_role name) returns json
language plpgsql stable security definer set search_path = ''
as $$
declare
  v_catalog json;
begin
  if coalesce(p_toolset, 'full') not in ('core', 'full') then
    perform coord.fail('argument_invalid', 'toolset is core or full');
  end if;
  with described as (
    select p.oid, p.proname::text as name, p.provolatile <> 'v' as reads, obj_description(p.oid, 'pg_proc') as comment
    from pg_catalog.pg_proc p
    where p.pronamespace = 'coord_v1'::regnamespace and p.prokind = 'f' and has_function_privilege(p_role, p.oid, 'execute')
      -- What takes a raw body is no tool: somebody's program posts there.
      and (p.pronargs = 0 or p.proargnames is not null)
  ),
  listed as (
    select d.*, split_part(d.comment, e'\n', 1) as description,
      btrim(regexp_replace(regexp_replace(d.comment, '^[^\n]*', ''), '^@.*$', '', 'ng'), e' \n') as help,
      coord.annotation(d.comment, 'title') as title,
      coalesce(coord.annotation(d.comment, 'toolset'), 'full') as toolset,
      coord.annotation(d.comment, 'resource') as resource,
      coord.annotation(d.comment, 'prompt') as prompt,
      coord.input_schema(d.oid) as input
    from described d where d.comment is not null
  )
  select json_build_object(
    'instructions', coord.instructions(),
    'tools', coalesce(json_agg(json_build_object(
        'name', l.name, 'description', l.description, 'help', l.help, 'toolset', l.toolset, 'inputSchema', l.input,
        -- What the protocol takes for granted is left out: tools are listed into every context.
        'annotations', jsonb_strip_nulls(jsonb_build_object('openWorldHint', false,
          'readOnlyHint', case when l.reads then true end,
          'destructiveHint', case when not l.reads then coord.annotated(l.comment, 'destructive') end,
          'idempotentHint', case when not l.reads and coord.annotated(l.comment, 'idempotent') then true end)))
      order by l.toolset, l.name) filter (where l.prompt is null and (l.toolset = 'core' or p_toolset is distinct from 'core')), '[]'),
    'resources', coalesce(json_agg(jsonb_build_object(
        'uri', l.resource, 'name', split_part(l.resource, ':', 1), 'title', coalesce(l.title, initcap(replace(l.name, '_', ' '))), 'description', l.description,
        'mimeType', 'application/json', 'function', l.name)
      order by l.resource) filter (where l.resource is not null), '[]'),
    'resourceTemplates', '[]'::json,
    'prompts', coalesce(json_agg(json_build_object(
        'name', l.prompt, 'title', coalesce(l.title, initcap(replace(l.name, '_', ' '))), 'description', l.description, 'function', l.name,
        'arguments', (select coalesce(json_agg(json_build_object('name', a.key, 'description', a.value ->> 'description',
            'required', coalesce(l.input::jsonb -> 'required' ? a.key, false))), '[]')
          from json_each(l.input -> 'properties') a))
      order by l.prompt) filter (where l.prompt is not null), '[]'))
  into v_catalog from listed l;
  return json_build_object('revision', md5(v_catalog::text), 'instructions', v_catalog -> 'instructions', 'tools', v_catalog -> 'tools',
    'resources', v_catalog -> 'resources', 'resourceTemplates', v_catalog -> 'resourceTemplates', 'prompts', v_catalog -> 'prompts');
end
$$;

create function coord.version(p_role name) returns jsonb
language sql stable security definer set search_path = ''
return jsonb_build_object('version', '0.1.0', 'contract', 'coord_v1', 'catalogue', coord.tool_catalog('full', p_role) ->> 'revision',
  'postgresql', current_setting('server_version'));

create function coord.health() returns jsonb
language sql stable security definer set search_path = ''
return jsonb_build_object('ok', true, 'status', 'ready', 'at', clock_timestamp());

create function coord.one_prompt(p_description text, p_text text) returns jsonb
language sql immutable
return jsonb_build_object('description', p_description, 'messages', jsonb_build_array(
  jsonb_build_object('role', 'user', 'content', jsonb_build_object('type', 'text', 'text', p_text))));
comment on function coord.one_prompt is 'A prompt of one message, in the protocol''s shape.';

create function coord.prompt_start_editing(p_task text) returns jsonb
language plpgsql stable security definer set search_path = ''
as $$
begin
  if length(p_task) > 2000 then
    perform coord.fail('argument_too_long', 'task has at most 2000 characters');
  end if;
  return coord.one_prompt('Lock, edit, verify, release',
    coalesce('The task: ' || nullif(p_task, '') || e'\n\n', '')
    || e'Other agents edit this repository at the same time. Work like this:\n'
    || e'1. Find the files you will change; check_locks shows who holds what.\n'
    || e'2. acquire_lock with all of them in one call and a reason. If it answers held, start with files that are free, or do something else, and ask again later.\n'
    || e'3. Edit only what you hold. Call acquire_lock again to extend a lease that runs out.\n'
    || '4. Commit, then release_lock. Say what you released and what was held by others.');
end
$$;

-- The contract -------------------------------------------------------------------------

create domain coord_v1.toolset as text;
comment on domain coord_v1.toolset is $$core is the short list for agents, full is everything you may call.
@schema {"enum": ["core", "full"]}$$;
create domain coord_v1.task as text;
comment on domain coord_v1.task is $$What you are about to do.
@schema {"maxLength": 2000}$$;

create function coord_v1.tool_catalog(toolset coord_v1.toolset default 'full') returns json
language sql stable
return coord.tool_catalog(toolset, current_user);
comment on function coord_v1.tool_catalog is $$Describe every function you may call, as tools, resources and prompts.
Answers revision, instructions, tools[], resources[], resourceTemplates[], prompts[] in the wire shape of MCP. Errors: argument_invalid.
@toolset full$$;

create function coord_v1.version() returns jsonb
language sql stable
return coord.version(current_user);
comment on function coord_v1.version is $$Version of the coordinator, of its contract, and the revision of the catalogue.
@toolset full$$;

create function coord_v1.health() returns jsonb
language sql stable
return coord.health();
comment on function coord_v1.health is $$Whether the coordinator answers; needs no token.
@toolset full$$;

create function coord_v1.prompt_start_editing(task coord_v1.task default null) returns jsonb
language sql stable
return coord.prompt_start_editing(task);
comment on function coord_v1.prompt_start_editing is $$How to edit files that other agents may want too.
Errors: argument_too_long.
@title Start editing
@prompt start_editing$$;

grant usage on type coord_v1.toolset, coord_v1.task to coord_agent, coord_operator, coord_auditor;
grant execute on function coord.health, coord_v1.health to anon, coord_agent, coord_operator, coord_auditor;
grant execute on function coord.tool_catalog, coord.version, coord.prompt_start_editing,
  coord_v1.tool_catalog, coord_v1.version, coord_v1.prompt_start_editing to coord_agent, coord_operator, coord_auditor;

reset role;
notify pgrst, 'reload schema';
