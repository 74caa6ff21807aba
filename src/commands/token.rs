//! `coord token`: mint, inspect, revoke.

use std::io::Read;

use clap::Subcommand;
use serde_json::{Value, json};

use crate::commands::show;
use crate::exit::Exit;
use crate::rpc::Client;
use crate::settings::{self, Global};
use crate::stack::home::Home;
use crate::stack::keys::Keys;
use crate::stack::state::State;
use crate::stack::token::{self, Claims, Role};
use crate::stack::{Error, clock};

/// Arguments of `coord token`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Register an agent, grant it its repos, and print a token for it; with --session for that session only
    Mint(Mint),
    /// Say what stands in a token
    Inspect {
        /// The token, or - for standard input
        token: String,
    },
    /// Make a token worthless before it ends
    Revoke {
        /// The token, its id (jti), or - for standard input
        token: String,
        /// Why, for the audit
        #[arg(long)]
        reason: Option<String>,
    },
}

#[derive(Debug, clap::Args)]
struct Mint {
    /// Name of the agent
    #[arg(long, value_name = "NAME")]
    agent: String,
    /// What kind of agent, as `claude-code-cli`, `claude-code-web`, `codex-cli`, `codex-cloud`, `aider` or a name of yours
    #[arg(long = "type", value_name = "TYPE")]
    agent_type: String,
    /// A repo it may work in, as host/owner/name or any git address; again for more
    #[arg(long = "repo", value_name = "REPO")]
    repos: Vec<String>,
    /// What it may do
    #[arg(long, value_enum, default_value = "agent")]
    role: Role,
    /// The profile to assign to it, as `coord apply` made it [default: that of its type]
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
    /// How long the token lives: seconds, or as 30m, 8h, 7d
    #[arg(long, default_value = "8h", value_parser = ttl)]
    ttl: i64,
    /// Also keep it in the home, for `--as NAME`
    #[arg(long)]
    save: bool,
}

fn ttl(text: &str) -> Result<i64, String> {
    match clock::duration(text) {
        Some(1..=31_536_000) => Ok(clock::duration(text).unwrap_or_default()),
        Some(_) => Err("between 1 second and 365 days, please".to_owned()),
        None => Err("a number of seconds, or a number with s, m, h or d, as in 8h".to_owned()),
    }
}

/// Does it.
pub async fn run(args: &Args, global: &Global) -> Result<Exit, Error> {
    let home = Home::at(&global.home_dir())?;
    match &args.what {
        What::Mint(mint) => mint.run(&home, global).await,
        What::Inspect { token } => inspect(&given(token)?, &home, global.json),
        What::Revoke { token, reason } => {
            revoke(&given(token)?, reason.as_deref(), &home, global).await
        }
    }
}

impl Mint {
    async fn run(&self, home: &Home, global: &Global) -> Result<Exit, Error> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "._@-".contains(c);
        if self.save && !self.agent.chars().all(plain) {
            return Err(Error::Token(
                "--save wants a name of letters, digits, dots, dashes and underscores".to_owned(),
            ));
        }
        if self.repos.is_empty() && self.role == Role::Agent {
            return Err(Error::Token(
                "an agent works in a repo: name one with --repo, as in `--repo github.com/owner/name`".to_owned(),
            ));
        }
        let keys = Keys::load(home)?;
        let client = operator(home, &keys, global)?;
        let registered = token::register(
            &client,
            &self.agent,
            &self.agent_type,
            self.role,
            &self.repos,
            self.profile.as_deref(),
        )
        .await?;
        anstream::eprint!("{}", show::next(&registered.body));
        let mut claims = Claims::new(&self.agent, &self.agent_type, self.role, self.ttl);
        // Only from the flag: the variable names the session of who mints.
        claims.session_id = global
            .session
            .clone()
            .filter(|id| settings::env("COORD_SESSION_ID").as_ref() != Some(id));
        let token = claims.sign(&keys)?;
        if self.save {
            crate::stack::home::write_private(&home.token(&self.agent), &format!("{token}\n"))?;
        }
        println!("{token}");
        Ok(Exit::Done)
    }
}

/// The home's operator, at the URL that was named or at the home's own stack.
fn operator(home: &Home, keys: &Keys, global: &Global) -> Result<Client, Error> {
    let url = match &global.url {
        Some(url) => url.trim_end_matches('/').to_owned(),
        None => {
            State::read(home)
                .ok_or_else(|| Error::NotRunning(home.path().to_owned()))?
                .url
        }
    };
    token::operator(keys, &url, settings::env("COORD_APIKEY"))
}

async fn revoke(
    text: &str,
    reason: Option<&str>,
    home: &Home,
    global: &Global,
) -> Result<Exit, Error> {
    let (jti, expires) = if text.contains('.') {
        let claims = token::inspect(text, home)?.claims;
        let jti = claims
            .get("jti")
            .and_then(Value::as_str)
            .ok_or_else(|| Error::Token("this token has no id (jti), so it cannot be revoked; disable its agent instead: `coord call disable_agent`".to_owned()))?
            .to_owned();
        (jti, claims.get("exp").and_then(Value::as_i64))
    } else {
        (text.to_owned(), None)
    };
    let client = operator(home, &Keys::load(home)?, global)?;
    let answer = token::revoke(&client, &jti, expires, reason).await?;
    if global.json {
        println!("{}", answer.body);
    } else {
        println!("revoked {jti}");
    }
    Ok(Exit::Done)
}

fn inspect(text: &str, home: &Home, as_json: bool) -> Result<Exit, Error> {
    let found = token::inspect(text, home)?;
    let left = found
        .claims
        .get("exp")
        .and_then(Value::as_i64)
        .map(|exp| exp - clock::now());
    let expiry = match left {
        None => "never ends: the coordinator refuses it".to_owned(),
        Some(left) if left > 0 => format!("ends in {}", clock::words(left)),
        Some(left) => format!("ended {} ago", clock::words(-left)),
    };
    let signature = match found.signed_here {
        Some(true) => "by the key of this home",
        Some(false) => "not by the key of this home",
        None => "not checked: no key in this home",
    };
    if as_json {
        println!(
            "{}",
            json!({
                "header": found.header, "claims": found.claims, "expires": expiry,
                "seconds_left": left, "signature_valid": found.signed_here,
            })
        );
        return Ok(Exit::Done);
    }
    for (name, value) in &found.claims {
        let time = ["iat", "exp", "nbf"].contains(&name.as_str());
        match value {
            Value::Number(seconds) if time => {
                let at = seconds.as_i64().map(clock::rfc3339).unwrap_or_default();
                println!("{name:12}{at}");
            }
            Value::String(text) => println!("{name:12}{text}"),
            other => println!("{name:12}{other}"),
        }
    }
    println!("{:12}{expiry}", "expiry");
    println!("{:12}{signature}", "signed");
    Ok(Exit::Done)
}

/// The argument, or standard input for `-`.
fn given(text: &str) -> Result<String, Error> {
    if text != "-" {
        return Ok(text.trim().to_owned());
    }
    let mut input = String::new();
    std::io::stdin()
        .read_to_string(&mut input)
        .map_err(|source| Error::Io {
            doing: "read standard input".to_owned(),
            source,
        })?;
    Ok(input.trim().to_owned())
}
