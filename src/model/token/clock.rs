//! A clock that differs from the clock of this machine.

use crate::model::text::duration::Seconds;
use jiff::{SignedDuration, Timestamp, fmt::rfc2822};

/// A difference that does not count: the clocks of two machines always differ a little.
pub const SKEW: SignedDuration = SignedDuration::from_secs(60);

/// A machine without a battery begins in 1970. A longer lead is no clock.
const LONGEST: SignedDuration = SignedDuration::from_hours(100 * 365 * 24);

/// The next step where clocks differ.
pub const CORRECT: &str = "Correct the clock that is wrong: timedatectl shows whether a clock is synchronized";

/// How far the clock of a server is ahead of the clock of this machine. Zero if no more than [`SKEW`] is between them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClockLead(SignedDuration);

impl ClockLead {
    pub fn new(theirs: Timestamp, ours: Timestamp) -> Self {
        let lead = theirs.duration_since(ours);
        Self(if lead.abs() > SKEW { lead } else { SignedDuration::ZERO })
    }

    /// From the header `Date` of an answer that has come now.
    pub fn of_answer(date: &[u8], now: Timestamp) -> Option<Self> {
        let date = rfc2822::DateTimeParser::new().parse_timestamp(date).ok()?;
        Some(Self::new(date, now)).filter(|lead| lead.0.abs() < LONGEST)
    }

    /// What the clock of the server shows when the clock of this machine shows `ours`.
    pub fn at(self, ours: Timestamp) -> Timestamp {
        ours.saturating_add(self.0).unwrap_or(ours)
    }

    /// The difference between the clock of this machine and that of `theirs`, to the minute. None if they agree.
    pub fn told(self, theirs: &str) -> Option<String> {
        let minutes = (self.0.as_secs().unsigned_abs() + 30) / 60;
        let side = if self.0.is_negative() { "ahead of" } else { "behind" };
        let told = || format!("the clock of this machine is {} {side} the clock of {theirs}", Seconds(minutes * 60));
        (!self.0.is_zero()).then(told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hostile;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn header_tells_how_far_a_clock_is_ahead() {
        let now = at("2026-11-25T10:15:00Z");
        for (date, told, theirs) in [
            ("Wed, 25 Nov 2026 10:15:00 GMT", None, "2026-11-25T10:15:00Z"),
            ("Wed, 25 Nov 2026 10:16:00 GMT", None, "2026-11-25T10:15:00Z"),
            ("Wed, 25 Nov 2026 10:14:00 GMT", None, "2026-11-25T10:15:00Z"),
            ("Wed, 25 Nov 2026 10:16:01 GMT", Some("1m behind"), "2026-11-25T10:16:01Z"),
            ("Thu, 26 Nov 2026 10:14:59 GMT", Some("24h behind"), "2026-11-26T10:14:59Z"),
            ("Tue, 24 Nov 2026 10:14:59 GMT", Some("24h ahead of"), "2026-11-24T10:14:59Z"),
        ] {
            let lead = ClockLead::of_answer(date.as_bytes(), now).unwrap();
            let told = told.map(|told| format!("the clock of this machine is {told} the clock of the API server"));
            assert_eq!((lead.told("the API server"), lead.at(now)), (told, at(theirs)), "{date}");
        }
        assert_eq!(ClockLead::of_answer(b"Fri, 31 Dec 9999 10:15:00 GMT", now), None);
    }

    #[test]
    fn hostile_header_is_survived() {
        hostile::texts(&["Wed, 25 Nov 2026 10:15:00 GMT"], |text| {
            for now in [Timestamp::MIN, Timestamp::MAX] {
                let _ = ClockLead::of_answer(text.as_bytes(), now).map(|lead| (lead.at(now), lead.told("x")));
            }
        });
    }
}
