-- What is superseded or has expired is hidden; what may be out of date says so.
begin;
\ir ../helpers.sql
select no_plan();

create function tests.recalled(p_agent text, p_arguments text) returns text language sql
return (select coalesce(string_agg(m ->> 'summary', ' | ' order by n), 'none')
  from jsonb_array_elements(tests.as_agent(p_agent, format('coord_v1.recall(%s)', p_arguments)) -> 'memories') with ordinality r (m, n));
create function tests.told(p_agent text, p_arguments text) returns text language sql
return tests.as_agent(p_agent, format('coord_v1.remember(%s)', p_arguments)) ->> 'id';

create temp table ids as select tests.told('agent-a', $$'Deploys are on Tuesdays'$$) as old;
alter table ids add new text;
update ids set new = tests.told('agent-b', format($$'Deploys are daily', supersedes => %L$$, old));
select is(tests.recalled('agent-a', $$'deploys'$$), 'Deploys are daily', 'the successor alone is found');
select is(tests.recalled('agent-a', $$'deploys', kinds => '{superseded}'$$), 'Deploys are daily | Deploys are on Tuesdays', 'unless one asks');
select is((select superseded_by from coord_v1.memories where id = old), new, 'the view tells by what') from ids;
select throws_ok($$select tests.as_agent('agent-a', $q$coord_v1.remember('x', supersedes => 'M-999999')$q$)$$, 'PT404', 'memory_not_found', 'what is not there is not superseded');
select is(tests.told('agent-b', format($$'deploys are daily', supersedes => %L$$, new)), new, 'nothing supersedes itself') from ids;
select is((select superseded_by from coord.memories where summary = 'Deploys are daily'), null, 'it stays current');
select is(tests.pick(tests.as_agent('agent-b', format('coord_v1.forget_memory(%L)', new)), 'outcome'), 'forgotten', 'the successor is forgotten') from ids;
select is(tests.recalled('agent-a', $$'deploys'$$), 'Deploys are on Tuesdays', 'the older is current again');

select ok(tests.told('agent-a', $$'Freeze until Friday', valid_until => clock_timestamp() + interval '1 hour'$$) is not null, 'valid for an hour');
select is(tests.recalled('agent-a', $$'freeze'$$), 'Freeze until Friday', 'and found');
update coord.memories set valid_until = clock_timestamp() - interval '1 second' where summary like 'Freeze%';
select is(tests.recalled('agent-a', $$'freeze'$$), 'none', 'then no more');
select is(tests.recalled('agent-a', $$'freeze', kinds => '{episodic,expired}'$$), 'Freeze until Friday', 'unless one asks');
select throws_ok($$select tests.as_agent('agent-a', $q$coord_v1.remember('x', valid_until => clock_timestamp() - interval '1 second')$q$)$$, 'PT400', 'argument_invalid', 'nothing begins expired');

-- A push after it was learned.
create function tests.stale(p_query text) returns text language sql
return tests.pick(tests.as_agent('agent-a', format('coord_v1.recall(%L)', p_query)), 'memories.0.maybe_stale');
select ok(tests.told('agent-a', $$'parser is slow', paths => '{src/parser.rs}'$$) is not null and tests.told('agent-a', $$'lexer is odd', paths => '{src/}', commit => 'abcdef1'$$) is not null, 'about a file, and about a directory');
select is(tests.stale('parser') || tests.stale('lexer'), '--', 'fresh');
insert into coord.pushed_fences (place, repo, fence, agent, session_id, commit_id, pushed_at)
values ('github.com/acme/app src/parser.rs', 'github.com/acme/app', 1, 'agent-b', 's', 'abcdef1234567890', clock_timestamp());
select is(tests.stale('parser'), 'true', 'its file was pushed since');
select is(tests.stale('lexer'), '-', 'by the very commit that it was learned at: no news');
update coord.pushed_fences set commit_id = '1234567';
select is(tests.stale('lexer'), 'true', 'by another: the directory may have changed');
update coord.pushed_fences set pushed_at = clock_timestamp() - interval '1 day';
select is(tests.stale('parser') || tests.stale('lexer'), '--', 'what was pushed before is known to it');

select * from finish();
rollback;
