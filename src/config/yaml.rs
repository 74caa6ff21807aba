//! YAML as far as a configuration needs it, with the place of everything in it:
//! null, true and false, whole numbers, text, lists and mappings with text for keys, by
//! the rules of YAML 1.2 (`no` and `off` are texts). All else is refused, with its place.

use std::borrow::Cow;
use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, StrInput, Tag};
use serde_json::{Map, Value};

/// No configuration is deeper than this.
const DEEPEST: usize = 16;

/// A line and a column, both from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The column, in characters.
    pub column: usize,
}

impl Position {
    /// Where every file begins.
    pub const START: Self = Self { line: 1, column: 1 };

    fn of(span: Span) -> Self {
        Self {
            line: span.start.line().max(1),
            column: span.start.col() + 1,
        }
    }
}

/// Where something stands: its key, and what the key leads to.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// The key; of a member of a list, the member.
    pub key: Position,
    /// The value; of a list or mapping, the key again: that is what people look for.
    pub value: Position,
}

/// A document and its places, by path: `profiles/NAME/KEY`. A text in a list stands under
/// the list's path and the text itself.
#[derive(Debug, Default)]
pub struct Document {
    /// What it says.
    pub value: Value,
    /// Where.
    pub places: HashMap<String, Place>,
}

/// What is wrong, and where.
#[derive(Debug, PartialEq, Eq)]
pub struct Wrong {
    /// Where.
    pub at: Position,
    /// What.
    pub why: String,
}

impl Wrong {
    fn new(at: Position, why: impl Into<String>) -> Self {
        let why = why.into();
        Self { at, why }
    }
}

/// Reads one document; an empty text is null.
///
/// # Errors
/// It is no YAML, or YAML that a configuration does without.
pub fn read(text: &str) -> Result<Document, Wrong> {
    let mut reader = Reader {
        parser: Parser::new_from_str(text),
        places: HashMap::new(),
    };
    let value = reader.document().map_err(|wrong| nearer(text, wrong))?;
    Ok(Document {
        value,
        places: reader.places,
    })
}

struct Reader<'a> {
    parser: Parser<'a, StrInput<'a>>,
    places: HashMap<String, Place>,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Position), Wrong> {
        match self.parser.next_event() {
            Some(Ok((event, span))) => Ok((event, Position::of(span))),
            Some(Err(error)) => Err(scan_error(&error)),
            None => Ok((Event::StreamEnd, Position::START)),
        }
    }

    fn document(&mut self) -> Result<Value, Wrong> {
        let mut found = None;
        loop {
            match self.next()? {
                (Event::StreamEnd, _) => return Ok(found.unwrap_or_default()),
                (Event::DocumentStart(_), at) if found.is_some() => {
                    return Err(Wrong::new(at, "a second document; a file has one"));
                }
                (Event::DocumentStart(_), _) => {
                    let (event, at) = self.next()?;
                    found = Some(self.value(event, at, "", 0)?);
                }
                _ => {}
            }
        }
    }

    fn value(
        &mut self,
        event: Event<'a>,
        at: Position,
        path: &str,
        depth: usize,
    ) -> Result<Value, Wrong> {
        if depth > DEEPEST {
            return Err(Wrong::new(at, "nested too deeply"));
        }
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                plain(at, anchor, tag.as_ref())?;
                scalar(&text, style).map_err(|why| Wrong::new(at, why))
            }
            Event::SequenceStart(anchor, tag) => {
                plain(at, anchor, tag.as_ref())?;
                self.list(path, depth)
            }
            Event::MappingStart(anchor, tag) => {
                plain(at, anchor, tag.as_ref())?;
                self.mapping(path, depth)
            }
            Event::Alias(_) => Err(Wrong::new(at, ALIAS)),
            _ => Err(Wrong::new(at, "nothing where a value belongs")),
        }
    }

    fn list(&mut self, path: &str, depth: usize) -> Result<Value, Wrong> {
        let mut items = Vec::new();
        loop {
            let (event, at) = self.next()?;
            if event == Event::SequenceEnd {
                return Ok(Value::Array(items));
            }
            let below = below(path, &items.len().to_string());
            let item = self.value(event, at, &below, depth + 1)?;
            if let Some(text) = item.as_str() {
                let place = Place { key: at, value: at };
                self.places.entry(self::below(path, text)).or_insert(place);
            }
            items.push(item);
        }
    }

    fn mapping(&mut self, path: &str, depth: usize) -> Result<Value, Wrong> {
        let mut fields = Map::new();
        loop {
            let (event, key_at) = self.next()?;
            let key = match event {
                Event::MappingEnd => return Ok(Value::Object(fields)),
                Event::Scalar(text, style, anchor, tag) => {
                    plain(key_at, anchor, tag.as_ref())?;
                    if text == "<<" && style == ScalarStyle::Plain {
                        return Err(Wrong::new(key_at, ALIAS));
                    }
                    match scalar(&text, style) {
                        Ok(Value::String(key)) => key,
                        _ => return Err(Wrong::new(key_at, "a key is a text: put it in quotes")),
                    }
                }
                Event::Alias(_) => return Err(Wrong::new(key_at, ALIAS)),
                _ => return Err(Wrong::new(key_at, "a key is a text")),
            };
            let below = below(path, &key);
            if let Some(first) = self
                .places
                .get(&below)
                .filter(|_| fields.contains_key(&key))
            {
                let why = format!(
                    "{key} stands here a second time; the first is in line {}",
                    first.key.line
                );
                return Err(Wrong::new(key_at, why));
            }
            let (event, at) = self.next()?;
            let scalar = matches!(event, Event::Scalar(..));
            let place = Place {
                key: key_at,
                value: if scalar { at } else { key_at },
            };
            self.places.insert(below.clone(), place);
            let value = self.value(event, at, &below, depth + 1)?;
            fields.insert(key, value);
        }
    }
}

