//! A network policy in the words of those who enforce it.
//!
//! An export never allows what the policy denies: what a format cannot say is left out
//! and told. What it allows may so be less.

use std::fmt::Write as _;

use serde_json::{Value, json};

/// Who reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Claude Code on the web: the allowed domains of a custom network access, one a line
    ClaudeCodeWeb,
    /// Codex cloud: the additional allowed domains of an environment, with commas between
    CodexCloud,
    /// Squid: a file to include in squid.conf
    Squid,
    /// The policy itself, as JSON
    Json,
}

/// A pattern of a rule, as the coordinator keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Pattern {
    /// `*`
    All,
    /// `*.name`: every name below, not the name
    Below(String),
    /// That name
    Name(String),
    /// That address
    Address(String),
}

/// A policy with all that it inherits.
#[derive(Clone, Debug)]
pub struct Policy {
    name: String,
    by_default: bool,
    allow: Vec<Pattern>,
    deny: Vec<Pattern>,
}

/// What to print, and what could not be said.
#[derive(Debug)]
pub struct Exported {
    /// For standard output.
    pub text: String,
    /// For standard error.
    pub left_out: Vec<String>,
}

impl Pattern {
    fn read(text: &str) -> Self {
        let address = text.contains(':')
            || text
                .bytes()
                .all(|byte| byte.is_ascii_digit() || byte == b'.');
        match text.strip_prefix("*.") {
            Some(name) => Self::Below(name.to_owned()),
            None if text == "*" => Self::All,
            None if address => Self::Address(text.to_owned()),
            None => Self::Name(text.to_owned()),
        }
    }

    fn told(&self) -> String {
        match self {
            Self::All => "*".to_owned(),
            Self::Below(name) => format!("*.{name}"),
            Self::Name(name) | Self::Address(name) => name.clone(),
        }
    }

    /// Whether everything that the other matches is matched by this one, too.
    fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::All, _) => true,
            (Self::Below(name), Self::Below(of)) => of == name || is_below(of, name),
            (Self::Below(name), Self::Name(of)) => is_below(of, name),
            (one, other) => one == other,
        }
    }
}

fn is_below(name: &str, of: &str) -> bool {
    name.strip_suffix(of)
        .is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
}

impl Policy {
    /// From the answer of `network_rules`.
    pub fn read(answer: &Value) -> Self {
        let patterns = |name: &str| {
            let list = answer.get(name).and_then(Value::as_array);
            let texts = list.into_iter().flatten().filter_map(Value::as_str);
            texts.map(Pattern::read).collect()
        };
        let text = |name: &str| answer.get(name).and_then(Value::as_str).unwrap_or_default();
        Self {
            name: text("policy").to_owned(),
            by_default: text("fallback") == "allow",
            allow: patterns("allow"),
            deny: patterns("deny"),
        }
    }

    fn denies(&self, pattern: &Pattern) -> bool {
        self.deny.iter().any(|rule| rule.covers(pattern))
    }

    /// What the policy says of one name or address: the same as the coordinator.
    fn allows(&self, host: &Pattern) -> bool {
        let by_default = self.by_default && matches!(host, Pattern::Name(_));
        !self.denies(host) && (by_default || self.allow.iter().any(|rule| rule.covers(host)))
    }
}

/// Writes the policy for one of them.
pub fn export(policy: &Policy, format: Format) -> Exported {
    match format {
        Format::ClaudeCodeWeb => claude_code_web(policy),
        Format::CodexCloud => codex_cloud(policy),
        Format::Squid => squid(policy),
        Format::Json => {
            let told = |rules: &[Pattern]| rules.iter().map(Pattern::told).collect::<Vec<_>>();
            let fallback = if policy.by_default { "allow" } else { "deny" };
            let body = json!({
                "policy": policy.name, "fallback": fallback,
                "allow": told(&policy.allow), "deny": told(&policy.deny),
            });
            Exported {
                text: format!("{body:#}\n"),
                left_out: Vec::new(),
            }
        }
    }
}

