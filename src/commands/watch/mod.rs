//! `rotate --watch`: determines the due tokens and the time of the next one, replaces the due ones, sleeps; until a signal
//! ends it. Meanwhile it proves what limits each account.

mod board;
mod proving;
mod recurring;

use super::resolve::{administrator, options, teller};
use crate::{
    cli::{self, RotateArgs},
    clock,
    destination::{Destination, Installed, Known, Options, clusters_since},
    error::{Error, Reason, Result},
    model::{
        report::RotationReport,
        store::location::Location,
        text::{duration::Seconds, line, names::ClusterName},
        token::{
            TokenLife,
            schedule::{self, PROOF_INTERVAL, RotationHistory, Turns},
        },
    },
    render::{
        logfmt::{Level, time},
        metrics::ClusterMetrics,
    },
    stages::{
        connect::ConnectOptions,
        events::Events,
        interrupt::{interrupted, interruption, listen, until_interrupted},
        rotate::{Which, is_named, record_of, rotate_one},
    },
    ui::{NotifyState, Ui, tell_service_manager},
};
use board::Board;
use futures_util::future::{Either, select};
use jiff::Timestamp;
use proving::Proving;
use recurring::RecurringError;
use std::{collections::BTreeMap, future::pending, mem, pin::pin};

/// The signal that ends a service.
const SERVICE_MANAGER: &str = "SIGTERM";
/// A record that cannot be read is read again in the next cycle.
const CYCLE: Seconds = Seconds(schedule::LONGEST_SLEEP.as_secs());

pub(super) async fn run(args: RotateArgs, ui: Ui) -> Result<()> {
    let mut watch = Watch {
        options: options(&args.to, &args.kube, false, ui)?,
        connect: administrator(&args.kube, &args.fleet, ui),
        places: args.to.prometheus.into_iter().map(Place::new).collect(),
        named: args.clusters,
        ui,
    };
    let board = Board::new(args.metrics_file, ui);
    let places: Vec<_> = watch.places.iter().map(|place| (place.name.clone(), place.location.clone())).collect();
    let (named, options, connection) = (watch.named.clone(), watch.options.clone(), watch.connect.connection.clone());
    let proven = async {
        let Some(turns) = Turns::every(args.proof_interval.unwrap_or(PROOF_INTERVAL)) else { return pending().await };
        let proving = Proving { named: &named, options: &options, connection: &connection, turns, board: &board, ui };
        let (never, _) = tokio::join!(proving.run(&places), board.follow());
        never
    };
    tokio::select! {
        ended = Box::pin(watch.until_asked_to_end(&board)) => ended,
        never = Box::pin(proven) => match never {},
    }
}

/// Runs the work until a signal asks for the end; then unfinished work is undone. Returns the signal.
async fn to_its_end(
    work: impl Future<Output = ()>,
    asked: impl Future<Output = &'static str> + Unpin,
    ui: Ui,
) -> Option<&'static str> {
    match select(pin!(work), asked).await {
        Either::Left(_) => None,
        Either::Right((signal, work)) => {
            tell_service_manager(&[NotifyState::Stopping]);
            ui.event(Level::Info, "stopping", &[("signal", signal.to_owned())]);
            work.await;
            Some(signal)
        }
    }
}

struct Watch {
    options: Options,
    connect: ConnectOptions,
    places: Vec<Place>,
    /// No name means all, also those that will be joined.
    named: Vec<ClusterName>,
    ui: Ui,
}

impl Watch {
    /// # Errors
    /// [`Reason::Interrupted`] where a person interrupted a rotation. To be ended by a service manager is no failure.
    async fn until_asked_to_end(&mut self, board: &Board) -> Result<()> {
        let ui = self.ui;
        listen();
        let mut asked = pin!(interruption());
        let destinations: Vec<&str> = self.places.iter().map(|place| place.name.as_str()).collect();
        let fields = [("version", env!("CARGO_PKG_VERSION").to_owned()), ("destinations", destinations.join(","))];
        ui.event(Level::Info, "started", &fields);
        self.cycle().await;
        self.warn_of_unknown_names();
        tell_service_manager(&[NotifyState::Ready, NotifyState::Status(&self.status())]);
        loop {
            if let Some(signal) = to_its_end(Box::pin(self.round(board)), &mut asked, ui).await {
                return self.stopped(signal, signal == SERVICE_MANAGER);
            }
            tell_service_manager(&[NotifyState::Status(&self.status())]);
            let now = clock::now();
            let pause = schedule::sleep(now, self.next(now).map(|(due, ..)| due));
            tokio::select! {
                () = tokio::time::sleep(pause) => self.cycle().await,
                signal = &mut asked => {
                    tell_service_manager(&[NotifyState::Stopping]);
                    return self.stopped(signal, true);
                }
            }
        }
    }

