//! What to do when nobody answered, or the token was not taken: for that it takes to know
//! where address and token came from.

use std::fmt::Write as _;
use std::path::Path;

use reqwest::Url;
use serde_json::{Map, Value};

use super::Error;
use super::show::harmless;
use super::up::quote;
use crate::settings::{self, AGENT, Global, OPERATOR, TokenPlace};
use crate::stack::clock;
use crate::stack::token::AUDIENCE;
use crate::{cli, remote, rpc};

/// Why a call failed, and what mends it: a line, and lines with two blanks before them.
#[derive(Debug)]
pub struct WayOut {
    /// What is wrong.
    pub why: String,
    /// What to do about it.
    pub advice: String,
}

impl WayOut {
    /// The way out of this error, where there is more to say than it says itself.
    #[must_use]
    pub fn of(error: &Error, global: &Global) -> Option<Self> {
        match error.of_call()? {
            call @ rpc::Error::Unreachable(..) => Some(away(call.to_string(), global)),
            rpc::Error::Problem(problem) if matches!(problem.status, 502..=504) => {
                let why = format!("the coordinator does not answer, its server does: {problem}");
                Some(away(why, global))
            }
            // What signs for itself needs no token of anybody.
            rpc::Error::Problem(problem)
                if problem.status == 401
                    && !problem.message.starts_with("webhook_")
                    && matches!(error, Error::Rpc(_)) =>
            {
                Some(no_entry(problem, global))
            }
            _ => None,
        }
    }
}

fn away(why: String, global: &Global) -> WayOut {
    let home = global.home_dir();
    let shown = home.display();
    let advice = match &global.url {
        None => format!(
            "  asked there because: the stack of {shown} last ran at this address\n  \
             what mends it: `coord up --detach` starts it; `coord status` tells whether it runs, \
             `coord doctor` what is wrong with it"
        ),
        Some(url) => {
            let setting = setting("url", "--url", "COORD_URL");
            let at_home = settings::stack_url(&home)
                .filter(|it| it != url.trim_end_matches('/'))
                .map(|it| {
                    format!(
                        "\n  the stack of {shown} is at {it}: to ask that one, leave {setting} out"
                    )
                })
                .unwrap_or_default();
            let mend = if is_here(url) {
                format!(
                    "if this is to be the stack of {shown}: `coord up --detach` starts it, `coord status` \
                     tells where it runs; else check {setting}"
                )
            } else {
                format!(
                    "check {setting} and the way to {}; whoever runs the coordinator there asks \
                     `coord status` and `coord doctor`",
                    host(url)
                )
            };
            format!("  asked there because: {setting} says so{at_home}\n  what mends it: {mend}")
        }
    };
    WayOut { why, advice }
}

/// Which of the two said it.
fn setting(flag: &str, long: &'static str, variable: &'static str) -> &'static str {
    if cli::said(flag) { long } else { variable }
}

fn host(url: &str) -> String {
    let host = Url::parse(url).ok();
    let host = host.as_ref().and_then(Url::host_str);
    harmless(host.unwrap_or(url))
}

fn is_here(url: &str) -> bool {
    matches!(&*host(url), "127.0.0.1" | "localhost" | "[::1]")
}

fn no_entry(problem: &rpc::Problem, global: &Global) -> WayOut {
    let home = global.home_dir();
    let place = global.token_place(&home);
    let token = global.token_here().ok().flatten();
    let Some(token) = token else {
        return WayOut {
            why: "no token came with the call, and without one nobody is let in".to_owned(),
            advice: format!(
                "  what mends it: set COORD_TOKEN to your token, or COORD_TOKEN_FILE to the file that holds it\n  {}",
                mint(&Map::new(), &place, global)
            ),
        };
    };
    let claims = jsonwebtoken::dangerous::insecure_decode::<Map<String, Value>>(&token)
        .ok()
        .map(|token| token.claims);
    let from = match &place {
        TokenPlace::Nowhere => String::new(),
        TokenPlace::Variable => " in COORD_TOKEN".to_owned(),
        TokenPlace::Kept(name, file) if global.principal.is_some() => {
            format!(" in {} (--as {})", file.display(), harmless(name))
        }
        TokenPlace::Kept(_, file) => format!(" in {} (the home's operator)", file.display()),
        TokenPlace::File(file) => {
            let setting = setting("token_file", "--token-file", "COORD_TOKEN_FILE");
            format!(" in {} ({setting})", file.display())
        }
    };
    WayOut {
        why: format!(
            "the token{from} was not taken: {}",
            fault(problem, claims.as_ref())
        ),
        advice: format!("  {}", mint(&claims.unwrap_or_default(), &place, global)),
    }
}

