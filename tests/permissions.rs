//! Every function and view, really called by everybody there is, against tests/permissions.tsv.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};
use support::{shared, told};

const REPO: &str = "git.example/permissions/app";
const CALLERS: [&str; 8] = [
    "anon", "trust-0", "trust-1", "trust-2", "trust-3", "trust-4", "operator", "auditor",
];

/// A token for each caller; agents have the profile that they are called.
fn tokens() -> Vec<String> {
    let stack = shared();
    for trust in 0..=4 {
        let spec = json!({"trust": trust, "allowed": ["*"]}).to_string();
        let profile = format!("trust-{trust}");
        let made = stack
            .coord()
            .args(["call", "set_profile", "--name", &profile, "--spec", &spec])
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", told(&made));
    }
    let mint = |name: &&str| match *name {
        "anon" => String::new(),
        "operator" | "auditor" => stack.mint_with(&[
            "--agent",
            &format!("a-{name}"),
            "--type",
            "person",
            "--role",
            name,
            "--repo",
            "*",
        ]),
        agent => stack.mint_with(&[
            "--agent",
            agent,
            "--type",
            "test-client",
            "--repo",
            REPO,
            "--profile",
            agent,
        ]),
    };
    CALLERS.iter().map(mint).collect()
}

/// `+`, `-` or `0`; a server error is nobody's answer.
async fn ask(method: Method, path: &str, token: &str, body: Option<&str>) -> (char, String) {
    let http = reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([])
        .build()
        .unwrap();
    let mut request = http
        .request(method, format!("{}/{path}", shared().url))
        .header("content-profile", "coord_v1")
        .header("accept-profile", "coord_v1")
        .header("content-type", "application/json");
    if !token.is_empty() {
        request = request.bearer_auth(token);
    }
    if let Some(body) = body {
        request = request.body(body.to_owned());
    }
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    let text = response.text().await.unwrap();
    let cell = match status {
        401 => '0',
        403 => '-',
        // The call was let in, and found something wrong with its arguments.
        200..=299 | 400 | 404 | 409 | 422 if !text.contains("PGRST") => '+',
        _ => panic!("{path}: {status} {text}"),
    };
    (cell, format!("{status} {text}"))
}

fn lines() -> impl Iterator<Item = Vec<&'static str>> {
    include_str!("permissions.tsv")
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split('\t').collect())
}

