//! Work on several clusters at the same time.

use futures_util::{StreamExt, stream};

/// What comes of each, in their order; `at_once` are worked on at the same time. One that takes long keeps back none of
/// those behind it.
pub async fn side_by_side<W: Future>(work: impl IntoIterator<Item = W>, at_once: usize) -> Vec<W::Output> {
    let numbered = work.into_iter().enumerate().map(async |(number, work)| (number, work.await));
    let mut outcomes: Vec<_> = stream::iter(numbered).buffer_unordered(at_once).collect().await;
    outcomes.sort_by_key(|(number, _)| *number);
    outcomes.into_iter().map(|(_, outcome)| outcome).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::time::{Instant, sleep};

    #[test]
    fn one_that_takes_long_keeps_none_back() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let took = [100, 2, 1, 2, 1].map(Duration::from_secs);
        let (outcomes, took_all) = runtime.block_on(async {
            let start = Instant::now();
            let work = took.map(async |time| {
                sleep(time).await;
                time
            });
            (side_by_side(work, 2).await, start.elapsed())
        });
        assert_eq!(outcomes, took);
        assert!(took_all < Duration::from_secs(101), "{took_all:?}");
    }
}
