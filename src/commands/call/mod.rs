//! `coord call`: any function of the coordinator, as the coordinator describes it.

mod grammar;
mod schema;

use std::ffi::{OsStr, OsString};

use clap::{Arg, Command};
use serde::Deserialize as _;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::cli;
use crate::commands::{Error, show};
use crate::exit::Exit;
use crate::remote;
use crate::rpc::{self, Client};
use crate::settings::Global;
use grammar::{Catalogue, Function};

/// Arguments of `coord call`.
#[derive(Debug, clap::Args)]
#[command(
    disable_help_flag = true,
    after_help = "Without FUNCTION, or with --help, lists the functions; FUNCTION --help shows the \
                  arguments of one. Both ask the coordinator, so that what is listed is what is there."
)]
pub struct Args {
    /// A function and its arguments: --NAME VALUE, --arg NAME=VALUE or --args-json OBJECT
    #[arg(
        value_name = "FUNCTION",
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    words: Vec<String>,
}

/// Calls the function and shows its answer.
///
/// # Errors
/// The coordinator cannot be reached, or does not answer the call.
pub async fn run(args: Args, global: &Global) -> Result<Exit, Error> {
    let words = spelled_out(args.words);
    let called = call(&words, global).await;
    if called.is_err() && matches!(words[0].as_str(), "--help" | "-h") {
        // Then at least what is known without the coordinator; the error follows.
        let known = cli::grammar()
            .find_subcommand_mut("call")
            .map(Command::render_help);
        show::print(&known.unwrap_or_default().ansi().to_string());
    }
    called
}

async fn call(words: &[String], global: &Global) -> Result<Exit, Error> {
    let client = Client::new(global.target()?)?;
    match catalogue(&client).await {
        Ok(functions) => run_known(&client, &functions, words, global).await,
        Err(error) => without_catalogue(&client, words, global, error).await,
    }
}

async fn run_known(
    client: &Client,
    functions: &[Function],
    words: &[String],
    global: &Global,
) -> Result<Exit, Error> {
    let matches = match grammar::grammar(functions, &global_flags()).try_get_matches_from(words) {
        Ok(matches) => matches,
        Err(error) => return Ok(cli::tell(&error)),
    };
    let Some((function, matches)) = matches.subcommand().and_then(|(name, matches)| {
        let function = functions.iter().find(|function| function.name == name)?;
        Some((function, matches))
    }) else {
        return Ok(Exit::Usage);
    };
    let mut args = match function.read(matches) {
        Ok(args) => args,
        Err(error) => return Ok(cli::tell(&error)),
    };
    if function.takes_repo()
        && args.get("repo").is_none_or(Value::is_null)
        && let Some(repo) = remote::repo()
    {
        args.insert("repo".to_owned(), repo.into());
    }
    let key = matches
        .get_one::<String>("idempotency-key")
        .cloned()
        .unwrap_or_else(|| Uuid::new_v4().to_string());
    let answer = client.call_with_key(&function.name, &args, &key).await?;
    if global.json {
        show::json(&answer.body);
    } else {
        show::print(&show::answer(&answer.body));
    }
    Ok(if answer.ok() {
        Exit::Done
    } else {
        Exit::Refused
    })
}

/// Who may not read the catalogue may still call what needs no token: by name,
/// with JSON, and without a check beforehand.
async fn without_catalogue(
    client: &Client,
    words: &[String],
    global: &Global,
    error: rpc::Error,
) -> Result<Exit, Error> {
    let named = words.first().filter(|word| !word.starts_with('-'));
    if let (Some(name), rpc::Error::Problem(_)) = (named, &error) {
        let function = Function::unknown(name);
        let bare = grammar::grammar(std::slice::from_ref(&function), &[]);
        if bare.try_get_matches_from(words).is_ok() {
            return run_known(client, &[function], words, global).await;
        }
    }
    Err(error.into())
}

async fn catalogue(client: &Client) -> Result<Vec<Function>, rpc::Error> {
    let args = Map::from_iter([("toolset".to_owned(), json!("full"))]);
    let answer = client.call("tool_catalog", &args).await?;
    let catalogue = Catalogue::deserialize(&answer.body).unwrap_or_default();
    Ok(catalogue.functions())
}

