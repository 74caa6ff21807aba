//! The proof, recomputed without the database: leaves, Merkle roots, the chain of heads.
//! `docs/audit.md` has the bytes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// How many differences are told of.
const MOST_PROBLEMS: usize = 20;

type Hash = [u8; 32];

/// A seal, as `audit_batch` answers it.
#[derive(Clone, Debug, Deserialize)]
pub struct Seal {
    pub number: i64,
    era: i64,
    system: i64,
    lower: i64,
    upper: i64,
    rows: i64,
    first_at_us: i64,
    last_at_us: i64,
    sealed_at_us: i64,
    root: String,
    head: String,
    ids: Option<Vec<i64>>,
    leaves: Option<String>,
    dropped: Option<Vec<i64>>,
}

/// A row, as `audit_batch` answers it.
#[derive(Clone, Debug, Deserialize)]
pub struct Row {
    pub id: i64,
    at_us: i64,
    xid: i64,
    era: i64,
    agent: String,
    agent_type: String,
    role: String,
    session_id: String,
    token_id: Option<String>,
    function: String,
    repo: Option<String>,
    outcome: String,
    duration_us: Option<i64>,
    details_hash: String,
    details: String,
    salt: Option<String>,
    content: Option<String>,
}

/// A head that was kept elsewhere.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Anchor {
    /// Of the seal.
    pub number: i64,
    /// The head of the chain there, in hex.
    pub head: String,
    /// When it was sealed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealed_at: Option<String>,
}

/// Something that is not as it was sealed.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
pub struct Difference {
    pub seal: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audit_id: Option<i64>,
    pub problem: &'static str,
}

/// What was found out.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    pub seals: i64,
    pub rows: i64,
    pub dropped_rows: i64,
    pub erased: i64,
    pub problems: Vec<Difference>,
    /// The last seal looked at, and the head there.
    pub number: i64,
    pub head: String,
}

/// Checks batch after batch, in the order of their numbers.
#[derive(Debug)]
pub struct Verifier {
    report: Report,
    last: Option<Seal>,
    before: Hash,
    anchors: Vec<Anchor>,
}

impl Row {
    fn leaf(&self) -> Hash {
        let number = |n: i64| Some(n.to_string());
        let fields = [
            Some("coord-audit-1".to_owned()),
            number(self.id),
            number(self.at_us),
            number(self.xid),
            number(self.era),
            Some(self.agent.clone()),
            Some(self.agent_type.clone()),
            Some(self.role.clone()),
            Some(self.session_id.clone()),
            self.token_id.clone(),
            Some(self.function.clone()),
            self.repo.clone(),
            Some(self.outcome.clone()),
            self.duration_us.map(|n| n.to_string()),
            Some(self.details_hash.clone()),
        ];
        let mut hash = Sha256::new_with_prefix([0]);
        for field in fields {
            let size = field
                .as_ref()
                .map_or(u32::MAX, |text| u32::try_from(text.len()).unwrap_or(0));
            hash.update(size.to_be_bytes());
            hash.update(field.unwrap_or_default());
        }
        hash.finalize().into()
    }

    /// Whether what it says of itself is what was hashed; erased, it says nothing.
    fn details(&self) -> Option<&'static str> {
        match (&*self.details, &self.salt, &self.content) {
            ("erased", None, None) => None,
            ("kept", Some(salt), Some(content)) => {
                let hash = Sha256::new_with_prefix(bytes(salt)).chain_update(content);
                let same = hex(&hash.finalize()) == self.details_hash;
                (!same).then_some("details_changed")
            }
            ("missing", ..) => Some("details_missing"),
            _ => Some("details_changed"),
        }
    }
}

impl Seal {
    fn head(&self, before: &Hash) -> Hash {
        let mut hash = Sha256::new_with_prefix(before);
        for number in [
            self.number,
            self.era,
            self.system,
            self.lower,
            self.upper,
            self.rows,
            self.first_at_us,
            self.last_at_us,
            self.sealed_at_us,
        ] {
            hash.update(number.to_be_bytes());
        }
        hash.chain_update(bytes(&self.root)).finalize().into()
    }

    /// The leaves that it keeps, by id.
    fn leaves(&self) -> Option<(Vec<Hash>, BTreeMap<i64, Hash>)> {
        let kept = bytes(self.leaves.as_ref()?);
        let leaves: Vec<Hash> = kept
            .chunks_exact(32)
            .filter_map(|leaf| leaf.try_into().ok())
            .collect();
        let ids = self.ids.iter().flatten().copied();
        let by_id = ids.zip(leaves.iter().copied()).collect();
        Some((leaves, by_id))
    }
}

impl Verifier {
    /// Begins behind the head of the seal before the first; at the beginning, there is none.
    pub fn new(before: Option<&str>, anchors: Vec<Anchor>) -> Self {
        Self {
            report: Report::default(),
            last: None,
            before: before
                .and_then(|head| bytes(head).try_into().ok())
                .unwrap_or_default(),
            anchors,
        }
    }

