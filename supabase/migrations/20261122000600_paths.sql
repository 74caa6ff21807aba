-- Paths: what a lock is about, in one spelling.
--
-- A path is relative to the root of a repository: a file (src/a.rs), a directory
-- with all below it (src/) or everything (./). Only * and ? make a glob; it stands
-- for its longest literal directory, because nobody can tell from two globs whether
-- they meet. A key with a registered scheme (port:5432, db:migrations) is a logical
-- resource: it has no directories above it and meets nothing but itself. A file of
-- such a name is written ./port:5432, here and in every answer, so that it never
-- meets the resource.
--
-- A place is repository and path in one key in C collation: `repo path` for files,
-- `repo#key` for resources. A path and the directories above it are a few keys of
-- one index, what lies below a directory is a range of it.
--
-- Two paths overlap when they are equal or one lies below the other.

set role coord_owner;

create table coord.path_schemes (
  scheme text primary key,
  meaning text not null,
  constraint scheme_is_a_name check (scheme ~ '^[a-z][a-z0-9+-]{0,29}$')
);
comment on table coord.path_schemes is 'Schemes of logical resources; a row more is a scheme more.';
alter table coord.path_schemes enable row level security;
alter table coord.path_schemes force row level security;
create policy everyone_reads on coord.path_schemes
  for all to coord_owner, coord_janitor, coord_agent, coord_operator, coord_auditor using (true);
grant select on coord.path_schemes to coord_janitor, coord_agent, coord_operator, coord_auditor;

insert into coord.path_schemes (scheme, meaning) values
  ('api', 'An endpoint: api:GET /v1/users.'),
  ('branch', 'A git branch: branch:main.'),
  ('db', 'A database, or a part of one: db:migrations.'),
  ('env', 'An environment: env:staging.'),
  ('feature', 'A feature or a flag: feature:checkout:pause.'),
  ('port', 'A port of the machine that agents share: port:5432.'),
  ('service', 'A running service: service:search.');

insert into coord.error_codes (code, status, meaning, remedy) values
  ('paths_required', 400, 'The call names no path.', 'Pass paths with 1 to 64 entries, relative to the root of the repository.'),
  ('too_many_paths', 400, 'A call names at most 64 paths.', 'Lock a directory (src/) or split the call.'),
  ('path_empty', 400, 'A path is empty.', 'Pass a path relative to the root of the repository; the whole repository is ./'),
  ('path_absolute', 400, 'A path is absolute.', 'Pass it relative to the root of the repository.'),
  ('path_outside_repo', 400, 'A path leaves the repository.', 'Pass it relative to the root of the repository, without leading ..'),
  ('path_too_long', 400, 'A path has more than 1024 bytes.', 'Lock a directory above it.'),
  ('path_control_character', 400, 'A path holds a control character.', 'Check the quoting of the path.'),
  ('path_trailing_blank', 400, 'A path ends with a blank.', 'Check the quoting of the path.'),
  ('path_unknown_scheme', 400, 'A path begins with a scheme that nobody registered.', 'path_schemes lists them; for a file of that name write ./name:with:colon.');

create function coord.is_resource(p_path text) returns boolean
language sql immutable
return p_path ~ '^[a-z][a-z0-9+-]*:';
comment on function coord.is_resource is 'Whether a canonical path is a logical resource.';

-- A domain, because its check is compiled once a session and a table's once a statement.
create domain coord.path as text collate "C"
  constraint path_is_canonical check (
    octet_length(value) between 1 and 1024
    and (value = './' or value ~ '^[a-z][a-z0-9+-]*:.' or (
      left(value, 1) <> '/' and strpos(value, '//') = 0 and strpos('/' || value || '/', '/../') = 0
      and (strpos('/' || value || '/', '/./') = 0 or value ~ '^\./[A-Za-z][A-Za-z0-9+-]*:'))));
comment on domain coord.path is 'A path in canonical form: relative, without ./, // and ..; a directory ends with a slash.';

