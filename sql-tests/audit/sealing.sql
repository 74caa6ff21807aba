-- What was sealed and is changed, gone or new is found, and named.
begin;
\ir ../helpers.sql
select no_plan();

-- Rows as other transactions would have left them: long committed, in several batches.
create function tests.age(p_xid bigint) returns void language plpgsql as $$
begin
  perform set_config('session_replication_role', 'replica', true);
  update coord.audit_log set xid = p_xid + case when p_xid < 500 then id % 50 else 0 end where xid = pg_current_xact_id()::text::bigint;
  perform set_config('session_replication_role', 'origin', true);
end
$$;
create function tests.seal() returns text language sql return tests.pick(tests.as_operator('coord_v1.seal_audit()'), 'outcome', 'rows');
create function tests.verify() returns text language sql return (
  select v ->> 'outcome' || coalesce((select string_agg(format(' %s:%s:%s', p ->> 'seal', p ->> 'problem', p ->> 'audit_id'), '' order by n)
    from jsonb_array_elements(v -> 'problems') with ordinality u (p, n)), '')
  from tests.as_operator('coord_v1.verify_audit()') v);
-- Changes something as a superuser with triggers off, verifies, and takes it back.
create function tests.verify_after(p_change text) returns text language plpgsql as $$
declare
  v_found text;
begin
  begin
    perform set_config('session_replication_role', 'replica', true);
    execute p_change;
    perform set_config('session_replication_role', 'origin', true);
    v_found := tests.verify();
    raise exception using errcode = 'P0999';
  exception when sqlstate 'P0999' then
    return v_found;
  end;
end
$$;

select is(tests.seal(), 'sealed 0', 'rows of a transaction that is under way are not sealed');
select is((select count(*) from coord.audit_seals), 0::bigint, 'nor is an empty batch made');
select tests.as_agent('agent-a', $$coord_v1.acquire_lock('{a}', reason => 'r')$$), tests.as_agent('agent-b', $$coord_v1.acquire_lock('{b}', 'github.com/acme/other')$$);
select tests.age(100);
select is(tests.seal(), 'sealed 5', 'committed ones are: three registrations, a lock, a denial');
select tests.as_agent('agent-a', $$coord_v1.release_lock('{a}')$$);
select is(tests.seal(), 'sealed 0', 'not again');
select is(tests.verify(), 'verified', 'and verify; what is not sealed yet is not missed');
select tests.age(pg_snapshot_xmin(pg_current_snapshot())::text::bigint);
select is(tests.seal(), 'sealed 0', 'a row at the oldest running transaction waits');
select is((select count(*) from coord.audit_log where xid > 150), 2::bigint, 'the release and the seal');

-- The next batches: the bounds follow on each other.
create function tests.next_batch(p_xid bigint) returns text language plpgsql as $$
begin
  perform set_config('session_replication_role', 'replica', true);
  update coord.audit_seals set upper = p_xid where number = (select max(number) from coord.audit_seals);
  update coord.audit_seals s set head = coord.seal_head(s, (select head from coord.audit_seals p where p.number = s.number - 1))
  where number = (select max(number) from coord.audit_seals);
  update coord.audit_log set xid = p_xid + case when p_xid < 500 then id % 50 else 0 end where xid = pg_current_xact_id()::text::bigint;
  perform set_config('session_replication_role', 'origin', true);
  return tests.seal();
end
$$;
select is(tests.next_batch(200), 'sealed 2', 'a second batch');
select tests.as_agent('agent-b', $$coord_v1.acquire_lock('{b}')$$), tests.as_agent('agent-b', $$coord_v1.release_lock()$$);
select is(tests.next_batch(300), 'sealed 3', 'a third');
select is((select string_agg(number || ':' || rows, ' ' order by number) from coord_v1.audit_seals), '1:5 2:2 3:3', 'numbered without gaps');
select is(tests.verify(), 'verified', 'all verify');

-- Every column of every sealed row.
create temp table changes as
select format('update coord.audit_log set %I = %s where id = %s', a.attname,
    case a.atttypid::regtype::text
      when 'text' then format('coalesce(%I, '''') || ''x''', a.attname)
      when 'timestamp with time zone' then 'at + interval ''1 microsecond'''
      when 'bytea' then 'sha256(details_hash)'
      else format('coalesce(%I, 0) + 1000', a.attname) end, l.id) as change,
  a.attname, l.id, (select s.number from coord.audit_seals s where l.xid >= s.lower and l.xid < s.upper) as seal
from coord.audit_log l, pg_attribute a
where a.attrelid = 'coord.audit_log'::regclass and a.attnum > 0 and l.xid < 500;
select is(count(*), 140::bigint, 'ten rows of fourteen columns') from changes;
select matches(tests.verify_after(change), format('^broken.* %s:row_(changed|missing):%s\M', seal, id), format('%s of row %s', attname, id)) from changes;
select is(tests.verify_after(format('delete from coord.audit_log where id = %s', id)), format('broken %s:row_missing:%s', seal, id), format('row %s is gone', id))
from (select distinct id, seal from changes) c;
select is(tests.verify_after($$insert into coord.audit_log (id, at, xid, agent, agent_type, role, session_id, function, outcome, details_hash)
  values (99999, clock_timestamp(), 260, 'agent-a', 't', 'coord_agent', 's', 'f', 'o', sha256(''))$$), 'broken 2:row_added:99999', 'a row is new');