    fn stopped(&self, signal: &str, was_to_be_expected: bool) -> Result<()> {
        self.ui.event(Level::Info, "stopped", &[("signal", signal.to_owned())]);
        if was_to_be_expected {
            return Ok(());
        }
        Err(Error::new(Reason::Interrupted, format!("interrupted by {signal} during a rotation"))
            .hint("The unfinished rotation is undone; run the same command again"))
    }

    async fn cycle(&mut self) {
        for place in &mut self.places {
            place.cycle(&self.named, &self.options, self.ui).await;
        }
    }

    /// Replaces what is due.
    async fn round(&mut self, board: &Board) {
        for place in &mut self.places {
            // The next start goes on where this one was ended.
            if interrupted().is_none() {
                place.rotate(&self.named, &self.options, &self.connect, self.ui).await;
            }
        }
        board.show(self.places.iter().flat_map(Place::metrics).collect()).await;
    }

    /// A later join may add them; more often the name is mistyped.
    fn warn_of_unknown_names(&self) {
        let known = |name: &&ClusterName| self.places.iter().any(|place| place.clusters.contains_key(name));
        for name in self.named.iter().filter(|name| !known(name)) {
            self.ui.warn(&format!("no destination has a cluster {name} yet"));
        }
    }

    /// What is due next, and when.
    fn next(&self, now: Timestamp) -> Option<(Timestamp, &ClusterName, &Place)> {
        let dues = self.places.iter().flat_map(|place| {
            place.clusters.iter().filter_map(move |(name, cluster)| Some((cluster.next(now)?, name, place)))
        });
        dues.min_by_key(|(due, ..)| *due)
    }

    /// One line for the service manager.
    fn status(&self) -> String {
        match self.next(clock::now()) {
            None => "no cluster yet".to_owned(),
            Some((due, cluster, place)) => line::escaped(&format!("next: {cluster} at {}, {}", place.name, time(due))),
        }
    }
}

/// One destination, as it was seen last.
struct Place {
    location: Location,
    /// As it was typed.
    name: String,
    clusters: BTreeMap<ClusterName, Watched>,
    known: Known,
    /// It cannot be opened.
    unseen: RecurringError,
}

/// One cluster at a destination.
#[derive(Default)]
struct Watched {
    /// None where its record cannot be read.
    life: Option<Life>,
    past: RotationHistory,
    unread: RecurringError,
}

/// What its record says.
struct Life {
    uid: String,
    token: TokenLife,
    arrived: Option<Timestamp>,
}

impl Watched {
    fn next(&self, now: Timestamp) -> Option<Timestamp> {
        self.life.as_ref().map(|life| self.past.next(&life.uid, life.token, life.arrived, now))
    }
}

impl Place {
    fn new(location: Location) -> Self {
        let (clusters, known) = Default::default();
        Self { name: location.to_string(), location, clusters, known, unseen: RecurringError::default() }
    }

    /// Reads the records again, because other runs may join, leave or rotate. Unreadable destinations keep their last
    /// state.
    async fn cycle(&mut self, named: &[ClusterName], options: &Options, ui: Ui) {
        let now = clock::now();
        let known = mem::take(&mut self.known);
        let known = match until_interrupted(Box::pin(clusters_since(known, &self.location, options))).await {
            Ok(known) => known,
            Err(error) if error.reason == Reason::Interrupted => return,
            Err(error) => {
                if self.unseen.is_news(&error, now) {
                    ui.event(Level::Error, "failed", &failure(&self.name, None, &error, Some(CYCLE)));
                }
                return;
            }
        };
        self.unseen.is_over();
        let mut before = mem::take(&mut self.clusters);
        for (cluster, installed) in known.installed.iter().filter(|(cluster, _)| is_named(cluster, named)) {
            let mut watched = before.remove(cluster).unwrap_or_default();
            match life_of(installed) {
                // What a killed run left: no jobs.
                Ok(None) => continue,
                Ok(life) => {
                    watched.life = life;
                    watched.unread.is_over();
                }
                Err(error) => {
                    watched.life = None;
                    if watched.unread.is_news(&error, now) {
                        let fields = failure(&self.name, Some(cluster.as_str()), &error, Some(CYCLE));
                        ui.event(Level::Error, "failed", &fields);
                    }
                }
            }
            self.clusters.insert(cluster.clone(), watched);
        }
        self.known = known;
    }

