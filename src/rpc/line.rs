//! Waiting. For what is held the coordinator keeps a place in line and decides when it is over;
//! where there is nothing yet (`none`) it keeps no place, and the time is counted here. In both
//! cases whoever waits makes the same call again, in time and not in step with others.

use std::time::{Duration, Instant};

use serde_json::{Map, Value};

use super::Answer;

/// One wait: from the first `queued` or `none` to whatever ends it.
#[derive(Debug)]
pub struct Line {
    began: Instant,
    limit: Duration,
    heard: Instant,
    /// The place is lost after this much silence.
    patience: Duration,
    /// Where nobody keeps a place: when the wait is over.
    until: Option<Instant>,
}

impl Line {
    /// Waits for `limit` at most, whatever the coordinator says.
    #[must_use]
    pub fn new(limit: Duration) -> Self {
        let now = Instant::now();
        Self {
            began: now,
            limit,
            heard: now,
            patience: Duration::ZERO,
            until: None,
        }
    }

    /// How long to be silent after this answer; none when it ends the wait, or time is up.
    ///
    /// Who is next asks about once a second, who is further back less often, and
    /// everybody at a random moment: a crowd must not come back as one.
    pub fn pause(&mut self, answer: &Answer) -> Option<Duration> {
        let number = |name| answer.body.get(name).and_then(Value::as_u64);
        let outcome = answer.body.get("outcome").and_then(Value::as_str);
        let now = Instant::now();
        let retry = number("retry_after_seconds").unwrap_or(1).max(1);
        let (longest, patience, left) = match outcome {
            Some("queued") => {
                let longest = number("position").unwrap_or(retry).clamp(1, retry);
                (longest, Duration::from_secs(3 * retry), Duration::MAX)
            }
            Some("none") => {
                let left = Duration::from_secs(number("wait_seconds_left")?);
                let left = self.until.get_or_insert(now + left).duration_since(now);
                (retry, left, left)
            }
            _ => return None,
        };
        if left.is_zero() {
            return None;
        }
        let pause = Duration::from_secs(longest).mul_f64(0.5 + 0.5 * fastrand::f64());
        let pause = pause.min(left);
        self.heard = now;
        self.patience = patience;
        (self.began.elapsed() + pause < self.limit).then_some(pause)
    }

    /// The arguments to ask again with: those of the first time, and where nobody keeps a
    /// place, what is left of the wait. So the last answer does not speak of waiting any more.
    #[must_use]
    pub fn again(&self, args: &Map<String, Value>) -> Map<String, Value> {
        let mut args = args.clone();
        if let Some(until) = self.until {
            let left = until.saturating_duration_since(Instant::now());
            let seconds = (left + Duration::from_millis(500)).as_secs();
            args.insert("wait_seconds".to_owned(), seconds.into());
        }
        args
    }

    /// Whether the place is still kept, though nobody answers.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        self.heard.elapsed() < self.patience
    }

    /// Since when.
    #[must_use]
    pub fn waited(&self) -> Duration {
        self.began.elapsed()
    }
}

/// The place in line that an answer gives, for leaving it.
#[must_use]
pub fn ticket(answer: &Answer) -> Option<&str> {
    answer.body.get("ticket").and_then(Value::as_str)
}

/// Why there is nothing yet, in a few words: what `none` counts.
#[must_use]
pub fn reasons(body: &Value) -> String {
    let mut parts = Vec::new();
    for (name, words) in [
        ("blocked", "waiting for other tasks"),
        ("held", "with locked paths"),
        ("put_aside", "put aside for a while"),
    ] {
        match body
            .pointer(&format!("/reasons/{name}"))
            .and_then(Value::as_u64)
        {
            None | Some(0) => {}
            Some(count) => parts.push(format!("{count} {words}")),
        }
    }
    let lacking = body.pointer("/reasons/lacking").and_then(Value::as_array);
    let mut lacking: Vec<&str> = lacking
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    lacking.dedup();
    if !lacking.is_empty() {
        parts.push(format!("others need {}", lacking.join("; ")));
    }
    if parts.is_empty() {
        "the queue is empty".to_owned()
    } else {
        parts.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn queued(position: u64) -> Answer {
        let body = json!({"outcome": "queued", "position": position, "retry_after_seconds": 5});
        Answer { status: 200, body }
    }

    #[test]
    fn the_next_asks_often_and_the_rest_in_time() {
        let mut line = Line::new(Duration::from_mins(1));
        for (position, longest) in [(1, 1), (3, 3), (40, 5)] {
            for _ in 0..50 {
                let pause = line.pause(&queued(position)).unwrap();
                let longest = Duration::from_secs(longest);
                assert!(pause >= longest / 2 && pause <= longest, "{pause:?}");
            }
        }
        assert!(line.is_kept());
    }

    #[test]
    fn where_nobody_keeps_a_place_the_time_is_counted_here() {
        let none = |left| {
            let body =
                json!({"outcome": "none", "wait_seconds_left": left, "retry_after_seconds": 5});
            Answer { status: 200, body }
        };
        let mut line = Line::new(Duration::MAX);
        let args = Map::from_iter([("wait_seconds".to_owned(), json!(60))]);
        assert_eq!(line.again(&args), args);
        let pause = line.pause(&none(60)).unwrap();
        assert!(pause >= Duration::from_millis(2500) && pause <= Duration::from_secs(5));
        assert_eq!(line.again(&args)["wait_seconds"], 60);
        assert!(line.is_kept());

        let mut line = Line::new(Duration::MAX);
        assert!(line.pause(&none(1)).unwrap() <= Duration::from_secs(1));
        std::thread::sleep(Duration::from_millis(600));
        assert_eq!(line.again(&args)["wait_seconds"], 0);
        std::thread::sleep(Duration::from_millis(400));
        // Over, whatever the answer says.
        assert_eq!(line.pause(&none(60)), None);
        assert!(!line.is_kept());
        // And nothing at all for who did not ask to wait.
        let body = json!({"outcome": "none", "retry_after_seconds": 5});
        assert_eq!(
            Line::new(Duration::MAX).pause(&Answer { status: 200, body }),
            None
        );
    }

    #[test]
    fn reasons_are_told_in_a_few_words() {
        let body = json!({"reasons": {"blocked": 3, "held": 0, "put_aside": 1, "requirements": 2,
            "lacking": ["capability gpu", "capability gpu", "trust 3"]}});
        assert_eq!(
            reasons(&body),
            "3 waiting for other tasks, 1 put aside for a while, others need capability gpu; trust 3"
        );
        assert_eq!(
            reasons(&json!({"reasons": {"blocked": 0}})),
            "the queue is empty"
        );
    }

    #[test]
    fn any_other_answer_or_the_limit_ends_it() {
        let mut line = Line::new(Duration::from_mins(1));
        let body = json!({"outcome": "acquired"});
        assert_eq!(line.pause(&Answer { status: 200, body }), None);
        assert_eq!(Line::new(Duration::from_millis(1)).pause(&queued(1)), None);
    }
}
