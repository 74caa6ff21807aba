-- Run by `supabase db reset` and `supabase start` after the migrations, on a local
-- Supabase only: what a migration may not do, because hosted Supabase forbids it.

-- The Supabase CLI has no setting for PostgREST's pre-request function, which refuses
-- bad tokens before views are read (functions check for themselves).
alter role authenticator set pgrst.db_pre_request = 'coord.pre_request';
notify pgrst, 'reload config';
