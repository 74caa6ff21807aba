//! Prompts: each is a function that answers messages in the protocol's own shape.

use rmcp::ErrorData;
use rmcp::model::{GetPromptResult, JsonObject, ResultType};
use serde::Deserialize;

use super::Bridge;
use super::caller::Caller;
use super::menu::Menu;
use crate::alike;

impl Bridge {
    /// Fills a prompt in.
    pub(super) async fn prompt(
        &self,
        menu: &Menu,
        caller: &Caller,
        name: &str,
        mut args: JsonObject,
    ) -> Result<GetPromptResult, ErrorData> {
        let catalogue = menu.current();
        let invalid = |text: String| ErrorData::invalid_params(text, None);
        let prompt = catalogue
            .prompt(name)
            .ok_or_else(|| invalid(format!("unknown prompt: {name}")))?;
        let known = prompt.shown.arguments.as_deref().unwrap_or_default();
        let names = || known.iter().map(|argument| argument.name.as_str());
        for given in args.keys() {
            if !names().any(|name| name == given) {
                let hint = alike::nearest(given, names())
                    .map_or_else(String::new, |right| format!(": did you mean `{right}`?"));
                return Err(invalid(format!("unknown argument `{given}`{hint}")));
            }
        }
        let missing = known
            .iter()
            .find(|it| it.required == Some(true) && !args.contains_key(&it.name));
        if let Some(missing) = missing {
            return Err(invalid(format!("missing argument `{}`", missing.name)));
        }
        if names().any(|name| name == "repo") {
            self.fill_repo(&mut args).await;
        }
        let answer = self
            .upstream
            .call(caller, &prompt.function, &args)
            .await
            .map_err(|error| ErrorData::internal_error(error.tell(), None))?;
        let mut result = GetPromptResult::deserialize(&answer.body).map_err(|error| {
            ErrorData::internal_error(format!("prompt {name} cannot be read: {error}"), None)
        })?;
        result.result_type = Some(ResultType::COMPLETE);
        Ok(result)
    }
}
