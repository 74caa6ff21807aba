-- Who asks for the same over and over is told to stop, and operators see it.
begin;
\ir ../helpers.sql
\ir ../work_helpers.sql
select no_plan();

select tests.a('acquire_lock(''{x}'')');
select is((select string_agg(coalesce(tests.b(format('acquire_lock(''{x}'', reason => %L)', 'try ' || n)) ->> 'repeated', '-'), ' ') from generate_series(1, 6) n), '- - - - 5 6', 'from the fifth time on, whatever the reason given');
select matches(tests.b('acquire_lock(''{x}'')') ->> 'next', '^Stop: this same call was refused 7 times in 1 seconds, and asking again will not change that. agent-a holds x for up to', 'with what is in the way');
select is((select count(*) from coord.audit_log where agent = 'agent-b' and outcome = 'held'), 1::bigint, 'the trip is audited, once');
select is((select count(*) from coord.audit_log where agent = 'agent-b'), 1::bigint, 'and nothing else of it');
select is(tests.pick(tests.as_operator('(select to_jsonb(b) from coord_v1.breakers b)'), 'agent', 'session_id', 'function', 'outcome', 'times'), 'agent-b jti-agent-b acquire_lock held 7', 'operators see it');
select is(tests.pick(tests.b('(select to_jsonb(b) from coord_v1.breakers b)'), 'times'), '7', 'so does who does it');
select is(tests.a('(select coalesce(jsonb_agg(b.times), ''[]'') from coord_v1.breakers b)'), '[]', 'and nobody else');
select is(tests.b('acquire_lock(''{x}'')', 'another') ->> 'repeated', null, 'another session has not begun');
select is(tests.b('acquire_lock(''{x,y}'')') ->> 'repeated', null, 'nor has another request');
select tests.pass(121);
select is(tests.b('acquire_lock(''{x}'')') ->> 'repeated', null, 'after two minutes it is forgiven');
select tests.a('release_lock()');
select is(tests.pick(tests.b('acquire_lock(''{x}'')'), 'outcome', 'repeated'), 'acquired -', 'what is free is given, whatever was before');

-- Slowly is patience; waiting in line and looking for work are no refusals.
select tests.a('acquire_lock(''{slow}'')');
create temp table slow (n integer, repeated text);
do $$
begin
  for n in 1..8 loop
    perform tests.pass(30);
    insert into slow values (n, tests.b('acquire_lock(''{slow}'')') ->> 'repeated');
  end loop;
end
$$;
select is((select count(repeated) from slow), 0::bigint, 'every thirty seconds is not over and over');
select is((select count(tests.b('acquire_lock(''{slow}'', wait_seconds => 60)') ->> 'repeated') from generate_series(1, 8)), 0::bigint, 'nor is standing in line');
select is((select count(tests.b('get_work()') ->> 'repeated') from generate_series(1, 8)), 0::bigint, 'nor looking for work');

select matches((select string_agg(coalesce(tests.b('acquire_lock(''{slow}'')') ->> 'repeated', '-'), ' ') from generate_series(1, 20) n), '^(- )*([0-9]+ ?)+$', 'but who was patient and then hammers is told as well');
select is((select count(*) from coord.audit_log where agent = 'agent-b' and outcome = 'held'), 2::bigint, 'and that is audited, once');

-- Errors undo what the call did; they are counted by another.
select is((select string_agg(coalesce(tests.b('report_failure(''acquire_lock'', ''ttl_out_of_range'', ''{"paths": ["a"]}'')') ->> 'repeated', '-'), ' ') from generate_series(1, 6) n), '- - - - 5 6', 'an error repeated');
select matches(tests.b('report_failure(''acquire_lock'', ''ttl_out_of_range'', ''{"paths": ["a"]}'')') ->> 'next', (select 'that. ' || remedy || '$' from coord.error_codes where code = 'ttl_out_of_range'), 'is told what mends it');
select is(tests.b('report_failure(''acquire_lock'', ''ttl_out_of_range'', ''{"paths": ["b"]}'')') ->> 'outcome', 'counted', 'another call has not begun');
select is(tests.b('report_failure(''no_function'', ''nothing'')') ->> 'outcome', 'counted', 'whatever it is');
select is((select count(*) from coord.audit_log where agent = 'agent-b' and function = 'report_failure'), 1::bigint, 'audited when it trips');
select throws_like($$select tests.b('report_failure(null, ''nothing'')')$$, '%argument_required%', 'of nothing, nothing is counted');

-- Denials too, which have their own audit rows.
select is((select string_agg(coalesce(tests.b('force_release_lock(''{slow}'', ''please'')') ->> 'repeated', '-'), ' ') from generate_series(1, 6) n), '- - - - 5 6', 'a denial repeated');
select is((select count(*) from coord.audit_log where agent = 'agent-b' and outcome = 'denied'), 6::bigint, 'each with its row');
select is((select count(*) from coord.audit_details where agent = 'agent-b' and content ? 'repeated'), 4::bigint, 'which say so from the fifth on');

-- Forgotten after an hour.
select tests.pass(3700);
select tests.as_operator('coord_v1.maintain()');
select is((select count(*) from coord.refusals), 0::bigint, 'nothing is kept for longer than an hour');

select * from finish();
rollback;
