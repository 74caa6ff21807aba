//! GitHub's REST API: pages followed to their end, and its limits kept.

use std::time::Duration;

use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{Method, Url};
use serde_json::Value;

use crate::exit::Exit;
use crate::stack::clock;
use crate::stack::progress::Progress;

/// Longer than this nobody waits for a limit to be over: whoever comes again goes on.
const LONGEST: i64 = 900;

/// How often one request is sent, whatever it is answered.
const TRIES: u32 = 5;

/// Pages of a list that never ends are a mistake.
const MOST_PAGES: usize = 1000;

/// Why GitHub did not do it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not over a network without encryption.
    #[error("{0} is no https:// address, and the token of GitHub would be read by others")]
    Plain(String),
    /// No answer.
    #[error("cannot reach GitHub: {0}")]
    Unreachable(#[from] reqwest::Error),
    /// A limit that is too far from its end.
    #[error("GitHub takes no more for {0} seconds; come again then, and it goes on where it was")]
    Limited(i64),
    /// It said no.
    #[error("GitHub answered {status} to {what}: {said}")]
    Refused {
        /// Method and path.
        what: String,
        /// The HTTP status.
        status: u16,
        /// Its message.
        said: String,
    },
    /// A value that no header takes.
    #[error("the token of GitHub holds a character that HTTP does not allow")]
    Token,
}

impl Error {
    /// The exit code this error means.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Plain(_) | Self::Token => Exit::Usage,
            Self::Unreachable(_) | Self::Limited(_) => Exit::Unreachable,
            Self::Refused { status: 500.., .. } => Exit::Server,
            Self::Refused { .. } => Exit::Refused,
        }
    }

    /// Whether it is not there, or not ours to touch.
    pub fn is_not_ours(&self) -> bool {
        matches!(
            self,
            Self::Refused {
                status: 403 | 404 | 410,
                ..
            }
        )
    }
}

/// What came back.
struct Answer {
    body: Value,
    next: Option<Url>,
}

/// One API and one token.
pub struct Api {
    http: reqwest::Client,
    root: String,
}

