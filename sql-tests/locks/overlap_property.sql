-- Whether two requests meet, against a plain reference: for chosen pairs and for 10,000 random ones (tests.random_pairs),
-- by the predicate in both orders and by two agents who ask one after the other (chosen pairs in both orders).
-- `select setseed` below makes the run replayable; a failure prints its pairs.
begin;
\ir ../helpers.sql
select no_plan();
select count(tests.as_operator(format($q$coord_v1.register_agent(%L, 'test', 'agent', '{github.com/acme/other}')$q$, a))) as quiet
from unnest(array['agent-a', 'agent-b']) a \gset

-- What a path is about: a resource by its key, else segments from the root, of a file or of a directory.
create type tests.thing as (key text, segments text[], dir boolean);

-- The reference knows segments, not strings: the shorter one must be a directory that the other begins with.
create function tests.meet(p_one tests.thing, p_two tests.thing) returns boolean language plpgsql immutable as $$
declare
  v_shorter tests.thing := p_one;
  v_longer tests.thing := p_two;
begin
  if p_one.key is not null or p_two.key is not null then
    return p_one.key is not distinct from p_two.key;
  end if;
  if cardinality(p_two.segments) < cardinality(p_one.segments) then
    v_shorter := p_two;
    v_longer := p_one;
  end if;
  for n in 1..cardinality(v_shorter.segments) loop
    if convert_to(v_shorter.segments[n], 'UTF8') <> convert_to(v_longer.segments[n], 'UTF8') then
      return false;
    end if;
  end loop;
  if cardinality(v_shorter.segments) < cardinality(v_longer.segments) then
    return v_shorter.dir;
  end if;
  return v_shorter.dir = v_longer.dir;
end
$$;

create function tests.any_of(variadic p_texts text[]) returns text language sql volatile
return p_texts[1 + floor(random() * cardinality(p_texts))::integer];

