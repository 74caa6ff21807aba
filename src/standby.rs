//! What to do while the coordinator is away: as the caller's profile said when it was last
//! there (`when_down`). That is kept in the user's cache, by coordinator and principal.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use crate::git;
use crate::gitlocks::{self, FUNCTIONS, Locks, Who};
use crate::rpc::{self, Client};
use crate::settings::Global;
use crate::stack::clock;

/// For how long it is believed without asking again, in seconds.
const FRESH: i64 = 3600;

/// How long asking may take beside a call that has its answer already.
const LIMIT: Duration = Duration::from_secs(2);

/// What the profile of one principal at one coordinator said.
#[derive(Debug)]
pub struct Standby {
    places: Vec<PathBuf>,
    file: String,
}

impl Standby {
    /// Of whoever the settings speak for.
    #[must_use]
    pub fn new(global: &Global) -> Self {
        let agent = Who::new(global, None).map(|who| who.agent);
        let key = format!("{}\n{}", global.coordinator(), agent.unwrap_or_default());
        let hash = Sha256::digest(key.as_bytes());
        let name = u64::from_be_bytes(std::array::from_fn(|i| hash[i]));
        Self {
            places: global.cache_dirs(),
            file: format!("standby-{name:016x}.json"),
        }
    }

    fn read(&self) -> Option<Value> {
        self.places.iter().find_map(|place| {
            let text = std::fs::read(place.join(&self.file)).ok()?;
            serde_json::from_slice(&text).ok()
        })
    }

    /// Whether locks may be taken by git meanwhile.
    #[must_use]
    pub fn is_git(&self) -> bool {
        self.read().is_some_and(|said| said["when_down"] == "git")
    }

    /// Asks the profile anew, if that was not done lately. Best effort: without it nothing falls back.
    pub async fn keep(&self, client: &Client) {
        let kept = self.read().and_then(|said| said["at"].as_i64());
        if kept.is_some_and(|at| clock::now() - at < FRESH) {
            return;
        }
        // Where there is no remote there is nothing to fall back to.
        if git::text(&["remote"]).is_none() {
            return;
        }
        let Ok(profile) = client.call_once("my_profile", &Map::new(), LIMIT).await else {
            return;
        };
        let said = json!({"at": clock::now(), "when_down": profile.body["when_down"]});
        let write = |place: &PathBuf| {
            std::fs::create_dir_all(place)?;
            let mut file = tempfile::NamedTempFile::new_in(place)?;
            serde_json::to_writer(&mut file, &said)?;
            file.persist(place.join(&self.file))?;
            Ok::<_, std::io::Error>(())
        };
        let _ = self.places.iter().any(|place| write(place).is_ok());
    }
}

/// The answer of git in place of a coordinator that is away; none where it is not permitted,
/// or git cannot stand in for this call.
///
/// # Errors
/// It is permitted, and git fails as well.
pub async fn answer(
    global: &Global,
    session: Option<&str>,
    function: &str,
    args: &Map<String, Value>,
) -> Option<Result<Value, gitlocks::Error>> {
    let repo = args.get("repo").and_then(Value::as_str);
    if !FUNCTIONS.contains(&function)
        || !Standby::new(global).is_git()
        || !gitlocks::speaks_of(repo)
    {
        return None;
    }
    // Outside a checkout there is nothing to fall back to.
    git::text(&["remote"])?;
    let answer = async {
        let locks = Locks::new(None, Who::new(global, session)?)?;
        let mut answer = locks.answer(function, args).await?;
        answer["because"] =
            "the coordinator cannot be reached, and your profile says when_down: git".into();
        let next = "These locks bind those alone who also lock by git. When the coordinator is back: coord github reconcile";
        if answer["outcome"] == "acquired" || answer["outcome"] == "renewed" {
            answer["next"] = next.into();
        }
        Ok(answer)
    };
    Some(answer.await)
}

/// Whether nobody answered, as opposed to somebody who said no.
#[must_use]
pub fn is_away(error: &rpc::Error) -> bool {
    error.passes()
}
