//! Who is let in: every way a token can be wrong, and what nobody without one may do.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use reqwest::Method;
use serde_json::{Value, json};
use support::{read, shared};

const REPO: &str = "git.example/tokens/all";
const ROLES: [&str; 3] = ["coord_agent", "coord_operator", "coord_auditor"];

/// The stack's own key, its public side and id, and a stranger's key.
struct Keys {
    own: EncodingKey,
    foreign: EncodingKey,
    jwks: String,
    kid: String,
}

fn keys() -> &'static Keys {
    static KEYS: OnceLock<Keys> = OnceLock::new();
    KEYS.get_or_init(|| {
        let home = shared().home.join("keys");
        let jwks = read(&home.join("jwks.json"));
        let set: Value = serde_json::from_str(&jwks).unwrap();
        let document =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new());
        Keys {
            own: EncodingKey::from_ec_pem(read(&home.join("signing.pem")).as_bytes()).unwrap(),
            foreign: EncodingKey::from_ec_der(document.unwrap().as_ref()),
            kid: set["keys"][0]["kid"].as_str().unwrap().to_owned(),
            jwks,
        }
    })
}

fn now() -> i64 {
    let age = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    age.as_secs().try_into().unwrap()
}

/// Claims of the agent `known` that are good; tests spoil them.
fn good() -> Value {
    static KNOWN: OnceLock<String> = OnceLock::new();
    KNOWN.get_or_init(|| shared().mint("known", "test-client", REPO));
    json!({
        "role": "coord_agent", "sub": "known", "agent_type": "test-client", "aud": "coord",
        "exp": now() + 600, "jti": uuid::Uuid::new_v4().to_string(),
    })
}

fn with(name: &str, value: Value) -> Value {
    let mut claims = good();
    claims[name] = value;
    claims
}

fn without(name: &str) -> Value {
    let mut claims = good();
    claims.as_object_mut().unwrap().remove(name);
    claims
}

fn header(algorithm: Algorithm) -> Header {
    let mut header = Header::new(algorithm);
    header.kid = Some(keys().kid.clone());
    header
}

fn signed(claims: &Value) -> String {
    encode(&header(Algorithm::ES256), claims, &keys().own).unwrap()
}

/// A token put together by hand.
fn assembled(header: &Value, claims: &Value, signature: &[u8]) -> String {
    let part = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
    let (header, claims) = (header.to_string(), claims.to_string());
    [
        part(header.as_bytes()),
        part(claims.as_bytes()),
        part(signature),
    ]
    .join(".")
}

/// A call that every agent may make and that writes.
async fn call(token: &str) -> (u16, Value) {
    shared()
        .rpc(token, "release_lock", json!({"repo": REPO}), &[])
        .await
}

/// 401 or 403, and a body that says why.
#[track_caller]
fn assert_refused(what: &str, (status, body): &(u16, Value)) {
    assert!([401, 403].contains(status), "{what}: {status} {body}");
    for said in ["code", "message"] {
        let text = body[said].as_str().unwrap_or_default();
        assert!(!text.is_empty(), "{what}: no {said} in {body}");
    }
}

/// One of our own refusals, with the sentence and the remedy.
#[track_caller]
fn assert_code(what: &str, answer: &(u16, Value), status: u16, code: &str) {
    assert_refused(what, answer);
    assert_eq!(
        (answer.0, &answer.1["message"]),
        (status, &json!(code)),
        "{what}: {}",
        answer.1
    );
    for said in ["details", "hint"] {
        assert!(
            answer.1[said].is_string(),
            "{what}: no {said} in {}",
            answer.1
        );
    }
}

#[tokio::test]
async fn a_good_token_is_let_in_and_none_is_not() {
    let (status, body) = call(&signed(&good())).await;
    assert_eq!(
        (status, &body["outcome"]),
        (200, &json!("released")),
        "{body}"
    );
    let listed = signed(&with("aud", json!(["elsewhere", "coord"])));
    assert_eq!(call(&listed).await.0, 200);
    assert_code("no token", &call("").await, 401, "token_required");
    let view = get("locks", "").await;
    assert_code("no token, a view", &view, 401, "token_required");
}

