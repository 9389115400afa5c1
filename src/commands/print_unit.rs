//! `rotate --print-unit`: a systemd service that runs this program with `rotate --watch` and the flags that were given.

use crate::{
    cli::{FormatArg, RotateArgs},
    destination::{ConfigFolder, Installed, prometheus::http_config},
    error::{Error, Reason, Result},
    kubeconfig::{self, Needs, source},
    model::{
        store::{
            layout,
            location::{FolderLocation, Format, Location},
            reload::ReloadMode,
        },
        text::shell,
    },
    render::unit::{HOMES, HttpConfigFile, KubeconfigFile, Root, RunsAs, Unit},
    ui::Ui,
};
use std::{
    collections::BTreeSet,
    env,
    os::unix::fs::MetadataExt,
    path::{self, Path, PathBuf},
};

pub(super) async fn run(args: &RotateArgs, ui: Ui) -> Result<()> {
    let program = env::current_exe().map_err(|error| {
        Error::new(Reason::NotFound, format!("cannot find the file of this program: {error}"))
            .hint("Run it by its full path")
    })?;
    // A service has no working folder of its own.
    let mut service = RotateArgs { watch: true, print_unit: false, ..args.clone() };
    for path in service.paths_mut() {
        *path = absolute(path)?;
    }
    refuse_pipes(&service)?;
    let (mut writable, mut folders, mut configs) = (Vec::new(), Vec::new(), Vec::new());
    let has_environment = |format: Option<FormatArg>| matches!(format, Some(FormatArg::Vmagent | FormatArg::Otel));
    let (mut owners, mut reads_environment) = (BTreeSet::new(), has_environment(service.to.format));
    for location in &service.to.prometheus {
        // Another host's folders and a hub are no folders of this one.
        let Location::Directory(folder @ FolderLocation::Here(_)) = location else { continue };
        let opened = ConfigFolder::open(folder, None).await?;
        owners.insert(opened.owner().await?);
        let folder = opened.root.join(layout::FOLDER);
        if !folder.is_dir() {
            let first = format!(
                "{} does not exist: no cluster is joined there yet, so there is no token to rotate",
                folder.display()
            );
            let join = shell::plugin(["join", "--context", "NAME", "-p", &location.to_string()]);
            return Err(Error::new(Reason::DestinationUnusable, first).hint(format!("Join a cluster first: {join}")));
        }
        let installed = opened.clusters().await?.installed;
        reads_environment |=
            installed.values().flatten().filter_map(Installed::record).any(|one| one.format != Format::Prometheus);
        configs.push(opened.config());
        writable.push(absolute(&folder)?);
        folders.extend([opened.root, folder]);
    }
    let finds_prometheus = !writable.is_empty();
    let of_metrics = service.metrics_file.as_deref().and_then(Path::parent).map(Path::to_owned);
    folders.extend(of_metrics.clone());
    writable.extend(of_metrics);
    let needs = service.kube.kubeconfig.as_deref().and_then(kubeconfig::needs);
    let kubeconfig = match needs {
        Some(Needs { files: false, .. }) => service.kube.kubeconfig.take(),
        _ => None,
    };
    let of_http_config = service.to.prometheus_http_config.as_deref().map(http_config::other_files).transpose()?;
    let http_config = match &of_http_config {
        Some(others) if others.is_empty() => service.to.prometheus_http_config.take(),
        _ => None,
    };
    let of_http_config = of_http_config.unwrap_or_default();
    // ssh looks for keys and known hosts in the home of the user that runs it.
    let has_ssh = |location: &Location| matches!(location, Location::Directory(FolderLocation::Ssh(_)));
    let reads_home = needs.is_some_and(|needs| needs.plugins)
        || service.to.prometheus.iter().any(has_ssh)
        || [&program].into_iter().chain(&writable).chain(&of_http_config).any(|path| is_in_a_home(path))
        || service.paths_mut().any(|path| is_in_a_home(path));
    // As whom the service runs is said with --owner on this command line alone.
    let runs_as = service.to.owner.clone();
    let reader = if owners.len() == 1 { owners.pop_first().flatten() } else { None };
    let reader_group = reader.as_ref().and_then(|reader| reader.group.as_deref()).filter(|group| *group != "0");
    let root = Root {
        group: reader_group.map(str::to_owned),
        finds_prometheus,
        // A reader that is not known now is found when the service runs.
        gives_files: folders.iter().any(|folder| is_of_another(folder))
            || finds_prometheus && reader.as_ref().is_none_or(|reader| reader.user != "0" && reader_group.is_none()),
        reads_files: reads_home
            || needs.is_some_and(|needs| needs.files)
            || !of_http_config.is_empty()
            || reads_environment
            || configs.iter().any(|config| is_of_another(config)),
    };
    if service.to.owner.is_none() {
        service.to.owner = reader;
    }
    let words = service.words();
    if let Some(at) = words.iter().position(|word| word.contains(char::is_control)) {
        // Only its name: a command of --reload may hold a password.
        let flag = words[..=at].iter().rev().find(|word| word.starts_with('-')).unwrap_or(&words[at]);
        return Err(unfit(flag.split('=').next().unwrap_or_default()));
    }
    let unit = Unit {
        program: text(&program)?,
        arguments: &words,
        writable: &writable.iter().map(|folder| text(folder).map(str::to_owned)).collect::<Result<Vec<_>>>()?,
        runs_as: runs_as.as_ref().map_or(RunsAs::Root(root), RunsAs::Owner),
        reads_home,
        kubeconfig: match needs {
            Some(needs) => Some(KubeconfigFile {
                passed_on: kubeconfig.as_deref().map(text).transpose()?,
                has_plugins: needs.plugins,
            }),
            None => None,
        },
        http_config: match (&http_config, &of_http_config[..]) {
            (Some(path), _) => Some(HttpConfigFile::PassedOn(text(path)?)),
            (None, []) => None,
            (None, _) => Some(HttpConfigFile::NamesOthers),
        },
        runs_a_command: matches!(service.to.reload, ReloadMode::Command(_)),
    };
    ui.print(&unit.render())
}

