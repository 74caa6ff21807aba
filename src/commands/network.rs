//! `coord network`: which hosts agents may talk to, for agents that ask and for what stops them.

use serde_json::{Map, Value};

use crate::commands::Error;
use crate::commands::show::{self, BAD, GOOD, NAME, styled};
use crate::exit::Exit;
use crate::rpc::Client;
use crate::settings::Global;

/// Arguments of `coord network`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Ask whether you may talk to a host
    Check {
        /// A host name, an address, or a URL
        host: String,
    },
    /// Print a policy in the form that an environment takes
    Export(Export),
}

#[derive(Debug, clap::Args)]
struct Export {
    /// Whose form
    #[arg(long = "for", value_enum)]
    form: Form,
    /// The policy [default: that of your own profile]
    #[arg(long, value_name = "NAME")]
    policy: Option<String>,
    /// Fail where the form cannot say all that the policy says
    #[arg(long)]
    strict: bool,
}

/// Who is to enforce it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Form {
    /// Custom network access of Claude Code on the web: a domain a line
    ClaudeCodeWeb,
    /// Allowed domains of Codex cloud: one list with commas
    CodexCloud,
    /// An access list for squid
    Squid,
    /// All of it, for your own tools
    Json,
}

/// Does it.
///
/// # Errors
/// The coordinator cannot be reached, or refuses the host or the policy.
pub async fn run(args: Args, global: &Global) -> Result<Exit, Error> {
    let client = Client::new(global.target()?)?;
    match args.what {
        What::Check { host } => {
            let args = Map::from_iter([("domain".to_owned(), host.into())]);
            let answer = client.call("check_network", &args).await?.body;
            let allowed = answer["allowed"] == true;
            if global.json {
                show::json(&answer);
            } else {
                let text = |name: &str| show::harmless(answer[name].as_str().unwrap_or_default());
                let (style, word) = if allowed {
                    (GOOD, "allowed")
                } else {
                    (BAD, "denied")
                };
                show::print(&format!(
                    "{} {}\n{}\n",
                    styled(style, word),
                    styled(NAME, text("host")),
                    text("next")
                ));
            }
            Ok(if allowed { Exit::Done } else { Exit::Refused })
        }
        What::Export(export) => {
            let policy = export.policy.map(|name| ("policy".to_owned(), name.into()));
            let rules = client
                .call("network_rules", &Map::from_iter(policy))
                .await?
                .body;
            let (text, unsaid) = Rules::of(&rules).say(export.form);
            show::print(&text);
            for what in &unsaid {
                anstream::eprintln!("coord: this form cannot say: {what}");
            }
            Ok(if export.strict && !unsaid.is_empty() {
                Exit::Refused
            } else {
                Exit::Done
            })
        }
    }
}

/// A policy with all that it inherits.
struct Rules<'a> {
    whole: &'a Value,
    allow: Vec<&'a str>,
    deny: Vec<&'a str>,
    open: bool,
}

impl<'a> Rules<'a> {
    fn of(whole: &'a Value) -> Self {
        let list = |name: &str| {
            let list = whole[name].as_array().map_or(&[][..], Vec::as_slice);
            list.iter().filter_map(Value::as_str).collect()
        };
        Self {
            whole,
            allow: list("allow"),
            deny: list("deny"),
            open: whole["fallback"] == "allow",
        }
    }

    /// The policy in a form, and what of it that form cannot say.
    fn say(&self, form: Form) -> (String, Vec<String>) {
        let lines = |list: &[&str]| list.iter().fold(String::new(), |text, it| text + it + "\n");
        match form {
            Form::Json => (format!("{}\n", self.whole), Vec::new()),
            Form::Squid => (self.squid(), Vec::new()),
            Form::ClaudeCodeWeb => (lines(&self.allow), self.beyond_a_list()),
            Form::CodexCloud => {
                // It takes names, and counts what lies below them in.
                let mut names = Vec::new();
                let mut unsaid = self.beyond_a_list();
                for pattern in &self.allow {
                    match pattern.strip_prefix("*.") {
                        Some(name) => {
                            unsaid.push(format!("{pattern} without {name} itself"));
                            names.push(name);
                        }
                        None => names.push(pattern),
                    }
                }
                names.sort_unstable();
                names.dedup();
                (format!("{}\n", names.join(",")), unsaid)
            }
        }
    }

