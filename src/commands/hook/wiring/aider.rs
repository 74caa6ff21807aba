//! Aider has no hooks; its settings let git's have their say.

/// Without it, Aider commits past git's hooks.
pub const LINE: &str = "git-commit-verify: true";

/// Says whose line it is, and what it was.
const MARK: &str = "  # coord-hook";

/// The settings with our line.
pub fn wired(text: &str) -> String {
    if is_wired(text) {
        return text.to_owned();
    }
    let mut out = String::new();
    for line in text.split_inclusive('\n') {
        match setting(line) {
            // Of two of them, the last holds.
            Some(value) => {
                out.push_str(LINE);
                out.push_str(MARK);
                out.push_str(", before: ");
                out.push_str(value);
                out.push('\n');
            }
            None => out.push_str(line),
        }
    }
    if !is_wired(&out) {
        if !out.is_empty() && !out.ends_with('\n') {
            out.push('\n');
        }
        out.push_str(LINE);
        out.push_str(MARK);
        out.push('\n');
    }
    out
}

/// The settings as they were.
pub fn unwired(text: &str) -> String {
    let lines = text.split_inclusive('\n').filter_map(|line| {
        let Some((_, mark)) = line.split_once(MARK) else {
            return Some(line.to_owned());
        };
        let value = mark.strip_prefix(", before: ")?;
        Some(format!("git-commit-verify: {value}"))
    });
    lines.collect()
}

/// Whether Aider's commits run git's hooks.
pub fn is_wired(text: &str) -> bool {
    let last = text.lines().rev().find_map(setting);
    last.is_some_and(|value| value.split('#').next().unwrap_or_default().trim() == "true")
}

/// The value of the setting, if a line is about it.
fn setting(line: &str) -> Option<&str> {
    let (key, value) = line.split_once(':')?;
    ["git-commit-verify", "git_commit_verify"]
        .contains(&key)
        .then(|| value.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_comes_and_goes() {
        for before in ["", "model: x\n", "git-commit-verify: false\nmodel: x\n"] {
            let with = wired(before);
            assert!(is_wired(&with), "{with}");
            assert_eq!(wired(&with), with);
            assert_eq!(unwired(&with), before);
        }
        let theirs = "git-commit-verify: true\n";
        assert_eq!(wired(theirs), theirs);
        assert_eq!(unwired(theirs), theirs);
        assert_eq!(unwired(&wired("model: x")), "model: x\n");
        assert!(!is_wired("# git-commit-verify: true"));
    }
}
