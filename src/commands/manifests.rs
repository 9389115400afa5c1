//! `manifests`: the objects of an account for Git, each rule with its reason.

use crate::{
    cli::ManifestsArgs,
    error::{Error, Result},
    model::{account::desired::Desired, kube::object::ManagedBy},
    render,
    ui::Ui,
};

pub(super) fn run(args: &ManifestsArgs, ui: Ui) -> Result<()> {
    let what = &args.what;
    let jobs = what.jobs.in_full().map_err(|error| {
        Error::usage(error.to_string()).hint("`join --dry-run=client` discovers it and prints the full spelling")
    })?;
    let jobs = jobs.by(what.route.into());
    let desired = Desired::new(&what.account.account(), &jobs, what.fence.into(), ManagedBy::Other);
    ui.print(&render::manifests::stream(&desired, &jobs))
}
