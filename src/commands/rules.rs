//! `rules`: alerting rules of clusters of which nothing is known but their names.

use crate::{
    cli::RulesArgs,
    error::Result,
    model::job::Pace,
    render::rules::{ClusterRules, joint_file},
    ui::Ui,
};
use std::collections::BTreeSet;

pub(super) fn run(args: &RulesArgs, ui: Ui) -> Result<()> {
    // Their order does not matter, and a name that is there twice would make the file one that Prometheus refuses.
    let clusters: BTreeSet<_> = args.clusters.iter().collect();
    let pace = Pace { interval: args.scrape_interval, timeout: args.scrape_interval };
    let rules: Vec<_> = clusters
        .into_iter()
        .map(|cluster| ClusterRules { cluster, jobs: &args.jobs, pace, token: None, destination: None })
        .collect();
    ui.print(&joint_file(&rules))
}
