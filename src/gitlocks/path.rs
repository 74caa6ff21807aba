//! Paths in one spelling, as the coordinator's `600_paths` has it: that is not here to ask.
//! A test holds both together.

use unicode_normalization::UnicodeNormalization as _;

use super::Error;

/// The one spelling of a path. Which schemes are registered is not known here: any will do.
pub fn canonical(typed: &str) -> Result<String, Error> {
    let refuse = |code: &'static str, why: &str| {
        Err(Error::Input {
            code,
            details: format!("{typed:?} {why}"),
        })
    };
    let drive = typed.as_bytes();
    if typed.is_empty() {
        return refuse("path_empty", "is no path; the whole repository is ./");
    } else if typed.len() > 1024 {
        return refuse("path_too_long", "has more than 1024 bytes");
    } else if typed.chars().any(char::is_control) {
        return refuse("path_control_character", "holds a control character");
    } else if typed.ends_with(char::is_whitespace) {
        return refuse("path_trailing_blank", "ends with a blank");
    } else if typed.starts_with('/')
        || drive.len() > 2
            && drive[0].is_ascii_alphabetic()
            && drive[1] == b':'
            && [b'\\', b'/'].contains(&drive[2])
    {
        return refuse("path_absolute", "is absolute");
    }
    let text: String = typed.nfc().collect();
    let path = if let Some((scheme, name)) = scheme(&text) {
        let name = name
            .trim_start_matches(' ')
            .trim_end_matches(|c: char| c.is_whitespace() || c == '/');
        if name.is_empty() {
            return refuse("path_empty", "names no resource");
        }
        format!("{}:{name}", scheme.to_ascii_lowercase())
    } else {
        // A glob stands for the directory that holds whatever it matches.
        let literal = text.find(['*', '?']).map_or(&*text, |glob| {
            let end = text[..glob].rfind('/').map_or(0, |slash| slash + 1);
            &text[..end]
        });
        let mut segments = Vec::new();
        for segment in literal.split('/') {
            match segment {
                "" | "." => {}
                ".." => {
                    if segments.pop().is_none() {
                        return refuse("path_outside_repo", "leaves the repository");
                    }
                }
                name => segments.push(name),
            }
        }
        if segments.is_empty() {
            return Ok("./".to_owned());
        }
        let last = literal.rsplit('/').next().unwrap_or_default();
        let end = if ["", ".", ".."].contains(&last) {
            "/"
        } else {
            ""
        };
        let path = format!("{}{end}", segments.join("/"));
        if scheme(&path).is_some() {
            format!("./{path}")
        } else {
            path
        }
    };
    if path.len() > 1024 {
        return refuse(
            "path_too_long",
            "has more than 1024 bytes in its canonical form",
        );
    }
    Ok(path)
}

/// What stands before and after the colon of a logical resource.
fn scheme(path: &str) -> Option<(&str, &str)> {
    let (scheme, name) = path.split_once(':')?;
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '+' || c == '-';
    (scheme.starts_with(|c: char| c.is_ascii_alphabetic()) && scheme.chars().all(fits))
        .then_some((scheme, name))
}

/// Whether a canonical path is this one or lies in this directory.
pub fn covers(above: &str, path: &str) -> bool {
    above == path
        || above.ends_with('/')
            && (path.starts_with(above) || above == "./" && scheme(path).is_none())
}

/// Whether two canonical paths are equal or one lies below the other.
pub fn overlap(one: &str, two: &str) -> bool {
    covers(one, two) || covers(two, one)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_spelling() {
        for (typed, path) in [
            ("src/a.rs", "src/a.rs"),
            ("./src//a.rs", "src/a.rs"),
            ("src/", "src/"),
            ("src/.", "src/"),
            ("src/x/..", "src/"),
            ("src/../b", "b"),
            (".", "./"),
            ("*.rs", "./"),
            ("src/*/b.rs", "src/"),
            ("app/[id]/p.tsx", "app/[id]/p.tsx"),
            ("PORT: 5432/", "port:5432"),
            ("./port:5432", "./port:5432"),
            ("e\u{301}.rs", "\u{e9}.rs"),
        ] {
            assert_eq!(canonical(typed).unwrap(), path, "{typed}");
        }
        for typed in ["", "/etc", "C:\\x", "../a", "a\nb", "a ", "port:"] {
            assert!(canonical(typed).is_err(), "{typed:?}");
        }
    }

    #[test]
    fn directories_meet_what_lies_in_them() {
        assert!(overlap("src/", "src/a.rs") && overlap("src/a.rs", "./") && overlap("a", "a"));
        assert!(
            !overlap("src", "src/a.rs") && !overlap("src/", "srcs/a") && !overlap("./", "port:1")
        );
        assert!(overlap("./", "./port:1") && covers("src/", "src/a") && !covers("src/a", "src/"));
    }
}
