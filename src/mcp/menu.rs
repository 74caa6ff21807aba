//! What is on offer now: a catalogue in memory for every request, on disk for a
//! start while the coordinator is down, refreshed from the coordinator.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use tokio::sync::watch;

use super::Toolset;
use super::caller::Caller;
use super::catalogue::Catalogue;
use super::error::Error;
use super::upstream::Upstream;

/// How long one look at the catalogue may take.
const LIMIT: Duration = Duration::from_secs(5);

/// How the last look at the coordinator ended.
#[derive(Clone, Default)]
enum Look {
    /// There was none yet.
    #[default]
    Never,
    /// It answered then.
    Reached(Instant),
    /// It did not, for this reason.
    Failed(String),
}

/// The catalogue of one coordinator for one kind of caller.
pub struct Menu {
    toolset: Toolset,
    cache: Cache,
    current: ArcSwap<Catalogue>,
    /// Whether `current` was ever read, from wherever.
    known: watch::Sender<bool>,
    last: watch::Sender<Look>,
    changes: watch::Sender<Arc<Catalogue>>,
    looking: tokio::sync::Mutex<()>,
}

impl Menu {
    /// The catalogue of last time, if there was one. `audience` keeps apart
    /// callers who may be shown different tools.
    pub fn open(upstream: &Upstream, toolset: Toolset, audience: &str) -> Self {
        let cache = Cache::new(upstream, toolset, audience);
        let cached = cache.load();
        let known = cached.is_some();
        let catalogue = Arc::new(cached.unwrap_or_default());
        Self {
            toolset,
            cache,
            current: ArcSwap::new(catalogue.clone()),
            known: watch::Sender::new(known),
            last: watch::Sender::default(),
            changes: watch::Sender::new(catalogue),
            looking: tokio::sync::Mutex::default(),
        }
    }

    /// What is offered now.
    pub fn current(&self) -> Arc<Catalogue> {
        self.current.load_full()
    }

    /// Wakes when something else is offered.
    pub fn changes(&self) -> watch::Receiver<Arc<Catalogue>> {
        self.changes.subscribe()
    }

    /// Whether a catalogue was ever seen, now or in an earlier life.
    pub fn is_known(&self) -> bool {
        *self.known.borrow()
    }

    /// Why there is no catalogue.
    pub fn problem(&self) -> String {
        match &*self.last.borrow() {
            Look::Failed(reason) => reason.clone(),
            _ => "it has not answered yet".to_owned(),
        }
    }

    /// The instructions for a client. Where nothing was ever seen, these say so.
    pub fn instructions(&self) -> Option<String> {
        if self.is_known() {
            return self.current.load().instructions.clone();
        }
        Some(format!(
            "The coordinator was never reached from here, so no tools are known yet: {}. Ask the \
             user to start it with `coord up`, or to check COORD_URL and COORD_TOKEN; the tools \
             then appear by themselves.",
            self.problem()
        ))
    }

    /// How long a client may be kept waiting for a look to end: a moment only,
    /// as the coordinator may be down. Less where there is something to show.
    pub fn patience(&self) -> Duration {
        Duration::from_millis(if self.is_known() { 250 } else { 1500 })
    }

    /// Waits for the first look to end.
    pub async fn settled(&self) {
        let mut last = self.last.subscribe();
        let first = last.wait_for(|look| !matches!(look, Look::Never));
        // Too late is as good as ended.
        let _ = tokio::time::timeout(self.patience(), first).await;
    }

    /// Looks at the coordinator unless that was done within `age`.
    ///
    /// # Errors
    /// It could not be reached, or said no.
    pub async fn refresh(
        &self,
        upstream: &Upstream,
        caller: &Caller,
        age: Duration,
    ) -> Result<(), Error> {
        let _one_at_a_time = self.looking.lock().await;
        if matches!(&*self.last.borrow(), Look::Reached(then) if then.elapsed() < age) {
            return Ok(());
        }
        let result = self.look(upstream, caller).await;
        self.last.send_replace(match &result {
            Ok(()) => Look::Reached(Instant::now()),
            Err(error) => Look::Failed(error.to_string()),
        });
        result
    }

    async fn look(&self, upstream: &Upstream, caller: &Caller) -> Result<(), Error> {
        let mut args = Map::new();
        args.insert("toolset".to_owned(), self.toolset.name().into());
        let answer = upstream
            .call_once(caller, "tool_catalog", &args, LIMIT)
            .await?;
        let fresh = Catalogue::read(&answer.body)?;
        if self.is_known() && *self.current.load_full() == fresh {
            return Ok(());
        }
        self.cache.save(&answer.body);
        let fresh = Arc::new(fresh);
        self.current.store(fresh.clone());
        self.known.send_replace(true);
        self.changes.send_replace(fresh);
        Ok(())
    }
}

/// The file that keeps an answer of `tool_catalog` for the next start.
struct Cache {
    /// In the order in which they are tried.
    places: Vec<PathBuf>,
    file: String,
}

impl Cache {
    fn new(upstream: &Upstream, toolset: Toolset, audience: &str) -> Self {
        let key = format!("{}\n{}\n{audience}", upstream.name(), toolset.name());
        let hash = Sha256::digest(key.as_bytes());
        let name = u64::from_be_bytes(std::array::from_fn(|i| hash[i]));
        Self {
            places: upstream.global().cache_dirs(),
            file: format!("catalogue-{name:016x}.json"),
        }
    }

    fn load(&self) -> Option<Catalogue> {
        self.places.iter().find_map(|place| {
            let text = std::fs::read(place.join(&self.file)).ok()?;
            let answer: Value = serde_json::from_slice(&text).ok()?;
            Catalogue::read(&answer).ok()
        })
    }

    /// Best effort: without a cache only the next start while the coordinator is down is poorer.
    fn save(&self, answer: &Value) {
        let write = |place: &PathBuf| {
            std::fs::create_dir_all(place)?;
            let mut file = tempfile::NamedTempFile::new_in(place)?;
            serde_json::to_writer(&mut file, answer)?;
            file.persist(place.join(&self.file))?;
            Ok::<_, std::io::Error>(())
        };
        if !self.places.iter().any(|place| write(place).is_ok()) {
            super::log(format_args!("no cache directory can be written"));
        }
    }
}
