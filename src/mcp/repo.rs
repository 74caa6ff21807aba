//! Which repository the bridge works in: told, or that of the working directory.

use std::time::Duration;

use tokio::sync::OnceCell;

use crate::remote;
use crate::settings::env;

/// Git answers in milliseconds, or its repository lies on a share that hangs.
const LIMIT: Duration = Duration::from_secs(2);

/// Found out once, when first needed.
pub struct Repo {
    /// Whether the working directory means something: not in a server of many.
    local: bool,
    name: OnceCell<Option<String>>,
}

impl Repo {
    /// Nothing is looked up yet.
    pub fn new(local: bool) -> Self {
        Self {
            local,
            name: OnceCell::new(),
        }
    }

    /// As [`remote::repo`], within the limit.
    pub async fn name(&self) -> Option<&str> {
        let find = || async {
            if !self.local {
                return env("COORD_REPO");
            }
            let asked = tokio::task::spawn_blocking(remote::repo);
            tokio::time::timeout(LIMIT, asked).await.ok()?.ok()?
        };
        self.name.get_or_init(find).await.as_deref()
    }
}
