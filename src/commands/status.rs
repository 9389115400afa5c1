//! `status`: collect the facts from three sides, judge, show; once, or again and again.

use super::{
    fleet::Contexts,
    resolve::{administrator, chosen, hub, no_cluster, one_context, open, progress},
};
use crate::{
    cli::{self, DataOutput, StatusArgs},
    clock,
    destination::{Destination, Options},
    error::Result,
    model::report::status::{ClusterStatus, DestinationStatus, StatusReport},
    render::{
        logfmt::{self, Level},
        report,
        status::{changes, screen, summary, table, view},
    },
    stages::{collect::Collector, interrupt::until_interrupted},
    ui::{Screen, Ui},
};
use jiff::Timestamp;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Between two looks of a watch. It is longer where a look takes longer.
const PERIOD: Duration = Duration::from_secs(10);

pub(super) async fn run(args: StatusArgs, ui: Ui) -> Result<()> {
    if args.watch {
        return Box::pin(until_interrupted(watch(&args, ui))).await;
    }
    let report = look(&args, ui).await?;
    match args.output {
        Some(DataOutput::Json) => ui.print(&report::json(&report))?,
        Some(DataOutput::Yaml) => ui.print(&report::yaml(&report))?,
        None => {
            show(&report, args.only_broken, ui)?;
            ui.tell(&report.lines());
        }
    }
    report.verdict().map_err(|error| {
        report.expired_together().fold(error, |error, (destination, count)| {
            let rotate = cli::rotate_all(destination);
            error.hint(format!("All {count} tokens of {destination} that have expired: {rotate}"))
        })
    })
}

/// The summary is not a row, so it is no part of a table that a program reads.
fn show(report: &StatusReport, is_selection: bool, ui: Ui) -> Result<()> {
    match ui.screen() {
        Some(screen) if report.summary.clusters > 0 => screen.print(&view(report, screen.size().0)),
        _ => {
            if is_selection || report.summary.clusters > 1 {
                ui.say_painted(summary(report));
            }
            ui.print(&table(report))
        }
    }
}

async fn look(args: &StatusArgs, ui: Ui) -> Result<StatusReport> {
    let StatusArgs {
        clusters,
        prometheus,
        prometheus_url,
        prometheus_http_config,
        output: _,
        only_broken,
        watch: _,
        fleet,
        kube,
    } = args;
    let mut kube = kube.clone();
    let contexts = Contexts::new(fleet, &mut kube, None)?;
    let connect = administrator(&kube, fleet, ui);
    let options = Options {
        url: prometheus_url.clone(),
        http_config: prometheus_http_config.clone(),
        timeout: kube.request_timeout.limit(),
        read_only: true,
        hub: hub(&kube, ui),
        ..Options::default()
    };
    let destinations = open(prometheus, &options, ui).await?;
    let names: Vec<&str> = destinations.iter().map(Destination::name).collect();
    let clusters = chosen(clusters, destinations.iter().flat_map(Destination::installed), &names)?;
    if clusters.is_empty() {
        ui.say(&no_cluster(&names));
    }
    one_context(&connect.choice, &clusters)?;
    let connect = contexts.administrator(connect, ui).await.reading_once();

    let looks = progress(ui, &destinations, &clusters, connect.connection.timeout);
    let collector = Collector { destinations: &destinations, options: &connect, write: cli::next, looks: &looks };
    let facts = collector.run(&clusters).await;
    let now = Timestamp::from_second(clock::now().as_second()).unwrap_or_default();
    let readers = destinations.iter().map(|destination| DestinationStatus {
        destination: destination.name().to_owned(),
        reader: destination.reader().name,
    });
    let clusters = facts.iter().map(|facts| ClusterStatus::new(facts, now));
    let report = StatusReport::new(now, readers.collect(), clusters.collect());
    Ok(if *only_broken { report.only_broken() } else { report })
}

/// Does not end by itself, unless the reader of its lines wants no more.
async fn watch(args: &StatusArgs, ui: Ui) -> Result<()> {
    let mut terminal = ui.screen().filter(Screen::can_refresh);
    let mut last = look(args, ui).await?;
    let mut lines = changes(None, &last);
    let (mut failing, mut took) = (None, Duration::ZERO);
    loop {
        if let Some(terminal) = &mut terminal {
            let (columns, lines) = terminal.size();
            terminal.refresh(&screen(&last, columns, lines, failing.as_deref()))?;
        } else {
            for line in &lines {
                if !ui.still_prints(line)? {
                    return Ok(());
                }
            }
        }
        sleep(took.max(PERIOD)).await;
        let began = Instant::now();
        // Live lines have no place on a screen or in a log.
        let looked = look(args, ui.muted()).await;
        took = began.elapsed();
        match looked {
            Ok(report) => {
                failing = None;
                lines = changes(Some(&last), &report);
                last = report;
            }
            Err(error) => {
                let said = format!("error ({}): {error}", error.reason);
                let fields = [("reason", error.reason.to_string()), ("msg", error.to_string())];
                let is_news = failing.as_ref() != Some(&said);
                lines = Vec::from_iter(is_news.then(|| logfmt::line(clock::now(), Level::Error, "failed", &fields)));
                failing = Some(said);
            }
        }
    }
}