-- Names that sort around the slash and the blank, that are prefixes of each other, or that look like something else.
create function tests.name() returns text language plpgsql volatile as $$
begin
  return case when random() < 0.6 then tests.any_of('src', 'src0', 'src.rs', 'a', 'b')
    else tests.any_of('src!', 'src-', 'src ', 'src0 ', '!', '!a', '-', '-a', '0', '0a', '.git', '...', '..a', 'a b', '#', '#a', '$', '~', ' a',
      'port:1', 'Port:1', 'nope:x', '1:x', 'é', u&'e\0301\0301', 'ß', 'SRC', '日本', '😀', u&'\+10FFFD', '[id]', '(group)', '''', '"', '\', '%', '_', '{}', ',', '&') end;
end
$$;

-- A file whose name ends with a blank is refused, so it is a directory.
create function tests.thing(p_segments text[], p_dir boolean) returns tests.thing language sql immutable
return row(null, p_segments, p_dir or cardinality(p_segments) = 0 or p_segments[cardinality(p_segments)] like '% ')::tests.thing;

create function tests.any_thing() returns tests.thing language plpgsql volatile as $$
declare
  v_segments text[] := '{}';
begin
  if random() < 0.08 then
    return row(tests.any_of('port:1', 'port:2', 'port:10', 'db:a', 'db:a/b', 'db:src', 'api:GET /src', 'env:./'), null, null)::tests.thing;
  end if;
  for n in 1..floor(random() * 5)::integer loop
    v_segments := v_segments || tests.name();
  end loop;
  return tests.thing(v_segments, random() < 0.5);
end
$$;

-- Something near it: itself, above, below, beside, or a name that begins alike.
create function tests.near(p_thing tests.thing) returns tests.thing language plpgsql volatile as $$
declare
  v_segments text[] := p_thing.segments;
  v_length integer := cardinality(v_segments);
begin
  if p_thing.key is not null then
    return case when random() < 0.5 then p_thing else tests.thing(array[rtrim(p_thing.key, '/')], random() < 0.3) end;
  end if;
  case floor(random() * 5)::integer
    when 0 then v_segments := v_segments || tests.name();
    when 1 then v_segments := v_segments[1:floor(random() * (v_length + 1))::integer];
    when 2 then if v_length > 0 then
      v_segments[v_length] := v_segments[v_length] || tests.any_of('0', '!', '.rs', '-', 'a');
    end if;
    when 3 then if v_length > 0 then
      v_segments[1 + floor(random() * v_length)::integer] := tests.name();
    end if;
    else null;
  end case;
  return tests.thing(v_segments, random() < 0.5);
end
$$;

-- One of the ways to write it.
create function tests.spell(p_thing tests.thing) returns text language plpgsql volatile as $$
declare
  v_path text := '';
  v_segment text;
  -- A name with a colon is a file's only behind ./ or something like it.
  v_plain boolean := coalesce(p_thing.segments[1] !~ '^[A-Za-z][A-Za-z0-9+-]*:', true);
begin
  if p_thing.key is not null then
    return case when random() < 0.3 then upper(split_part(p_thing.key, ':', 1)) || tests.any_of(':', ': ') || substr(p_thing.key, strpos(p_thing.key, ':') + 1)
      else p_thing.key end || tests.any_of('', '', '/');
  end if;
  v_path := case when v_plain then tests.any_of('', '', '', './', './/', 'x/../') else tests.any_of('./', './/', 'x/../', './x/y/../../') end;
  foreach v_segment in array p_thing.segments loop
    v_path := v_path || v_segment || tests.any_of('/', '/', '/', '/', '/', '//', '/./', '/x/../');
  end loop;
  if p_thing.dir then
    v_path := v_path || case when v_path = '' then tests.any_of('./', '.', '*', '**/*.rs', 'x/..')
      else tests.any_of('', '', '', '', '*', '*.rs', '**/x', 'x?/y', '.', 'x/..') end;
  else
    v_path := regexp_replace(v_path, '(/|//|/\./|/x/\.\./)$', '');
  end if;
  return case when random() < 0.3 then normalize(v_path, nfd) else v_path end;
end
$$;

-- The two agents are admitted once; then claims are only put on.
create temp table admitted (agent text, claims text, caller text, repos text);
create function tests.admit(p_agent text) returns void language plpgsql as $$
begin
  perform set_config('request.jwt.claims', tests.claims(p_agent)::text, true), set_config('coord.caller', '', true), set_config('role', 'coord_agent', true);
  perform coord.pre_request();
  perform set_config('role', 'none', true);
  insert into admitted values (p_agent, current_setting('request.jwt.claims'), current_setting('coord.caller', true), current_setting('coord.repos', true));
end
$$;
select tests.admit('agent-a') is not null and tests.admit('agent-b') is not null as quiet \gset
create function tests.ask(p_agent text, p_repo text, p_path text, p_mode text) returns jsonb language plpgsql as $$
begin
  perform set_config('request.jwt.claims', a.claims, true), set_config('coord.claims', a.claims, true), set_config('coord.caller', a.caller, true), set_config('coord.repos', a.repos, true)
  from admitted a where a.agent = p_agent;
  return coord.acquire_lock(p_repo, array[p_path], p_mode, 60, null, 0);
end
$$;

create type tests.request as (thing tests.thing, path text, repo text, mode text);

-- What the second is told, after the first got it. All is undone, so that the next pair finds nothing.
create function tests.told(p_first tests.request, p_second tests.request) returns text language plpgsql as $$
declare
  v_first jsonb;
  v_second jsonb;
  v_told text;
begin
  begin
    v_first := tests.ask('agent-a', p_first.repo, p_first.path, p_first.mode);
    v_second := tests.ask('agent-b', p_second.repo, p_second.path, p_second.mode);
    v_told := concat_ws(' ', v_first ->> 'outcome', v_second ->> 'outcome', v_second #>> '{blockers,0,holder}',
      case when v_second #>> '{blockers,0,held_path}' <> v_first #>> '{locks,0,path}' then 'for another path' end);
    raise exception using errcode = 'UNDO0';
  exception when sqlstate 'UNDO0' then
    return v_told;
  when others then
    return sqlerrm;
  end;
end
$$;

create temp table failures (what text, one text, two text, told text);
create function tests.try(p_one tests.request, p_two tests.request, p_both_orders boolean) returns void language plpgsql as $$
declare
  v_meet boolean := tests.meet(p_one.thing, p_two.thing);
  v_wanted text := case when v_meet and p_one.repo = p_two.repo and 'exclusive' in (p_one.mode, p_two.mode) then 'acquired held agent-a' else 'acquired acquired' end;
  v_one text;
  v_two text;
  v_told text;
begin
  begin
    v_one := coord.canonical_path(p_one.path);
    v_two := coord.canonical_path(p_two.path);
    if coord.canonical_path(v_one) <> v_one or (v_one::coord.path)::text <> v_one then
      insert into failures values ('the canonical form is not its own', p_one::text, null, v_one);
    end if;
  exception when others then
    insert into failures values ('no canonical form', p_one::text, p_two::text, sqlerrm);
    return;
  end;
  if coord.overlap(v_one, v_two) <> v_meet then
    insert into failures values ('overlap', p_one::text, p_two::text, (not v_meet)::text);
  end if;
  if coord.overlap(v_two, v_one) <> coord.overlap(v_one, v_two) then
    insert into failures values ('symmetry', p_one::text, p_two::text, null);
  end if;
  v_told := tests.told(p_one, p_two);
  if v_told is distinct from v_wanted then
    insert into failures values ('acquire', p_one::text, p_two::text, v_told);
  end if;
  v_told := case when p_both_orders then tests.told(p_two, p_one) else v_wanted end;
  if v_told is distinct from v_wanted then
    insert into failures values ('acquire, in the other order', p_two::text, p_one::text, v_told);
  end if;
end
$$;
create function tests.failures() returns text language sql volatile
return (select string_agg(format('%s: %s and %s: %s', f.what, f.one, f.two, f.told), e'\n') from (select * from failures limit 10) f);

-- Chosen: every pair of these, and what comes out by hand for some of them.
create temp table chosen (thing tests.thing, path text);
insert into chosen
select tests.thing(segments, dir), path from (values
  ('{}'::text[], true, './'), ('{}', true, '*.rs'), ('{}', true, '**'), ('{src}', false, 'src'), ('{src}', true, 'src/'), ('{src}', true, 'src/*'), ('{src}', true, 'src/**/x'),
  ('{src0}', false, 'src0'), ('{src0}', true, 'src0/'), ('{src.rs}', false, 'src.rs'), ('{src!}', true, 'src!/'), ('{src-}', true, 'src-/'), ('{"src "}', true, 'src /'),
  ('{src,a}', false, 'src/a'), ('{src,a}', true, 'src/a/'), ('{src,0}', false, 'src/0'), ('{src,!}', false, 'src/!'), ('{src,a,b}', false, './src//a/./b'),
  ('{"src ",a}', false, 'src /a'), ('{"a .",b}', false, 'a ./b'), ('{"a ."}', true, 'a ./'), ('{-}', false, '-'), ('{!}', false, '!'), ('{!}', true, '!/'),
  ('{port:1}', false, './port:1'), ('{port:1}', true, './port:1/'), ('{port:1,a}', false, './port:1/a'), ('{src,port:1}', false, 'src/port:1'), ('{Port:1}', false, './Port:1'),
  ('{é}', true, 'é/'), ('{é,x}', false, u&'e\0301/x'), (array[u&'\+10FFFF'], true, u&'\+10FFFF/'), (array[u&'\+10FFFF', 'a'], false, u&'\+10FFFF/a')
) v (segments, dir, path);
insert into chosen select row(key, null, null)::tests.thing, path from (values ('port:1', 'port:1'), ('port:1', 'PORT: 1/'), ('port:10', 'port:10'), ('db:src', 'db:src'), ('db:src/a', 'db:src/a')) v (key, path);

select is(tests.meet(one.thing, two.thing), wanted, format('the reference: %s and %s', one.path, two.path))
from (values ('./', 'src', true), ('src', 'src/', false), ('src/', 'src0', false), ('src/', 'src/a', true), ('src/a', 'src/a/', false), ('./', 'port:1', false),
  ('./port:1', 'port:1', false), ('./', './port:1', true), ('./port:1/', './port:1/a', true), ('src/a/', './src//a/./b', true), ('db:src', 'db:src/a', false)) v (a, b, wanted)
join chosen one on one.path = a join chosen two on two.path = b;

do $$
begin
  perform tests.try(row(one.thing, one.path, 'github.com/acme/app', 'exclusive')::tests.request, row(two.thing, two.path, 'github.com/acme/app', mode)::tests.request, true)
  from chosen one join chosen two on one.path <= two.path, unnest(array['exclusive', 'shared']) mode;
end
$$;
select is(tests.failures(), null, 'chosen pairs');
truncate failures;

select setseed(0.2026) is not null as quiet \gset
create temp table tally (met boolean, same_repo boolean, shared boolean);
do $$
declare
  v_one tests.request;
  v_two tests.request;
begin
  for n in 1..coalesce(nullif(current_setting('tests.random_pairs', true), ''), '10000')::integer loop
    v_one.thing := tests.any_thing();
    v_two.thing := case when random() < 0.7 then tests.near(v_one.thing) else tests.any_thing() end;
    v_one.path := tests.spell(v_one.thing);
    v_two.path := tests.spell(v_two.thing);
    v_one.mode := tests.any_of('exclusive', 'exclusive', 'shared');
    v_two.mode := tests.any_of('exclusive', 'exclusive', 'shared');
    v_one.repo := 'github.com/acme/app';
    v_two.repo := case when random() < 0.9 then v_one.repo else 'github.com/acme/other' end;
    perform case when random() < 0.5 then tests.try(v_one, v_two, false) else tests.try(v_two, v_one, false) end;
    insert into tally values (tests.meet(v_one.thing, v_two.thing), v_one.repo = v_two.repo, v_one.mode = 'shared' and v_two.mode = 'shared');
  end loop;
end
$$;
select is(tests.failures(), null, 'random pairs');
select cmp_ok(count(*) filter (where met and same_repo and not shared), '>', count(*) / 10, 'many of them met') from tally;
select cmp_ok(count(*) filter (where not met), '>', count(*) / 10, 'many did not') from tally;

select * from finish();
rollback;
