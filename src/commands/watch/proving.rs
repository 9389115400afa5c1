//! The proof that fence and rights still limit each account, again and again, with the token in use and no other
//! credential. It waits for no rotation, and neither a rotation nor another proof waits for it.

use super::board::Board;
use crate::{
    cluster::Connection,
    destination::{Installed, Options, Records, records},
    model::{
        report::account_limits::{AccountLimits, Limit},
        store::{location::Location, record::Record},
        text::{names::ClusterName, shell},
        token::schedule::Turns,
    },
    render::logfmt::Level,
    stages::{
        interrupt::until_interrupted,
        prove::live::account_limits,
        renew::StoredCredentials,
        rotate::{is_named, record_of},
    },
    ui::Ui,
};
use futures_util::{StreamExt, future::join_all, stream};
use std::{cell::RefCell, collections::BTreeSet, convert::Infallible, future::pending, rc::Rc, time::Duration};
use tokio::time::{Instant, sleep_until};

/// The proofs of one destination at the same time. A cluster that does not answer keeps a place for a request timeout or
/// two, so that there are enough for hundreds of such clusters.
const AT_ONCE: usize = 64;

/// A record, and where it was read.
type Due = (Record, Rc<Records>);

/// What is proven, and with what.
#[derive(Clone, Copy)]
pub(super) struct Proving<'a> {
    pub(super) named: &'a [ClusterName],
    pub(super) options: &'a Options,
    pub(super) connection: &'a Connection,
    pub(super) turns: Turns,
    pub(super) board: &'a Board,
    pub(super) ui: Ui,
}

impl Proving<'_> {
    /// Proves each cluster of these destinations in its turn, until it is dropped or a signal comes.
    pub(super) async fn run(self, places: &[(String, Location)]) -> Infallible {
        let all = async {
            join_all(places.iter().map(|(name, location)| self.of_place(name, location))).await;
            Ok(())
        };
        let _ = until_interrupted(Box::pin(all)).await;
        pending().await
    }

    async fn of_place(self, place: &str, location: &Location) {
        let due = async |tick| self.due(place, location, tick).await;
        tick_by_tick(self.turns.tick, due, async |(record, records)| self.prove(place, record, records).await).await;
    }

    /// The records of the clusters whose turn it is, and of some that are not known to be well. The rotation reports what
    /// cannot be read.
    async fn due(self, place: &str, location: &Location, tick: u64) -> Vec<(ClusterName, Due)> {
        let records = match records(location, self.options).await {
            Ok(records) => Rc::new(records),
            Err(error) => {
                self.board.lost(place, None, &error);
                return Vec::new();
            }
        };
        self.board.keep(place, |cluster| records.installed.contains_key(cluster));
        for (cluster, installed) in &records.installed {
            if let Err(error) = record_of(installed) {
                self.board.lost(place, Some(cluster), &error);
            }
        }
        let live = records.installed.values().flatten().filter_map(Installed::record);
        let (due, others): (Vec<&Record>, Vec<&Record>) = live
            .filter(|record| is_named(&record.cluster, self.named))
            .partition(|record| self.turns.is_turn(&record.uid, tick));
        let again = others.into_iter().filter(|record| !self.board.are_well(place, &record.cluster)).take(AT_ONCE);
        let with_records = |record: &Record| (record.cluster.clone(), (record.clone(), records.clone()));
        due.into_iter().chain(again).map(with_records).collect()
    }

    async fn prove(self, place: &str, record: Record, records: Rc<Records>) {
        let live = records.installed.get(&record.cluster).and_then(|one| one.as_ref().ok()?.live.as_ref());
        let Some(live) = live else { return };
        let credentials = StoredCredentials::beside(&records.source, live).read(&record).await;
        // A connection to another host ends here.
        drop(records);
        let limits = match credentials {
            Ok(credentials) => account_limits(&credentials, &record, self.connection).await,
            Err(error) => AccountLimits::new(&Err(error), &record),
        };
        let (level, fields) = told(place, &record, &limits);
        if self.board.saw(place, &record.cluster, limits) {
            self.ui.event(level, "limits", &fields);
        }
    }
}

/// Tick by tick, has proven what is due then. None waits for another one, unless very many do not answer, and none is
/// proven twice at the same time.
async fn tick_by_tick<K: Clone + Ord, T>(
    tick: Duration,
    due: impl AsyncFn(u64) -> Vec<(K, T)>,
    prove: impl AsyncFn(T),
) {
    let ticks = stream::unfold((0, Instant::now()), async |(number, at)| {
        sleep_until(at).await;
        let due = due(number).await;
        Some((stream::iter(due), (number + 1, Instant::now().max(at + tick))))
    });
    let under_way = RefCell::new(BTreeSet::new());
    let proofs = ticks.flatten().map(async |(key, one): (K, T)| {
        if under_way.borrow_mut().insert(key.clone()) {
            prove(one).await;
            under_way.borrow_mut().remove(&key);
        }
    });
    proofs.buffer_unordered(AT_ONCE).collect::<()>().await;
}