const ALIAS: &str = "anchors, aliases and << are not understood here: let one extend the other; \
                     a text that begins with * or & goes in quotes";

/// Refuses anchors and tags.
fn plain(at: Position, anchor: usize, tag: Option<&Cow<'_, Tag>>) -> Result<(), Wrong> {
    if anchor != 0 {
        Err(Wrong::new(at, ALIAS))
    } else if let Some(tag) = tag {
        let why = format!("tags are not understood here: {}{}", tag.handle, tag.suffix);
        Err(Wrong::new(at, why))
    } else {
        Ok(())
    }
}

/// The core schema of YAML 1.2, less what nobody needs here.
fn scalar(text: &str, style: ScalarStyle) -> Result<Value, String> {
    if style != ScalarStyle::Plain {
        return Ok(Value::String(text.to_owned()));
    }
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Ok(Value::Null),
        "true" | "True" | "TRUE" => return Ok(Value::Bool(true)),
        "false" | "False" | "FALSE" => return Ok(Value::Bool(false)),
        _ => {}
    }
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let number = digits.bytes().all(|byte| byte.is_ascii_digit());
    if number && (digits == "0" || !digits.starts_with('0')) && !digits.is_empty() {
        return text
            .parse::<i64>()
            .map(Value::from)
            .map_err(|_| format!("{text} is too large a number"));
    }
    if looks_like_a_number(digits) {
        return Err(format!(
            "{text} is no whole decimal number; if it is a text, put it in quotes"
        ));
    }
    Ok(Value::String(text.to_owned()))
}

/// 010, 0x1f, 0o17, 1.5, 1e3, .inf: what some reader of YAML takes for a number.
fn looks_like_a_number(text: &str) -> bool {
    let special = [".inf", ".Inf", ".INF", ".nan", ".NaN", ".NAN"];
    let radix = |prefix, digits: fn(&u8) -> bool| {
        text.strip_prefix(prefix)
            .is_some_and(|rest| !rest.is_empty() && rest.as_bytes().iter().all(digits))
    };
    special.contains(&text)
        || radix("0x", u8::is_ascii_hexdigit)
        || radix("0o", u8::is_ascii_digit)
        || radix("0b", u8::is_ascii_digit)
        || (text.starts_with(|c: char| c.is_ascii_digit() || c == '.')
            && text.bytes().any(|byte| byte.is_ascii_digit())
            && text.parse::<f64>().is_ok())
}

fn below(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}/{name}")
    }
}

fn scan_error(error: &ScanError) -> Wrong {
    let at = Position {
        line: error.marker().line().max(1),
        column: error.marker().col() + 1,
    };
    let info = error.info();
    let why = if info.contains("alias") || info.contains("anchor") {
        format!("no YAML: {info}; a text that begins with * or & goes in quotes")
    } else {
        format!("no YAML: {info}")
    };
    Wrong::new(at, why)
}

