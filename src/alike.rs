//! What was meant by a name that nobody knows.

/// How alike two names must be for one to be a misspelling of the other.
const ALIKE: f64 = 0.75;

/// The name most like this one, if one is like it at all.
pub fn nearest<'a>(
    name: &str,
    known: impl IntoIterator<Item = impl AsRef<str> + 'a>,
) -> Option<String> {
    let name = name.to_lowercase().replace('-', "_");
    known
        .into_iter()
        .map(|known| {
            let known = known.as_ref();
            // `ttl` for `ttl_seconds`: one is part of the other.
            let part = known.contains(&name) || name.contains(known);
            let alike = strsim::jaro_winkler(&name, known) + f64::from(u8::from(part));
            (alike, known.to_owned())
        })
        .filter(|(alike, _)| *alike >= ALIKE)
        .max_by(|one, other| one.0.total_cmp(&other.0))
        .map(|(_, known)| known)
}

/// What the coordinator says of a key of a file that it does not know, with the one that is
/// most like it; any other text as it is.
pub fn with_nearest(key: &str, why: &str) -> String {
    let Some((head, known)) = why.split_once("no such key; these are known: ") else {
        return why.to_owned();
    };
    match nearest(key, known.split(", ")) {
        Some(right) => {
            format!("{head}no such key; did you mean {right}? These are known: {known}")
        }
        None => why.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_key_is_told_the_right_one() {
        let why = "no such key; these are known: trust, allowed, blocked, network_policy";
        for (key, right) in [
            ("trusst", "trust"),
            ("alowed", "allowed"),
            ("network-policy", "network_policy"),
        ] {
            let said = with_nearest(key, why);
            let meant = format!("no such key; did you mean {right}? These are known: trust, ");
            assert!(said.starts_with(&meant), "{said}");
        }
        assert_eq!(with_nearest("zzz", why), why);
        assert_eq!(with_nearest("trusst", "trust is 0 to 4"), "trust is 0 to 4");
    }
}