create function coord.literal_path(p_path text) returns text
language sql immutable
return case when normalize(p_path, nfc) ~ '^[A-Za-z][A-Za-z0-9+-]*:' then './' else '' end || normalize(p_path, nfc);
comment on function coord.literal_path is 'The canonical form of a file as git names it.';

create function coord.canonical_path(p_path text) returns text
language plpgsql stable
as $$
declare
  v_path text := p_path;
  v_segment text;
  v_segments text[] := array[]::text[];
begin
  -- Most paths are plain and canonical as they come.
  if v_path ~ '^([A-Za-z0-9_-][A-Za-z0-9._-]*/)*[A-Za-z0-9_-][A-Za-z0-9._-]*/?$' and length(v_path) <= 1024 then
    return v_path;
  elsif v_path is null or v_path = '' then
    perform coord.fail('path_empty');
  elsif octet_length(v_path) > 1024 then
    perform coord.fail('path_too_long', format('%s… has %s bytes', left(v_path, 60), octet_length(v_path)));
  elsif v_path ~ '[[:cntrl:]]' then
    perform coord.fail('path_control_character');
  elsif v_path ~ '[[:space:]]$' then
    perform coord.fail('path_trailing_blank', format('%s ends with a blank', quote_literal(v_path)));
  elsif left(v_path, 1) = '/' or v_path ~ '^[A-Za-z]:[\\/]' then
    perform coord.fail('path_absolute', format('%s is absolute', v_path));
  end if;
  v_path := normalize(v_path, nfc);

  if v_path ~ '^[A-Za-z][A-Za-z0-9+-]*:' then
    v_segment := lower(split_part(v_path, ':', 1));
    v_path := regexp_replace(ltrim(substr(v_path, length(v_segment) + 2)), '[[:space:]/]+$', '');
    if not exists (select from coord.path_schemes s where s.scheme = v_segment) then
      perform coord.fail('path_unknown_scheme', format('nobody registered the scheme %s:', v_segment));
    elsif v_path = '' then
      perform coord.fail('path_empty', format('%s: names no resource', v_segment));
    end if;
    v_path := v_segment || ':' || v_path;
  else
    -- A glob stands for the directory that holds whatever it matches.
    v_path := regexp_replace(v_path, '[^/]*[*?].*$', '');
    if v_path ~ '(^|/)\.{0,2}(/|$)' then
      foreach v_segment in array string_to_array(v_path, '/') loop
        if v_segment = '..' then
          if cardinality(v_segments) = 0 then
            perform coord.fail('path_outside_repo', format('%s leaves the repository', p_path));
          end if;
          v_segments := trim_array(v_segments, 1);
        elsif v_segment not in ('', '.') then
          v_segments := v_segments || v_segment;
        end if;
      end loop;
      if cardinality(v_segments) = 0 then
        return './';
      end if;
      v_path := array_to_string(v_segments, '/') || case when v_path ~ '(^|/)\.{0,2}$' then '/' else '' end;
    elsif v_path = '' then
      return './';
    end if;
    if v_path ~ '^[A-Za-z][A-Za-z0-9+-]*:' then
      v_path := './' || v_path;
    end if;
  end if;
  if octet_length(v_path) > 1024 then
    perform coord.fail('path_too_long', format('%s… has %s bytes in its canonical form', left(v_path, 60), octet_length(v_path)));
  end if;
  return v_path;
end
$$;
comment on function coord.canonical_path is 'The one spelling of a path: relative, NFC, without ./, // and ..; a directory keeps its last slash.';

create function coord.canonical_paths(p_paths text[]) returns text[]
language plpgsql stable
as $$
declare
  v_paths text[];
begin
  if cardinality(p_paths) > 64 then
    perform coord.fail('too_many_paths', format('the call names %s', cardinality(p_paths)));
  end if;
  if cardinality(p_paths) = 1 then
    return array[coord.canonical_path(p_paths[1])];
  end if;
  select array_agg(distinct coord.canonical_path(p) collate "C") into v_paths from unnest(p_paths) p;
  return v_paths;
