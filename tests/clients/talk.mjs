// Locks with supabase-js, as its documentation shows it, and says what it saw as one JSON object.
//
// Settings come by the environment, as for talk.py, with CLIENTS (where the packages are). `createClient`
// speaks to a project's address and appends /rest/v1; the client inside it takes any root of a REST API:
// SUPABASE names the one, API the other.

import { createRequire } from "node:module";

const { API, SUPABASE, REPO, A, B, APIKEY, CLIENTS } = process.env;
const packages = createRequire(`${CLIENTS}/node/`);
const { createClient } = packages("@supabase/supabase-js");
const { PostgrestClient } = packages("@supabase/postgrest-js");

function client(token) {
  if (SUPABASE) {
    return createClient(SUPABASE, APIKEY, { db: { schema: "coord_v1" }, accessToken: async () => token });
  }
  return new PostgrestClient(API, { schema: "coord_v1", headers: { Authorization: `Bearer ${token}` } });
}

async function good(request) {
  const { data, error } = await request;
  if (error) throw new Error(JSON.stringify(error));
  return data;
}

async function failure(request) {
  const { error } = await request;
  return error && { code: error.code, message: error.message, details: error.details, hint: error.hint };
}

const a = client(A), b = client(B);
const paths = { repo: REPO, paths: ["src/a b.rs", "src/c,d.rs"] };
const saw = {};
saw.acquired = await good(a.rpc("acquire_lock", { ...paths, reason: "by a client" }));
saw.held = await good(b.rpc("acquire_lock", paths));
saw.checked = await good(b.rpc("check_locks", { repo: REPO }));
saw.got = await good(b.rpc("check_locks", { repo: REPO }, { get: true }));
saw.locks = await good(b.from("locks").select("path,holder,mode,fence").eq("repo", REPO).order("path"));
saw.counted = (await b.from("locks").select("path", { count: "exact", head: true }).eq("repo", REPO)).count;
saw.agents = await good(a.from("agents").select("name, role"));
saw.audit = await good(a.from("audit").select("function, outcome").eq("repo", REPO).order("id"));
saw.refused = await failure(a.rpc("acquire_lock", { ...paths, ttl_seconds: 29 }));
saw.denied = await failure(a.rpc("acquire_lock", { ...paths, repo: "git.example/not/granted" }));
saw.released = await good(a.rpc("release_lock", paths));
saw.next = await good(b.rpc("acquire_lock", paths));
await good(b.rpc("release_lock", { repo: REPO }));
console.log(JSON.stringify(saw));