#[tokio::test]
async fn a_token_that_is_not_signed_by_us_is_nothing() {
    let claims = good();
    let own = signed(&claims);
    let (body, signature) = own.rsplit_once('.').unwrap();
    let es256 = json!({"alg": "ES256", "typ": "JWT", "kid": keys().kid});
    let foreign = encode(&header(Algorithm::ES256), &claims, &keys().foreign).unwrap();
    let (_, foreign_signature) = foreign.rsplit_once('.').unwrap();
    let mut broken = BASE64_URL_SAFE_NO_PAD.decode(signature).unwrap();
    broken[10] ^= 1;
    for (what, token) in [
        ("a foreign key", foreign.clone()),
        (
            "a foreign key without an id",
            encode(&Header::new(Algorithm::ES256), &claims, &keys().foreign).unwrap(),
        ),
        ("a foreign signature", format!("{body}.{foreign_signature}")),
        (
            "a changed signature",
            format!("{body}.{}", BASE64_URL_SAFE_NO_PAD.encode(&broken)),
        ),
        ("an empty signature", format!("{body}.")),
        (
            "a signature of nothing but zeros",
            assembled(&es256, &claims, &[0; 64]),
        ),
        (
            "other claims under the signature",
            format!(
                "{}.{signature}",
                assembled(&es256, &with("sub", json!("operator")), b"").trim_end_matches('.')
            ),
        ),
        ("alg none", assembled(&json!({"alg": "none"}), &claims, b"")),
        (
            "alg none with a signature",
            assembled(&json!({"alg": "none"}), &claims, &[7; 64]),
        ),
        (
            "alg None",
            assembled(&json!({"alg": "None", "typ": "JWT"}), &claims, b""),
        ),
    ] {
        let answer = call(&token).await;
        assert_refused(what, &answer);
        assert_eq!(answer.0, 401, "{what}: {}", answer.1);
    }

    // The public key, in every form somebody may hold it, is no HMAC secret.
    let set: Value = serde_json::from_str(&keys().jwks).unwrap();
    let key = &set["keys"][0];
    let half = |name: &str| {
        BASE64_URL_SAFE_NO_PAD
            .decode(key[name].as_str().unwrap())
            .unwrap()
    };
    let point = [vec![4], half("x"), half("y")].concat();
    // SubjectPublicKeyInfo of P-256 is this prefix and the point.
    let prefix = BASE64_STANDARD
        .decode("MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE")
        .unwrap();
    let der = [&prefix[..prefix.len() - 1], &point].concat();
    let base64 = BASE64_STANDARD.encode(&der);
    let lines: Vec<&str> = (0..base64.len())
        .step_by(64)
        .map(|at| &base64[at..base64.len().min(at + 64)])
        .collect();
    let pem = format!(
        "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----",
        lines.join("\n")
    );
    for secret in [
        keys().jwks.clone().into_bytes(),
        key.to_string().into_bytes(),
        point.clone(),
        point[1..].to_vec(),
        der,
        pem.clone().into_bytes(),
        format!("{pem}\n").into_bytes(),
        Vec::new(),
        key["x"].as_str().unwrap().as_bytes().to_vec(),
        keys().kid.clone().into_bytes(),
    ] {
        for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
            let key = EncodingKey::from_secret(&secret);
            for header in [header(algorithm), Header::new(algorithm)] {
                let answer = call(&encode(&header, &claims, &key).unwrap()).await;
                assert_refused("the public key as a secret", &answer);
                assert_eq!(answer.0, 401, "{}", answer.1);
            }
        }
    }
}

