//! The few things this crate needs to say about time.

use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds since 1970.
#[must_use]
pub fn now() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|age| i64::try_from(age.as_secs()).ok())
        .unwrap_or_default()
}

/// `2026-11-22T20:30:00Z`.
#[must_use]
pub fn rfc3339(seconds: i64) -> String {
    let (year, month, day) = civil(seconds.div_euclid(86_400));
    let rest = seconds.rem_euclid(86_400);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z",
        rest / 3600,
        rest / 60 % 60,
        rest % 60
    )
}

/// Reads `2026-11-22T20:30:00.123+00:00` and its like, to the second.
#[must_use]
pub fn read(text: &str) -> Option<i64> {
    let number = |at: std::ops::Range<usize>| text.get(at)?.parse::<i64>().ok();
    let day = days(number(0..4)?, number(5..7)?, number(8..10)?);
    let time = number(11..13)? * 3600 + number(14..16)? * 60 + number(17..19)?;
    let zone = text
        .get(19..)?
        .trim_start_matches(|c: char| c == '.' || c.is_ascii_digit());
    let (sign, ahead) = match zone.split_at_checked(1)? {
        ("Z", "") => return Some(day * 86_400 + time),
        ("+", ahead) => (1, ahead),
        ("-", ahead) => (-1, ahead),
        _ => return None,
    };
    let (hours, minutes) = ahead.split_once(':').unwrap_or((ahead, "0"));
    let ahead = hours.parse::<i64>().ok()? * 3600 + minutes.parse::<i64>().ok()? * 60;
    Some(day * 86_400 + time - sign * ahead)
}

/// `20261122-203000`, for file names.
#[must_use]
pub fn compact(seconds: i64) -> String {
    rfc3339(seconds)
        .replace(['-', ':', 'Z'], "")
        .replace('T', "-")
}

/// `2 h 5 min`, `3 days`, `40 s`.
#[must_use]
pub fn words(seconds: i64) -> String {
    match seconds {
        ..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// Reads `8h`, `30m`, `7d`, `90s` or plain seconds.
#[must_use]
pub fn duration(text: &str) -> Option<i64> {
    let text = text.trim();
    let (number, unit) = match text.char_indices().last()? {
        (at, 's') => (&text[..at], 1),
        (at, 'm') => (&text[..at], 60),
        (at, 'h') => (&text[..at], 3600),
        (at, 'd') => (&text[..at], 86_400),
        _ => (text, 1),
    };
    let number: u32 = number.parse().ok()?;
    i64::from(number).checked_mul(unit)
}

/// Year, month and day of a day counted from 1970 (Howard Hinnant's algorithm).
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    (year + era * 400 + i64::from(month <= 2), month, day)
}

/// Days from 1970 to a date (the same algorithm backwards).
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let of_era = year - era * 400;
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(951_782_399), "2000-02-28T23:59:59Z");
        assert_eq!(rfc3339(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(rfc3339(1_795_379_400), "2026-11-22T20:30:00Z");
        assert_eq!(compact(1_795_379_400), "20261122-203000");
        for seconds in [0, 951_782_399, 951_782_400, 1_795_379_400] {
            assert_eq!(read(&rfc3339(seconds)), Some(seconds));
        }
        assert_eq!(
            read("2026-11-22T20:30:00.123456+00:00"),
            Some(1_795_379_400)
        );
        assert_eq!(read("2026-11-22T22:30:00+02:00"), Some(1_795_379_400));
        assert_eq!(read("2026-11-22T17:00:00-03:30"), Some(1_795_379_400));
        assert_eq!(read("soon"), None);
    }

    #[test]
    fn durations_carry_a_unit_or_are_seconds() {
        assert_eq!(duration("8h"), Some(28_800));
        assert_eq!(duration("90"), Some(90));
        assert_eq!(duration("30m"), Some(1800));
        assert_eq!(duration("h"), None);
        assert_eq!(duration("-1"), None);
        assert_eq!(duration("8 weeks"), None);
    }
}