fn there(sql: &str) -> BTreeSet<String> {
    shared().psql(sql).lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn every_cell_is_as_the_contract_says() {
    let tokens = tokens();
    let mut wrong = Vec::new();
    let mut cells = 0;
    for line in lines() {
        assert_eq!(line.len(), 2 + CALLERS.len(), "{line:?}");
        for ((caller, token), expected) in CALLERS.iter().zip(&tokens).zip(&line[2..]) {
            let (cell, answer) = if let Some(view) = line[0].strip_prefix("view ") {
                ask(Method::GET, view, token, None).await
            } else {
                let body = line[1]
                    .replace("REPO", &format!("{REPO:?}"))
                    .replace("ME", caller);
                assert!(serde_json::from_str::<Value>(&body).is_ok(), "{body}");
                let path = format!("rpc/{}", line[0]);
                ask(Method::POST, &path, token, Some(&body)).await
            };
            cells += 1;
            if cell.to_string() != **expected {
                wrong.push(format!(
                    "{} as {caller}: {expected} expected, got {answer}",
                    line[0]
                ));
            }
        }
    }
    println!("{cells} cells");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn nothing_is_left_out() {
    let named: BTreeSet<String> = lines().map(|line| line[0].to_owned()).collect();
    let functions =
        there("select proname from pg_proc where pronamespace = 'coord_v1'::regnamespace");
    let views = there(
        "select 'view ' || relname from pg_class where relnamespace = 'coord_v1'::regnamespace and relkind = 'v'",
    );
    let all: BTreeSet<String> = functions.union(&views).cloned().collect();
    assert_eq!(named, all);
}

#[tokio::test]
async fn no_table_is_reached_by_anybody() {
    let tables = there(
        "select relname from pg_class where relnamespace = 'coord'::regnamespace and relkind in ('r', 'p') \
         except select relname from pg_class where relnamespace = 'coord_v1'::regnamespace",
    );
    assert!(tables.len() > 5);
    let http = reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([])
        .build()
        .unwrap();
    for token in tokens() {
        for table in &tables {
            for (profile, method) in [
                ("coord_v1", Method::GET),
                ("coord", Method::GET),
                ("coord_v1", Method::POST),
                ("coord", Method::DELETE),
            ] {
                let mut request = http
                    .request(method, format!("{}/{table}", shared().url))
                    .header("accept-profile", profile)
                    .header("content-profile", profile)
                    .body("{}");
                if !token.is_empty() {
                    request = request.bearer_auth(&token);
                }
                let status = request.send().await.unwrap().status().as_u16();
                assert!([401, 403, 404, 406].contains(&status), "{table}: {status}");
            }
        }
    }
}

/// Grants and policies of every object, from the catalog, against a file that people review.
/// `COORD_BLESS=1 cargo test --test permissions` writes it anew; read the difference.
#[test]
fn grants_and_policies_are_the_reviewed_ones() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/privileges.tsv");
    let made = shared().psql(
        "with acl as (
           select 'function ' || p.oid::regprocedure as object, a.grantee, a.privilege_type, p.proowner as owner
           from pg_proc p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
           where p.pronamespace in ('coord'::regnamespace, 'coord_v1'::regnamespace)
           union all
           select case c.relkind when 'v' then 'view ' when 'S' then 'sequence ' else 'table ' end || c.oid::regclass,
             a.grantee, a.privilege_type, c.relowner
           from pg_class c, aclexplode(coalesce(c.relacl, acldefault(case c.relkind when 'S' then 's' else 'r' end::\"char\", c.relowner))) a
           where c.relnamespace in ('coord'::regnamespace, 'coord_v1'::regnamespace) and c.relkind in ('r', 'p', 'v', 'S')
             and not c.relispartition
           union all
           select 'schema ' || n.nspname, a.grantee, a.privilege_type, n.nspowner
           from pg_namespace n, aclexplode(n.nspacl) a where n.nspname in ('coord', 'coord_v1')
         ),
         grants as (
           select object, string_agg(grantee || ':' || privileges, ' ' order by grantee) as granted
           from (
             select object, case grantee when 0 then 'PUBLIC' else grantee::regrole::text end as grantee,
               string_agg(lower(privilege_type), ',' order by privilege_type) as privileges
             from acl where grantee <> owner group by 1, 2) g
           group by object
         ),
         owners as (select distinct object, owner::regrole::text as owner from acl),
         rules as (
           select 'table ' || c.oid::regclass as object, case when c.relforcerowsecurity then 'forced' else 'open' end || ': ' || coalesce((
             select string_agg(p.polname || ' for ' || (select string_agg(r::regrole::text, ',' order by r::regrole::text) from unnest(p.polroles) r), '; ' order by p.polname)
             from pg_policy p where p.polrelid = c.oid), 'none') as policies
           from pg_class c where c.relnamespace = 'coord'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition
         )
         select concat_ws(e'\\t', o.object, o.owner, coalesce(g.granted, '-'), r.policies)
         from owners o left join grants g using (object) left join rules r using (object)
         order by split_part(o.object, ' ', 1) collate \"C\", o.object collate \"C\"",
    ) + "\n";
    let kept = std::fs::read_to_string(path).unwrap_or_default();
    if std::env::var_os("COORD_BLESS").is_some() {
        std::fs::write(path, &made).unwrap();
        return;
    }
    let (kept, made): (BTreeSet<&str>, BTreeSet<&str>) =
        (kept.lines().collect(), made.lines().collect());
    let gone: Vec<_> = kept
        .difference(&made)
        .map(|line| format!("- {line}"))
        .collect();
    let new: Vec<_> = made
        .difference(&kept)
        .map(|line| format!("+ {line}"))
        .collect();
    assert!(
        gone.is_empty() && new.is_empty(),
        "tests/privileges.tsv is not what the catalog says:\n{}\n{}",
        gone.join("\n"),
        new.join("\n")
    );
}
