"""Locks with postgrest-py, as its documentation shows it, and says what it saw as one JSON object.

Settings come by the environment: API (root of the REST API), REPO, A and B (tokens), and APIKEY
where the address wants one. talk.mjs does the same with supabase-js.
"""

import json
import os

from postgrest import APIError, SyncPostgrestClient

REPO = os.environ["REPO"]


def client(token):
    headers = {"Authorization": f"Bearer {token}"}
    if "APIKEY" in os.environ:
        headers["apikey"] = os.environ["APIKEY"]
    return SyncPostgrestClient(os.environ["API"], schema="coord_v1", headers=headers)


def failure(request):
    try:
        request.execute()
    except APIError as error:
        return {name: getattr(error, name) for name in ("code", "message", "details", "hint")}
    return None


def main():
    a, b = client(os.environ["A"]), client(os.environ["B"])
    paths = {"repo": REPO, "paths": ["src/a b.rs", "src/c,d.rs"]}
    saw = {}
    saw["acquired"] = a.rpc("acquire_lock", paths | {"reason": "by a client"}).execute().data
    saw["held"] = b.rpc("acquire_lock", paths).execute().data
    saw["checked"] = b.rpc("check_locks", {"repo": REPO}).execute().data
    saw["got"] = b.rpc("check_locks", {"repo": REPO}, get=True).execute().data
    view = b.from_("locks").select("path,holder,mode,fence").eq("repo", REPO).order("path").execute()
    saw["locks"] = view.data
    saw["counted"] = b.from_("locks").select("path", count="exact").eq("repo", REPO).limit(1).execute().count
    saw["agents"] = a.from_("agents").select("name, role").execute().data
    saw["audit"] = a.from_("audit").select("function, outcome").eq("repo", REPO).order("id").execute().data
    saw["refused"] = failure(a.rpc("acquire_lock", paths | {"ttl_seconds": 29}))
    saw["denied"] = failure(a.rpc("acquire_lock", paths | {"repo": "git.example/not/granted"}))
    saw["released"] = a.rpc("release_lock", paths).execute().data
    saw["next"] = b.rpc("acquire_lock", paths).execute().data
    b.rpc("release_lock", {"repo": REPO}).execute()
    print(json.dumps(saw))


main()