end
$$;
comment on function coord.canonical_paths is 'Canonical, distinct and sorted; null for no paths.';

create function coord.widened(p_paths text[]) returns jsonb
language sql stable
begin atomic
  select jsonb_agg(jsonb_build_object('glob', p, 'locked', coord.canonical_path(p)))
  from unnest(p_paths) p where p ~ '[*?]' and not coord.is_resource(coord.canonical_path(p));
end;
comment on function coord.widened is 'The globs among paths, with the directories that stand for them; null if there are none.';

create function coord.place(p_repo text, p_path text) returns text
language sql immutable
return p_repo || case when p_path ~ '^[a-z][a-z0-9+-]*:' then '#' else ' ' end || p_path;
comment on function coord.place is 'The place of a canonical path.';

create function coord.targets(p_repo text, p_paths text[]) returns text[]
language plpgsql immutable
as $$
begin
  if cardinality(p_paths) = 1 then
    return array[coord.place(p_repo, p_paths[1])];
  end if;
  return array(select coord.place(p_repo, p) from unnest(p_paths) p);
end
$$;
comment on function coord.targets is 'Places of canonical paths.';

create function coord.places_to(p_repo text, p_path text) returns text[]
language plpgsql immutable
as $$
declare
  v_places text[] := array[p_repo || ' ./'];
  v_place text := p_repo || ' ';
  v_segment text;
begin
  if p_path = './' then
    return v_places;
  elsif coord.is_resource(p_path) then
    -- Above all resources is a place that no lock has: for whoever settles more than it can name.
    return array[p_repo || '#', coord.place(p_repo, p_path)];
  elsif starts_with(p_path, './') then
    v_place := v_place || './';
  end if;
  foreach v_segment in array string_to_array(rtrim(regexp_replace(p_path, '^\./', ''), '/'), '/') loop
    v_place := v_place || v_segment || '/';
    v_places := v_places || v_place;
  end loop;
  v_places[cardinality(v_places)] := p_repo || ' ' || p_path;
  return v_places;
end
$$;
comment on function coord.places_to is 'Places of the directories above a canonical path, the repository first, and of the path itself.';

create function coord.places(p_repo text, p_paths text[]) returns text[]
language plpgsql immutable
as $$
begin
  if cardinality(p_paths) = 1 then
    return coord.places_to(p_repo, p_paths[1]);
  end if;
  return array(
    select distinct on (a.place <> p_repo || ' ./', a.place collate "C") a.place
    from unnest(p_paths) p, unnest(coord.places_to(p_repo, p)) a (place)
    order by a.place <> p_repo || ' ./', a.place collate "C");
end
$$;
comment on function coord.places is 'Places of canonical paths and of all directories above them: each once, the repository first, then in order.';

create function coord.lies_in(p_path text, p_directory text) returns boolean
language sql immutable
return right(p_directory, 1) = '/' and (starts_with(p_path, p_directory) or p_directory = './' and not coord.is_resource(p_path));
comment on function coord.lies_in is 'Whether a canonical path is this directory or lies below it.';

create function coord.overlap(p_one text, p_two text) returns boolean
language sql immutable
return p_one = p_two or coord.lies_in(p_one, p_two) or coord.lies_in(p_two, p_one);
comment on function coord.overlap is 'Whether two canonical paths are equal or one lies below the other.';

grant execute on function coord.canonical_path, coord.is_resource, coord.place, coord.targets, coord.places_to, coord.places, coord.lies_in, coord.overlap
  to coord_janitor;

create view coord_v1.path_schemes with (security_invoker = true) as
  select s.scheme, s.meaning from coord.path_schemes s;
comment on view coord_v1.path_schemes is 'Schemes of logical resources that can be locked beside files.';
comment on column coord_v1.path_schemes.scheme is 'What stands before the colon.';
comment on column coord_v1.path_schemes.meaning is 'What such a resource is, with an example.';
grant select on coord_v1.path_schemes to coord_agent, coord_operator, coord_auditor;

reset role;
notify pgrst, 'reload schema';