impl Api {
    pub fn new(root: &str, token: &str) -> Result<Self, Error> {
        let root = root.trim_end_matches('/').to_owned();
        let url = Url::parse(&root).map_err(|_| Error::Plain(root.clone()))?;
        let here = matches!(url.host_str(), Some("127.0.0.1" | "localhost" | "[::1]"));
        if url.scheme() != "https" && !here {
            return Err(Error::Plain(root));
        }
        let mut headers = HeaderMap::new();
        let mut bearer =
            HeaderValue::from_str(&format!("Bearer {}", token.trim())).map_err(|_| Error::Token)?;
        bearer.set_sensitive(true);
        headers.insert(AUTHORIZATION, bearer);
        headers.insert(
            ACCEPT,
            HeaderValue::from_static("application/vnd.github+json"),
        );
        headers.insert(
            "x-github-api-version",
            HeaderValue::from_static("2022-11-28"),
        );
        let mut builder = reqwest::Client::builder()
            .default_headers(headers)
            .user_agent(concat!("coord/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(Duration::from_secs(10))
            .timeout(Duration::from_mins(1));
        if here {
            builder = builder.no_proxy();
        }
        Ok(Self {
            http: builder.build()?,
            root,
        })
    }

    /// One thing.
    pub async fn get(&self, path: &str) -> Result<Value, Error> {
        Ok(self.send(Method::GET, self.url(path)?, None).await?.body)
    }

    /// A list, however many pages it has.
    pub async fn list(&self, path: &str) -> Result<Vec<Value>, Error> {
        let mut all = Vec::new();
        let mut next = Some(self.url(path)?);
        for _ in 0..MOST_PAGES {
            let Some(url) = next else { break };
            // The token goes nowhere else, whatever a page names as its next.
            if !url.as_str().starts_with(&self.root) {
                return Err(Error::Plain(url.to_string()));
            }
            let mut page = self.send(Method::GET, url, None).await?;
            if let Some(rows) = page.body.as_array_mut() {
                all.append(rows);
            }
            next = page.next;
        }
        Ok(all)
    }

    /// A change.
    pub async fn change(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, Error> {
        Ok(self.send(method, self.url(path)?, body).await?.body)
    }

    fn url(&self, path: &str) -> Result<Url, Error> {
        let text = format!("{}{path}", self.root);
        Url::parse(&text).map_err(|_| Error::Plain(text))
    }

    async fn send(&self, method: Method, url: Url, body: Option<&Value>) -> Result<Answer, Error> {
        let progress = Progress::new();
        let mut tries = 0;
        loop {
            tries += 1;
            let mut request = self.http.request(method.clone(), url.clone());
            if let Some(body) = body {
                request = request.json(body);
            }
            let response = match request.send().await {
                Ok(response) => response,
                // What only reads may be asked again; a change may have happened.
                Err(error) if tries < TRIES && (method == Method::GET || error.is_connect()) => {
                    tokio::time::sleep(pause(tries)).await;
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            let status = response.status().as_u16();
            let headers = response.headers().clone();
            let text = response.text().await?;
            if (200..300).contains(&status) {
                progress.finish();
                return Ok(Answer {
                    body: serde_json::from_str(&text).unwrap_or(Value::Null),
                    next: next_page(&headers),
                });
            }
            let said = serde_json::from_str::<Value>(&text).unwrap_or_default();
            let said = said["message"].as_str().unwrap_or(text.trim()).to_owned();
            if let Some(seconds) = limited(status, &headers, &said, tries) {
                if seconds > LONGEST || tries >= TRIES {
                    return Err(Error::Limited(seconds));
                }
                progress.step(&format!(
                    "GitHub takes no more for {seconds} seconds; waiting"
                ));
                tokio::time::sleep(Duration::from_secs(seconds.unsigned_abs())).await;
                continue;
            }
            if status >= 500 && method == Method::GET && tries < TRIES {
                tokio::time::sleep(pause(tries)).await;
                continue;
            }
            return Err(Error::Refused {
                what: format!("{method} {}", url.path()),
                status,
                said,
            });
        }
    }
}

fn pause(tries: u32) -> Duration {
    Duration::from_millis(250 * 2_u64.pow(tries)).mul_f64(0.5 + 0.5 * fastrand::f64())
}

/// For how long GitHub wants to be left alone; none where that is not why it refuses.
fn limited(status: u16, headers: &HeaderMap, said: &str, tries: u32) -> Option<i64> {
    if status != 403 && status != 429 {
        return None;
    }
    let number = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse::<i64>().ok();
    if let Some(seconds) = number("retry-after") {
        return Some(seconds.max(1));
    }
    if number("x-ratelimit-remaining") == Some(0) {
        let reset = number("x-ratelimit-reset")?;
        return Some((reset - clock::now()).max(0) + 1);
    }
    // Its secondary limits name no time: a minute, and longer each time.
    (status == 429 || said.to_lowercase().contains("rate limit")).then(|| 60 * i64::from(tries))
}

/// `<https://…>; rel="next"` among the links of a page.
fn next_page(headers: &HeaderMap) -> Option<Url> {
    let links = headers.get("link")?.to_str().ok()?;
    let link = links
        .split(',')
        .find(|link| link.contains("rel=\"next\""))?;
    let url = link.split_once('<')?.1.split_once('>')?.0;
    Url::parse(url).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &str)| {
            (
                reqwest::header::HeaderName::from_static(name),
                HeaderValue::from_str(value).unwrap(),
            )
        };
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn limits_are_told_from_refusals() {
        let none = headers(&[]);
        assert_eq!(limited(403, &none, "Resource not accessible", 1), None);
        assert_eq!(limited(404, &headers(&[("retry-after", "5")]), "", 1), None);
        assert_eq!(
            limited(429, &headers(&[("retry-after", "5")]), "", 1),
            Some(5)
        );
        assert_eq!(
            limited(403, &none, "You have exceeded a secondary rate limit", 2),
            Some(120)
        );
        let reset = (clock::now() + 100).to_string();
        let spent = headers(&[
            ("x-ratelimit-remaining", "0"),
            ("x-ratelimit-reset", &reset),
        ]);
        assert!((99..=102).contains(&limited(403, &spent, "", 1).unwrap()));
    }

    #[test]
    fn the_next_page_is_found_among_the_links() {
        let links =
            r#"<https://a.example/?page=1>; rel="prev", <https://a.example/?page=3>; rel="next""#;
        let next = next_page(&headers(&[("link", links)])).unwrap();
        assert_eq!(next.as_str(), "https://a.example/?page=3");
        assert!(next_page(&headers(&[("link", "<https://a.example/>; rel=\"last\"")])).is_none());
    }
}
