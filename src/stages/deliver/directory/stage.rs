//! The files of one cluster in a directory, before they are put in place: staged, proven from that host, validated.

use super::{
    super::delivery::{Delivery, predecessors},
    overlap::Before,
    undo::UndoLog,
};
use crate::{
    clock,
    destination::{Directory, Installed},
    error::{Error, Reason, Result},
    host::Attempt,
    model::{
        access::Access,
        job::route::Route,
        plan::request::JoinRequest,
        report::UnreachableJob,
        store::{
            install::{Content, Files, Install, Operation, Step},
            layout::{self, CA, CHECKED, Generation, KUBELET_CA, Layout, TOKEN},
            location::Format,
            record::Record,
            rereading::Rereading,
        },
        text::{names::ClusterName, shell},
        token::{TokenLife, bearer::BearerToken},
    },
    render::{
        main_config,
        prometheus::{CredentialFiles, FormerDiscovery, ScrapeJobs, fragment, pem, same_jobs},
        rules::{self, ClusterRules},
        script::Question,
    },
    stages::grant::issue::random_suffix,
};

/// A cluster whose files are staged.
pub(super) struct Staged {
    pub(super) record: Record,
    pub(super) access: Access,
    pub(super) token: BearerToken,
    /// Whether the fragment in place stays.
    pub(super) stays: bool,
    /// The fragment without the discovery of the jobs before, if it has that too.
    pub(super) alone: Option<String>,
    pub(super) uptake: Uptake,
    /// The jobs as a separate configuration, if the fragment alone is not a valid one.
    pub(super) wrapped: Option<String>,
    pub(super) generation: Generation,
    pub(super) commit: Vec<Step>,
    /// The replaced generations.
    pub(super) former: Option<Record>,
    pub(super) must_be_seen: bool,
    pub(super) away: Vec<UnreachableJob>,
    /// The other host that reaches the cluster with this token.
    pub(super) proven_from: Option<String>,
}

/// What Prometheus makes of new files that are in place.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Uptake {
    /// It knows them when it has reloaded.
    Reload,
    /// It reads the token again: there is no other one that it might use. It has to reload the rules.
    Token,
    /// The rules that it has loaded are right too, if it knows of the rotation.
    All,
}

/// The result of a request from the host of Prometheus.
pub(super) enum HostProof {
    Accepted(Box<Staged>),
    Refused(ClusterName, Error),
}

