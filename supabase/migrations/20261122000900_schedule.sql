-- Schedule: housekeeping every minute, where pg_cron is there before us.
--
-- Elsewhere this does nothing: coord up keeps house by itself, and docs/operating.md
-- has the same call for a database that gets pg_cron later.

do $$
begin
  -- Asked in this order: a schema that may not be used may not be looked into either.
  if exists (select from pg_extension where extname = 'pg_cron')
    and has_schema_privilege(to_regnamespace('cron'), 'usage')
    and has_function_privilege(to_regprocedure('cron.schedule(text, text, text)'), 'execute') then
    -- A job of this name and user is replaced, so it is there once.
    perform cron.schedule('coord-maintain', '* * * * *', 'select coord.maintain(1000)');
  end if;
end
$$;
notify pgrst, 'reload schema';
