//! Poll: waits for what another program does in its own time.

use std::time::Duration;
use tokio::time::{Instant, sleep};

/// The pauses between two tries.
#[derive(Clone, Copy, Debug)]
pub struct Pauses {
    next: Duration,
    longest: Duration,
}

impl Pauses {
    pub const fn even(pause: Duration) -> Self {
        Self { next: pause, longest: pause }
    }

    /// Each twice as long as the one before it.
    pub const fn growing(first: Duration, longest: Duration) -> Self {
        Self { next: first, longest }
    }
}

/// Tries until a try succeeds, or until `patience` with what is still missing is over. There is always one try,
/// and the last one is at the end of the patience.
///
/// # Errors
/// What the last try missed.
pub async fn poll<T, M>(
    patience: impl Fn(&M) -> Duration,
    mut pauses: Pauses,
    mut look: impl AsyncFnMut() -> Result<T, M>,
) -> Result<T, M> {
    let started = Instant::now();
    loop {
        let missing = match look().await {
            Ok(found) => return Ok(found),
            Err(missing) => missing,
        };
        let left = patience(&missing).saturating_sub(started.elapsed());
        if left.is_zero() {
            return Err(missing);
        }
        sleep(pauses.next.min(left)).await;
        pauses.next = (pauses.next * 2).min(pauses.longest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    async fn looks(limit: Duration, pauses: Pauses, found_at: usize) -> (Result<usize, usize>, Duration) {
        let (mut looks, started) = (0, Instant::now());
        let outcome = poll(
            |_| limit,
            pauses,
            async || {
                looks += 1;
                if looks == found_at { Ok(looks) } else { Err(looks) }
            },
        );
        (outcome.await, started.elapsed())
    }

    #[test]
    fn polling_ends_with_what_is_found_or_with_the_patience() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            assert_eq!(looks(Duration::ZERO, Pauses::even(MS), 1).await.0, Ok(1));
            assert_eq!(looks(Duration::ZERO, Pauses::even(MS), 2).await.0, Err(1), "there is always one look");
            assert_eq!(looks(MS * 60_000, Pauses::even(MS), 3).await.0, Ok(3));
            // 4 + 8 + 8 = 20, and not 4 + 8 + 16.
            let (found, took) = looks(MS * 60_000, Pauses::growing(MS * 4, MS * 8), 4).await;
            assert_eq!(found, Ok(4));
            assert!(took >= MS * 20, "{took:?}");
            let (found, took) = looks(MS * 5, Pauses::even(MS * 60_000), 9).await;
            assert_eq!(found, Err(2), "no pause is longer than the patience");
            assert!(took < MS * 60_000, "{took:?}");
        });
    }
}