    /// The next batch.
    pub fn batch(&mut self, seal: Seal, rows: &[Row], first: i64) {
        let expected = self.last.as_ref().map_or(first, |last| last.number + 1);
        let lower = match &self.last {
            Some(last) if last.era == seal.era => last.upper,
            Some(_) => 0,
            None => seal.lower,
        };
        let number = seal.number;
        let mut changed = seal.lower != lower || hex(&seal.head(&self.before)) != seal.head;
        if number != expected {
            self.tell(number - 1, None, "seal_missing");
            changed = false;
        }
        let mut missing = 0;
        if let Some((leaves, mut sealed)) = seal.leaves() {
            changed |= hex(&root(leaves)) != seal.root
                || i64::try_from(sealed.len()).is_ok_and(|count| count != seal.rows);
            for row in rows {
                match sealed.remove(&row.id) {
                    None => self.tell(number, Some(row.id), "row_added"),
                    Some(leaf) if leaf != row.leaf() => {
                        self.tell(number, Some(row.id), "row_changed");
                    }
                    Some(_) => {
                        if let Some(problem) = row.details() {
                            self.tell(number, Some(row.id), problem);
                        }
                    }
                }
                self.report.erased += i64::from(row.details == "erased");
            }
            for id in sealed.into_keys() {
                if seal.dropped.iter().flatten().any(|dropped| *dropped == id) {
                    missing += 1;
                } else {
                    self.tell(number, Some(id), "row_missing");
                }
            }
        } else {
            missing = seal.rows;
            for row in rows {
                self.tell(number, Some(row.id), "row_added");
            }
        }
        if changed {
            self.tell(number, None, "seal_changed");
        }
        for at in 0..self.anchors.len() {
            if self.anchors[at].number == number {
                let anchor = self.anchors.swap_remove(at);
                if anchor.head != seal.head {
                    self.tell(number, None, "anchor_differs");
                }
                break;
            }
        }
        self.report.seals += 1;
        self.report.rows += seal.rows;
        self.report.dropped_rows += missing;
        self.report.number = number;
        self.report.head.clone_from(&seal.head);
        self.before = bytes(&seal.head).try_into().unwrap_or_default();
        self.last = Some(seal);
    }

    /// A line or an answer that cannot be read.
    pub fn unreadable(&mut self) {
        let after = self.last.as_ref().map_or(0, |last| last.number);
        self.tell(after, None, "unreadable");
    }

    /// That was all of it; `whole` if nothing was cut off.
    pub fn finish(mut self, whole: bool) -> Report {
        if !whole {
            self.tell(self.report.number, None, "cut_off");
        }
        for anchor in std::mem::take(&mut self.anchors) {
            self.tell(anchor.number, None, "anchor_not_found");
        }
        self.report
    }

    fn tell(&mut self, seal: i64, audit_id: Option<i64>, problem: &'static str) {
        if self.report.problems.len() < MOST_PROBLEMS {
            self.report.problems.push(Difference {
                seal,
                audit_id,
                problem,
            });
        }
    }
}

/// The root over leaves, as in RFC 6962: an odd node goes up as it is.
fn root(mut level: Vec<Hash>) -> Hash {
    if level.is_empty() {
        return Sha256::digest(b"").into();
    }
    while level.len() > 1 {
        level = level
            .chunks(2)
            .map(|pair| match pair {
                [left, right] => Sha256::new_with_prefix([1])
                    .chain_update(left)
                    .chain_update(right)
                    .finalize()
                    .into(),
                rest => rest[0],
            })
            .collect();
    }
    level[0]
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// What hex stands for; nothing for what is no hex, which then equals nothing.
fn bytes(hex: &str) -> Vec<u8> {
    let digits: Option<Vec<u8>> = hex
        .chars()
        .map(|c| c.to_digit(16).and_then(|n| u8::try_from(n).ok()))
        .collect();
    digits
        .unwrap_or_default()
        .chunks_exact(2)
        .map(|pair| pair[0] * 16 + pair[1])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_there_and_back() {
        assert_eq!(bytes("00ff1a"), [0, 255, 26]);
        assert_eq!(hex(&[0, 255, 26]), "00ff1a");
        assert!(bytes("zz").is_empty());
    }

    #[test]
    fn a_tree_is_that_of_rfc_6962() {
        let leaf = |text: &str| -> Hash { Sha256::digest(text).into() };
        let node = |left: Hash, right: Hash| -> Hash {
            Sha256::digest([&[1][..], &left, &right].concat()).into()
        };
        assert_eq!(
            hex(&root(vec![])),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        let (a, b, c) = (leaf("a"), leaf("b"), leaf("c"));
        assert_eq!(root(vec![a]), a);
        assert_eq!(root(vec![a, b, c]), node(node(a, b), c));
    }
}
