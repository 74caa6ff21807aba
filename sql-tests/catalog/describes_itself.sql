-- The catalogue is made from what is there; a new function needs a comment and a grant.
begin;
\ir ../helpers.sql
select no_plan();

create temp table catalog as select tests.as_agent('agent-a', $$coord_v1.tool_catalog('core')$$) as core, tests.as_agent('agent-a', 'coord_v1.tool_catalog()') as whole,
  tests.as_operator('coord_v1.tool_catalog()') as operator;

select is((select jsonb_agg(t -> 'name') from jsonb_array_elements(core -> 'tools') t), '["acquire_lock", "check_locks", "complete_work", "get_work", "recall", "release_lock", "remember", "submit_work"]', 'core is short') from catalog;
select cmp_ok((select sum(octet_length(json_strip_nulls((t - 'help' - 'toolset')::json)::text)) / 4 from jsonb_array_elements(core -> 'tools') t), '<=', 1500::bigint, 'and at most 1,500 tokens') from catalog;
select ok(not exists (select from jsonb_array_elements(whole -> 'tools') t where t ->> 'name' = 'register_agent'), 'an agent is not shown what it may not call') from catalog;
select ok(exists (select from jsonb_array_elements(operator -> 'tools') t where t ->> 'name' = 'register_agent'), 'an operator is') from catalog;
select is((select t -> 'inputSchema' from jsonb_array_elements(core -> 'tools') t where t ->> 'name' = 'acquire_lock'),
  '{"type": "object", "required": ["paths"], "properties": {
    "paths": {"type": "array", "items": {"type": "string"}, "maxItems": 64, "description": "src/a.rs, src/ with all below it, or ./ for everything."},
    "repo": {"type": "string", "description": "host/owner/name; optional if just one."},
    "mode": {"type": "string", "enum": ["exclusive", "shared"], "default": "exclusive", "description": "shared keeps others from editing what you read."},
    "ttl_seconds": {"type": "integer", "minimum": 30, "maximum": 28800, "default": 1800, "description": "Lease in seconds."},
    "wait_seconds": {"type": "integer", "minimum": 0, "maximum": 3600, "default": 0, "description": "Wait in line so long."},
    "reason": {"type": "string", "maxLength": 500, "description": "Why; others see it."}}}'::jsonb, 'arguments with types, ranges, enums and defaults') from catalog;
select is((select t -> 'annotations' from jsonb_array_elements(core -> 'tools') t where t ->> 'name' = 'check_locks'), '{"readOnlyHint": true, "openWorldHint": false}', 'a read says so') from catalog;
select is((select t #>> '{annotations,destructiveHint}' from jsonb_array_elements(whole -> 'tools') t where t ->> 'name' = 'force_release_lock'), 'true', 'so does what takes away') from catalog;
select is((select string_agg(format('%s %s', r ->> 'uri', r ->> 'function'), ', ') from jsonb_array_elements(core -> 'resources') r),
  'agents://active discover_agents, handoffs://recent read_handoff, locks://current check_locks, memories://recent recall, work://pending work_pending', 'resources') from catalog;
select is((select string_agg(format('%s %s %s', p ->> 'name', p ->> 'function', p #>> '{arguments,0,name}'), ', ') from jsonb_array_elements(core -> 'prompts') p),
  'finish_work prompt_finish_work , start_editing prompt_start_editing task, start_work prompt_start_work task_types', 'and prompts') from catalog;
select cmp_ok(length(core ->> 'instructions'), '<=', 600, 'instructions of at most 600 characters') from catalog;
select is_empty($$select t ->> 'name' from catalog, jsonb_array_elements(operator -> 'tools') t where length(t ->> 'description') > 300 or length(t ->> 'name') > 24$$,
  'names of at most 24 characters, descriptions of at most 300');
select is(tests.as_agent('agent-a', 'coord_v1.version()') ->> 'catalogue', whole ->> 'revision', 'version names the revision of the catalogue') from catalog;
select matches(tests.as_agent('agent-a', $$coord_v1.prompt_start_editing('fix it')$$) #>> '{messages,0,content,text}', 'fix it', 'a prompt speaks of the task');

-- A function out of nowhere.
set local role coord_owner;
create domain coord_v1.test_size as integer;
comment on domain coord_v1.test_size is $$How big.
@schema {"minimum": 1}$$;
create function coord_v1.test_measure(size coord_v1.test_size, tags text[] default null, deep boolean default false, note text default 'it''s', at timestamptz default null)
returns jsonb language sql stable return '{}'::jsonb;
comment on function coord_v1.test_measure is $$Measure.
More on it.
@toolset core$$;
grant execute on function coord_v1.test_measure to coord_agent;
reset role;
select is((select t - 'annotations' from jsonb_array_elements(tests.as_agent('agent-a', $$coord_v1.tool_catalog('core')$$) -> 'tools') t where t ->> 'name' = 'test_measure'),
  '{"name": "test_measure", "description": "Measure.", "help": "More on it.", "toolset": "core", "inputSchema": {"type": "object",
    "required": ["size"], "properties": {"size": {"type": "integer", "minimum": 1, "description": "How big."}, "tags": {"type": "array", "items": {"type": "string"}},
    "deep": {"type": "boolean", "default": false}, "note": {"type": "string"}, "at": {"type": "string", "format": "date-time"}}}}'::jsonb, 'is a tool at once');
select isnt(tests.as_agent('agent-a', 'coord_v1.version()') ->> 'catalogue', whole ->> 'revision', 'and changes the revision') from catalog;

-- Every code that the source raises or returns is in the table, and none is there in vain.
create temp table used as
  select distinct m[1] as code
  from pg_proc p, regexp_matches(p.prosrc, '(?:coord\.fail\(|coord\.deny\(v_call, |return )''([a-z0-9_]+)''', 'g') m
  where p.pronamespace = 'coord'::regnamespace;
select is_empty('select code from used except select code from coord.error_codes', 'every code used is documented');
select is_empty('select code from coord.error_codes except select code from used', 'every documented code is used');
-- Every code that a comment promises exists.
select is_empty($$select p.proname, c from pg_proc p,
    regexp_split_to_table((regexp_match(obj_description(p.oid), 'Errors: ([^.]*)\.'))[1], ', ') c
  where p.pronamespace = 'coord_v1'::regnamespace and c <> 'path_*' and not exists (select from coord.error_codes e where e.code = c)$$, 'comments promise codes that exist');

select * from finish();
rollback;
