//! Hooks in the JSON that Claude Code and Codex share: events, each with groups of handlers.

use serde::Serialize as _;
use serde_json::ser::{PrettyFormatter, Serializer};
use serde_json::{Map, Value, json};

use super::{Client, WhenDown};

/// Longer than our own deadline, in seconds: the client must never be the first to give up.
const PATIENCE: u64 = 10;

/// At the ends of a session nothing is decided, and Codex waits no longer.
const SHORT_PATIENCE: u64 = 3;

/// What is said where the program is gone; the client would take that as leave.
const GONE: &str = "{ echo 'coord does not run here: install it, or take its hook out of these settings' >&2; exit 2; }";

/// The settings with our handlers, and only once.
pub fn wired(
    text: &str,
    client: Client,
    program: &str,
    when_down: WhenDown,
) -> Result<String, String> {
    let mut settings = parse(text)?;
    let wanted = groups(client, program, when_down);
    if ours(&settings, client) == wanted {
        return Ok(text.to_owned());
    }
    remove(&mut settings, client);
    let hooks = settings.entry("hooks").or_insert_with(|| json!({}));
    let Value::Object(hooks) = hooks else {
        return Err("its hooks are no object".to_owned());
    };
    for (event, group) in wanted {
        match hooks.entry(&*event).or_insert_with(|| json!([])) {
            Value::Array(groups) => groups.push(group),
            _ => return Err(format!("its hooks.{event} is no list")),
        }
    }
    written(&settings, text)
}

/// The settings without our handlers; what only held them goes with them.
pub fn unwired(text: &str, client: Client) -> Result<String, String> {
    let mut settings = parse(text)?;
    if !remove(&mut settings, client) {
        return Ok(text.to_owned());
    }
    if settings.is_empty() {
        return Ok(String::new());
    }
    written(&settings, text)
}

/// What runs before a tool is used.
pub fn lines(text: &str, client: Client) -> Result<Vec<String>, super::Error> {
    let settings = parse(text).map_err(super::Error::Usage)?;
    let groups = ours(&settings, client).into_iter();
    let before_tools = groups.filter(|(event, _)| event == "PreToolUse");
    Ok(before_tools
        .flat_map(|(_, group)| commands(&group))
        .collect())
}

fn groups(client: Client, program: &str, when_down: WhenDown) -> Vec<(String, Value)> {
    let line = format!(
        "{program} hook {} --when-down {}",
        client.name(),
        when_down.name()
    );
    let closed = match when_down {
        WhenDown::Deny => format!("{line} || {GONE}"),
        WhenDown::Allow => line.clone(),
    };
    let tools = match client {
        Client::Codex => "Bash|apply_patch",
        _ => "Bash|Edit|Write|MultiEdit|NotebookEdit|Read|WebFetch",
    };
    let handler = |line: &str, patience: u64| json!([{"type": "command", "command": line, "timeout": patience}]);
    let at_ends = || json!({"hooks": handler(&format!("{line} --deadline 2"), SHORT_PATIENCE)});
    vec![
        (
            "PreToolUse".to_owned(),
            json!({"matcher": tools, "hooks": handler(&closed, PATIENCE)}),
        ),
        ("SessionStart".to_owned(), at_ends()),
        ("SessionEnd".to_owned(), at_ends()),
    ]
}

