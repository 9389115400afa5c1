//! `rules`: alerting rules of clusters of which nothing is known but their names, or of those that a destination knows.

use super::resolve::{chosen, expect_questions, no_cluster};
use crate::{
    cli::RulesArgs,
    destination::{self, Options, Source},
    error::{Error, Reason, Result},
    model::{job::ScrapeTiming, store::location::Location, text::duration::RequestTimeout},
    render::rules::{ClusterRules, joint_file},
    ui::Ui,
};
use std::{collections::BTreeSet, slice};

pub(super) async fn run(args: &RulesArgs, ui: Ui) -> Result<()> {
    if let Some(location) = &args.prometheus {
        return known(args, location, ui).await;
    }
    // Their order does not matter, and a name that is there twice would make the file one that Prometheus refuses.
    let clusters: BTreeSet<_> = args.clusters.iter().collect();
    let pace = ScrapeTiming { interval: args.scrape_interval, timeout: args.scrape_interval };
    let rules: Vec<_> = clusters
        .into_iter()
        .map(|cluster| ClusterRules { cluster, jobs: &args.jobs, pace, token: None, destination: None, rotated: None })
        .collect();
    ui.print(&joint_file(&rules))
}

/// By the records. An unreadable record stops the command: a file without its rules would silently watch nothing.
async fn known(args: &RulesArgs, location: &Location, ui: Ui) -> Result<()> {
    let typed = location.to_string();
    // A connection to another host takes as long as it takes.
    let timeout = RequestTimeout::default().limit().filter(|_| matches!(location, Location::Operator(_)));
    expect_questions(slice::from_ref(location), ui);
    let known = destination::records(location, &Options { timeout, ..Options::default() }).await?;
    let (destination, installed, source) = (known.typed, known.installed, known.source);
    let mut records = Vec::new();
    for cluster in chosen(&args.clusters, &installed, &[&typed])? {
        match installed[&cluster].clone()?.live {
            Some(live) => {
                let rotated = match &source {
                    Source::Directory(folder) => folder.rotated(&cluster, &live.generation).await?,
                    Source::Operator(_) => None,
                };
                records.push((live.record?, rotated));
            }
            None if args.clusters.is_empty() => {}
            None => {
                return Err(Error::new(Reason::ClusterUnknown, format!("{typed} has no jobs of {cluster}"))
                    .hint(no_cluster(&[&typed])));
            }
        }
    }
    if records.is_empty() {
        ui.say(&no_cluster(&[&typed]));
        return Ok(());
    }
    let rules: Vec<_> = records
        .iter()
        .map(|(record, rotated)| ClusterRules {
            rotated: *rotated,
            cluster: &record.cluster,
            jobs: &record.jobs,
            pace: ScrapeTiming { interval: record.scrape_interval, timeout: record.scrape_timeout },
            token: Some(record.token),
            destination: Some(&destination),
        })
        .collect();
    ui.print(&joint_file(&rules))
}
