//! Durations as people of this field write them: Go's units, and `d` for a day of 24 hours.

use std::{fmt, str::FromStr, time::Duration};

/// Why a duration was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    #[error("is not a duration like 90s, 1h30m or 7d")]
    Malformed,
    #[error("is not a whole number of seconds")]
    Fraction,
    #[error("is too long")]
    TooLong,
}

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
                .ok_or(DurationError::TooLong)?;
            rest = tail;
        }
        Ok(Self(total))
    }
}

/// The shortest exact spelling that Prometheus and we both read: `7d`, `24h`, `1h30m`, `90s` as `1m30s`.
impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total = self.0;
        if total == 0 {
            return f.write_str("0s");
        }
        // 24h stays 24h: that is how the clouds state their caps.
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

#[cfg(test)]
mod tests {
    use super::*;
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
    fn what_is_not_a_duration_is_refused() {
        for text in ["", "7", "h", "7w", "-1h", "1.5h", "1 h", "1h ", "µs", "7D"] {
            assert!(text.parse::<Seconds>().is_err(), "{text:?}");
        }
        assert_eq!("500ms".parse::<Seconds>(), Err(DurationError::Fraction));
        assert_eq!("99999999999999999999d".parse::<Seconds>(), Err(DurationError::TooLong));
        assert_eq!("9999999999999999999d".parse::<Seconds>(), Err(DurationError::TooLong));
    }

    #[test]
    fn the_shortest_exact_spelling_is_shown() {
        for (seconds, text) in [(0, "0s"), (90, "1m30s"), (60, "1m"), (86_400, "24h"), (604_800, "7d"), (90_000, "25h")]
        {
            assert_eq!(Seconds(seconds).to_string(), text);
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_back(seconds in 0u64..=u64::from(u32::MAX)) {
            prop_assert_eq!(Seconds(seconds).to_string().parse(), Ok(Seconds(seconds)));
        }

        #[test]
        fn no_input_panics(text in ".*") {
            let _ = text.parse::<Seconds>();
        }
    }
}
