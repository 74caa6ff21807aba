-- What looks like a secret is not kept: by the name of its key, and by the looks of any text.
begin;
\ir ../helpers.sql
select no_plan();

select is(coord.redacted_text(t), '[redacted]', t) from unnest(array[
  'sk-proj-abcdefghijklmnop0123', 'ghp_abcdefghijklmnopqrstuvwxyz0123456789', 'gho_abcdefghijklmnopqrstuvwxyz0123456789',
  'ghs_abcdefghijklmnopqrstuvwxyz0123456789', 'github_pat_11ABCDEFG0abcdefghijkl_mnopqrstuvwxyz', 'glpat-abcdefghij0123456789', 'AKIAIOSFODNN7EXAMPLE', 'ASIAIOSFODNN7EXAMPLE',
  'xoxb-123456789012-abcdefghijkl', 'xoxp-123456789012', 'eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl',
  e'-----BEGIN PRIVATE KEY-----\nMIIE\nabc\n-----END PRIVATE KEY-----', e'-----BEGIN OPENSSH PRIVATE KEY-----\nb3Blbn', '-----BEGIN RSA PRIVATE KEY-----']) t;
select is(coord.redacted_text(e'before\nsk-abcdefghijklmnop1 after'), e'before\n[redacted] after', 'only the secret goes');
select is(coord.redacted_text('https://bot:hunter2@example.com/o/r'), 'https://[redacted]@example.com/o/r', 'a password in an address');
select is(coord.redacted_text(t), t, t || ' stays') from unnest(array[
  'src/task-list-of-everything-there-is.rs', 'risk-averse-refactoring-of-things', 'src/token.rs', 'github.com/acme/app', 'eyJ', 'a@b.example:path']) t;

select is(coord.redacted(format('{"%s": "x", "n": 1}', k)::jsonb), format('{"%s": "[redacted]", "n": 1}', k)::jsonb, k)
from unnest(array['token', 'access_token', 'accessToken', 'secret', 'client_secret', 'PASSWORD', 'Authorization', 'api_key', 'apiKey', 'x-api-key', 'content', 'file_contents', 'private_key', 'credentials', 'cookie']) k;
select is(coord.redacted('{"max_tokens": 5, "token_id": "j", "content": null, "deep": [{"password": {"a": [1]}}, "ghp_abcdefghijklmnop1234"], "AKIAIOSFODNN7EXAMPLE": true}'),
  '{"max_tokens": 5, "token_id": "j", "content": null, "deep": [{"password": "[redacted]"}, "[redacted]"], "[redacted]": true}', 'at every depth, in names, and nothing else');

-- Behind every door: arguments, reason and request id, before the hash is made.
select is(tests.as_agent('agent-a', $$coord_v1.acquire_lock('{a}', reason => 'with sk-abcdefghijklmnop1')$$, '{"x-request-id": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.x"}') ->> 'outcome', 'acquired', 'a call with secrets');
select is((select tests.pick(to_jsonb(a), 'detail.args.reason', 'request_id') from coord_v1.audit a where agent = 'agent-a'), 'with [redacted] [redacted]', 'is kept without them');
select ok((select bool_and(sha256(d.salt || convert_to(d.content::text, 'UTF8')) = a.details_hash) from coord.audit_log a join coord.audit_details d using (at, id)), 'and hashed without them');

-- Whatever the close look would change, the quick look notices.
do $$
declare
  v_call coord.call;
  v_text text;
begin
  perform set_config('request.jwt.claims', tests.claims('agent-a')::text, true);
  v_call := row('probe', 'agent-a', 'test', 'coord_agent', 's', null, null, null, null, null, null, 't', clock_timestamp());
  foreach v_text in array array['sk-abcdefghijklmnop1', 'ghu_abcdefghijklmnop1', 'github_pat_abcdefghijklmnop1', 'glpat-abcdefghijklmnop1', 'AKIAIOSFODNN7EXAMPLE',
    'xoxb-12345678', 'eyJhbGciOiJI.x', '-----BEGIN PRIVATE KEY-----', 'ssh://u:p"w@host/'] loop
    perform coord.write_audit(v_call, 'x', null, jsonb_build_object('note', v_text));
  end loop;
  foreach v_text in array array['token', 'Secret', 'passwords', 'passwd', 'authorization', 'api-keys', 'privateKey', 'credential', 'content', 'cookies'] loop
    perform coord.write_audit(v_call, 'x', null, jsonb_build_object(v_text, 'v'));
  end loop;
end
$$;
select is_empty($$select detail from coord_v1.audit where function = 'probe' and detail::text !~ '\[redacted\]'$$, 'the quick look sees all that the close one does');

select * from finish();
rollback;
