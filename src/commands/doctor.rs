//! `coord doctor`: what is wrong with the local stack, and what mends it.

use anstyle::{AnsiColor, Style};
use serde_json::json;

use crate::commands::hook::canary::{self, Canary, Seen};
use crate::exit::Exit;
use crate::settings::Global;
use crate::stack::doctor::Finding;
use crate::stack::home::Home;
use crate::stack::progress::Progress;
use crate::stack::{Error, doctor, postgrest};

/// Arguments of `coord doctor`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Mend what can be mended without risk: modes, leftovers, a missing PostgREST
    #[arg(long)]
    fix: bool,
    /// The port that the API shall have
    #[arg(long, env = "COORD_PORT", default_value_t = postgrest::DEFAULT_PORT, value_name = "N")]
    port: u16,
}

/// What a forced push through a client's hook came to; nothing where it has none.
fn hooked(seen: &Seen) -> Option<Finding> {
    let check = "client hooks";
    let finding = |ok, remedy| Finding {
        check,
        ok,
        found: format!("{}: {}", seen.client, seen.canary.why()),
        remedy,
        fix: None,
    };
    match &seen.canary {
        Canary::NotThere => None,
        Canary::Active(_) => Some(finding(true, None)),
        Canary::Dead(_) => {
            let again =
                "coord hook install, where its settings are wrong; `coord hook status` looks again";
            Some(finding(false, Some(again.to_owned())))
        }
    }
}

/// 0: all is well; 3: it only does not run; 4: something is wrong.
pub async fn run(args: &Args, global: &Global) -> Result<Exit, Error> {
    let home = Home::at(&global.home_dir())?;
    let mut findings = doctor::examine(&home, args.port).await?;
    let mut mended = Vec::new();
    if args.fix {
        let progress = Progress::new();
        for fix in findings.iter().filter_map(|finding| finding.fix) {
            if !mended.contains(&fix) {
                doctor::mend(&home, fix, &progress).await?;
                mended.push(fix);
            }
        }
        progress.finish();
        if !mended.is_empty() {
            findings = doctor::examine(&home, args.port).await?;
        }
    }
    // A hook cannot work while nobody is there to answer it.
    if findings.iter().any(|it| it.check == "stack" && it.ok) || global.url.is_some() {
        findings.extend(canary::all().iter().filter_map(hooked));
    }
    let wrong: Vec<&str> = findings.iter().filter(|f| !f.ok).map(|f| f.check).collect();
    let not_running = findings.iter().any(|f| f.found == "not running");
    let exit = match wrong.as_slice() {
        [] => Exit::Done,
        ["stack"] if not_running => Exit::Unreachable,
        _ => Exit::Server,
    };
    if global.json {
        println!(
            "{}",
            json!({ "ok": wrong.is_empty(), "home": home.path(), "findings": findings, "mended": mended.len() })
        );
        return Ok(exit);
    }
    if !mended.is_empty() {
        anstream::println!("mended: {mended:?}");
    }
    for finding in &findings {
        let (word, color) = if finding.ok {
            ("ok  ", AnsiColor::Green)
        } else {
            ("BAD ", AnsiColor::Red)
        };
        let style = Style::new().fg_color(Some(color.into()));
        anstream::println!(
            "{style}{word}{style:#} {}: {}",
            finding.check,
            finding.found
        );
        if let Some(remedy) = &finding.remedy {
            anstream::println!("      mend it: {remedy}");
        }
    }
    Ok(exit)
}