/// An empty file is one without settings. Comments are more than can be kept.
fn parse(text: &str) -> Result<Map<String, Value>, String> {
    if text.trim().is_empty() {
        return Ok(Map::new());
    }
    match serde_json::from_str(text.trim_start_matches('\u{feff}')) {
        Ok(Value::Object(settings)) => Ok(settings),
        Ok(_) => Err("it is no JSON object".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

fn commands(group: &Value) -> Vec<String> {
    let handlers = group.get("hooks").and_then(Value::as_array);
    let commands = handlers.into_iter().flatten().filter_map(|handler| {
        let command = handler.get("command")?.as_str()?;
        Some(command.to_owned())
    });
    commands.collect()
}

/// Whether a command line calls us for this client.
fn is_ours(handler: &Value, client: Client) -> bool {
    let command = handler.get("command").and_then(Value::as_str);
    let words: Vec<&str> = command.unwrap_or_default().split_whitespace().collect();
    words.windows(3).any(|it| {
        let program = it[0].trim_matches('\'');
        let program = program.rsplit('/').next().unwrap_or(program);
        program == "coord" && it[1..] == ["hook", client.name()]
    })
}

/// Groups that hold nothing but ours, with their events.
fn ours(settings: &Map<String, Value>, client: Client) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    let events = settings.get("hooks").and_then(Value::as_object);
    for (event, groups) in events.into_iter().flatten() {
        for group in groups.as_array().into_iter().flatten() {
            let mut handlers = group
                .get("hooks")
                .and_then(Value::as_array)
                .into_iter()
                .flatten();
            if handlers.any(|it| is_ours(it, client)) {
                found.push((event.clone(), group.clone()));
            }
        }
    }
    // In the order in which they are written.
    let rank = |event: &str| {
        ["PreToolUse", "SessionStart", "SessionEnd"]
            .iter()
            .position(|it| *it == event)
    };
    found.sort_by_key(|(event, _)| rank(event).unwrap_or(usize::MAX));
    found
}

/// Takes out our handlers, then the groups, events and hooks that held nothing else.
fn remove(settings: &mut Map<String, Value>, client: Client) -> bool {
    let mut removed = false;
    let Some(Value::Object(events)) = settings.get_mut("hooks") else {
        return false;
    };
    events.retain(|_, groups| {
        let Value::Array(list) = groups else {
            return true;
        };
        let mut touched = false;
        list.retain_mut(|group| {
            let Some(Value::Array(handlers)) = group.get_mut("hooks") else {
                return true;
            };
            let before = handlers.len();
            handlers.retain(|handler| !is_ours(handler, client));
            let gone = handlers.len() < before;
            touched |= gone;
            !(gone && handlers.is_empty())
        });
        removed |= touched;
        !(touched && list.is_empty())
    });
    if removed && events.is_empty() {
        settings.remove("hooks");
    }
    removed
}

/// As the file was: its indentation, and its end.
fn written(settings: &Map<String, Value>, before: &str) -> Result<String, String> {
    let indent = before.lines().skip(1).find_map(|line| {
        let blank = line.len() - line.trim_start().len();
        (blank > 0).then(|| &line[..blank])
    });
    let mut out = Vec::new();
    let format = PrettyFormatter::with_indent(indent.unwrap_or("  ").as_bytes());
    settings
        .serialize(&mut Serializer::with_formatter(&mut out, format))
        .map_err(|error| error.to_string())?;
    if before.is_empty() || before.ends_with('\n') {
        out.push(b'\n');
    }
    String::from_utf8(out).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLAUDE: Client = Client::ClaudeCode;
    const THEIRS: &str = "{\n    \"model\": \"opus\",\n    \"hooks\": {\n        \"Stop\": [],\n        \"PreToolUse\": [\n            {\n                \"matcher\": \"Bash\",\n                \"hooks\": [\n                    {\n                        \"type\": \"command\",\n                        \"command\": \"./lint.sh\"\n                    }\n                ]\n            }\n        ]\n    },\n    \"unknown\": {\n        \"z\": 1,\n        \"a\": [\n            1.50\n        ]\n    }\n}";

    fn wire(text: &str) -> String {
        wired(text, CLAUDE, "coord", WhenDown::Deny).unwrap()
    }

    #[test]
    fn what_others_wrote_stays_and_comes_back_byte_for_byte() {
        let once = wire(THEIRS);
        assert!(once.contains("./lint.sh") && once.contains("\n    \"model\": \"opus\""));
        assert!(!once.ends_with('\n'));
        assert_eq!(wire(&once), once, "twice is once");
        assert_eq!(
            unwired(&once, CLAUDE).unwrap(),
            THEIRS.replace("1.50", "1.5")
        );
        assert_eq!(unwired(THEIRS, CLAUDE).unwrap(), THEIRS);
        assert_eq!(unwired(&wire(""), CLAUDE).unwrap(), "");
    }

    #[test]
    fn an_old_one_of_ours_is_replaced_wherever_it_stands() {
        let old = json!({"hooks": {"PreToolUse": [{"matcher": "Bash", "hooks": [
            {"type": "command", "command": "'/opt/my tools/coord' hook codex"},
            {"type": "command", "command": "/usr/bin/coord hook claude-code --deadline 2"},
            {"type": "command", "command": "echo coord hook claude-code-not"}]}]}});
        let new: Value = serde_json::from_str(&wire(&old.to_string())).unwrap();
        assert_eq!(
            new["hooks"]["PreToolUse"][0]["hooks"]
                .as_array()
                .unwrap()
                .len(),
            2
        );
        assert_eq!(new["hooks"]["PreToolUse"].as_array().unwrap().len(), 2);
        assert_eq!(lines(&new.to_string(), CLAUDE).unwrap().len(), 1);
    }

    #[test]
    fn settings_that_nobody_understands_are_left_alone() {
        for text in [
            "[]",
            "{ // why\n}",
            "{\"hooks\": []}",
            "{\"hooks\": {\"PreToolUse\": 1}}",
        ] {
            assert!(
                wired(text, CLAUDE, "coord", WhenDown::Deny).is_err(),
                "{text}"
            );
        }
    }
}
