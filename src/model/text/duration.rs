//! Durations with Go's units, and `d` for a day of 24 hours.

use std::{fmt, str::FromStr, time::Duration};

/// Why a duration is invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    #[error("is not a duration like 90s, 1h30m or 7d")]
    Malformed,
    #[error("is not a whole number of seconds")]
    Fraction,
    #[error("is too long")]
    TooLong,
    #[error("is negative")]
    Negative,
}

/// That of Go's `time.Duration`, and so of Prometheus: 292 years.
const LONGEST: u64 = i64::MAX as u64 / 1_000_000_000;

/// A whole number of seconds, written `168h`, `7d`, `1h30m` or `90s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seconds(pub u64);

impl From<Seconds> for Duration {
    fn from(seconds: Seconds) -> Self {
        Self::from_secs(seconds.0)
    }
}

impl FromStr for Seconds {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, DurationError> {
        let mut rest = text;
        let mut total: u64 = 0;
        if rest.is_empty() {
            return Err(DurationError::Malformed);
        }
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            let (number, tail) = rest.split_at(digits);
            let letters = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
            let (unit, tail) = tail.split_at(letters);
            if number.is_empty() {
                return Err(DurationError::Malformed);
            }
            let factor = match unit {
                "d" => 86_400,
                "h" => 3_600,
                "m" => 60,
                "s" => 1,
                "ms" | "us" | "ns" => return Err(DurationError::Fraction),
                _ => return Err(DurationError::Malformed),
            };
            let value: u64 = number.parse().map_err(|_| DurationError::TooLong)?;
            total = value
                .checked_mul(factor)
                .and_then(|seconds| total.checked_add(seconds))
                .filter(|total| *total <= LONGEST)
                .ok_or(DurationError::TooLong)?;
            rest = tail;
        }
        Ok(Self(total))
    }
}

/// The shortest exact spelling that Prometheus and this plugin both read: `7d`, `24h`, `1h30m`, `90s` as `1m30s`.
impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total = self.0;
        if total == 0 {
            return f.write_str("0s");
        }
        // 24h stays 24h: clouds state their caps in this form.
        if total.is_multiple_of(86_400) && total > 86_400 {
            return write!(f, "{}d", total / 86_400);
        }
        for (value, unit) in [(total / 3_600, "h"), (total % 3_600 / 60, "m"), (total % 60, "s")] {
            if value > 0 {
                write!(f, "{value}{unit}")?;
            }
        }
        Ok(())
    }
}

/// The length of time to wait for a single request; zero is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestTimeout(pub Duration);

impl RequestTimeout {
    /// None where there is no limit.
    pub fn limit(self) -> Option<Duration> {
        (!self.0.is_zero()).then_some(self.0)
    }
}

/// Unless `--request-timeout` says otherwise.
impl Default for RequestTimeout {
    fn default() -> Self {
        Self(Duration::from_secs(10))
    }
}

impl FromStr for RequestTimeout {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, DurationError> {
        timeout(text).map(Self)
    }
}

/// `Debug` of a duration is exact, with a unit that is read back: `10s`, `1.5ms`.
impl fmt::Display for RequestTimeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