/// The words as clap shall read them: `--arg a=b` is `--a=b`, a flag has dashes
/// and a function underscores, and nothing at all is a call for help.
fn spelled_out(words: Vec<String>) -> Vec<String> {
    let mut words = words.into_iter();
    let Some(function) = words.next().filter(|word| word != "help") else {
        return vec!["--help".to_owned()];
    };
    let mut out = vec![if function.starts_with('-') {
        function
    } else {
        function.replace('-', "_")
    }];
    while let Some(word) = words.next() {
        let word = match word.strip_prefix("--arg=") {
            Some(pair) => format!("--{pair}"),
            None if word == "--arg" => words.next().map_or(word, |pair| format!("--{pair}")),
            None => word,
        };
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (word.as_str(), None),
        };
        out.push(match value {
            _ if !word.starts_with("--") => word,
            Some(value) => format!("{}={value}", name.replace('_', "-")),
            None => name.replace('_', "-"),
        });
    }
    out
}

/// The flags of every command, to be shown in the help and suggested; they were
/// taken out of the words already, so nothing is ever read from these.
fn global_flags() -> Vec<Arg> {
    cli::grammar()
        .get_arguments()
        .filter(|arg| arg.is_global_set())
        .map(|arg| {
            arg.clone()
                .global(false)
                .env(None::<&str>)
                .help_heading("Options of every command")
        })
        .collect()
}

/// Moves the flags of every command from behind `call` to before it: what follows
/// there is read by the grammar that those flags help to find.
#[must_use]
pub fn gathered(argv: Vec<OsString>) -> Vec<OsString> {
    let flags = global_flags();
    // Whether a word is such a flag, and whether its value is the next word.
    let global = |word: &OsStr| -> Option<bool> {
        let word = word.to_str()?.strip_prefix("--")?;
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (word, None),
        };
        let flag = flags.iter().find(|flag| flag.get_long() == Some(name))?;
        Some(flag.get_action().takes_values() && value.is_none())
    };
    let mut words = argv.into_iter().peekable();
    let mut front: Vec<OsString> = words.next().into_iter().collect();
    while let Some(word) = words.next_if(|word| word != "call") {
        let flag = global(&word);
        front.push(word);
        let Some(valued) = flag else {
            // Another command.
            front.extend(words);
            return front;
        };
        front.extend(words.next_if(|_| valued));
    }
    let mut rest: Vec<OsString> = words.next().into_iter().collect();
    while let Some(word) = words.next() {
        match global(&word) {
            Some(valued) => {
                front.push(word);
                front.extend(words.next_if(|_| valued));
            }
            None => rest.push(word),
        }
    }
    front.extend(rest);
    front
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gather(words: &str) -> String {
        let argv = words.split(' ').map(OsString::from).collect();
        let argv = gathered(argv);
        argv.join(OsStr::new(" ")).into_string().unwrap()
    }

    #[test]
    fn global_flags_may_stand_behind_the_function() {
        assert_eq!(
            gather("coord call f --paths a --json --as x --url=u b"),
            "coord --json --as x --url=u call f --paths a b"
        );
        assert_eq!(
            gather("coord --json call f --session s"),
            "coord --json --session s call f"
        );
    }

    #[test]
    fn other_commands_are_left_alone() {
        for words in [
            "coord lock list call --json",
            "coord --as call lock list",
            "coord",
            "coord call",
        ] {
            assert_eq!(gather(words), words);
        }
    }

    #[test]
    fn the_general_form_is_another_spelling() {
        let spelled =
            |words: &[&str]| spelled_out(words.iter().map(|word| (*word).to_owned()).collect());
        assert_eq!(
            spelled(&["f", "--arg", "a=b", "--arg=c=d=e"]),
            ["f", "--a=b", "--c=d=e"]
        );
        assert_eq!(
            spelled(&["a-b_c", "--x_y", "p_q", "--x_y=p_q"]),
            ["a_b_c", "--x-y", "p_q", "--x-y=p_q"]
        );
        assert_eq!(spelled(&[]), ["--help"]);
    }
}