    /// Those of its clusters that are due, delivered together.
    async fn rotate(&mut self, named: &[ClusterName], options: &Options, connect: &ConnectOptions, ui: Ui) {
        let now = clock::now();
        let is_due = |watched: &Watched| watched.next(now).is_some_and(|next| next <= now);
        let due: BTreeMap<ClusterName, TokenLife> = self
            .clusters
            .iter()
            .filter(|(_, watched)| is_due(watched))
            .filter_map(|(cluster, watched)| Some((cluster.clone(), watched.life.as_ref()?.token)))
            .collect();
        // The error has been reported, and the destination is opened again soon.
        if due.is_empty() || self.unseen.now.is_some() {
            return;
        }
        let opened = Destination::open_again(&self.location, options, mem::take(&mut self.known));
        let reports = match until_interrupted(Box::pin(opened)).await {
            Ok(mut destination) => {
                let tell = teller(ui);
                let which = Which::Chosen(&due);
                let reports = rotate_one(&mut destination, &which, connect, cli::next, Events::new(&tell)).await;
                self.known = destination.into_known();
                reports
            }
            Err(error) => vec![RotationReport::failed(&self.name, None, None, &error)],
        };
        self.cycle(named, options, ui).await;
        let now = clock::now();
        for (cluster, old) in due {
            let Some(watched) = self.clusters.get_mut(&cluster) else { continue };
            let about: Vec<&RotationReport> =
                reports.iter().filter(|report| report.is_about(&self.name, &cluster)).collect();
            if about.iter().any(|report| report.failure.is_some()) {
                watched.past.failed(old, now);
            } else if let (true, Some(life)) = (about.iter().any(|report| report.rotated), &watched.life) {
                watched.past.rotated(life.token, now);
            }
        }
        for report in &reports {
            self.tell(report, now, ui);
        }
    }

    fn tell(&self, report: &RotationReport, now: Timestamp, ui: Ui) {
        let of_this = |cluster: &ClusterName| report.is_about(&self.name, cluster);
        let next =
            self.clusters.iter().filter(|(cluster, _)| of_this(cluster)).filter_map(|(_, one)| one.next(now)).min();
        let cluster = report.cluster.as_deref();
        let rights = (!report.objects.is_empty()).then(|| {
            let changed: Vec<String> = report.objects.iter().map(|one| format!("{} {}", one.name, one.verb)).collect();
            changed.join(", ")
        });
        if let Some(error) = &report.failure {
            let retry = next.filter(|_| error.reason != Reason::Interrupted);
            let mut fields = failure(&self.name, cluster, error, retry.map(|next| until(now, next)));
            fields.extend(rights.map(|rights| ("rights", rights)));
            ui.event(Level::Error, "failed", &fields);
        } else if report.rotated {
            let fields = [
                ("destination", Some(self.name.clone())),
                ("cluster", cluster.map(str::to_owned)),
                ("expires", report.expires.map(time)),
                ("due", next.map(time)),
                ("by", report.by.map(|by| by.word().to_owned())),
                ("reader", report.reader.clone()),
                ("rights", rights),
                ("targets_up", report.targets_up.map(|up| up.to_string())),
                ("targets", report.targets.map(|targets| targets.to_string())),
            ];
            let known: Vec<(&str, String)> =
                fields.into_iter().filter_map(|(key, value)| Some((key, value?))).collect();
            ui.event(Level::Info, "rotated", &known);
        }
    }

    fn metrics(&self) -> Vec<ClusterMetrics> {
        let of = |(cluster, watched): (&ClusterName, &Watched)| {
            let token = watched.life.as_ref().map(|life| life.token);
            let rotation = token.is_none_or(|token| watched.past.is_failing(token));
            ClusterMetrics {
                destination: self.name.clone(),
                cluster: cluster.to_string(),
                token,
                last_failure: watched.past.last_failure().max(watched.unread.last).max(self.unseen.last),
                failing: rotation || self.unseen.now.is_some(),
                limits: None,
            }
        };
        self.clusters.iter().map(of).collect()
    }
}

fn life_of(installed: &Result<Installed>) -> Result<Option<Life>> {
    let arrived = installed.as_ref().ok().and_then(Installed::arrived);
    Ok(record_of(installed)?.map(|record| Life { uid: record.uid.clone(), token: record.token, arrived }))
}

/// What is said of a failure. Hints are the commands that mend it.
fn failure(
    destination: &str,
    cluster: Option<&str>,
    error: &Error,
    retry_in: Option<Seconds>,
) -> Vec<(&'static str, String)> {
    let mut fields = vec![("destination", destination.to_owned())];
    fields.extend(cluster.map(|cluster| ("cluster", cluster.to_owned())));
    fields.push(("reason", error.reason.to_string()));
    fields.push(("msg", error.to_string()));
    if !error.hints.is_empty() {
        fields.push(("hint", error.hints.join("; ")));
    }
    fields.extend(retry_in.map(|seconds| ("retry_in", seconds.to_string())));
    fields
}

fn until(now: Timestamp, then: Timestamp) -> Seconds {
    Seconds(then.duration_since(now).as_secs().try_into().unwrap_or_default())
}
