//! The event that a client gives to its hook.

use std::io::Read;
use std::path::Path;

use serde_json::Value;

use super::Error;

/// Longer ones are nobody's: the coordinator would not take them.
const LONGEST: u64 = 8 * 1024 * 1024;

/// An event, and what was wrong with its text.
#[derive(Debug)]
pub struct Event {
    json: Value,
    damage: Option<&'static str>,
}

/// Takes an event from standard input.
pub fn read(input: impl Read) -> Result<Event, Error> {
    let mut bytes = Vec::new();
    let read = input.take(LONGEST + 1).read_to_end(&mut bytes);
    read.map_err(|error| Error::Event(error.to_string()))?;
    if bytes.len() as u64 > LONGEST {
        return Err(Error::Event("it is over 8 MB".to_owned()));
    }
    Event::parse(&bytes)
}

impl Event {
    fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let text = String::from_utf8_lossy(bytes);
        let mut damage = matches!(text, std::borrow::Cow::Owned(_)).then_some("invalid UTF-8");
        let mut json =
            serde_json::from_str(&text).map_err(|error| Error::Event(error.to_string()))?;
        if !matches!(json, Value::Object(_)) {
            return Err(Error::Event("it is no JSON object".to_owned()));
        }
        if without_nul(&mut json) {
            damage = Some("a NUL");
        }
        follow(&mut json);
        Ok(Self { json, damage })
    }

    /// What of it is no text, though it was replaced by something that is.
    pub fn damage(&self) -> Option<&'static str> {
        self.damage
    }

    /// Where the client works.
    pub fn cwd(&self) -> Option<&Path> {
        self.json.get("cwd")?.as_str().map(Path::new)
    }

    /// The client's session, where it could be one of ours.
    pub fn session(&self) -> Option<String> {
        let id = self.json.get("session_id")?.as_str()?;
        let fine = |c: char| c.is_ascii_alphanumeric() || "._:-".contains(c);
        (!id.is_empty() && id.len() <= 128 && id.chars().all(fine)).then(|| id.to_owned())
    }

    /// As it is handed over.
    pub fn text(&self) -> String {
        self.json.to_string()
    }
}

/// The database knows no NUL; whether there was one.
fn without_nul(value: &mut Value) -> bool {
    let clean = |text: &mut String| {
        let had = text.contains('\0');
        if had {
            *text = text.replace('\0', "\u{fffd}");
        }
        had
    };
    match value {
        Value::String(text) => clean(text),
        Value::Array(items) => items.iter_mut().map(without_nul).fold(false, |a, b| a | b),
        Value::Object(fields) => {
            let keys = fields.keys().any(|key| key.contains('\0'));
            let mut had = keys;
            for value in fields.values_mut() {
                had |= without_nul(value);
            }
            if keys {
                let old = std::mem::take(fields);
                fields.extend(old.into_iter().map(|(mut key, value)| {
                    clean(&mut key);
                    (key, value)
                }));
            }
            had
        }
        _ => false,
    }
}

/// The file that is edited is the file that is judged and locked, whatever links lead to it.
fn follow(event: &mut Value) {
    let real = |value: Option<&mut Value>| {
        if let Some(Value::String(path)) = value
            && let Some(to) = real(path)
        {
            *path = to;
        }
    };
    real(event.get_mut("cwd"));
    for name in ["file_path", "notebook_path"] {
        real(event.get_mut("tool_input").and_then(|it| it.get_mut(name)));
    }
}

/// What a path leads to; what is not there yet has its name below what is.
fn real(path: &str) -> Option<String> {
    let path = Path::new(path);
    if !path.is_absolute() {
        return None;
    }
    let (there, rest) = path
        .ancestors()
        .find_map(|above| Some((above.canonicalize().ok()?, path.strip_prefix(above).ok()?)))?;
    // Names that lead back out of what is not there say nothing sure.
    if rest.components().any(|it| it.as_os_str() == "..") {
        return None;
    }
    there
        .join(rest)
        .to_str()
        .map(|it| it.trim_end_matches('/').to_owned())
        .filter(|it| !it.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parse(text: &[u8]) -> Event {
        Event::parse(text).unwrap()
    }

    #[test]
    fn what_is_no_text_is_replaced_and_told() {
        let event = parse(b"{\"a\": [\"x\xffy\"]}");
        assert_eq!(event.json, json!({"a": ["x\u{fffd}y"]}));
        assert_eq!(event.damage(), Some("invalid UTF-8"));
        let event = parse(br#"{"a\u0000": {"b": "x\u0000"}}"#);
        assert_eq!(event.json, json!({"a\u{fffd}": {"b": "x\u{fffd}"}}));
        assert_eq!(event.damage(), Some("a NUL"));
        assert_eq!(parse(b"{}").damage(), None);
        for junk in [&b""[..], b"[]", b"{", b"\0", b"null"] {
            assert!(Event::parse(junk).is_err());
        }
    }

    #[test]
    fn links_are_followed() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        std::fs::create_dir(root.join("src")).unwrap();
        std::os::unix::fs::symlink("src", root.join("link")).unwrap();
        let there = |path: &str| format!("{}/{path}", root.display());
        let event =
            json!({"cwd": there("link"), "tool_input": {"file_path": there("link/new/a.rs")}});
        let event = parse(event.to_string().as_bytes());
        assert_eq!(event.cwd(), Some(root.join("src").as_path()));
        assert_eq!(event.json["tool_input"]["file_path"], there("src/new/a.rs"));
        assert_eq!(real("relative"), None);
        assert_eq!(real(&there("no/../../x")), None);
    }
}