/// Stages the files of one cluster.
pub(super) async fn stage(
    destination: &Directory,
    undo: &UndoLog,
    delivery: Delivery,
    rereading: Rereading,
) -> Result<Staged> {
    let Delivery { mut record, access, token, must_be_seen, away } = delivery;
    let (format, mut request) = (record.format, record.request());
    // Prometheus 2 reads such a page as text by itself and does not know the field.
    request.fallback = request.fallback.filter(|_| !destination.is_prometheus_2());
    let installed = destination.cluster(&record.cluster).await?;
    record.replaces = predecessors(&installed);
    // An account that renews its own token in a copy of the folder makes the copy no original.
    if record.machine().is_none() {
        record.machine = destination.folder.identity().machine().map(str::to_owned);
    }
    let generation = Generation::new(clock::now(), &random_suffix()[..6]);
    let layout = Layout(&record.cluster);
    let ca = access.ca.as_ref().map(|ca| pem(&ca.certificates));
    let kubelet_ca = access.kubelet_ca.as_ref().map(|ca| pem(&ca.certificates));
    let through_current = may_name_current(destination, &installed, rereading, [&ca, &kubelet_ca]).await?;
    let is_watched = through_current && format == Format::Prometheus && !destination.is_agent;
    let rotated = is_watched.then(|| layout::rotated(destination.folder.id()));
    let jobs_with = |paths: Format, through_current: bool, former: Option<FormerDiscovery>| {
        let path = |name| {
            let file = if through_current { layout.current_file(name) } else { layout.file(&generation, name) };
            destination.path_in_jobs(&file, paths)
        };
        fragment(
            ScrapeJobs { request: &request, access: &access },
            &CredentialFiles {
                token: &path(TOKEN),
                ca: &path(CA),
                kubelet_ca: &path(KUBELET_CA),
                rotated: rotated.as_deref().map(&path).as_deref(),
                expires: (!through_current).then_some(record.token.expires),
                rotate: &shell::plugin(["rotate", record.cluster.as_str(), "--now", "-p", destination.name()]),
                leave: &shell::plugin(["leave", record.cluster.as_str(), "-p", destination.name()]),
            },
            former,
            format,
        )
    };
    let fragment = |through_current, former| jobs_with(format, through_current, former);
    refuse_second_job(destination, &request)?;
    let here = destination.folder.typed_or_absolute();
    let rules = |token: TokenLife| {
        rules::file(&ClusterRules {
            cluster: &record.cluster,
            jobs: &record.jobs,
            pace: request.pace,
            token: Some(token),
            rotated: is_watched.then_some(destination.folder.id()),
            destination: Some(&here),
        })
    };
    let former = installed.record().cloned();
    let rules_hold = match &former {
        _ if destination.is_agent => true,
        Some(former) if former.token.is_as_long_as(record.token) => {
            destination.folder.read(&layout.rules()).await? == Some(rules(former.token))
        }
        _ => false,
    };
    let in_place = destination.folder.read(&layout.fragment()).await?;
    let jobs = fragment(through_current, None);
    let stays = through_current && in_place.as_ref().is_some_and(|in_place| same_jobs(in_place, &jobs));
    // A collector forgets all targets at a reload.
    let before = if stays || format != Format::Prometheus {
        None
    } else {
        Before::find(destination, &installed, in_place.as_deref(), (&request, &access), through_current).await
    };
    let beside = before.as_ref().map(|before| fragment(through_current, Some(before.discovery())));
    let wrapped = if stays { None } else { wrapped(format, || jobs_with(Format::Vmagent, false, None)) };
    let files = Files {
        token: token.clone(),
        ca,
        kubelet_ca,
        record: serde_json::to_string_pretty(&record).expect("a record has string keys") + "\n",
        fragment: (!stays).then(|| beside.clone().unwrap_or_else(|| jobs.clone())),
        through_current,
        rules: (!destination.is_agent).then(|| rules(record.token)),
        rotated,
    };
    let Install { stage, commit } = Install::new(&record.cluster, &generation, files, &installed.present);
    undo.run(destination, Some(&record.cluster), &stage).await?;
    let uptake = match (stays && installed.generations.len() == 1, rules_hold) {
        (false, _) => Uptake::Reload,
        (true, false) => Uptake::Token,
        (true, true) => Uptake::All,
    };
    Ok(Staged {
        record,
        access,
        token,
        stays,
        alone: beside.is_some().then_some(jobs),
        uptake,
        wrapped,
        generation,
        commit,
        former,
        must_be_seen,
        away,
        proven_from: None,
    })
}

/// The jobs, whose paths are absolute, as part of a configuration. What validates them may open their files, and the link
/// does not lead there yet.
fn wrapped(format: Format, jobs: impl FnOnce() -> String) -> Option<String> {
    match format {
        Format::Prometheus => None,
        Format::Vmagent => Some(format!("scrape_configs:\n{}", jobs())),
        Format::Otel => Some(jobs()),
    }
}

/// Sends a request from the host of Prometheus to the API server with the new token and its CA, before files are put
/// in place. If the host cannot send the request, Prometheus must prove the access.
///
/// # Errors
/// [`Reason::SshFailed`].
pub(super) async fn prove_from_host(destination: &Directory, staged: Staged) -> Result<HostProof> {
    let Staged { record, access, token, generation, .. } = &staged;
    let ca = Layout(&record.cluster).file(generation, CA);
    let question = Question {
        url: &format!("{}/version", access.url),
        token,
        ca: access.ca.is_some().then_some(&ca),
        tls_server_name: access.tls_server_name.as_deref(),
        proxy: access.proxy.as_ref().map(ToString::to_string),
        seconds: destination.options.timeout.map(|timeout| timeout.as_secs().max(1)),
    };
    let (host, url) = (destination.folder.host.name().unwrap_or_default(), &access.url);
    let refused = |why: String, hint: &str| {
        let error = Error::new(Reason::ProofFailed, why).about(destination.name());
        HostProof::Refused(record.cluster.clone(), error.hint(hint).hint("Nothing was put in place"))
    };
    Ok(match destination.folder.host.ask_api_server(&question).await? {
        Attempt::Absent => HostProof::Accepted(Box::new(staged)),
        Attempt::Done(401) => refused(
            format!("{url} answers 401 to {host}: it refuses the new token, which it accepts from this host"),
            "Does this address lead to the same cluster from that host? Name another address with --api-server",
        ),
        Attempt::Refused(why) => refused(
            format!("{host} does not reach {url} with the CA of {}: {why}", record.cluster),
            "Name an address that the host of Prometheus reaches: --api-server URL, --api-server-proxy URL",
        ),
        Attempt::Done(_) => HostProof::Accepted(Box::new(Staged {
            // Only Prometheus can prove that it reaches the kubelets themselves.
            must_be_seen: staged.must_be_seen && record.route == Route::Kubelet,
            proven_from: Some(host.to_owned()),
            ..staged
        })),
    })
}

