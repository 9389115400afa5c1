//! `join --interactive`: the questions whose answers are flags.

use crate::{
    cli::{self, JoinArgs, RouteArg, Typed},
    destination::prometheus::process::{Configuration, configurations},
    error::Result,
    kubeconfig::ReadKubeconfig,
    model::{
        job::{
            JobSpec, JobSpecs,
            cost::{COSTS, Cost},
        },
        store::location::{FolderLocation, Location},
    },
    stages::interrupt::listen,
    ui::Ui,
};

/// The arguments with the answers. A flag that was given is not asked for.
///
/// # Errors
/// [`crate::error::Reason::ConfirmationNeeded`] without a terminal, [`crate::error::Reason::Interrupted`] at Ctrl-C, and
/// those of reading the kubeconfig.
pub(super) async fn answered(args: JoinArgs, ui: Ui) -> Result<JoinArgs> {
    ui.can_ask("join --interactive", "Give the answers as flags: kubectl prom-federate join --help")?;
    // Otherwise the signal would end the process where the cursor is hidden.
    listen();
    let Typed { jobs: has_jobs, route: has_route, duration: has_duration } = args.typed;
    let mut args = JoinArgs { interactive: false, typed: Typed::default(), ..args };
    if args.kube.context.is_empty() && !args.fleet.all_contexts && args.fleet.contexts_from.is_none() {
        args.kube.context = contexts(&args, ui)?;
    }
    if !has_jobs {
        args.what.jobs = jobs(ui)?;
    }
    if !has_route && !args.pin_nodes && have_nodes(&args.what.jobs) {
        (args.what.route, args.pin_nodes) = route(ui)?;
    }
    if !has_duration && !args.long_lived_token {
        let question = "Token lifetime, at least 10m; rotate renews the token";
        args.duration = ui.type_in(question, &args.duration.to_string(), cli::lifetime)?;
    }
    if args.to.prometheus.is_empty() {
        args.to.prometheus.extend(destination(args.kube.context.len() < 2, ui).await?);
    }
    Ok(args)
}

fn contexts(args: &JoinArgs, ui: Ui) -> Result<Vec<String>> {
    let read = ReadKubeconfig::read(args.kube.kubeconfig.as_deref())?;
    let current = read.entry(None).map(|entry| entry.context);
    let names: Vec<(String, bool)> =
        read.contexts().into_iter().map(|name| (name.clone(), current.as_ref() == Some(&name))).collect();
    if names.is_empty() {
        // The error of every other command.
        return Ok(Vec::new());
    }
    loop {
        let chosen = ui.choose_several("Clusters to join, by context", &names)?;
        if !chosen.is_empty() {
            let names = chosen.into_iter().map(|number| names[number].0.clone()).collect::<Vec<_>>();
            ui.say(&format!("Clusters to join: {}", names.join(", ")));
            return Ok(names);
        }
        ui.warn("mark at least one context");
    }
}

fn jobs(ui: Ui) -> Result<JobSpecs> {
    let usual = JobSpecs::default().to_string();
    let item = |cost: &Cost| (cost.line(), usual.split(',').any(|usual| usual == cost.word));
    let items: Vec<(String, bool)> = COSTS.iter().map(item).collect();
    loop {
        let chosen = ui.choose_several("Jobs, with their series and rights", &items)?;
        let mut words: Vec<String> = chosen.into_iter().map(|number| COSTS[number].word.to_owned()).collect();
        let others = ui.type_in("Other jobs, such as pods=shop,service=shop/web:8080", "none", |text| match text {
            "" | "none" => Ok(None),
            text => text.parse().map(|jobs: JobSpecs| Some(jobs.to_string())).map_err(|why| why.to_string()),
        })?;
        words.extend(others);
        if let Ok(jobs) = words.join(",").parse::<JobSpecs>() {
            ui.say(&format!("Jobs: {jobs}"));
            return Ok(jobs);
        }
        ui.warn("choose at least one job");
    }
}

/// Those that are found only later are not of nodes, but for node-exporter, whose pods have no route.
fn have_nodes(jobs: &JobSpecs) -> bool {
    jobs.words().iter().any(|word| matches!(word, JobSpec::Known(job) if job.is_of_nodes()))
}

fn route(ui: Ui) -> Result<(RouteArg, bool)> {
    let routes = [
        ("through the API server, limited by the fence", RouteArg::Apiserver, false),
        ("the same by node names: join or rotate again after adding nodes", RouteArg::Apiserver, true),
        ("straight to port 10250 of each node", RouteArg::Kubelet, false),
    ];
    let chosen = ui.choose("Route to the kubelets", &routes.map(|(text, ..)| text.to_owned()))?;
    let (_, route, is_pinned) = routes[chosen];
    Ok((route, is_pinned))
}

/// None where the jobs are printed.
async fn destination(can_print: bool, ui: Ui) -> Result<Option<Location>> {
    let found = configurations().await;
    let mut items: Vec<String> =
        found.iter().map(|Configuration { path, program }| format!("{} of {program}", path.display())).collect();
    items.push("another folder, ssh://HOST/DIR or operator://NAMESPACE".to_owned());
    if can_print {
        items.push("none: print the jobs with their token".to_owned());
    }
    let chosen = ui.choose("Destination of the jobs", &items)?;
    if let Some(Configuration { path, .. }) = found.into_iter().nth(chosen) {
        return Ok(Some(Location::Directory(FolderLocation::Here(path))));
    }
    if chosen + 1 == items.len() && can_print {
        return Ok(None);
    }
    let parse = |text: &str| text.parse::<Location>().map_err(|why| format!("the destination {why}"));
    ui.type_in("Destination", "", parse).map(Some)
}
