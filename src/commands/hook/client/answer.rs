//! What a hook answers when nobody judged its event.

use serde_json::json;

use super::{Error, WhenDown};
use crate::commands::hook::words;

/// How every such answer begins.
pub const UNJUDGED: &str = "coord: nobody judged this";

/// Says what is wrong and what mends it, in the shape that all clients know.
pub fn unjudged(error: &Error, when_down: WhenDown) -> String {
    let (why, mend) = (words::why_not(error), words::mend(error));
    match when_down {
        WhenDown::Deny => {
            let reason = format!(
                "{UNJUDGED}, so it is not done. It was not refused for what it is: {why}. What mends it: {mend}."
            );
            json!({"hookSpecificOutput": {
                "hookEventName": "PreToolUse", "permissionDecision": "deny", "permissionDecisionReason": reason,
            }})
        }
        WhenDown::Allow => {
            json!({"systemMessage": format!("{UNJUDGED}, and it goes on unchecked: {why}. What mends it: {mend}.")})
        }
    }
    .to_string()
}
