//! YAML with positions: what the coordinator refuses is told with file, line and column.
//!
//! Only what JSON can say is taken: mappings with text keys, lists, texts, whole numbers and
//! fractions, true, false and null, by the core schema of YAML 1.2 (`no` and `on` are texts).

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, Span};
use serde_json::{Map, Value};

/// A place in a file, both counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The character in it.
    pub column: usize,
}

impl Position {
    fn of(span: Span) -> Self {
        Self {
            line: span.start.line(),
            column: span.start.col() + 1,
        }
    }
}

/// Why a text cannot be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{why}")]
pub struct Error {
    /// Where.
    pub at: Position,
    /// What is wrong there.
    pub why: String,
}

/// A document and where everything in it stands.
#[derive(Clone, Debug)]
pub struct Document {
    /// Its contents.
    pub value: Value,
    places: HashMap<String, Position>,
}

impl Document {
    /// Reads one document.
    ///
    /// # Errors
    /// It is no YAML, or says something that JSON cannot.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let mut reader = Reader {
            events: Parser::new_from_str(text),
            places: HashMap::new(),
            last: Position { line: 1, column: 1 },
        };
        let value = reader.document().map_err(|error| nearer(text, error))?;
        Ok(Self {
            value,
            places: reader.places,
        })
    }

    /// Where something stands, by its path (`profiles/NAME/trust`; for an entry of a list, its
    /// text); of what is not there, what is nearest above it.
    #[must_use]
    pub fn position(&self, path: &str) -> Position {
        let mut path = path;
        loop {
            if let Some(position) = self.places.get(path) {
                return *position;
            }
            match path.rsplit_once('/') {
                Some((above, _)) => path = above,
                None => return Position { line: 1, column: 1 },
            }
        }
    }
}

/// The parser tells of some mistakes far from where they were made, or in words of its own:
/// two that are made often are told where they are.
fn nearer(text: &str, error: Error) -> Error {
    let parsers = ["tab", "anchor", "alias", "simple key", "block mapping"];
    if !parsers.iter().any(|word| error.why.contains(word)) {
        return error;
    }
    let told = |line: usize, column: usize, why: &str| Error {
        at: Position {
            line: line + 1,
            column: column + 1,
        },
        why: why.to_owned(),
    };
    let indent = |line: &str| line.len() - line.trim_start_matches([' ', '\t']).len();
    let mut after = text
        .lines()
        .enumerate()
        .skip(error.at.line.saturating_sub(1));
    if let Some((line, column)) =
        after.find_map(|(line, text)| Some((line, text[..indent(text)].find('\t')?)))
    {
        return told(line, column, "a tab does not indent; use blanks");
    }
    let before: Vec<_> = text.lines().take(error.at.line).collect();
    let last = before.iter().rposition(|line| !line.trim().is_empty());
    match last.map(|line| (line, before[line])) {
        Some((line, text)) if text.trim_start().starts_with("*:") => told(
            line,
            indent(text),
            "a name that begins with * goes in quotes",
        ),
        _ => error,
    }
}

struct Reader<'a> {
    events: Parser<'a, saphyr_parser::StrInput<'a>>,
    places: HashMap<String, Position>,
    last: Position,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<Event<'a>, Error> {
        match self.events.next() {
            Some(Ok((event, span))) => {
                self.last = Position::of(span);
                Ok(event)
            }
            Some(Err(error)) => {
                let marker = *error.marker();
                Err(Error {
                    at: Position {
                        line: marker.line(),
                        column: marker.col() + 1,
                    },
                    why: error.info().to_owned(),
                })
            }
            None => Ok(Event::StreamEnd),
        }
    }

    fn wrong<T>(&self, why: impl Into<String>) -> Result<T, Error> {
        Err(Error {
            at: self.last,
            why: why.into(),
        })
    }

    fn document(&mut self) -> Result<Value, Error> {
        let mut value = Value::Null;
        let mut seen = false;
        loop {
            match self.next()? {
                Event::StreamEnd => return Ok(value),
                Event::DocumentStart(_) if seen => {
                    return self.wrong("a second document; a file holds one");
                }
                Event::DocumentStart(_) => {
                    seen = true;
                    let first = self.next()?;
                    value = self.value(first, "")?;
                }
                _ => {}
            }
        }
    }

    fn value(&mut self, event: Event<'a>, path: &str) -> Result<Value, Error> {
        self.places.entry(path.to_owned()).or_insert(self.last);
        match event {
            Event::Scalar(_, _, anchor, _)
            | Event::SequenceStart(anchor, _)
            | Event::MappingStart(anchor, _)
                if anchor != 0 =>
            {
                self.wrong("anchors are not supported; write it out")
            }
            Event::Alias(_) => self.wrong("aliases are not supported; write it out"),
            Event::Scalar(_, _, _, Some(_))
            | Event::SequenceStart(_, Some(_))
            | Event::MappingStart(_, Some(_)) => self.wrong("tags are not supported"),
            Event::Scalar(text, style, _, None) => Ok(scalar(&text, style)),
            Event::SequenceStart(_, None) => self.list(path),
            Event::MappingStart(_, None) => self.mapping(path),
            _ => self.wrong("something is missing here"),
        }
    }

    fn list(&mut self, path: &str) -> Result<Value, Error> {
        let mut list = Vec::new();
        loop {
            match self.next()? {
                Event::SequenceEnd => return Ok(Value::Array(list)),
                event => {
                    let at = self.last;
                    let value = self.value(event, &format!("{path}/{}", list.len()))?;
                    if let Value::String(text) = &value {
                        self.places.entry(format!("{path}/{text}")).or_insert(at);
                    }
                    list.push(value);
                }
            }
        }
    }

    fn mapping(&mut self, path: &str) -> Result<Value, Error> {
        let mut map = Map::new();
        loop {
            let key = match self.next()? {
                Event::MappingEnd => return Ok(Value::Object(map)),
                Event::Scalar(text, _, 0, None) => text.into_owned(),
                _ => return self.wrong("a key is a plain text"),
            };
            let below = if path.is_empty() {
                key.clone()
            } else {
                format!("{path}/{key}")
            };
            if let Some(first) = self.places.get(&below) {
                let line = first.line;
                return self.wrong(format!("{key} is there already, in line {line}"));
            }
            // A key stands for what it names.
            self.places.insert(below.clone(), self.last);
            let event = self.next()?;
            let value = self.value(event, &below)?;
            map.insert(key, value);
        }
    }
}

