//! `status`: collect the facts from three sides, judge, show.

use super::{
    fleet::Contexts,
    resolve::{administrator, chosen, hub, no_cluster, one_context, open},
};
use crate::{
    cli::{self, DataOutput, StatusArgs},
    destination::{Destination, Options},
    error::Result,
    model::report::status::{ClusterStatus, DestinationStatus, StatusReport},
    render::{report, status::table},
    stages::collect::Collector,
    ui::Ui,
};
use jiff::Timestamp;

pub(super) async fn run(args: StatusArgs, ui: Ui) -> Result<()> {
    let StatusArgs { clusters, prometheus, prometheus_url, prometheus_http_config, output, fleet, mut kube } = args;
    let contexts = Contexts::new(&fleet, &mut kube, None)?;
    let connect = administrator(&kube, &fleet, ui);
    let options = Options {
        url: prometheus_url,
        http_config: prometheus_http_config,
        timeout: kube.request_timeout.limit(),
        read_only: true,
        hub: hub(&kube, ui),
        ..Options::default()
    };
    let destinations = open(&prometheus, &options).await?;
    let names: Vec<&str> = destinations.iter().map(Destination::name).collect();
    let clusters = chosen(&clusters, destinations.iter().flat_map(Destination::installed), &names)?;
    if clusters.is_empty() {
        ui.say(&no_cluster(&names));
    }
    one_context(&connect.choice, &clusters)?;
    let connect = contexts.administrator(connect, ui).await.reading_once();

    let collector = Collector { destinations: &destinations, options: &connect, write: cli::next };
    let facts = collector.run(&clusters).await;
    let now = Timestamp::from_second(Timestamp::now().as_second()).unwrap_or_default();
    let readers = destinations.iter().map(|destination| DestinationStatus {
        destination: destination.name().to_owned(),
        reader: destination.reader().name,
    });
    let clusters = facts.iter().map(|facts| ClusterStatus::new(facts, now));
    let report = StatusReport::new(now, readers.collect(), clusters.collect());
    match output {
        Some(DataOutput::Json) => ui.print(&report::json(&report))?,
        Some(DataOutput::Yaml) => ui.print(&report::yaml(&report))?,
        None => {
            ui.print(&table(&report))?;
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
