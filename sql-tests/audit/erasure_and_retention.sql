-- Details can be erased and whole months dropped; what is left still proves itself.
begin;
\ir ../helpers.sql
select no_plan();

create function tests.verify() returns text language sql return tests.pick(tests.as_operator('coord_v1.verify_audit()'), 'outcome', 'rows', 'dropped_rows', 'problems');

select tests.as_agent('agent-a', $$coord_v1.acquire_lock('{a}', reason => 'personal')$$), tests.as_agent('agent-b', $$coord_v1.acquire_lock('{b}', reason => 'mine')$$);
-- Three months, as if they were behind us; the second batch reaches from one into the other.
create table coord.audit_log_2024_01 (like coord.audit_log including all);
create table coord.audit_details_2024_01 (like coord.audit_details including all);
alter table coord.audit_log_2024_01 owner to coord_owner;
alter table coord.audit_details_2024_01 owner to coord_owner;
alter table coord.audit_log attach partition coord.audit_log_2024_01 for values from ('2024-01-01Z') to ('2024-02-01Z');
alter table coord.audit_details attach partition coord.audit_details_2024_01 for values from ('2024-01-01Z') to ('2024-02-01Z');
create table coord.audit_log_2024_02 (like coord.audit_log including all);
create table coord.audit_details_2024_02 (like coord.audit_details including all);
alter table coord.audit_log_2024_02 owner to coord_owner;
alter table coord.audit_details_2024_02 owner to coord_owner;
alter table coord.audit_log attach partition coord.audit_log_2024_02 for values from ('2024-02-01Z') to ('2024-03-01Z');
alter table coord.audit_details attach partition coord.audit_details_2024_02 for values from ('2024-02-01Z') to ('2024-03-01Z');
create function tests.old_row(p_id bigint, p_at timestamptz, p_xid bigint) returns void language sql
begin atomic
  insert into coord.audit_log (id, at, xid, agent, agent_type, role, session_id, function, outcome, details_hash)
  values (p_id, p_at, p_xid, 'agent-a', 't', 'coord_agent', 's', 'f', 'o', sha256('saltsalt{"args": {}}'));
  insert into coord.audit_details values (p_id, p_at, 'agent-a', 'saltsalt', '{"args": {}}');
end;
select tests.old_row(9001, '2024-01-05Z', 10), tests.old_row(9002, '2024-01-31 23:59:59Z', 20);
select tests.old_row(9003, '2024-02-01Z', 20), tests.old_row(9004, '2024-02-10Z', 30);
create function tests.batch(p_upper bigint) returns void language plpgsql as $$
declare
  v_seal coord.audit_seals;
  v_last coord.audit_seals;
begin
  select * into v_last from coord.audit_seals order by number desc limit 1;
  select coalesce(v_last.number, 0) + 1, 1, (select system_identifier from pg_control_system()), coalesce(v_last.upper, 0), p_upper, count(*), min(a.at), max(a.at), clock_timestamp(),
    coord.merkle_root(string_agg(coord.audit_leaf(a), '' order by a.id)), null, array_agg(a.id order by a.id), string_agg(coord.audit_leaf(a), '' order by a.id), null
  into v_seal from coord.audit_log a where a.xid >= coalesce(v_last.upper, 0) and a.xid < p_upper;
  v_seal.head := coord.seal_head(v_seal, v_last.head);
  insert into coord.audit_seals select v_seal.*;
end
$$;
select tests.batch(15), tests.batch(25);
select is(tests.verify(), 'verified 3 0 []', 'two batches');

-- Erasure.
select is(tests.pick(tests.as_operator($$coord_v1.erase_audit_details('agent-a', 'asked for it')$$), 'outcome', 'rows', 'more'), 'erased 5 false', 'erased: four old rows and a lock');
select is_empty($$select * from coord_v1.audit where agent = 'agent-a' and (detail is not null or reason is not null or request_id is not null)$$, 'nothing is left of what agent-a said');
select is_empty($$select * from coord.audit_details where agent = 'agent-a' and (salt is not null or content is not null)$$, 'nor of the salt');
select is((select count(*) from coord_v1.audit where agent = 'agent-a' and outcome is not null), 5::bigint, 'the rows are all there');
select is((select detail #>> '{args,reason}' from coord_v1.audit where agent = 'agent-b'), 'mine', 'and those of others whole');
select is((select tests.pick(to_jsonb(a), 'agent', 'function', 'reason', 'detail.result.rows') from coord_v1.audit a order by at desc limit 1), 'operator erase_audit_details asked for it 5', 'the erasure is audited');
select is(tests.verify(), 'verified 3 0 []', 'the proof holds');
select is(tests.as_operator($$coord_v1.erase_audit_details('agent-a', 'again')$$) ->> 'rows', '0', 'again is nothing');
select throws_ok($$select tests.as_operator($q$coord_v1.erase_audit_details('agent-a', ' ')$q$)$$, 'PT400', 'argument_required', 'a reason is needed');
select throws_ok($$select tests.as_operator($q$coord_v1.erase_audit_details('nobody', 'x')$q$)$$, 'PT404', 'agent_not_found', 'of somebody');
select throws_ok($$select tests.as_agent('agent-a', $q$coord_v1.erase_audit_details('agent-a', 'x')$q$)$$, '42501', null, 'by an operator');

-- Retention: only what is sealed to its end.
select is(tests.pick(tests.as_operator($$coord_v1.drop_audit_before('2024-02-15Z')$$), 'outcome', 'dropped', 'kept'), 'dropped ["2024-01"] []', 'the first month goes, with the second begun');
select is(to_regclass('coord.audit_log_2024_01'), null, 'its rows');
select is(to_regclass('coord.audit_details_2024_01'), null, 'and details');
select is((select string_agg(status, ', ' order by number) from coord_v1.audit_seals), 'dropped, root kept, partly dropped', 'the seals stay');
select is(tests.verify(), 'verified 3 2 []', 'and verify');
select is(tests.as_operator('coord_v1.verify_audit()') ->> 'dropped', 'dropped, root kept', 'and say so');
select is(tests.pick(tests.as_operator($$coord_v1.drop_audit_before('2024-03-01Z')$$), 'dropped', 'kept'), '[] ["2024-02"]', 'a month with a row that is not sealed stays');
select tests.batch(35);
select is(tests.pick(tests.as_operator($$coord_v1.drop_audit_before('2024-03-01Z')$$), 'dropped', 'kept'), '["2024-02"] []', 'until it is');
select is(tests.verify(), 'verified 4 4 []', 'roots alone verify');
select is((select count(*) from coord.audit_seals where leaves is null), 3::bigint, 'without leaves');
select is((select count(*) from coord_v1.audit where function = 'drop_audit_before'), 2::bigint, 'what was dropped is audited, and what was not is not');
select throws_ok($$select tests.as_operator($q$coord_v1.drop_audit_before(clock_timestamp() + interval '1 day')$q$)$$, 'PT400', 'argument_invalid', 'not the future');
select throws_ok($$select tests.as_operator($q$coord_v1.drop_audit_before(null)$q$)$$, 'PT400', 'argument_required', 'a time is needed');
select ok(to_regclass('coord.audit_log_' || to_char(clock_timestamp() at time zone 'UTC', 'YYYY_MM')) is not null, 'this month is there');
-- A head of before still counts.
select set_config('session_replication_role', 'replica', true);
update coord.audit_seals set root = sha256(root) where number = 1;
select set_config('session_replication_role', 'origin', true);
select is(tests.as_operator('coord_v1.verify_audit()') ->> 'outcome', 'broken', 'a root alone cannot be changed either');

select * from finish();
rollback;