#[tokio::test]
async fn a_token_that_lacks_something_is_told_what() {
    for (claims, code) in [
        (without("aud"), "token_invalid"),
        (with("aud", json!([])), "token_invalid"),
        (without("exp"), "token_invalid"),
        (without("jti"), "token_invalid"),
        (with("jti", json!("")), "token_invalid"),
        (with("jti", json!("x".repeat(201))), "token_invalid"),
        (without("sub"), "token_invalid"),
        (with("sub", json!("")), "token_invalid"),
    ] {
        let answer = call(&signed(&claims)).await;
        // An audience that is an empty list is refused by newer servers themselves.
        if claims["aud"] == json!([]) && answer.1["message"] != code {
            assert_refused("no audience", &answer);
        } else {
            assert_code(&claims.to_string(), &answer, 401, code);
        }
    }
    // PostgREST lets a clock be half a minute slow; the coordinator does not.
    let expired = call(&signed(&with("exp", json!(now() - 5)))).await;
    assert_code("expired", &expired, 401, "token_expired");
    let unknown = call(&signed(&with("sub", json!("nobody-knows-me")))).await;
    assert_code("unknown", &unknown, 403, "agent_unknown");
    for claims in [
        with("exp", json!(now() - 60)),
        with("exp", json!(0)),
        with("exp", json!(-1)),
        with("nbf", json!(now() + 600)),
        with("aud", json!("elsewhere")),
        with("aud", json!(["elsewhere"])),
        with("aud", json!("coordinator")),
        with("jti", json!(7)),
        with("sub", json!(["known"])),
        with("exp", json!("soon")),
    ] {
        let answer = call(&signed(&claims)).await;
        assert_refused(&claims.to_string(), &answer);
        assert_eq!(answer.0, 401, "{claims}: {}", answer.1);
    }
}

#[tokio::test]
async fn a_revoked_token_and_a_disabled_agent_are_refused_at_once() {
    let (mine, other) = (good(), good());
    let jti = &mine["jti"];
    assert_eq!(call(&signed(&mine)).await.0, 200);
    let operator = &shared().operator;
    let revoked = shared()
        .rpc(operator, "revoke_token", json!({"jti": jti}), &[])
        .await;
    assert_eq!(
        (revoked.0, &revoked.1["outcome"]),
        (200, &json!("revoked")),
        "{revoked:?}"
    );
    assert_code("revoked", &call(&signed(&mine)).await, 401, "token_revoked");
    // Also where the same id stands in a token of another agent, and for reads.
    let view = get("locks", &signed(&mine)).await;
    assert_code("revoked, a view", &view, 401, "token_revoked");
    assert_eq!(
        call(&signed(&other)).await.0,
        200,
        "another token of the same agent"
    );

    let token = shared().mint("sleeper", "test-client", REPO);
    assert_eq!(call(&token).await.0, 200);
    let args = json!({"name": "sleeper", "reason": "on holiday"});
    assert_eq!(
        shared().rpc(operator, "disable_agent", args, &[]).await.0,
        200
    );
    let answer = call(&token).await;
    assert_code("disabled", &answer, 403, "agent_disabled");
    assert_eq!(answer.1["details"], "on holiday");
    shared()
        .rpc(operator, "enable_agent", json!({"name": "sleeper"}), &[])
        .await;
    assert_eq!(call(&token).await.0, 200);
}

#[tokio::test]
async fn a_token_has_no_role_but_its_principals() {
    for role in ["coord_operator", "coord_auditor"] {
        let claims = with("role", json!(role));
        assert_code(role, &call(&signed(&claims)).await, 403, "role_not_allowed");
        // Nor by a function that only this role has, nor by a view.
        let args = json!({"name": "known", "role": "operator", "repos": ["*"]});
        let grab = shared()
            .rpc(&signed(&claims), "register_agent", args, &[])
            .await;
        assert_code(role, &grab, 403, "role_not_allowed");
        assert_code(
            role,
            &get("agents", &signed(&claims)).await,
            403,
            "role_not_allowed",
        );
    }
    let operator = json!({"role": "coord_agent", "sub": "operator", "aud": "coord", "exp": now() + 60, "jti": "x"});
    assert_code(
        "an operator as agent",
        &call(&signed(&operator)).await,
        403,
        "role_not_allowed",
    );

    // Roles of the database that no token may name; the server of some versions says 400 where it knows none.
    for role in [
        "postgres",
        "authenticator",
        "coord_owner",
        "coord_janitor",
        "service_role",
        "supabase_admin",
        "pg_read_all_data",
        "pg_execute_server_program",
        "none",
        "nobody",
        "COORD_AGENT",
        "coord_agent ",
        "coord_agent; set role postgres",
        "\"coord_owner\"",
    ] {
        for sub in ["known", "operator"] {
            let mut claims = with("role", json!(role));
            claims["sub"] = json!(sub);
            for (what, (status, body)) in [
                ("call", call(&signed(&claims)).await),
                ("view", get("locks", &signed(&claims)).await),
                ("root", get("", &signed(&claims)).await),
            ] {
                assert!(
                    [400, 401, 403].contains(&status),
                    "{what} as {role}: {status} {body}"
                );
                assert!(body["message"].is_string(), "{role}: {body}");
            }
        }
    }
    for role in [
        json!(null),
        json!(7),
        json!(["coord_agent"]),
        json!({"coord_agent": true}),
        json!(""),
    ] {
        let answer = call(&signed(&with("role", role.clone()))).await;
        assert!([400, 401, 403].contains(&answer.0), "{role}: {answer:?}");
    }
    let nameless = call(&signed(&without("role"))).await;
    assert_eq!(
        nameless.0, 401,
        "without a role it is nobody's: {}",
        nameless.1
    );
}

