//! `dashboard`: dashboards for Grafana, printed or written into a folder.

use crate::{
    cli::{DashboardArg, DashboardArgs, DashboardOutput},
    error::{Error, Reason, Result},
    host,
    render::dashboard::{Dashboard, config_map},
    ui::Ui,
};
use std::path::Path;

pub(super) async fn run(args: &DashboardArgs, ui: Ui) -> Result<()> {
    let chosen = args.dashboard.map(Dashboard::from);
    let all = chosen.map_or_else(|| Dashboard::ALL.to_vec(), |one| vec![one]);
    match (&args.out, args.output) {
        (Some(folder), _) => write(folder, &all, ui).await,
        (None, DashboardOutput::Json) => ui.print(&chosen.unwrap_or(Dashboard::Fleet).json()),
        (None, DashboardOutput::Configmap) => ui.print(&config_map(&all)),
    }
}

/// Grafana reads the folder again and again, so each file is replaced at once.
async fn write(folder: &Path, dashboards: &[Dashboard], ui: Ui) -> Result<()> {
    for dashboard in dashboards {
        let path = folder.join(dashboard.file());
        host::replace(&path, 0o644, dashboard.json()).await.map_err(|error| {
            Error::new(Reason::WriteFailed, format!("cannot write {}: {error}", path.display()))
                .hint("Name an existing folder that you may write to: --out DIR")
        })?;
        ui.say(&format!("{} written", path.display()));
    }
    Ok(())
}

impl From<DashboardArg> for Dashboard {
    fn from(arg: DashboardArg) -> Self {
        match arg {
            DashboardArg::Fleet => Self::Fleet,
            DashboardArg::Cluster => Self::Cluster,
            DashboardArg::Nodes => Self::Nodes,
            DashboardArg::Pods => Self::Pods,
            DashboardArg::Scrape => Self::Scrape,
        }
    }
}