/// What is said of the limits of an account.
fn told(place: &str, record: &Record, limits: &AccountLimits) -> (Level, Vec<(&'static str, String)>) {
    let AccountLimits { fence, rights } = limits;
    let word = |limit: &Limit, holds: &str, broken: &str| match limit {
        Limit::Holds => holds.to_owned(),
        Limit::Broken(_) => broken.to_owned(),
        Limit::Unknown(_) => "unknown".to_owned(),
    };
    let mut fields = vec![
        ("destination", place.to_owned()),
        ("cluster", record.cluster.to_string()),
        ("fence", fence.as_ref().map_or("none".to_owned(), |fence| word(fence, "enforced", "broken"))),
        ("rights", word(rights, "narrow", "wide")),
    ];
    let mut errors: Vec<_> = fence.iter().chain([rights]).filter_map(Limit::error).collect();
    // Silence has one cause.
    errors.dedup_by_key(|error| error.to_string());
    if let Some(first) = errors.first() {
        fields.push(("reason", first.reason.to_string()));
        fields.push(("msg", errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")));
        let mut hints: Vec<String> = errors.iter().flat_map(|error| error.hints.clone()).collect();
        let check = shell::plugin(["check", record.cluster.as_str(), "-p", place]);
        hints.push(if limits.are_broken() {
            format!("Find, as an administrator, what differs and the command that restores it: {check}")
        } else {
            format!("Find the cause: {check}")
        });
        fields.push(("hint", hints.join("; ")));
    }
    let level = match (limits.are_broken(), errors.is_empty()) {
        (true, _) => Level::Error,
        (false, false) => Level::Warn,
        (false, true) => Level::Info,
    };
    (level, fields)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Error, Reason};
    use std::collections::BTreeMap;
    use tokio::time::{sleep, timeout};

    #[test]
    fn hung_cluster_delays_no_other_proof() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let proven = runtime.block_on(async {
            let (started, proven) = (Instant::now(), RefCell::new(BTreeMap::<usize, Vec<u64>>::new()));
            // The first ones never answer; the others take three seconds each.
            let due = async |_| (0..AT_ONCE + 10).map(|cluster| (cluster, cluster)).collect();
            let prove = async |cluster: usize| {
                proven.borrow_mut().entry(cluster).or_default().push(started.elapsed().as_secs());
                match cluster {
                    0..50 => pending().await,
                    _ => sleep(Duration::from_secs(3)).await,
                }
            };
            let all = timeout(Duration::from_secs(125), tick_by_tick(Duration::from_secs(60), due, prove));
            assert!(all.await.is_err(), "it does not end by itself");
            proven.into_inner()
        });
        assert!((0..50).all(|hung| proven[&hung] == [0]), "one at a time: {proven:?}");
        // There are places for 14 at a time.
        assert!((50..64).all(|other| proven[&other] == [0, 60, 120]), "{proven:?}");
        assert!((64..74).all(|other| proven[&other] == [3, 63, 123]), "{proven:?}");
    }

    #[test]
    fn event_says_what_is_broken_unknown_or_well() {
        let record = crate::model::report::status::tests::record("east");
        let shown = |fence: Option<Limit>, rights: Limit| {
            let (level, fields) = told("/etc/prometheus", &record, &AccountLimits { fence, rights });
            crate::render::logfmt::line("2026-11-25T10:15:00Z".parse().unwrap(), level, "limits", &fields)
        };
        let timeout = || Limit::Unknown(Error::new(Reason::Timeout, "east: no answer").hint("Is it there?"));
        let not_enforced = Error::new(Reason::FenceNotEnforced, "/configz answers 200 to the token");
        let wide = Error::new(Reason::CheckFailed, "the account may get secrets").hint("Find it");
        insta::assert_snapshot!(
            [
                shown(Some(Limit::Holds), Limit::Holds),
                shown(Some(Limit::Broken(not_enforced.clone())), Limit::Holds),
                shown(Some(Limit::Broken(not_enforced)), Limit::Broken(wide.clone())),
                shown(None, Limit::Broken(wide)),
                shown(Some(timeout()), timeout()),
                shown(None, Limit::Holds),
            ]
            .join("\n"),
            @r#"
        ts=2026-11-25T10:15:00Z level=info event=limits destination=/etc/prometheus cluster=east fence=enforced rights=narrow
        ts=2026-11-25T10:15:00Z level=error event=limits destination=/etc/prometheus cluster=east fence=broken rights=narrow reason=FenceNotEnforced msg="/configz answers 200 to the token" hint="Find, as an administrator, what differs and the command that restores it: kubectl prom-federate check east -p /etc/prometheus"
        ts=2026-11-25T10:15:00Z level=error event=limits destination=/etc/prometheus cluster=east fence=broken rights=wide reason=FenceNotEnforced msg="/configz answers 200 to the token; the account may get secrets" hint="Find it; Find, as an administrator, what differs and the command that restores it: kubectl prom-federate check east -p /etc/prometheus"
        ts=2026-11-25T10:15:00Z level=error event=limits destination=/etc/prometheus cluster=east fence=none rights=wide reason=CheckFailed msg="the account may get secrets" hint="Find it; Find, as an administrator, what differs and the command that restores it: kubectl prom-federate check east -p /etc/prometheus"
        ts=2026-11-25T10:15:00Z level=warn event=limits destination=/etc/prometheus cluster=east fence=unknown rights=unknown reason=Timeout msg="east: no answer" hint="Is it there?; Find the cause: kubectl prom-federate check east -p /etc/prometheus"
        ts=2026-11-25T10:15:00Z level=info event=limits destination=/etc/prometheus cluster=east fence=none rights=narrow
        "#
        );
    }
}
