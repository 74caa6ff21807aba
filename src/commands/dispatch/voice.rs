//! What a dispatcher says while it works: a line for each event.

use serde_json::{Value, json};

use super::job::{Ended, Job, Verdict, last};
use crate::commands::show::{self, BAD, FAINT, GOOD, NAME, Style, WARN, styled};

/// For people, or an object a line for scripts.
#[derive(Clone, Copy, Debug)]
pub struct Voice {
    pub json: bool,
}

impl Voice {
    pub fn tell(self, job: &Job, event: &str, note: &str) {
        self.say(job, event, WARN, note, Value::Null);
    }

    /// What was reported, and what that means for the change.
    pub fn ended(self, job: &Job, ended: &Ended, answer: &Value) {
        let style = match ended.verdict {
            Verdict::Passed => GOOD,
            Verdict::Failed => BAD,
            Verdict::Error | Verdict::TimedOut => WARN,
        };
        let change = answer["changeset_state"].as_str().unwrap_or_default();
        let mut note = format!("{} is {change}", job.changeset);
        if ended.verdict != Verdict::Passed {
            note = format!("{note}: {}", last(&ended.summary, 300).replace('\n', " "));
        }
        if let Some(log) = ended.evidence.get("log").and_then(Value::as_str) {
            note = format!("{note} ({log})");
        }
        self.say(job, ended.verdict.name(), style, &note, answer.clone());
    }

    fn say(self, job: &Job, event: &str, style: Style, note: &str, answer: Value) {
        if self.json {
            let mut line = json!({
                "event": event, "job": job.id, "attempt": job.attempt, "check": job.check(), "repo": job.repo,
                "changeset": job.changeset, "head": job.head, "note": note,
            });
            if !answer.is_null() {
                line["answer"] = answer;
            }
            return show::json(&line);
        }
        show::print(&format!(
            "{} {} {} {}\n",
            styled(NAME, &job.id),
            show::harmless(&job.check()),
            styled(style, event),
            styled(FAINT, show::harmless(note)),
        ));
    }

    pub fn warn(self, what: &str) {
        if self.json {
            eprintln!("{}", json!({"event": "warning", "message": what}));
        } else {
            anstream::eprintln!("coord: {}", show::harmless(what));
        }
    }
}