/// Whether the jobs may name the link, for what reads them and these CAs.
async fn may_name_current(
    destination: &Directory,
    installed: &Installed,
    rereading: Rereading,
    cas: [&Option<String>; 2],
) -> Result<bool> {
    Ok(match rereading {
        Rereading::TokenAndCa => true,
        Rereading::Token => has_cas(destination, installed, cas).await?,
        Rereading::Nothing => false,
    })
}

/// Whether these CAs are those in use, so that nothing needs to read them again.
async fn has_cas(destination: &Directory, installed: &Installed, cas: [&Option<String>; 2]) -> Result<bool> {
    let Some(live) = &installed.live else { return Ok(true) };
    for (name, ca) in [CA, KUBELET_CA].into_iter().zip(cas) {
        let path = Layout(&installed.cluster).file(&live.generation, name);
        if destination.folder.read(&path).await?.as_ref() != ca.as_ref() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Rejects a second job of the same name: Prometheus would reject the whole configuration, now and at its next start.
///
/// # Errors
/// [`Reason::ConfigRefused`].
pub(super) fn refuse_second_job(destination: &Directory, request: &JoinRequest) -> Result<()> {
    let Directory { folder, known, main, .. } = destination;
    let jobs: Vec<String> = request.jobs.iter().map(|job| job.scrape_job(&request.cluster)).collect();
    let of_main = || main.job_names().into_iter().find_map(|name| jobs.iter().find(|job| **job == name));
    let own = Layout(&request.cluster).fragment();
    let other = known.other_with(&own, &jobs)?.or_else(|| Some((folder.main.as_str(), of_main()?)));
    let Some((file, name)) = other else { return Ok(()) };
    Err(Error::new(
        Reason::ConfigRefused,
        format!("{} has a job {name} already; nothing was put in place", folder.shown(file)),
    )
    .hint("Delete the job there (join may have printed it earlier), or choose another label with --cluster-name NAME"))
}

/// Validates the new files and the main configuration, because any error would stop the reload.
///
/// # Errors
/// [`Reason::ConfigRefused`].
pub(super) async fn validate(
    destination: &Directory,
    undo: &UndoLog,
    main: &str,
    staged: &[Staged],
) -> Result<Option<&'static str>> {
    if destination.format == Format::Otel {
        return validate_by_collector(destination, undo, main, staged).await;
    }
    let by = destination.check(main).await?;
    for Staged { record, stays, wrapped, .. } in staged {
        let layout = Layout(&record.cluster);
        match wrapped {
            None if *stays => None,
            None => destination.check(&layout.staged_fragment()).await?,
            // vmagent's list of jobs is valid only within a main configuration.
            Some(wrapped) => {
                while_written(destination, undo, wrapped.clone(), async || destination.check(CHECKED).await).await?
            }
        };
        if !destination.is_agent {
            destination.check_rules(&layout.staged_rules()).await?;
        }
    }
    Ok(by)
}

/// The same by a collector: as one configuration, in which the new jobs take the place of those that they replace.
async fn validate_by_collector(
    destination: &Directory,
    undo: &UndoLog,
    main: &str,
    staged: &[Staged],
) -> Result<Option<&'static str>> {
    let main = (main != destination.folder.main).then_some(main);
    let replaced: Vec<String> = staged.iter().map(|staged| Layout(&staged.record.cluster).fragment()).collect();
    let new: Vec<&str> = staged.iter().filter_map(|staged| staged.wrapped.as_deref()).collect();
    if new.is_empty() {
        return destination.check_collector(main, None).await;
    }
    let others = destination.known.fragments().filter(|path| !replaced.contains(path));
    let others: Vec<String> = others.map(|path| destination.folder.root.join(path).display().to_string()).collect();
    let text = main_config::with_jobs(destination.receiver_of_jobs(), &others, &new);
    while_written(destination, undo, text, async || destination.check_collector(main, Some(CHECKED)).await).await
}

/// Has a text checked that is a file for that moment.
async fn while_written<T>(
    destination: &Directory,
    undo: &UndoLog,
    text: String,
    check: impl AsyncFnOnce() -> Result<T>,
) -> Result<T> {
    let write = Operation::Write { path: CHECKED.to_owned(), content: Content::Plain(text) };
    let remove = Operation::Remove { path: CHECKED.to_owned() };
    undo.run(destination, None, &[Step { operation: write, undo: Some(remove.clone()) }]).await?;
    let outcome = check().await;
    destination.folder.host.execute(undo.ownership, &remove).await?;
    outcome
}