// -------------------------------------------------------------- the contract

struct Function {
    name: String,
    args: Vec<String>,
    /// Roles that may call it.
    roles: Vec<String>,
}

/// What `coord_v1` holds, asked of the database and not of what describes it.
fn functions() -> Vec<Function> {
    let sql = "select json_agg(json_build_array(p.proname, coalesce(p.proargnames, '{}'),
          array(select r from unnest(array['anon', 'coord_agent', 'coord_operator', 'coord_auditor']) r
                where has_function_privilege(r, p.oid, 'execute'))))
        from pg_proc p where p.pronamespace = 'coord_v1'::regnamespace";
    let rows: Vec<(String, Vec<String>, Vec<String>)> =
        serde_json::from_str(&shared().psql(sql)).unwrap();
    rows.into_iter()
        .map(|(name, args, roles)| Function { name, args, roles })
        .collect()
}

/// Every view, with its columns as what to write there.
fn views() -> Vec<(String, Value)> {
    let sql = "select json_agg(json_build_array(relname, (
            select json_object_agg(attname, null) from pg_attribute where attrelid = c.oid and attnum > 0)))
        from pg_class c
        where relnamespace = 'coord_v1'::regnamespace and relkind in ('r', 'v', 'm', 'f', 'p')";
    serde_json::from_str(&shared().psql(sql)).unwrap()
}

async fn request(
    method: Method,
    path: &str,
    token: &str,
    profile: &str,
    body: Option<Value>,
) -> (u16, Value) {
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut request = http.request(method, format!("{}/{path}", shared().url));
    request = request
        .header("accept-profile", profile)
        .header("content-profile", profile);
    if !token.is_empty() {
        request = request.bearer_auth(token);
    }
    if let Some(body) = body {
        request = request.json(&body);
    }
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    let text = response.text().await.unwrap();
    (
        status,
        serde_json::from_str(&text).unwrap_or(Value::String(text)),
    )
}

async fn get(path: &str, token: &str) -> (u16, Value) {
    request(Method::GET, path, token, "coord_v1", None).await
}

#[tokio::test]
async fn nobody_may_ask_for_health_and_nothing_else() {
    let (functions, views) = (functions(), views());
    assert!(
        functions.len() > 10 && views.len() >= 4,
        "the contract is not that small"
    );
    // A token of ours that names the role of nobody opens nothing more.
    let anon = signed(&with("role", json!("anon")));
    for token in ["", &anon] {
        for function in &functions {
            let name = &function.name;
            // All arguments, so that the function is found.
            let args = function.args.iter().map(|name| (name.clone(), Value::Null));
            let args = Value::Object(args.collect());
            let path = format!("rpc/{name}");
            let post = request(Method::POST, &path, token, "coord_v1", Some(args)).await;
            let query: Vec<String> = function
                .args
                .iter()
                .map(|name| format!("{name}=1"))
                .collect();
            let got = get(&format!("{path}?{}", query.join("&")), token).await;
            if name == "health" {
                for answer in [post, got] {
                    assert_eq!(
                        (answer.0, &answer.1["status"]),
                        (200, &json!("ready")),
                        "{answer:?}"
                    );
                }
                continue;
            }
            assert_refused(name, &post);
            // A function that writes is not for GET, whoever asks; one that takes the raw body is not found.
            let expected: &[u16] = if function.args.is_empty() {
                &[401, 403, 404, 405]
            } else {
                &[401, 403, 405]
            };
            assert!(expected.contains(&got.0), "GET {name}: {got:?}");
        }
        for (view, columns) in &views {
            assert_refused(view, &get(view, token).await);
            assert_refused(view, &get(&format!("{view}?select=*&limit=1"), token).await);
            for method in [Method::POST, Method::PATCH, Method::DELETE, Method::PUT] {
                let answer = request(
                    method.clone(),
                    view,
                    token,
                    "coord_v1",
                    Some(columns.clone()),
                )
                .await;
                assert!(
                    (400..500).contains(&answer.0),
                    "{method} {view}: {answer:?}"
                );
            }
        }
        // What describes the API shows nobody more than that.
        let (status, body) = get("", token).await;
        let paths: Vec<&String> = body["paths"]
            .as_object()
            .map(|it| it.keys().collect())
            .unwrap_or_default();
        assert!(
            paths
                .iter()
                .all(|path| ["/", "/rpc/health"].contains(&path.as_str())
                    || path.starts_with("/rpc/webhook_")),
            "{status} {paths:?}"
        );
    }
}

