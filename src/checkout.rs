//! The git checkout around the working directory: what a path typed here is
//! called in it. The coordinator canonicalises the rest.

use std::path::{Path, PathBuf};

use crate::git;

/// A checkout and the place in it where the caller stands.
#[derive(Clone, Debug)]
pub struct Checkout {
    /// Its root, as git says: without symbolic links.
    root: PathBuf,
    /// The working directory below the root: empty or with a slash at its end.
    prefix: String,
    /// Whether its file system takes `SRC/A.rs` for `src/a.rs`.
    ignores_case: bool,
}

impl Checkout {
    /// The checkout around the working directory, if there is one.
    #[must_use]
    pub fn here() -> Option<Self> {
        let told = git::text(&["rev-parse", "--show-toplevel", "--show-prefix"])?;
        let (root, prefix) = told.split_once('\n').unwrap_or((&told, ""));
        let ignores_case = git::text(&["config", "--type=bool", "--get", "core.ignorecase"]);
        Some(Self {
            root: PathBuf::from(root),
            prefix: prefix.to_owned(),
            ignores_case: ignores_case.as_deref() == Some("true"),
        })
    }

    /// A path as typed here, said from the root. What is no path of this
    /// checkout stays as it is, so that the coordinator can say what is wrong with it.
    #[must_use]
    pub fn name(&self, typed: &str) -> String {
        if typed.is_empty() || has_scheme(typed) {
            return typed.to_owned();
        }
        let mut name = if typed.starts_with('/') {
            let Some(below) = self.below_root(typed) else {
                return typed.to_owned();
            };
            below
        } else {
            format!("{}{typed}", self.prefix)
        };
        name = self.without_links(&name).unwrap_or(name);
        if self.ignores_case {
            name = self.as_tracked(&name).unwrap_or(name);
        }
        if has_scheme(&name) {
            name.insert_str(0, "./");
        }
        // Only here is it known that src is a directory; as a file it would guard nothing.
        // A link that leads away is a file to git.
        let is_dir = |path: PathBuf| path.symlink_metadata().is_ok_and(|it| it.is_dir());
        if !name.ends_with('/') && is_dir(self.root.join(&name)) {
            name.push('/');
        }
        name
    }

    /// What a name leads to through symbolic links, if that lies in this checkout: the
    /// file that is edited is the file that is locked. What is not there yet has its name
    /// below what is.
    fn without_links(&self, name: &str) -> Option<String> {
        let whole = name.trim_end_matches('/');
        let ends = whole.match_indices('/').map(|(at, _)| at).rev();
        let (real, rest) = [whole.len()].into_iter().chain(ends).find_map(|end| {
            let real = self.root.join(&whole[..end]).canonicalize().ok()?;
            Some((real, &name[end..]))
        })?;
        if rest.split('/').any(|segment| segment == "..") {
            return None;
        }
        let below = real.strip_prefix(&self.root).ok()?.to_str()?;
        let name = format!("{below}{rest}");
        Some(match name.trim_start_matches('/') {
            "" => "./".to_owned(),
            name => name.to_owned(),
        })
    }

    /// The name in the spelling that git tracks, or as much of its beginning as git knows.
    fn as_tracked(&self, name: &str) -> Option<String> {
        let whole = name.trim_end_matches('/');
        let ends = whole.match_indices('/').map(|(at, _)| at).rev();
        [whole.len()].into_iter().chain(ends).find_map(|end| {
            let (begin, rest) = (&whole[..end], &name[end..]);
            let spec = format!(":(top,literal,icase){begin}");
            let known = git::run_in(&self.root, &["ls-files", "-z", "--", &spec], b"").ok()?;
            let depth = begin.split('/').count();
            let spellings = git::parts(&known).filter_map(|path| {
                let segments = std::str::from_utf8(path).ok()?.split('/').take(depth);
                Some(segments.collect::<Vec<_>>().join("/"))
            });
            // Git may know both, from a machine that tells them apart.
            let spelling =
                spellings.min_by_key(|spelling| (spelling != begin, spelling.clone()))?;
            Some(format!("{spelling}{rest}"))
        })
    }

