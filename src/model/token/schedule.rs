//! When a watch acts: which token is due, and when a failed rotation is tried again. The clock is an argument.

use super::{TokenLife, clock::SKEW};
use crate::model::text::duration::Seconds;
use jiff::{SignedDuration, Timestamp};
use std::time::Duration;

/// The longest pause between two cycles of a watch: a join may change a record, and the clock may jump.
pub const LONGEST_SLEEP: Duration = Duration::from_secs(60);
/// The shortest pause between two cycles of a watch.
const SHORTEST_SLEEP: Duration = Duration::from_secs(1);
/// The pause after the first failure. It doubles with each failure.
const FIRST_PAUSE: SignedDuration = SignedDuration::from_secs(60);
const LONGEST_PAUSE: SignedDuration = SignedDuration::from_secs(3600);
/// The shortest pause between two tries, however little of the token's life is left.
const SHORTEST_PAUSE: SignedDuration = SignedDuration::from_secs(10);
/// The largest jitter, as a divisor of the life that is left when a token is due: 20 means 5 %.
const JITTER: i128 = 20;

/// The state of a watch for one cluster at one destination, in addition to the record.
#[derive(Clone, Debug, Default)]
pub struct RotationHistory {
    /// The token that this process put in place, and when, by the clock of this host. Only this clock decides when the
    /// token is due again: a clock that differs from the API server's must not make every fresh token due at once.
    own: Option<(TokenLife, Timestamp)>,
    /// Failures to replace one token. Another token has no failures.
    failures: Option<(TokenLife, Failures)>,
    last_failure: Option<Timestamp>,
}

/// Failures in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failures {
    count: u32,
    last: Timestamp,
}

impl RotationHistory {
    /// When to replace this token of the cluster with this UID. `now` or earlier means at once. `arrived`: as in
    /// [`TokenLife::due_here`].
    ///
    /// - Half of the token's life after its issue, plus a jitter of up to 5 % of the life that is left, and up to the next
    ///   minute at which a watch acts.
    /// - At once if the clock shows a time before the issue, as in the kubelet (`pkg/kubelet/token`).
    /// - After a failure, not before the pause is over.
    pub fn next(&self, uid: &str, token: TokenLife, arrived: Option<Timestamp>, now: Timestamp) -> Timestamp {
        let own = self.own.filter(|(life, _)| *life == token).map(|(_, at)| at);
        let begun = own.unwrap_or(token.begun(arrived));
        let clock_jumped_back = after(now, SKEW) < begun;
        let due = if clock_jumped_back {
            now
        } else {
            let due = after(begun, token.due().duration_since(token.issued) + jitter(uid, token));
            let due = together(due, token);
            own.map_or(due, |at| due.max(after(at, FIRST_PAUSE)))
        };
        match self.failures_of(token) {
            // The clock does not tell how long ago the token was issued.
            Some(failures) if now < failures.last => due.min(now),
            Some(failures) => due.max(failures.retry(Some(after(begun, token.expires.duration_since(token.issued))))),
            None => due,
        }
    }

    /// Records that this process put the token in place.
    pub fn rotated(&mut self, token: TokenLife, now: Timestamp) {
        *self = Self { own: Some((token, now)), failures: None, last_failure: self.last_failure };
    }

    /// Records that replacing this token failed.
    pub fn failed(&mut self, token: TokenLife, now: Timestamp) {
        self.failures = Some((token, Failures::one_more(self.failures_of(token), now)));
        self.last_failure = Some(now);
    }

    /// Whether the last try to replace this token failed.
    pub fn is_failing(&self, token: TokenLife) -> bool {
        self.failures_of(token).is_some()
    }

    /// When a rotation failed last, even if a later rotation succeeded.
    pub fn last_failure(&self) -> Option<Timestamp> {
        self.last_failure
    }

    fn failures_of(&self, token: TokenLife) -> Option<Failures> {
        self.failures.filter(|(life, _)| *life == token).map(|(_, failures)| failures)
    }
}