    /// What a mere list of allowed domains leaves out.
    fn beyond_a_list(&self) -> Vec<String> {
        let reached = |denied: &&&str| self.allow.iter().any(|pattern| covers(pattern, denied));
        let mut unsaid: Vec<String> = self
            .deny
            .iter()
            .filter(reached)
            .map(|pattern| format!("deny {pattern}"))
            .collect();
        if self.open {
            unsaid.push("every other host is allowed".to_owned());
        }
        unsaid
    }

    fn squid(&self) -> String {
        let mut lines = Vec::new();
        for (name, list, rule) in [
            ("coord_deny", &self.deny, "deny"),
            ("coord_allow", &self.allow, "allow"),
        ] {
            let mut names = Vec::new();
            for pattern in list {
                let (kind, value) = squid_pattern(pattern);
                let name = format!("{name}_{kind}");
                lines.push(format!("acl {name} {kind} {value}\n"));
                if !names.contains(&name) {
                    names.push(name);
                }
            }
            for name in names {
                lines.push(format!("http_access {rule} {name}\n"));
            }
        }
        let rest = if self.open { "allow" } else { "deny" };
        lines.push(format!("http_access {rest} all\n"));
        lines.concat()
    }
}

/// Whether a pattern matches what another stands for.
fn covers(pattern: &str, other: &str) -> bool {
    let name = other.strip_prefix("*.").unwrap_or(other);
    pattern == "*"
        || pattern == other
        || pattern
            .strip_prefix('*')
            .is_some_and(|suffix| name.ends_with(suffix))
}

/// The kind of access list and its value: `.example.com` of `dstdomain` would count the name itself in.
fn squid_pattern(pattern: &str) -> (&'static str, String) {
    let address =
        pattern.contains(':') || pattern.chars().all(|it| it.is_ascii_digit() || it == '.');
    if address {
        ("dst", pattern.to_owned())
    } else if pattern == "*" {
        ("dstdom_regex", ".".to_owned())
    } else if let Some(name) = pattern.strip_prefix('*') {
        ("dstdom_regex", format!("-i {}$", name.replace('.', "\\.")))
    } else {
        ("dstdomain", pattern.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_form_says_what_it_can_and_names_the_rest() {
        let rules = json!({"policy": "p", "fallback": "deny",
            "allow": ["*.example.org", "10.0.0.1", "example.com"], "deny": ["bad.example.org", "elsewhere.net"]});
        let rules = Rules::of(&rules);
        let (text, unsaid) = rules.say(Form::ClaudeCodeWeb);
        assert_eq!(text, "*.example.org\n10.0.0.1\nexample.com\n");
        assert_eq!(unsaid, ["deny bad.example.org"]);
        let (text, unsaid) = rules.say(Form::CodexCloud);
        assert_eq!(text, "10.0.0.1,example.com,example.org\n");
        assert_eq!(
            unsaid,
            [
                "deny bad.example.org",
                "*.example.org without example.org itself"
            ]
        );
        let (text, unsaid) = rules.say(Form::Squid);
        assert_eq!(
            text.lines().collect::<Vec<_>>(),
            [
                "acl coord_deny_dstdomain dstdomain bad.example.org",
                "acl coord_deny_dstdomain dstdomain elsewhere.net",
                "http_access deny coord_deny_dstdomain",
                "acl coord_allow_dstdom_regex dstdom_regex -i \\.example\\.org$",
                "acl coord_allow_dst dst 10.0.0.1",
                "acl coord_allow_dstdomain dstdomain example.com",
                "http_access allow coord_allow_dstdom_regex",
                "http_access allow coord_allow_dst",
                "http_access allow coord_allow_dstdomain",
                "http_access deny all",
            ]
        );
        assert!(unsaid.is_empty());
    }
}