/// What is wrong with the token. The server names its library's error, or a code of ours.
fn fault(problem: &rpc::Problem, claims: Option<&Map<String, Value>>) -> String {
    let Some(claims) = claims else {
        return "it is no JWT, which has three parts with dots between".to_owned();
    };
    let time = |name: &str| claims.get(name).and_then(Value::as_i64);
    let now = clock::now();
    let ended = time("exp").filter(|exp| *exp <= now);
    let ended = ended.map(|exp| {
        let ago = clock::words(now - exp);
        format!("it ended {ago} ago, at {}", clock::rfc3339(exp))
    });
    let early = ["nbf", "iat"].iter().filter_map(|name| time(name)).max();
    // Servers forgive half a minute.
    let early = early.filter(|from| *from > now + 30).map(|from| {
        format!(
            "it is good only from {} on, which this machine's clock has not reached",
            clock::rfc3339(from)
        )
    });
    let ours = |audience: &Value| match audience {
        Value::Array(list) => list.iter().any(|it| it == AUDIENCE),
        audience => audience == AUDIENCE,
    };
    let stranger = claims.get("aud").filter(|it| !ours(it)).map(|audience| {
        let audience = harmless(&audience.to_string());
        format!("it is for {audience} and not for \"{AUDIENCE}\"")
    });
    let signature = ["JWS", "JWK", "suitable key", "signature"]
        .iter()
        .any(|word| problem.message.contains(word));
    let signature = signature.then(|| {
        "no key of this coordinator signed it: it is another coordinator's, or its key was dropped"
            .to_owned()
    });
    let known = [signature, ended, early, stranger];
    let faults: Vec<String> = known.into_iter().flatten().collect();
    if faults.is_empty() {
        harmless(&problem.to_string())
    } else {
        faults.join("; ")
    }
}

/// How to come by a new one, with what the old one says of its owner.
fn mint(claims: &Map<String, Value>, place: &TokenPlace, global: &Global) -> String {
    let home = global.home_dir();
    let at_home = settings::stack_url(&home);
    let is_home = match &global.url {
        None => true,
        Some(url) => at_home.as_deref() == Some(url.trim_end_matches('/')),
    };
    if let TokenPlace::Kept(name, _) = place
        && [OPERATOR, AGENT].contains(&name.as_str())
        && is_home
    {
        return "a new one: `coord down`, then `coord up --detach` makes it".to_owned();
    }
    let claim = |name: &str, other: &str| {
        let text = claims.get(name).and_then(Value::as_str);
        quote(Path::new(&harmless(text.unwrap_or(other))))
    };
    let mut command = format!(
        "coord token mint --agent {} --type {}",
        claim("sub", "NAME"),
        claim("agent_type", "TYPE")
    );
    let role = claim("role", "coord_agent");
    if let Some(role @ ("operator" | "auditor")) = role.strip_prefix("coord_") {
        let _ = write!(command, " --role {role}");
    } else {
        let repo = remote::repo().unwrap_or_else(|| "HOST/OWNER/NAME".to_owned());
        let _ = write!(command, " --repo {}", quote(Path::new(&harmless(&repo))));
    }
    if !is_home {
        let url = global.url.as_deref().unwrap_or_default();
        return format!(
            "a new one: whoever runs the coordinator at {} mints it, with `{command}`",
            host(url)
        );
    }
    let command = match place {
        TokenPlace::Kept(..) => format!("{command} --save"),
        TokenPlace::File(file) => format!("{command} > {}", quote(file)),
        TokenPlace::Variable | TokenPlace::Nowhere => {
            format!("export COORD_TOKEN=$({command})")
        }
    };
    format!("a new one: `{command}`")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn said(message: &str, claims: &Value) -> String {
        let problem = rpc::Problem {
            status: 401,
            code: "PGRST301".to_owned(),
            message: message.to_owned(),
            details: None,
            hint: None,
        };
        fault(&problem, claims.as_object())
    }

    #[test]
    fn what_is_wrong_with_a_token_is_said_in_words() {
        let (now, aud) = (clock::now(), "coord");
        let good = || json!({"aud": aud, "exp": now + 60, "iat": now});
        for (message, claims, words) in [
            ("JWSError (CompactDecodeError)", Value::Null, "is no JWT"),
            (
                "JWSError JWSInvalidSignature",
                good(),
                "no key of this coordinator",
            ),
            (
                "No suitable key or wrong key type",
                good(),
                "no key of this coordinator",
            ),
            (
                "JWT expired",
                json!({"aud": [aud], "exp": now - 7300}),
                "it ended 2 h 1 min ago",
            ),
            (
                "JWTNotYetValid",
                json!({"aud": aud, "exp": now + 900, "nbf": now + 600}),
                "only from",
            ),
            (
                "JWT not in audience",
                json!({"aud": "others", "exp": now + 60}),
                r#"for "others""#,
            ),
            ("token_revoked", good(), "token_revoked"),
        ] {
            let said = said(message, &claims);
            assert!(said.contains(words), "{message}: {said}");
            assert!(
                !said.contains("JWS") && said.lines().count() == 1,
                "{message}: {said}"
            );
        }
        let both = said(
            "JWSError JWSInvalidSignature",
            &json!({"aud": aud, "exp": now - 60}),
        );
        assert!(
            both.contains("no key") && both.contains("ended 60 s ago"),
            "{both}"
        );
    }

    #[test]
    fn addresses_of_this_machine_are_told_from_others() {
        assert!(is_here("http://127.0.0.1:3000") && is_here("http://[::1]:1/rest"));
        assert!(!is_here("https://coord.example/rest/v1"));
        assert_eq!(host("https://coord.example:8/rest/v1"), "coord.example");
    }
}