impl Failures {
    pub fn one_more(before: Option<Self>, now: Timestamp) -> Self {
        Self { count: before.map_or(1, |Self { count, .. }| count.saturating_add(1)), last: now }
    }

    /// Whether it is too early to try again. A clock that was turned back does not delay a try.
    pub fn is_waiting(self, now: Timestamp) -> bool {
        (self.last..self.retry(None)).contains(&now)
    }

    /// When to try again: after a minute, doubled with each failure up to an hour, and before half of the life that is
    /// left has passed.
    pub fn retry(self, expires: Option<Timestamp>) -> Timestamp {
        let doubled = FIRST_PAUSE.saturating_mul(1 << self.count.saturating_sub(1).min(6)).min(LONGEST_PAUSE);
        let left = expires.map(|expires| expires.duration_since(self.last)).filter(SignedDuration::is_positive);
        after(self.last, left.map_or(doubled, |left| doubled.min(left / 2).max(SHORTEST_PAUSE)))
    }
}

/// How often a watch proves the limits of an account.
pub const PROOF_INTERVAL: Seconds = Seconds(300);
/// Half of the age at which the alerting rules report a proof.
pub const LONGEST_PROOF_INTERVAL: Seconds = Seconds(1800);

/// The turns of the clusters of a fleet, spread over an interval.
#[derive(Clone, Copy, Debug)]
pub struct Turns {
    /// The time between two turns.
    pub tick: Duration,
    count: u32,
}

impl Turns {
    /// At least five turns, none longer than a minute: then something new is seen in time. None if the interval is zero.
    pub fn every(interval: Seconds) -> Option<Self> {
        let minutes = interval.0.div_ceil(LONGEST_SLEEP.as_secs());
        let count = u32::try_from(minutes).unwrap_or(u32::MAX).max(5);
        (interval.0 > 0).then(|| Self { tick: Duration::from(interval) / count, count })
    }

    /// Whether it is the turn of the cluster with this UID.
    pub fn is_turn(self, uid: &str, tick: u64) -> bool {
        let count = u64::from(self.count);
        tick % count == fnv(uid) % count
    }
}

/// How long to sleep before the next cycle.
pub fn sleep(now: Timestamp, next: Option<Timestamp>) -> Duration {
    let until = next.map_or(LONGEST_SLEEP, |next| next.duration_since(now).try_into().unwrap_or_default());
    until.clamp(SHORTEST_SLEEP, LONGEST_SLEEP)
}

/// Spreads the requests of a fleet over time. The jitter of a cluster is always the same, so the due time of a token
/// does not change between two cycles.
fn jitter(uid: &str, token: TokenLife) -> SignedDuration {
    const STEPS: u64 = 1000;
    let left = token.expires.duration_since(token.due()).as_nanos().max(0);
    let jitter = left * i128::from(fnv(uid) % STEPS) / (JITTER * i128::from(STEPS));
    SignedDuration::try_from_nanos_i128(jitter).unwrap_or_default()
}

/// The next of the moments at which tokens are replaced: once a minute, because a destination gets all tokens of a moment
/// with one reload. More often where a token has less life left than twenty minutes when it is due.
fn together(due: Timestamp, token: TokenLife) -> Timestamp {
    let left = i128::from(token.expires.duration_since(token.due()).as_secs());
    let every = (left / JITTER).clamp(1, LONGEST_SLEEP.as_secs().into()) * 1_000_000_000;
    let moment = due.as_nanosecond() + (-due.as_nanosecond()).rem_euclid(every);
    Timestamp::from_nanosecond(moment).unwrap_or(Timestamp::MAX)
}