fn scalar(text: &str, style: ScalarStyle) -> Value {
    if style != ScalarStyle::Plain {
        return text.into();
    }
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => true.into(),
        "false" | "False" | "FALSE" => false.into(),
        // What JSON takes for a number is one; 0x10, .5 and 1_000 stay texts.
        _ => match serde_json::from_str(text) {
            Ok(Value::Number(number)) => Value::Number(number),
            _ => text.into(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn tabs_and_bare_stars_are_told_where_they_stand() {
        for (text, line, column, why) in [
            (
                "a:\n  b: text\n\tc: 1\n",
                3,
                1,
                "a tab does not indent; use blanks",
            ),
            (
                "a:\n  b: 1\n  \tc: 1\n",
                3,
                3,
                "a tab does not indent; use blanks",
            ),
            (
                "a:\n  b: 1\n  *: x\n",
                3,
                3,
                "a name that begins with * goes in quotes",
            ),
        ] {
            let error = Document::parse(text).unwrap_err();
            let said = (error.at.line, error.at.column, error.why.as_str());
            assert_eq!(said, (line, column, why), "{text:?}");
        }
    }

    #[test]
    fn it_reads_what_json_can_say_and_knows_where() {
        let text = "# first\nprofiles:\n  a:\n    trust: 2\n    allowed: [x, \"y\"]\n    \
                    note: no\n    list:\n      - one\n      - 2\n";
        let document = Document::parse(text).unwrap();
        assert_eq!(
            document.value,
            json!({"profiles": {"a": {"trust": 2, "allowed": ["x", "y"], "note": "no", "list": ["one", 2]}}})
        );
        let at = |path: &str| {
            let position = document.position(path);
            (position.line, position.column)
        };
        assert_eq!(at("profiles/a/trust"), (4, 5));
        assert_eq!(at("profiles/a/allowed/y"), (5, 18));
        assert_eq!(at("profiles/a/list/1"), (9, 9));
        assert_eq!(at("profiles/a/absent/deep"), (3, 3));
        assert_eq!(at("the top"), (1, 1));
    }

    #[test]
    fn what_it_does_not_take_is_said_where_it_stands() {
        let wrong = |text: &str| {
            let error = Document::parse(text).unwrap_err();
            format!("{}:{} {}", error.at.line, error.at.column, error.why)
        };
        assert_eq!(
            wrong("a: 1\nb: 2\na: 3\n"),
            "3:1 a is there already, in line 1"
        );
        assert_eq!(
            wrong("a: &x 1\n"),
            "1:4 anchors are not supported; write it out"
        );
        assert_eq!(wrong("a: !!int 1\n"), "1:4 tags are not supported");
        assert_eq!(
            wrong("a: 1\n---\nb: 1\n"),
            "2:1 a second document; a file holds one"
        );
        assert!(
            wrong("a: [1, 2\nb: 3\n").starts_with("2:"),
            "{}",
            wrong("a: [1, 2\nb: 3\n")
        );
        assert!(wrong("a:\n\t- 1\n").starts_with("2:"));
        assert_eq!(wrong("[a]: 1\n"), "1:1 a key is a plain text");
    }
}