select is(tests.verify_after(format('delete from coord.audit_log where id = %1$s; update coord.audit_seals set ids = array_remove(ids, %1$s), rows = rows - 1,
    leaves = substring(leaves from 33) where number = 1', (select min(id) from changes))), 'broken 1:seal_changed:', 'a row is gone from its seal as well');

-- Every column of every seal.
create temp table seal_changes as
select format('update coord.audit_seals set %I = %s where number = %s', a.attname,
    case a.atttypid::regtype::text
      when 'timestamp with time zone' then format('%I + interval ''1 microsecond''', a.attname)
      when 'bytea' then case a.attname when 'leaves' then 'sha256(''x'') || substring(leaves from 33)' else format('sha256(%I)', a.attname) end
      when 'bigint[]' then case a.attname when 'ids' then 'array[77777::bigint] || ids[2:]' else 'ids' end
      else format('coalesce(%I, 0) + 50', a.attname) end, s.number) as change, a.attname, s.number
from coord.audit_seals s, pg_attribute a
where a.attrelid = 'coord.audit_seals'::regclass and a.attnum > 0 and a.attname not in ('rows', 'dropped');
select matches(tests.verify_after(change), '^broken', format('%s of seal %s', attname, number)) from seal_changes;
select matches(tests.verify_after('alter table coord.audit_seals drop constraint a_leaf_a_row; update coord.audit_seals set rows = 4 where number = 1'), '^broken 1:seal_changed', 'its count');
select is(tests.verify_after('delete from coord.audit_seals where number = 1'), 'broken 1:seal_missing:', 'the first seal is gone');
select is(tests.verify_after('delete from coord.audit_seals where number = 2'), 'broken 2:seal_missing:', 'one between is gone');

-- Details.
select matches(tests.verify_after(format('update coord.audit_details set %s where id = %s', what, id)), format('^broken %s:details_%s:%s\M', seal, how, id), format('details: %s', what))
from (select min(id) as id, min(seal) as seal from changes) c,
  (values ($$content = content || '{"reason": "another"}'$$, 'changed'), ($$salt = sha256(salt)$$, 'changed'), ($$agent = 'agent-z'$$, 'changed'), ('id = 99998', 'missing')) v (what, how);

-- In the open: nobody changes anything.
select throws_ok(change, 'PT403', null, change) from (values
  ('update coord.audit_seals set head = root'), ('delete from coord.audit_seals'), ('truncate coord.audit_seals'),
  ('update coord.audit_seals set leaves = sha256(''''), ids = ids where rows = 1 or true'),
  ('update coord.audit_seals set leaves = null, ids = null, rows = 1'),
  ('delete from coord.audit_details'), ('truncate coord.audit_details'), ('update coord.audit_details set content = ''{}'''),
  ('update coord.audit_details set content = null, salt = null, agent = ''x''')) v (change);
set local role coord_janitor;
select throws_ok('update coord.audit_seals set leaves = null', '42501', null, 'nor does the janitor');
reset role;
select is(tests.verify(), 'verified', 'and after all that they verify');

-- Who may read: operators and auditors; pages.
select throws_ok($$select tests.as_agent('agent-a', 'coord_v1.verify_audit()')$$, '42501', null, 'no agent verifies');
select is(tests.as_agent('agent-a', '(select to_jsonb(count(*)) from coord_v1.audit_seals)'), '0', 'nor sees a seal');
select is(tests.pick(tests.as_operator('coord_v1.verify_audit(2, 2)'), 'outcome', 'seals', 'rows', 'next_seal'), 'verified 1 2 -', 'a part of it');
select is(tests.pick(tests.as_operator('coord_v1.audit_batch(2)'), 'seal.number', 'seal.rows', 'rows.0.function'), '2 2 seal_audit', 'a batch with its rows');
select throws_ok($$select tests.as_operator('coord_v1.audit_batch(9)')$$, 'PT404', 'seal_not_found', 'no such batch');

-- The same bytes by hand: the root of a tree of three leaves.
select is(coord.merkle_root('\x'), sha256(''), 'the empty tree');
select is(coord.merkle_root(sha256('a') || sha256('b') || sha256('c')),
  sha256('\x01' || sha256('\x01' || sha256('a') || sha256('b')) || sha256('c')), 'an odd one goes up as it is');

-- A restore into another cluster: transaction ids begin anew, and so does an era.
select set_config('session_replication_role', 'replica', true);
update coord.audit_log set xid = 5000000000 where xid = pg_current_xact_id()::text::bigint;
update coord.audit_seals s set system = 17 where number = 3;
update coord.audit_seals s set head = coord.seal_head(s, (select head from coord.audit_seals p where p.number = 2)) where number = 3;
select set_config('session_replication_role', 'origin', true);
select is(tests.seal(), 'sealed 1', 'what was not sealed there is, whatever its transaction id');
select is((select string_agg(era || ':' || rows, ' ' order by number) from coord_v1.audit_seals), '1:5 1:2 1:3 1:1', 'in its era');
select is((select era from coord.audit_log order by id desc limit 1), 2, 'what follows is of the next');
select is(tests.verify(), 'verified', 'and all verify');
select tests.age(120);
select is(tests.seal() || ' ' || tests.verify(), 'sealed 1 verified', 'small transaction ids are no forgery there');
select is(tests.pick(tests.as_operator('(select to_jsonb(s) from coord_v1.audit_seals s order by number desc limit 1)'), 'number', 'era', 'lower'), '5 2 0', 'they are in a seal of their own');

select * from finish();
rollback;
