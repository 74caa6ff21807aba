-- Run by `supabase db reset` and `supabase start` after the migrations, on a local
-- Supabase only. Hosted projects run the same once by hand (docs/): it stays out of the
-- migrations, because plain PostgreSQL refuses it to whoever is no superuser.

-- The Supabase CLI has no setting for PostgREST's pre-request function, which refuses
-- bad tokens before views are read (functions check for themselves).
alter role authenticator set pgrst.db_pre_request = 'coord.pre_request';
notify pgrst, 'reload config';
