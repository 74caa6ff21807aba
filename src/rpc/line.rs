//! Waiting in line. The coordinator keeps the place and decides when it is over;
//! whoever waits makes the same call again, in time and not in step with others.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::Answer;

/// One wait: from the first `queued` to whatever ends it.
#[derive(Debug)]
pub struct Line {
    began: Instant,
    limit: Duration,
    heard: Instant,
    /// The place is lost after this much silence.
    patience: Duration,
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
        }
    }

    /// How long to be silent after this answer; none when it ends the wait, or time is up.
    ///
    /// Who is next asks about once a second, who is further back less often, and
    /// everybody at a random moment: a crowd must not come back as one.
    pub fn pause(&mut self, answer: &Answer) -> Option<Duration> {
        let number = |name| answer.body.get(name).and_then(Value::as_u64);
        if answer.body.get("outcome").and_then(Value::as_str) != Some("queued") {
            return None;
        }
        let retry = number("retry_after_seconds").unwrap_or(1).max(1);
        let longest = number("position").unwrap_or(retry).clamp(1, retry);
        let pause = Duration::from_secs(longest).mul_f64(0.5 + 0.5 * fastrand::f64());
        self.heard = Instant::now();
        self.patience = Duration::from_secs(3 * retry);
        (self.began.elapsed() + pause < self.limit).then_some(pause)
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
    fn any_other_answer_or_the_limit_ends_it() {
        let mut line = Line::new(Duration::from_mins(1));
        let body = json!({"outcome": "acquired"});
        assert_eq!(line.pause(&Answer { status: 200, body }), None);
        assert_eq!(Line::new(Duration::from_millis(1)).pause(&queued(1)), None);
    }
}
