//! Resources: each is a function that takes nothing and answers the state.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use rmcp::ErrorData;
use rmcp::model::{ReadResourceResult, ResourceContents};
use serde_json::Value;

use super::Bridge;
use super::caller::{Caller, Identity};
use super::error::Error;
use super::menu::Menu;
use super::upstream::Upstream;

/// How long one look at a watched resource may take.
const LIMIT: Duration = Duration::from_secs(5);

/// Fields that tick by themselves and are no change of state.
const TICKING: [&str; 2] = ["now", "seconds_left"];

impl Bridge {
    /// Reads a resource for a client, and remembers what it saw.
    pub(super) async fn read(
        &self,
        menu: &Menu,
        caller: &Caller,
        uri: &str,
    ) -> Result<ReadResourceResult, ErrorData> {
        let catalogue = menu.current();
        let Some(source) = catalogue.source(uri) else {
            return Err(ErrorData::resource_not_found(
                format!("unknown resource: {uri}"),
                None,
            ));
        };
        let answer = self
            .upstream
            .call(caller, source.function, &source.args)
            .await
            .map_err(|error| ErrorData::internal_error(error.tell(), None))?;
        if matches!(self.identity, Identity::Single { .. }) {
            self.seen.note(uri, digest(&answer.body));
        }
        let mut contents = ResourceContents::text(answer.body.to_string(), uri);
        if let Some(mime_type) = source.mime_type {
            contents = contents.with_mime_type(mime_type);
        }
        Ok(ReadResourceResult::new(vec![contents]))
    }
}

/// One look at a watched resource. `None` if it is not offered.
pub async fn peek(
    upstream: &Upstream,
    menu: &Menu,
    caller: &Caller,
    uri: &str,
) -> Result<Option<u64>, Error> {
    let catalogue = menu.current();
    let Some(source) = catalogue.source(uri) else {
        return Ok(None);
    };
    let answer = upstream
        .call_once(caller, source.function, &source.args, LIMIT)
        .await?;
    Ok(Some(digest(&answer.body)))
}

/// Tells states apart, not moments of one state.
fn digest(body: &Value) -> u64 {
    let mut hasher = DefaultHasher::new();
    feed(body, &mut hasher);
    hasher.finish()
}

fn feed(value: &Value, hasher: &mut DefaultHasher) {
    match value {
        Value::Object(fields) => {
            1_u8.hash(hasher);
            for (name, value) in fields {
                if !TICKING.contains(&name.as_str()) {
                    name.hash(hasher);
                    feed(value, hasher);
                }
            }
        }
        Value::Array(items) => {
            2_u8.hash(hasher);
            items.len().hash(hasher);
            for item in items {
                feed(item, hasher);
            }
        }
        scalar => scalar.hash(hasher),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_countdown_is_no_change() {
        let lock = |left: u32, fence: u32| {
            digest(&json!({"now": left, "locks": [{"fence": fence, "seconds_left": left}]}))
        };
        assert_eq!(lock(10, 1), lock(9, 1));
        assert_ne!(lock(10, 1), lock(10, 2));
    }
}