/// Only one schema is there, for anybody.
#[tokio::test]
async fn other_schemas_are_not_exposed() {
    let agent = signed(&good());
    for token in ["", &agent, &shared().operator] {
        for schema in [
            "coord",
            "public",
            "coord_meta",
            "pg_catalog",
            "information_schema",
            "extensions",
        ] {
            for path in ["locks", "agents", "pg_authid", "rpc/admit", "rpc/pg_sleep"] {
                let (status, body) =
                    request(Method::POST, path, token, schema, Some(json!({}))).await;
                assert!(
                    (400..500).contains(&status),
                    "{schema} {path}: {status} {body}"
                );
                let (status, body) = request(Method::GET, path, token, schema, None).await;
                assert!(
                    (400..500).contains(&status),
                    "{schema} {path}: {status} {body}"
                );
            }
        }
        for internal in [
            "rpc/admit",
            "rpc/pre_request",
            "rpc/open_call",
            "rpc/set_config",
            "locks_by_owner",
            "audit_log",
        ] {
            let (status, body) =
                request(Method::POST, internal, token, "coord_v1", Some(json!({}))).await;
            // Without a token that may be said first.
            // Or, for what is no function, that only functions take a POST.
            let read_only = body["message"] == "view_is_read_only";
            let fine = status == 404 || read_only || token.is_empty() && status == 401;
            assert!(fine, "{internal}: {status} {body}");
        }
    }
}

#[tokio::test]
async fn views_are_for_reading() {
    for token in [&signed(&good()), &shared().operator] {
        for (view, columns) in views() {
            let (status, body) = get(&view, token).await;
            if view.starts_with("webhook_") && *token != shared().operator {
                assert_eq!(status, 403, "{view}: {body}");
            } else {
                assert!(status == 200 && body.is_array(), "{view}: {status} {body}");
            }
            for method in [Method::POST, Method::PATCH, Method::DELETE] {
                let (status, body) = request(
                    method.clone(),
                    &view,
                    token,
                    "coord_v1",
                    Some(columns.clone()),
                )
                .await;
                assert!(
                    (400..500).contains(&status),
                    "{method} {view}: {status} {body}"
                );
            }
        }
    }
}

/// I1: an argument of one of these names would let a caller say who it is.
#[test]
fn no_function_takes_an_identity_from_its_caller() {
    const IDENTITY: [&str; 22] = [
        "agent",
        "agent_id",
        "agent_name",
        "agent_type",
        "caller",
        "caller_id",
        "sub",
        "holder",
        "owner",
        "owner_id",
        "principal",
        "session",
        "session_id",
        "role",
        "user",
        "user_id",
        "author",
        "identity",
        "on_behalf_of",
        "as_agent",
        "claimed_by",
        "jwt",
    ];
    let functions = functions();
    assert!(
        functions
            .iter()
            .any(|function| function.name == "acquire_lock")
    );
    let taking: Vec<&Function> = functions
        .iter()
        .filter(|function| {
            function
                .args
                .iter()
                .any(|arg| IDENTITY.contains(&arg.trim_start_matches("p_")))
        })
        .collect();
    assert!(
        !taking.is_empty(),
        "register_agent takes a type and a role, so this looks at the wrong place"
    );
    for function in taking {
        // A read: agent says whose words, among those that the caller may read anyway.
        if function.name == "read_handoff" {
            continue;
        }
        assert_eq!(
            function.roles,
            ["coord_operator"],
            "{}({})",
            function.name,
            function.args.join(", ")
        );
    }
}