/// FNV-1a (draft-eastlake-fnv): the hashes of the standard library may change with a release.
fn fnv(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

fn after(time: Timestamp, duration: SignedDuration) -> Timestamp {
    let end = if duration.is_negative() { Timestamp::MIN } else { Timestamp::MAX };
    time.checked_add(duration).unwrap_or(end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};

    #[test]
    fn each_cluster_has_one_turn_in_an_interval() {
        for (seconds, tick) in [(1, 0.2), (60, 12.0), (300, 60.0), (301, 50.166_666_666), (1800, 60.0)] {
            let turns = Turns::every(Seconds(seconds)).unwrap();
            assert_eq!(turns.tick, Duration::from_secs_f64(tick), "{seconds}");
            let mut by_tick = BTreeMap::new();
            for cluster in 0..1000 {
                let uid = format!("7d0f3a52-6c1b-4b0e-9d53-{cluster:012}");
                let own: Vec<u64> = (0..2 * u64::from(turns.count)).filter(|tick| turns.is_turn(&uid, *tick)).collect();
                assert_eq!((own.len(), own[1] - own[0]), (2, turns.count.into()), "{seconds}");
                *by_tick.entry(own[0]).or_insert(0) += 1;
            }
            let most = by_tick.values().max().unwrap();
            assert!(*most < 2 * 1000 / turns.count + 20, "{seconds}: {by_tick:?}");
        }
        assert!(Turns::every(Seconds(0)).is_none() && Turns::every(Seconds(u64::MAX)).is_some());
    }

    const UID: &str = "7d0f3a52-6c1b-4b0e-9d53-0d6c7c2e0a11";

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn second(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn day() -> TokenLife {
        TokenLife { issued: at("2026-11-24T00:00:00Z"), expires: at("2026-11-25T00:00:00Z") }
    }

    #[test]
    fn token_is_due_after_half_of_its_life_with_a_jitter_by_cluster() {
        let now = at("2026-11-24T01:00:00Z");
        for (uid, due) in [
            (UID, "2026-11-24T12:24:00Z"),
            ("7d0f3a52-6c1b-4b0e-9d53-0d6c7c2e0a12", "2026-11-24T12:11:00Z"),
            ("", "2026-11-24T12:02:00Z"),
        ] {
            assert_eq!(RotationHistory::default().next(uid, day(), None, now), at(due), "{uid}");
        }
    }

    #[test]
    fn tokens_of_a_fleet_are_replaced_together_once_a_minute() {
        for (hours, minutes, most) in [(24, 10, 36), (48, 90, 72), (7 * 24, 0, 252)] {
            let issued = day().issued + SignedDuration::from_secs(minutes * 60 + 7);
            let life = TokenLife { issued, expires: issued + SignedDuration::from_hours(hours) };
            let uid = |cluster| format!("7d0f3a52-6c1b-4b0e-9d53-{cluster:012}");
            let moments: BTreeSet<Timestamp> =
                (0..1000).map(|cluster| RotationHistory::default().next(&uid(cluster), life, None, issued)).collect();
            assert!(moments.iter().all(|moment| moment.as_second() % 60 == 0), "{hours} h: {moments:?}");
            assert!(moments.len() <= most + 1, "{hours} h: {}", moments.len());
        }
    }

    #[test]
    fn pause_doubles_up_to_an_hour_and_leaves_half_of_the_life() {
        let start = at("2026-11-24T12:30:00Z");
        let mut past = RotationHistory::default();
        let pauses: Vec<i64> = (0..9)
            .map(|_| {
                past.failed(day(), start);
                past.next(UID, day(), None, start).duration_since(start).as_secs()
            })
            .collect();
        assert_eq!(pauses, [60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]);
        for (failed, pause) in [
            ("2026-11-24T23:00:00Z", 1800),
            ("2026-11-24T23:59:00Z", 30),
            ("2026-11-24T23:59:55Z", 10),
            // The token has expired, so there is no hurry.
            ("2026-11-25T00:00:00Z", 3600),
        ] {
            past.failed(day(), at(failed));
            assert_eq!(past.next(UID, day(), None, at(failed)).duration_since(at(failed)).as_secs(), pause, "{failed}");
            assert!(past.is_failing(day()));
        }
        assert_eq!(past.last_failure(), Some(at("2026-11-25T00:00:00Z")));
    }

    #[test]
    fn new_token_has_no_failures() {
        let mut past = RotationHistory::default();
        past.failed(day(), at("2026-11-24T13:00:00Z"));
        let joined = TokenLife { issued: at("2026-11-24T13:01:00Z"), expires: at("2026-11-25T13:01:00Z") };
        assert!(!past.is_failing(joined));
        let now = at("2026-11-24T13:02:00Z");
        assert_eq!(past.next(UID, joined, None, now), RotationHistory::default().next(UID, joined, None, now));
    }

    #[test]
    fn clock_that_jumps_back_makes_a_token_due_once() {
        let now = at("2026-11-20T00:00:00Z");
        let mut past = RotationHistory::default();
        assert!(past.next(UID, day(), None, now) <= now);
        past.failed(day(), now);
        assert_eq!(past.next(UID, day(), None, now), at("2026-11-20T00:01:00Z"));
        // Further back: the start of the pause is in the future.
        let earlier = at("2026-11-19T00:00:00Z");
        assert!(past.next(UID, day(), None, earlier) <= earlier);
        // The API server's clock is right, and the clock of this host stays wrong.
        let fresh = TokenLife { issued: at("2026-11-24T00:10:00Z"), expires: at("2026-11-25T00:10:00Z") };
        past.rotated(fresh, now);
        assert_eq!(past.next(UID, fresh, None, now), at("2026-11-20T12:24:00Z"));
        // The clocks of two machines always differ a little.
        let just_before = at("2026-11-23T23:59:30Z");
        assert!(RotationHistory::default().next(UID, day(), None, just_before) > just_before);
    }

    #[test]
    fn sleep_is_at_most_a_minute_and_never_zero() {
        let now = at("2026-11-24T00:00:00Z");
        for (next, seconds) in [
            (None, 60),
            (Some("2026-11-24T00:00:07Z"), 7),
            (Some("2026-12-24T00:00:00Z"), 60),
            (Some("2026-11-24T00:00:00Z"), 1),
            (Some("2025-11-24T00:00:00Z"), 1),
        ] {
            assert_eq!(sleep(now, next.map(at)), Duration::from_secs(seconds), "{next:?}");
        }
    }

    fn any_time() -> impl Strategy<Value = Timestamp> {
        (Timestamp::MIN.as_second()..Timestamp::MAX.as_second()).prop_map(second)
    }

    prop_compose! {
        fn any_life()(begin in 0i64..4_000_000_000, length in 600i64..(1 << 32)) -> TokenLife {
            TokenLife { issued: second(begin), expires: second(begin + length) }
        }
    }

    proptest! {
        #[test]
        fn renewals_wait_no_longer_than_the_jitter(uid in ".*", life in any_life(), now in any_time()) {
            let next = RotationHistory::default().next(&uid, life, None, now);
            let jitter = life.expires.duration_since(life.due()) / 20;
            let latest = after(life.due(), jitter + jitter.clamp(SignedDuration::from_secs(1), SignedDuration::from_mins(1)));
            prop_assert!(next <= latest && latest < life.expires);
            prop_assert!(next >= life.due() || next <= now);
        }

        #[test]
        fn pauses_end_before_the_token_expires(life in any_life(), share in 0i64..1000, failures in 1usize..40) {
            let now = after(life.due(), life.expires.duration_since(life.due()) / 1000 * i32::try_from(share).unwrap());
            let mut past = RotationHistory::default();
            for _ in 0..failures {
                past.failed(life, now);
            }
            let next = past.next(UID, life, None, now);
            let left = life.expires.duration_since(now);
            prop_assert!(next >= after(now, SHORTEST_PAUSE));
            if left >= SignedDuration::from_secs(20) && now >= after(life.due(), jitter(UID, life)) {
                prop_assert!(next <= after(now, left / 2), "{next} {left:?}");
            }
        }

        #[test]
        fn fresh_tokens_are_not_replaced_at_any_clock(
            a in any_time(), b in any_time(), now in any_time(), later in 0i64..60,
        ) {
            let life = TokenLife { issued: a, expires: b };
            let mut past = RotationHistory::default();
            past.rotated(life, now);
            let soon = after(now, SignedDuration::from_secs(later));
            prop_assert!(past.next(UID, life, None, soon) > soon || soon == Timestamp::MAX);
            past.failed(life, now);
            prop_assert!(past.next(UID, life, None, now) > now);
        }
    }
}