/// # Errors
/// A file of a flag that cannot be read again later.
fn refuse_pipes(service: &RotateArgs) -> Result<()> {
    let read_again =
        [("--kubeconfig", &service.kube.kubeconfig), ("--prometheus-http-config", &service.to.prometheus_http_config)];
    for (flag, path) in read_again {
        let Some(path) = path.as_ref().filter(|path| !source::lasts(path)) else { continue };
        let shown = path.display();
        return Err(Error::usage(format!(
            "{flag} {shown} is no file that lasts, and a service reads it at every rotation"
        ))
        .hint(format!(
            "Write it to a file that only the service's user can read: (umask 077; cat PIPE > FILE), then {flag} FILE"
        )));
    }
    Ok(())
}

fn is_of_another(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| metadata.uid() != 0)
}

/// A link may lead there too.
fn is_in_a_home(path: &Path) -> bool {
    let leads_to = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    HOMES.iter().any(|home| path.starts_with(home) || leads_to.starts_with(home))
}

/// The path in full, if a unit can name it.
fn absolute(path: &Path) -> Result<PathBuf> {
    let path = path::absolute(path)
        .map_err(|error| Error::usage(format!("{}: {error}", path.display())).hint("Name the full path"))?;
    text(&path)?;
    Ok(path)
}

fn text(path: &Path) -> Result<&str> {
    let text = path.to_str().filter(|text| !text.contains(char::is_control));
    text.ok_or_else(|| unfit(&path.to_string_lossy()))
}

fn unfit(what: &str) -> Error {
    Error::usage(format!("{what:?} has characters that a systemd unit cannot contain")).hint("Use a name without them")
}