/// Its list takes `*.` for all names below, as we do.
fn claude_code_web(policy: &Policy) -> Exported {
    let (rules, left_out) = allowlist(policy);
    let text = rules.iter().map(|rule| rule.told() + "\n").collect();
    Exported { text, left_out }
}

/// Its list takes names; whether a name stands for those below it as well is not documented,
/// so that below a name that we list nothing may be denied, and *.name is only said with it.
fn codex_cloud(policy: &Policy) -> Exported {
    let (rules, mut left_out) = allowlist(policy);
    let mut names = Vec::new();
    for rule in rules {
        match &rule {
            Pattern::Name(name) => names.push(name.clone()),
            Pattern::Below(name) => left_out.push(format!(
                "*.{name}: the list has no wildcards; name the hosts one by one"
            )),
            Pattern::All | Pattern::Address(_) => {}
        }
    }
    for denied in &policy.deny {
        if let Pattern::Name(of) | Pattern::Below(of) = denied {
            let above = |name: &String| is_below(of, name) || of == name;
            if let Some(name) = names.iter().find(|name| above(name)).cloned() {
                names.retain(|name| !above(name));
                left_out.push(format!(
                    "{name}: the policy denies {}, and the list may take {name} for all below it",
                    denied.told()
                ));
            }
        }
    }
    let text = if names.is_empty() {
        String::new()
    } else {
        names.join(", ") + "\n"
    };
    Exported { text, left_out }
}

/// What a mere list of allowed names can hold, and what it cannot.
fn allowlist(policy: &Policy) -> (Vec<Pattern>, Vec<String>) {
    let mut rules = Vec::new();
    let mut left_out = Vec::new();
    if policy.by_default {
        left_out.push(
            "every other host is allowed, and a list names what is allowed and nothing else; give the environment full access \
             only if nothing is to be denied"
                .to_owned(),
        );
    }
    for rule in &policy.allow {
        let within = policy.deny.iter().find(|denied| rule.covers(denied));
        match rule {
            // Denied as a whole, so there is nothing to say.
            rule if policy.denies(rule) => {}
            Pattern::All => left_out.push(
                "*: the list takes names; give the environment full access if all of it is meant"
                    .to_owned(),
            ),
            Pattern::Address(address) => {
                left_out.push(format!("{address}: the list takes names, not addresses"));
            }
            Pattern::Below(_) if within.is_some() => left_out.push(format!(
                "{}: the policy denies {} within it, and the list cannot",
                rule.told(),
                within.map(Pattern::told).unwrap_or_default(),
            )),
            _ => rules.push(rule.clone()),
        }
    }
    (rules, left_out)
}

/// One `acl` and what becomes of it; lines are tried in order.
struct Step {
    name: &'static str,
    access: &'static str,
    why: &'static str,
    domains: Vec<String>,
}