/// What each role may call over HTTP is what its grants say.
#[tokio::test]
async fn roles_reach_their_own_functions_only() {
    let tokens = [
        signed(&good()),
        shared().operator.clone(),
        shared().mint_with(&["--agent", "eye", "--type", "person", "--role", "auditor"]),
    ];
    for (role, token) in ROLES.iter().zip(&tokens) {
        for function in functions() {
            if function.roles.iter().any(|it| it == role) {
                continue;
            }
            let args = function.args.iter().map(|name| (name.clone(), Value::Null));
            let args = Value::Object(args.collect());
            let answer = shared().rpc(token, &function.name, args, &[]).await;
            assert_refused(&format!("{} as {role}", function.name), &answer);
        }
    }
}

// --------------------------------------------------------------------- chaos

/// Small and good enough, and the same on every run.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }

    fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }

    /// A value that none of the claims we need may have.
    fn nonsense(&mut self) -> Value {
        let values = [
            json!(null),
            json!(true),
            json!(-1),
            json!(0),
            json!(1.5),
            json!(1e300),
            json!({}),
            json!([]),
            json!([[["coord"]]]),
            json!({"coord": "coord"}),
            json!(""),
            json!(" "),
            json!("\u{1f512}"),
            json!("known' or '1'='1"),
            json!("x".repeat(3000)),
            json!("a\u{7f}\u{1}b"),
            json!("\u{0}"),
            json!(["", null]),
            json!(u64::MAX),
            json!(i64::MIN),
            json!("9999999999"),
            json!("coord_operator"),
        ];
        self.pick(&values).clone()
    }

    /// A token that must not be let in, and what is wrong with it.
    fn token(&mut self) -> (String, String) {
        match self.below(9) {
            0..3 => self.wrong_claims(),
            3..8 => self.wrong_form(),
            _ => {
                let claims = good();
                let foreign = encode(&header(Algorithm::ES256), &claims, &keys().foreign).unwrap();
                ("a foreign key".to_owned(), foreign)
            }
        }
    }

    fn wrong_claims(&mut self) -> (String, String) {
        match self.below(3) {
            0 => {
                let names = ["role", "sub", "aud", "exp", "jti"];
                let name = self.pick(&names);
                let value = self.nonsense();
                let value = match (*name, &value) {
                    // These are fine there.
                    ("exp", it) if it.as_f64().is_some_and(|it| it > 1e9) => json!(-7),
                    ("jti", it) if it.as_str().is_some_and(|it| (1..=200).contains(&it.len())) => {
                        json!("")
                    }
                    _ => value,
                };
                (format!("{name} is {value}"), signed(&with(name, value)))
            }
            1 => {
                let mut claims = good_object();
                let keep = self.below(claims.len());
                let names: Vec<String> = claims.keys().cloned().collect();
                for name in names.iter().skip(keep).filter(|name| *name != "agent_type") {
                    claims.remove(name);
                }
                // Without all six there is always one missing that is needed.
                claims.remove(*self.pick(&["role", "sub", "aud", "exp", "jti"]));
                (
                    format!("only {:?}", claims.keys()),
                    signed(&Value::Object(claims)),
                )
            }
            _ => {
                let values = [
                    json!([]),
                    json!("claims"),
                    json!(7),
                    json!(null),
                    json!([good_object()]),
                ];
                let claims = self.pick(&values).clone();
                (format!("claims {claims}"), signed(&claims))
            }
        }
    }

    fn wrong_form(&mut self) -> (String, String) {
        let good = signed(&good());
        let parts: Vec<&str> = good.split('.').collect();
        match self.below(5) {
            0 => {
                let cut = self.below(good.len());
                (format!("cut at {cut}"), good[..cut].to_owned())
            }
            1 => {
                // In the last character of a signature some bits mean nothing.
                let at = self.below(good.len() - 2);
                let mut bytes = good.clone().into_bytes();
                let letters = b"ABCDEFGHabcdefgh0123456789-_.";
                let other: Vec<u8> = letters
                    .iter()
                    .copied()
                    .filter(|it| *it != bytes[at])
                    .collect();
                bytes[at] = *self.pick(&other);
                (
                    format!("changed at {at}"),
                    String::from_utf8(bytes).unwrap(),
                )
            }
            2 => {
                let algorithms = [
                    "none", "NONE", "HS256", "RS256", "ES384", "EdDSA", "", "dir", "ES256 ",
                ];
                let algorithm = *self.pick(&algorithms);
                let header = BASE64_URL_SAFE_NO_PAD
                    .encode(json!({"alg": algorithm, "kid": keys().kid}).to_string());
                (
                    format!("alg {algorithm:?}"),
                    format!("{header}.{}.{}", parts[1], parts[2]),
                )
            }
            3 => {
                let headers = [
                    json!({"alg": "ES256", "kid": "other"}),
                    json!({"alg": "ES256", "jwk": {"kty": "EC"}}),
                    json!({"alg": "ES256", "jku": "http://127.0.0.1:9/jwks"}),
                    json!({"alg": "ES256", "crit": ["x"]}),
                    json!({"alg": "ES256", "kid": "../../../dev/null"}),
                    json!([]),
                    json!("ES256"),
                    json!({}),
                    json!({"alg": null}),
                    json!({"alg": ["ES256"]}),
                    json!({"enc": "A128GCM", "alg": "dir"}),
                ];
                let header = self.pick(&headers).clone();
                let encoded = BASE64_URL_SAFE_NO_PAD.encode(header.to_string());
                (
                    format!("header {header}"),
                    format!("{encoded}.{}.{}", parts[1], parts[2]),
                )
            }
            _ => {
                let shapes = [
                    String::from("."),
                    "..".into(),
                    "...".into(),
                    format!("{good}."),
                    format!(".{good}"),
                    format!("{good}.{good}"),
                    parts[0].into(),
                    format!("{}.{}", parts[0], parts[1]),
                    format!("{}..{}", parts[0], parts[2]),
                    "null".into(),
                    "undefined".into(),
                    "e30.e30.e30".into(),
                    "A".repeat(2000),
                    format!("{}.{}.{}", parts[2], parts[1], parts[0]),
                    format!("{}=.{}=.{}=", parts[0], parts[1], parts[2]),
                    "Bearer".into(),
                    "{}".into(),
                ];
                let token = self.pick(&shapes).clone();
                ("another shape".to_owned(), token)
            }
        }
    }
}

