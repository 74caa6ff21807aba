-- What the benchmarks compare with; made in the throw-away database only.

-- The floor: the least that a durable, audited lock could do.
create table bench_locks (path text primary key, holder text not null, expires_at timestamptz not null);
create table bench_audit (id bigint generated always as identity primary key, at timestamptz not null default clock_timestamp(), holder text not null, what text not null, path text not null);

-- Authenticated calls that do nothing, or commit one row: what PostgREST costs by itself.
create function coord_v1.bench_noop(paths text[], repo text) returns jsonb language sql volatile
return '{"outcome": "nothing"}'::jsonb;
create function coord_v1.bench_noop_write(paths text[], repo text) returns jsonb language sql volatile security definer
begin atomic
  insert into bench_audit (holder, what, path) values ('noop', 'noop', paths[1]);
  select '{"outcome": "nothing"}'::jsonb;
end;
grant execute on function coord_v1.bench_noop, coord_v1.bench_noop_write to coord_agent;
notify pgrst, 'reload schema';