/// To Squid, `.name` is the name and all below it: what is about the name itself goes before.
fn squid(policy: &Policy) -> Exported {
    let mut left_out = Vec::new();
    let below = |rules: &[Pattern], allowed: bool| -> Vec<String> {
        let names = rules.iter().filter_map(|rule| match rule {
            Pattern::Below(name) => Some(name.clone()),
            _ => None,
        });
        names
            .filter(|name| policy.allows(&Pattern::Name(name.clone())) == allowed)
            .collect()
    };
    let mut domains = |rules: &[Pattern]| -> Vec<String> {
        let mut out = Vec::new();
        for rule in rules {
            match rule {
                Pattern::All => {}
                Pattern::Below(name) => out.push(format!(".{name}")),
                Pattern::Address(address) if address.contains(':') => left_out.push(format!(
                    "{address}: dstdomain takes no IPv6 address, so the default of addresses holds"
                )),
                Pattern::Name(name) | Pattern::Address(name) => out.push(name.clone()),
            }
        }
        out
    };
    let deny = domains(&policy.deny);
    let allow = domains(&policy.allow);
    let steps = [
        Step {
            name: "coord_allow_itself",
            access: "allow",
            why: "denied below, and not themselves",
            domains: below(&policy.deny, true),
        },
        Step {
            name: "coord_deny",
            access: "deny",
            why: "denied",
            domains: deny,
        },
        Step {
            name: "coord_deny_itself",
            access: "deny",
            why: "allowed below, and not themselves",
            domains: below(&policy.allow, false),
        },
        Step {
            name: "coord_allow",
            access: "allow",
            why: "allowed",
            domains: allow,
        },
    ];
    let mut text = format!(
        "# Network policy {}, written by `coord network export --for squid`.\n\
         # Include it in squid.conf in place of your http_access lines for agents.\n",
        policy.name
    );
    let all_denied = policy.deny.contains(&Pattern::All);
    for step in steps
        .iter()
        .filter(|step| !step.domains.is_empty() && !all_denied)
    {
        let _ = writeln!(text, "\n# {}", step.why);
        for domain in unique(&step.domains) {
            let _ = writeln!(text, "acl {} dstdomain -n {domain}", step.name);
        }
        let _ = writeln!(text, "http_access {} {}", step.access, step.name);
    }
    let everything = policy.allow.contains(&Pattern::All) && !all_denied;
    text.push_str("\n# the rest\n");
    if policy.by_default && !everything && !all_denied {
        // An address takes a rule of its own.
        text.push_str(
            "acl coord_addresses dstdom_regex -n -i : (^|\\.)(0x[0-9a-f]*|[0-9]+)\\.?$\n",
        );
        text.push_str("http_access deny coord_addresses\n");
    }
    let open = everything || policy.by_default && !all_denied;
    let _ = writeln!(
        text,
        "http_access {} all",
        if open { "allow" } else { "deny" }
    );
    if everything
        && policy
            .deny
            .iter()
            .any(|rule| matches!(rule, Pattern::Address(a) if a.contains(':')))
    {
        left_out.push("*: with it, an IPv6 address that the policy denies is open".to_owned());
    }
    Exported { text, left_out }
}