/// A request timeout as in kubectl: seconds without a unit, or Go's `1m30s`, `1.5h`, `500ms`; in addition `1d`.
///
/// Go's syntax is that of `time.ParseDuration`, kubectl's is `ParseTimeout` of client-go's
/// `tools/clientcmd/helpers.go`. In kubectl a negative value means no timeout; here it is an error.
fn timeout(text: &str) -> Result<Duration, DurationError> {
    if text.starts_with('-') {
        return Err(DurationError::Negative);
    }
    if !text.is_empty() && text.chars().all(|c| c.is_ascii_digit()) {
        let seconds = text.parse().ok().filter(|seconds| *seconds <= LONGEST);
        return seconds.map(Duration::from_secs).ok_or(DurationError::TooLong);
    }
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    if rest.is_empty() {
        return Err(DurationError::Malformed);
    }
    let mut nanoseconds: u64 = 0;
    while !rest.is_empty() {
        let (number, tail) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len()));
        let (unit, tail) = tail.split_at(tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len()));
        let factor: u64 = match unit {
            "ns" => 1,
            // The micro sign and the Greek letter.
            "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            "d" => 86_400_000_000_000,
            _ => return Err(DurationError::Malformed),
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if fraction.contains('.') || (whole.is_empty() && fraction.is_empty()) {
            return Err(DurationError::Malformed);
        }
        let whole: u64 = if whole.is_empty() { Ok(0) } else { whole.parse().map_err(|_| DurationError::TooLong) }?;
        let mut part = whole.checked_mul(factor).ok_or(DurationError::TooLong)?;
        let mut place = factor;
        for digit in fraction.bytes() {
            place /= 10;
            part = part.checked_add(place * u64::from(digit - b'0')).ok_or(DurationError::TooLong)?;
        }
        nanoseconds = nanoseconds.checked_add(part).ok_or(DurationError::TooLong)?;
        rest = tail;
    }
    Ok(Duration::from_nanos(nanoseconds))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{hostile, model::text::limits};
    use proptest::prelude::*;

    #[test]
    fn go_units_and_days_are_read() {
        for (text, seconds) in
            [("168h", 604_800), ("7d", 604_800), ("1h30m", 5_400), ("90s", 90), ("1d12h", 129_600), ("0s", 0)]
        {
            assert_eq!(text.parse(), Ok(Seconds(seconds)), "{text}");
        }
    }

    #[test]
    fn invalid_durations_are_rejected() {
        for text in ["", "7", "h", "7w", "-1h", "1.5h", "1 h", "1h ", "µs", "7D"] {
            assert!(text.parse::<Seconds>().is_err(), "{text:?}");
        }
        assert_eq!("500ms".parse::<Seconds>(), Err(DurationError::Fraction));
        assert_eq!("99999999999999999999d".parse::<Seconds>(), Err(DurationError::TooLong));
        assert_eq!("9223372037s".parse::<Seconds>(), Err(DurationError::TooLong));
        assert_eq!("9999999999999999999d".parse::<Seconds>(), Err(DurationError::TooLong));
    }

    #[test]
    fn duration_shows_the_shortest_exact_spelling() {
        for (seconds, text) in [(0, "0s"), (90, "1m30s"), (60, "1m"), (86_400, "24h"), (604_800, "7d"), (90_000, "25h")]
        {
            assert_eq!(Seconds(seconds).to_string(), text);
        }
    }

    #[test]
    fn timeout_is_read_as_in_kubectl() {
        for (text, milliseconds) in [
            ("0", 0),
            ("0s", 0),
            ("30", 30_000),
            ("1m30s", 90_000),
            ("1.5h", 5_400_000),
            (".5s", 500),
            ("1.s", 1_000),
            ("500ms", 500),
            ("1500us", 1),
            ("1500\u{b5}s", 1),
            ("+2s", 2_000),
            ("+0", 0),
            ("1d", 86_400_000),
        ] {
            assert_eq!(timeout(text).map(|read| read.as_millis()), Ok(milliseconds), "{text}");
        }
        for text in ["", "+", "s", ".s", ".", "1.2.3s", "1x", "1 s", "5s3", "soon", "+30", "0x10"] {
            assert_eq!(timeout(text), Err(DurationError::Malformed), "{text}");
        }
        assert_eq!(timeout("-1s"), Err(DurationError::Negative));
        assert_eq!(timeout("18446744073709551615"), Err(DurationError::TooLong));
        assert_eq!(timeout("99999999999999999999"), Err(DurationError::TooLong));
        assert_eq!(timeout("9999999h"), Err(DurationError::TooLong));
    }

    #[test]
    fn hostile_durations_are_survived() {
        hostile::texts(&["1d12h30m90s", "+1.5h500ms1500us", "99999999999d"], |text| {
            if let Ok(seconds) = text.parse::<Seconds>() {
                assert_eq!(seconds.to_string().parse(), Ok(seconds));
            }
            if let Ok(read) = timeout(text) {
                // The time of a cluster in a rotation is a multiple of it.
                assert!(limits::for_cluster(Some(read)) >= read);
            }
        });
    }

    proptest! {
        #[test]
        fn a_request_timeout_is_read_back(nanoseconds: u64) {
            let timeout = RequestTimeout(Duration::from_nanos(nanoseconds));
            prop_assert_eq!(timeout.to_string().parse(), Ok(timeout));
        }

        #[test]
        fn shown_duration_is_read_back(seconds in 0u64..=u64::from(u32::MAX)) {
            prop_assert_eq!(Seconds(seconds).to_string().parse(), Ok(Seconds(seconds)));
        }
    }
}