fn good_object() -> serde_json::Map<String, Value> {
    good().as_object().unwrap().clone()
}

/// What a good token or a caller adds may be as strange as it likes: the server does not fail.
#[tokio::test]
async fn strange_claims_and_headers_are_no_server_error() {
    let mut dice = Dice(7);
    for name in [
        "session_id",
        "agent_type",
        "profile",
        "iat",
        "nbf",
        "exp",
        "email",
    ] {
        for _ in 0..15 {
            let value = dice.nonsense();
            let (status, body) = call(&signed(&with(name, value.clone()))).await;
            assert!(status < 500, "{name} is {value}: {status} {body}");
        }
    }
    let long = "s".repeat(129);
    for value in [
        "",
        " ",
        "a b",
        "a\tb",
        "-",
        long.as_str(),
        "'; select 1 --",
        "\u{e9}",
        "\u{1f512}",
        "{}",
        "null",
    ] {
        for header in ["x-session-id", "idempotency-key", "x-request-id"] {
            let headers = [(header, value)];
            let args = json!({"repo": REPO});
            let (status, body) = shared()
                .rpc(&signed(&good()), "release_lock", args, &headers)
                .await;
            assert!(status < 500, "{header}: {value}: {status} {body}");
        }
    }
}

#[tokio::test]
async fn of_a_thousand_wrong_tokens_none_gets_in() {
    let seed = 20_261_122;
    let mut dice = Dice(seed);
    for number in 0..1000 {
        let (what, token) = dice.token();
        let (status, body) = call(&token).await;
        assert!(
            [400, 401, 403].contains(&status),
            "token {number} of seed {seed}, {what}: {status} {body}\n{token}"
        );
        let said = body["message"]
            .as_str()
            .is_some_and(|text| !text.is_empty());
        assert!(said, "token {number} of seed {seed}, {what}: {body}");
        if number % 10 == 0 {
            let (status, body) = call(&signed(&good())).await;
            assert_eq!(status, 200, "a good one after token {number}: {body}");
        }
    }
}