/// Without those that another one covers: Squid complains of them.
fn unique(domains: &[String]) -> Vec<&String> {
    let covered = |domain: &String| {
        domains.iter().any(|other| {
            other != domain
                && other
                    .strip_prefix('.')
                    .is_some_and(|name| domain == name || domain.ends_with(other.as_str()))
        })
    };
    domains.iter().filter(|domain| !covered(domain)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(default: &str, allow: &[&str], deny: &[&str]) -> Policy {
        Policy::read(&json!({"policy": "p", "fallback": default, "allow": allow, "deny": deny}))
    }

    fn told(policy: &Policy, format: Format) -> (String, Vec<String>) {
        let exported = export(policy, format);
        (exported.text, exported.left_out)
    }

    #[test]
    fn claude_code_web_takes_a_line_for_each() {
        let plain = policy(
            "deny",
            &["*.a.test", "a.test", "b.test"],
            &["c.test", "*.d.test"],
        );
        assert_eq!(
            told(&plain, Format::ClaudeCodeWeb),
            ("*.a.test\na.test\nb.test\n".to_owned(), vec![])
        );
        // A name that is denied as a whole is no loss; what is denied within a wildcard is.
        let holes = policy(
            "deny",
            &["*.a.test", "*.e.test", "b.test", "10.0.0.1"],
            &["x.a.test", "b.test", "*.test.e", "*.e.test"],
        );
        let (text, left_out) = told(&holes, Format::ClaudeCodeWeb);
        assert_eq!(text, "");
        assert_eq!(left_out.len(), 2, "{left_out:?}");
        assert!(left_out[0].starts_with("*.a.test: the policy denies x.a.test"));
        assert!(left_out[1].starts_with("10.0.0.1"));
        let open = policy("allow", &["a.test", "*"], &[]);
        let (text, left_out) = told(&open, Format::ClaudeCodeWeb);
        assert_eq!(
            (text.as_str(), left_out.len()),
            ("a.test\n", 2),
            "{left_out:?}"
        );
    }

    #[test]
    fn codex_cloud_takes_names() {
        let plain = policy("deny", &["a.test", "b.test"], &["c.test"]);
        assert_eq!(
            told(&plain, Format::CodexCloud),
            ("a.test, b.test\n".to_owned(), vec![])
        );
        let (text, left_out) = told(
            &policy("deny", &["*.a.test", "a.test", "b.test"], &["x.b.test"]),
            Format::CodexCloud,
        );
        assert_eq!(text, "a.test\n");
        assert_eq!(left_out.len(), 2, "{left_out:?}");
    }

    /// What Squid would do, by the lines it is given.
    fn squid_allows(text: &str, host: &str) -> bool {
        let mut acls: Vec<(&str, &str)> = Vec::new();
        for line in text.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words[..] {
                ["acl", name, "dstdomain", "-n", domain] => acls.push((name, domain)),
                ["acl", name, "dstdom_regex", ..] => acls.push((name, "(address)")),
                ["http_access", access, "all"] => return access == "allow",
                ["http_access", access, name] => {
                    let address = matches!(Pattern::read(host), Pattern::Address(_));
                    let hit = acls.iter().any(|(acl, domain)| {
                        *acl == name
                            && match domain.strip_prefix('.') {
                                _ if *domain == "(address)" => address,
                                Some(of) => host == of || is_below(host, of),
                                None => host == *domain,
                            }
                    });
                    if hit {
                        return access == "allow";
                    }
                }
                _ => {}
            }
        }
        false
    }

    #[test]
    fn squid_does_what_the_policy_says() {
        let names = [
            "*",
            "a.test",
            "*.a.test",
            "b.a.test",
            "*.b.a.test",
            "test",
            "*.test",
            "10.0.0.1",
        ];
        let hosts = [
            "a.test",
            "b.a.test",
            "c.b.a.test",
            "x.a.test",
            "xa.test",
            "test",
            "other",
            "10.0.0.1",
            "10.0.0.2",
        ];
        let mut seen = 0;
        for default in ["allow", "deny"] {
            for allow in 0..1 << names.len() {
                for deny in [0usize, 1, 2, 4, 8, 16, 32, 64, 128, 6, 20, 40, 66, 18] {
                    let of = |bits: usize| -> Vec<&str> {
                        let on = |(n, name): (usize, &&'static str)| {
                            (bits >> n & 1 == 1).then_some(*name)
                        };
                        names.iter().enumerate().filter_map(on).collect()
                    };
                    let policy = policy(default, &of(allow), &of(deny));
                    let (text, left_out) = told(&policy, Format::Squid);
                    assert!(left_out.is_empty(), "{left_out:?}");
                    for host in hosts {
                        assert_eq!(
                            squid_allows(&text, host),
                            policy.allows(&Pattern::read(host)),
                            "{host}: {policy:?}\n{text}"
                        );
                        seen += 1;
                    }
                }
            }
        }
        assert!(seen > 10_000);
    }

    #[test]
    fn no_list_allows_what_the_policy_denies() {
        let names = [
            "a.test",
            "*.a.test",
            "b.a.test",
            "*.b.a.test",
            "*.test",
            "*",
        ];
        let hosts = ["a.test", "b.a.test", "c.b.a.test", "xa.test", "test"];
        for allow in 0..1 << names.len() {
            for deny in 0..1 << names.len() {
                let of = |bits: usize| -> Vec<&str> {
                    let on =
                        |(n, name): (usize, &&'static str)| (bits >> n & 1 == 1).then_some(*name);
                    names.iter().enumerate().filter_map(on).collect()
                };
                let policy = policy("deny", &of(allow), &of(deny));
                for format in [Format::ClaudeCodeWeb, Format::CodexCloud] {
                    let (text, left_out) = told(&policy, format);
                    let rules: Vec<Pattern> = text
                        .split([',', '\n'])
                        .map(str::trim)
                        .filter(|it| !it.is_empty())
                        .map(Pattern::read)
                        .collect();
                    for host in hosts.map(Pattern::read) {
                        let listed = rules.iter().any(|rule| rule.covers(&host));
                        let allowed = policy.allows(&host);
                        assert!(!listed || allowed, "{host:?} {policy:?}\n{text}");
                        assert!(
                            listed || !allowed || !left_out.is_empty(),
                            "{host:?} {policy:?}\n{text}"
                        );
                    }
                }
            }
        }
    }
}
