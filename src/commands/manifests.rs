//! `manifests`: the objects of an account for Git, each rule with its reason.

use crate::{
    cli::ManifestsArgs,
    error::Result,
    model::object::{Desired, ManagedBy},
    render,
    ui::Ui,
};

pub(super) fn run(args: &ManifestsArgs, ui: Ui) -> Result<()> {
    let what = &args.what;
    let desired = Desired::new(&what.account.account(), &what.jobs, what.fence.into(), ManagedBy::Other);
    ui.print(&render::manifests::stream(&desired, &what.jobs))
}