    /// What follows the root in an absolute path; the root may be written through
    /// symbolic links, what lies below it is nobody's business here.
    fn below_root(&self, typed: &str) -> Option<String> {
        let ends = typed.match_indices('/').map(|(at, _)| at).skip(1);
        ends.chain([typed.len()]).find_map(|end| {
            let above = Path::new(&typed[..end]).canonicalize().ok()?;
            let below = typed[end..].trim_start_matches('/');
            let below = if below.is_empty() { "./" } else { below };
            (above == self.root).then(|| below.to_owned())
        })
    }
}

/// `port:5432`, `db:migrations`: no file, but a thing with a name of its own.
#[must_use]
pub fn has_scheme(path: &str) -> bool {
    path.split_once(':').is_some_and(|(scheme, _)| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || c == '+' || c == '-')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkout(root: &Path, prefix: &str, ignores_case: bool) -> Checkout {
        Checkout {
            root: root.to_owned(),
            prefix: prefix.to_owned(),
            ignores_case,
        }
    }

    #[test]
    fn paths_are_said_from_the_root() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        std::fs::create_dir_all(root.join("real/src")).unwrap();
        std::os::unix::fs::symlink(root.join("real"), root.join("link")).unwrap();
        let here = checkout(&root.join("real"), "src/", false);
        let absolute = |path: &str| format!("{}/{path}", root.display());
        assert_eq!(here.name("a.rs"), "src/a.rs");
        assert_eq!(here.name("../b.rs"), "b.rs");
        assert_eq!(here.name("new/../../b.rs"), "src/new/../../b.rs");
        assert_eq!(here.name("../../b.rs"), "src/../../b.rs");
        assert_eq!(here.name("."), "src/");
        assert_eq!(here.name(".."), "./");
        assert_eq!(here.name("new/"), "src/new/");
        assert_eq!(here.name("*.rs"), "src/*.rs");
        assert_eq!(here.name(""), "");
        assert_eq!(here.name("db:migrations"), "db:migrations");
        assert_eq!(here.name("../a:b"), "./a:b");
        assert_eq!(here.name(&absolute("real/src/a.rs")), "src/a.rs");
        assert_eq!(here.name(&absolute("link/src/a.rs")), "src/a.rs");
        assert_eq!(here.name(&absolute("real/src")), "src/");
        assert_eq!(here.name(&absolute("real")), "./");
        assert_eq!(here.name("/etc/passwd"), "/etc/passwd");
    }

    #[test]
    fn links_lead_to_what_they_point_to() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let link = |to: &str, at: &str| std::os::unix::fs::symlink(to, root.join(at)).unwrap();
        std::fs::create_dir_all(root.join("src/deep")).unwrap();
        std::fs::write(root.join("src/a.rs"), "").unwrap();
        link("src/a.rs", "file");
        link("src", "dir");
        link("../src/deep", "src/again");
        link("/etc", "away");
        link("nowhere", "broken");
        let here = checkout(&root, "", false);
        for (typed, name) in [
            ("file", "src/a.rs"),
            ("dir", "src/"),
            ("dir/", "src/"),
            ("dir/a.rs", "src/a.rs"),
            ("dir/new.rs", "src/new.rs"),
            ("dir/again/new/", "src/deep/new/"),
            ("dir/*.rs", "src/*.rs"),
            ("away/passwd", "away/passwd"),
            ("away", "away"),
            ("broken", "broken"),
        ] {
            assert_eq!(here.name(typed), name, "{typed}");
        }
    }

    #[test]
    fn one_spelling_where_the_file_system_ignores_case() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        std::fs::create_dir_all(root.join("src/Deep")).unwrap();
        std::fs::write(root.join("src/a.rs"), "").unwrap();
        std::fs::write(root.join("src/Deep/b[1].rs"), "").unwrap();
        for args in [&["init", "-q"][..], &["add", "."]] {
            git::run_in(&root, args, b"").unwrap();
        }
        let here = checkout(&root, "", true);
        for (typed, name) in [
            ("SRC/A.rs", "src/a.rs"),
            ("Src", "src/"),
            ("SRC/deep/", "src/Deep/"),
            ("src/deep/B[1].rs", "src/Deep/b[1].rs"),
            ("SRC/DEEP/New.rs", "src/Deep/New.rs"),
            ("Other/X.rs", "Other/X.rs"),
        ] {
            assert_eq!(here.name(typed), name, "{typed}");
        }
        assert_eq!(checkout(&root, "", false).name("SRC/A.rs"), "SRC/A.rs");
    }
}
