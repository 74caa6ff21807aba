//! A tool call: arguments checked and completed, forwarded, and the answer put into words.

use std::sync::atomic::Ordering;

use rmcp::ErrorData;
use rmcp::model::{CallToolResult, ContentBlock, JsonObject, Tool};
use serde_json::Value;

use super::Bridge;
use super::arguments;
use super::caller::{Caller, Identity};
use super::error::Error;
use super::menu::Menu;
use super::waiting::Waiter;
use crate::alike;
use crate::rpc::Answer;
use crate::{gitlocks, standby};

impl Bridge {
    /// Calls a tool. A JSON-RPC error only for a tool that is not there:
    /// clients hide those from the model, and everything else it should read.
    pub(super) async fn call(
        &self,
        menu: &Menu,
        caller: &Caller,
        waiter: &Waiter,
        name: &str,
        mut args: JsonObject,
    ) -> Result<CallToolResult, ErrorData> {
        let Some(tool) = self.find(menu, caller, name).await else {
            if !menu.is_known() {
                let text = menu.instructions().unwrap_or_default();
                return Ok(failure(format!("coordinator_unreachable: {text}")));
            }
            return Err(unknown(menu, name));
        };
        if let Some(text) = arguments::mismatch(&tool.input_schema, &args) {
            return Ok(failure(text));
        }
        let takes_repo = tool
            .input_schema
            .get("properties")
            .is_some_and(|properties| properties.get("repo").is_some());
        if takes_repo {
            self.fill_repo(&mut args).await;
        }
        let reads_only = tool
            .annotations
            .as_ref()
            .and_then(|hints| hints.read_only_hint)
            .unwrap_or(false);
        if !reads_only {
            self.identity.wrote(caller);
        }
        let answer = match self.upstream.call(caller, name, &args).await {
            Ok(first) => self.wait(caller, waiter, name, &args, first).await,
            Err(error) => Err(error),
        };
        Ok(match answer {
            Ok(answer) => said(&answer),
            Err(error) => match self.by_git(caller, name, &args, &error).await {
                Some(Ok(body)) => said(&Answer { status: 200, body }),
                Some(Err(and)) => failure(format!("{}\nby_git: {and}", error.tell())),
                None => failure(error.tell()),
            },
        })
    }

    /// What git answers while the coordinator is away, if the profile of the one client says so.
    async fn by_git(
        &self,
        caller: &Caller,
        name: &str,
        args: &JsonObject,
        error: &Error,
    ) -> Option<Result<Value, gitlocks::Error>> {
        if !error.is_silence() || !matches!(self.identity, Identity::Single { .. }) {
            return None;
        }
        let session = caller.session.as_deref();
        let answer = standby::answer(self.upstream.global(), session, name, args).await;
        if answer.is_some() && name == "acquire_lock" {
            self.by_git.store(true, Ordering::Relaxed);
        }
        answer
    }

    /// The tool, after one more look at the coordinator if it seems not to be there.
    async fn find(&self, menu: &Menu, caller: &Caller, name: &str) -> Option<Tool> {
        if let Some(tool) = menu.current().tool(name) {
            return Some(tool.clone());
        }
        let age = std::time::Duration::from_secs(2);
        // The menu keeps the failure.
        let _ = menu.refresh(&self.upstream, caller, age).await;
        menu.current().tool(name).cloned()
    }

    /// Names the repository this process works in, where the caller named none.
    pub(super) async fn fill_repo(&self, args: &mut JsonObject) {
        if args.get("repo").is_none_or(Value::is_null)
            && let Some(repo) = self.repo.name().await
        {
            args.insert("repo".to_owned(), repo.into());
        }
    }
}

fn unknown(menu: &Menu, name: &str) -> ErrorData {
    let catalogue = menu.current();
    let names = catalogue.tools.iter().map(|tool| tool.name.clone());
    let hint = alike::nearest(name, names)
        .map_or_else(String::new, |right| format!("; did you mean {right}?"));
    ErrorData::invalid_params(format!("unknown tool: {name}{hint}"), None)
}

/// Text for a model that the call did not do what it should.
fn failure(text: String) -> CallToolResult {
    CallToolResult::error(vec![ContentBlock::text(text)])
}

/// The function's answer: as it is, or in words where it is a denial.
fn said(answer: &Answer) -> CallToolResult {
    let denied = answer.body.get("outcome").and_then(Value::as_str) == Some("denied");
    if denied || answer.status >= 400 {
        failure(denial(&answer.body))
    } else {
        CallToolResult::success(vec![ContentBlock::text(answer.body.to_string())])
    }
}

/// Code, what, who, how long, next; and whatever else the answer says.
fn denial(body: &Value) -> String {
    let Value::Object(body) = body else {
        return format!("denied: {body}");
    };
    let mut rest = body.clone();
    let mut take = |name: &str| match rest.shift_remove(name) {
        Some(Value::String(text)) if !text.is_empty() => Some(text),
        Some(Value::Number(number)) => Some(number.to_string()),
        _ => None,
    };
    let outcome = take("outcome").unwrap_or_else(|| "denied".to_owned());
    take("ok");
    let code = take("code");
    let message = take("message");
    let details = take("details");
    let next = [take("hint"), take("next")];
    let wait = take("retry_after_seconds");

    let mut text = outcome;
    let mut said: Vec<String> = Vec::new();
    for part in [code, message, details].into_iter().flatten() {
        if !said.contains(&part) {
            text = format!("{text}: {part}");
            said.push(part);
        }
    }
    if let Some(seconds) = wait {
        text = format!("{text}\nwait: {seconds} seconds");
    }
    for next in next.into_iter().flatten() {
        if !said.contains(&next) {
            text = format!("{text}\nnext: {next}");
            said.push(next);
        }
    }
    rest.retain(|_, value| !value.is_null());
    if !rest.is_empty() {
        text = format!("{text}\n{}", Value::Object(rest));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_denial_reads_as_sentences() {
        let text = denial(&json!({
            "ok": false, "outcome": "denied", "code": "path_not_allowed",
            "message": "path_not_allowed", "details": "Profile reader may not write src/.",
            "hint": "Ask for approval.", "retry_after_seconds": 30, "profile": "reader",
        }));
        assert_eq!(
            text,
            "denied: path_not_allowed: Profile reader may not write src/.\nwait: 30 seconds\n\
             next: Ask for approval.\n{\"profile\":\"reader\"}"
        );
    }

    #[test]
    fn being_held_is_an_answer_and_no_error() {
        let body = json!({"ok": false, "outcome": "held", "blockers": []});
        let result = said(&Answer { status: 200, body });
        assert_eq!(result.is_error, Some(false));
        assert_eq!(result.structured_content, None);
    }
}