/// The parser tells of some mistakes far from where they were made: here are two of them.
fn nearer(text: &str, wrong: Wrong) -> Wrong {
    if !wrong.why.starts_with("no YAML") {
        return wrong;
    }
    let at = |line: usize, column: usize| Position {
        line: line + 1,
        column: column + 1,
    };
    let indent = |line: &str| line.len() - line.trim_start_matches([' ', '\t']).len();
    let mut after = text.lines().enumerate().skip(wrong.at.line - 1);
    if let Some((line, column)) =
        after.find_map(|(line, text)| Some((line, text[..indent(text)].find('\t')?)))
    {
        return Wrong::new(
            at(line, column),
            "no YAML: a tab does not indent; use blanks",
        );
    }
    let before: Vec<_> = text.lines().take(wrong.at.line).collect();
    let last = before.iter().rposition(|line| !line.trim().is_empty());
    match last.map(|line| (line, before[line])) {
        Some((line, text)) if text.trim_start().starts_with("*:") => Wrong::new(
            at(line, indent(text)),
            "no YAML: a name that begins with * goes in quotes",
        ),
        _ => wrong,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn wrong(text: &str) -> (usize, usize, String) {
        let wrong = read(text).unwrap_err();
        (wrong.at.line, wrong.at.column, wrong.why)
    }

    #[test]
    fn null_bool_whole_numbers_text_lists_and_mappings() {
        let text = "a: 1\nb: -20\nc: [true, no, off, 'yes', y]\nd: ~\ne:\nf: {g: '1', \"*\": x}\n\
                    h: |\n  two\n  lines\ni: 2026-11-22\nj: 1.2.3\nk: example.com\nl: 10.0.0.1\n";
        assert_eq!(
            read(text).unwrap().value,
            json!({"a": 1, "b": -20, "c": [true, "no", "off", "yes", "y"], "d": null, "e": null,
                "f": {"g": "1", "*": "x"}, "h": "two\nlines\n", "i": "2026-11-22", "j": "1.2.3",
                "k": "example.com", "l": "10.0.0.1"})
        );
        assert_eq!(read("").unwrap().value, Value::Null);
        assert_eq!(read("# nothing\n").unwrap().value, Value::Null);
    }

    #[test]
    fn everything_has_its_place() {
        let document =
            read("p:\n  one:\n    trust: 2\n    list:\n      - a.b\n      - c/d\n").unwrap();
        let place = |path: &str| {
            let place = document.places[path];
            (
                place.key.line,
                place.key.column,
                place.value.line,
                place.value.column,
            )
        };
        assert_eq!(place("p"), (1, 1, 1, 1));
        assert_eq!(place("p/one"), (2, 3, 2, 3));
        assert_eq!(place("p/one/trust"), (3, 5, 3, 12));
        assert_eq!(place("p/one/list/a.b"), (5, 9, 5, 9));
        assert_eq!(place("p/one/list/c/d"), (6, 9, 6, 9));
    }

    #[test]
    fn what_is_not_understood_is_refused_in_its_place() {
        for (text, line, column, word) in [
            (
                "a: 1\nb: 2\na: 3\n",
                3,
                1,
                "second time; the first is in line 1",
            ),
            ("a: &x 1\nb: *x\n", 1, 4, "anchors"),
            ("a: 1\nb: *x\n", 2, 4, "quotes"),
            ("*: standard\n", 1, 1, "quotes"),
            ("a: *\n", 1, 4, "quotes"),
            ("a: !!int 3\n", 1, 4, "tags"),
            ("a: !x 3\n", 1, 4, "tags"),
            ("a: 1.5\n", 1, 4, "whole"),
            ("a: 0x10\n", 1, 4, "whole"),
            ("a: 010\n", 1, 4, "whole"),
            ("a: .inf\n", 1, 4, "whole"),
            ("a: 1e3\n", 1, 4, "whole"),
            ("a: 99999999999999999999\n", 1, 4, "too large"),
            ("1: a\n", 1, 1, "key is a text"),
            ("true: a\n", 1, 1, "key is a text"),
            ("? [a]\n: b\n", 1, 3, "key is a text"),
            ("a: {<<: b}\n", 1, 5, "<<"),
            ("a: 1\n---\nb: 2\n", 2, 1, "second document"),
        ] {
            let (l, c, why) = wrong(text);
            assert!(why.contains(word), "{text:?}: {why}");
            assert_eq!((l, c), (line, column), "{text:?}: {why}");
        }
        for text in [
            "a:\n\tb: 1\n",
            "a: [1, 2\nb: 3\n",
            "a: 'x\n",
            "a: 1\n b: 2\n",
            "a: b: c\n",
            "a: }\n",
            "a: \"\\q\"\n",
        ] {
            let (line, column, why) = wrong(text);
            assert!(
                why.starts_with("no YAML") && line > 0 && column > 0,
                "{text:?}: {why}"
            );
        }
        assert!(read(&"[".repeat(5000)).is_err());
        let deep = format!("{}{}", "[".repeat(20), "]".repeat(20));
        assert!(wrong(&deep).2.contains("deep"));
    }
}
