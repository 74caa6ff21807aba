-- Q1, Q3: a claim belongs to a live session, any call renews it, and what is lost comes back or dies.
begin;
\ir ../helpers.sql
\ir ../work_helpers.sql
select no_plan();

select tests.task('{"title": "one", "paths": ["src/one"]}');
select tests.b('get_work(lease_seconds => 300)', 'worker');

-- Any call renews the claim with its lock; not every call writes.
select tests.pass(40);
select tests.b('check_locks()', 'worker');
select is((select ceil(extract(epoch from lease_until - clock_timestamp())) from coord.tasks), 260::numeric, 'a call within a quarter of the lease writes nothing');
select tests.pass(40);
select tests.b('check_locks()', 'worker');
select is((select round(extract(epoch from lease_until - clock_timestamp())) from coord.tasks), 300::numeric, 'the next one renews');
select is((select round(extract(epoch from expires_at - clock_timestamp())) from coord.locks), 300::numeric, 'the lock too');
select tests.b('check_locks()', 'another');
select tests.pass(100);
select is(tests.pick(tests.b('heartbeat(2000)', 'worker'), 'outcome'), 'alive', 'a long build is announced');
select ok((select min(t) > 1990 from (select extract(epoch from lease_until - clock_timestamp()) as t from coord.tasks union all select extract(epoch from expires_at - clock_timestamp()) from coord.locks) x), 'task and lock last as long');
select tests.pass(1900);
select is(tests.as_operator('coord_v1.maintain()') ->> 'sessions_ended', '1', 'the silent session lives, another does not');
select is((select string_agg(id, ' ') from coord.sessions where live and agent = 'agent-b'), 'worker', 'as it said');
select is((select state from coord.tasks), 'claimed', 'with its task');

-- A lease that runs out while its session lives.
select tests.pass(200);
select is(tests.pick(tests.a('get_work()'), 'outcome'), 'none', 'a claim that finds nothing takes back what is lost');
select is((select state || ' ' || failures || ' ' || coalesce(next_at::text, 'ready') from coord.tasks), 'pending 1 ready', 'it is ready again, and that counted');
