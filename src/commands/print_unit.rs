//! `rotate --print-unit`: a systemd service that runs this program with `rotate --watch` and the flags that were given.

use crate::{
    cli::{FormatArg, RotateArgs},
    destination::ConfigFolder,
    error::{Error, Reason, Result},
    model::{
        store::{
            layout,
            location::{FolderLocation, Location},
        },
        text::shell,
    },
    render::unit::{HOMES, Unit},
    ui::Ui,
};
use std::{
    env,
    path::{self, Path, PathBuf},
};

pub(super) fn run(args: &RotateArgs, ui: Ui) -> Result<()> {
    let program = env::current_exe().map_err(|error| {
        Error::new(Reason::NotFound, format!("cannot find this program's own file: {error}"))
            .hint("Call it by its full path")
    })?;
    let mut paths = Paths::default();
    let program = paths.read(&program)?;
    let mut writable = Vec::new();
    for location in &args.to.prometheus {
        let (folder, typed) = match location {
            Location::Directory(folder @ FolderLocation::Here(typed)) => (folder, typed),
            Location::Directory(FolderLocation::Ssh(_)) => {
                // ssh looks for keys and known hosts in the home of whoever runs it.
                paths.any_in_a_home = true;
                continue;
            }
            // The hub is no folder of this host.
            Location::Operator(_) => continue,
        };
        let folder = ConfigFolder::open(folder, None)?.root.join(layout::FOLDER);
        if !folder.is_dir() {
            return Err(Error::new(
                Reason::DestinationUnusable,
                format!("{} is not there: nothing was delivered yet that a service could keep alive", folder.display()),
            )
            .hint(format!(
                "Join a cluster first: kubectl prom-federate join --context NAME -p {}",
                shell::word(&typed.display().to_string())
            )));
        }
        writable.push(paths.read(&folder)?);
    }
    if let Some(folder) = args.metrics_file.as_deref().map(absolute).transpose()?.as_deref().and_then(Path::parent) {
        writable.push(paths.read(folder)?);
    }
    let arguments = arguments(args, &mut paths)?;
    let unit = Unit {
        program: &program,
        arguments: &arguments,
        writable: &writable,
        owner: args.to.owner.as_ref(),
        reads_home: paths.any_in_a_home,
    };
    ui.print(&unit.render())
}

/// The command line from `rotate` on, with absolute paths: a service has no working folder of its own.
fn arguments(args: &RotateArgs, paths: &mut Paths) -> Result<Vec<String>> {
    let mut words = vec!["rotate".to_owned(), "--watch".to_owned()];
    words.extend(args.clusters.iter().map(ToString::to_string));
    let mut flag = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            // One word, so that a value may begin with a dash.
            words.push(format!("--{name}={value}"));
        }
    };
    let (to, kube) = (&args.to, &args.kube);
    for location in &to.prometheus {
        flag(
            "prometheus",
            Some(match location {
                Location::Directory(FolderLocation::Here(path)) => paths.read(path)?,
                elsewhere => elsewhere.to_string(),
            }),
        );
    }
    flag("prometheus-url", to.prometheus_url.clone());
    flag("reload", Some(to.reload.to_string()).filter(|reload| reload != "auto"));
    flag(
        "format",
        to.format.map(|format| {
            match format {
                FormatArg::Prometheus => "prometheus",
                FormatArg::Vmagent => "vmagent",
                FormatArg::Script => "script",
            }
            .to_owned()
        }),
    );
    flag("owner", to.owner.as_ref().map(ToString::to_string));
    flag("metrics-file", args.metrics_file.as_deref().map(|path| paths.read(path)).transpose()?);
    flag("kubeconfig", kube.kubeconfig.as_deref().map(|path| paths.read(path)).transpose()?);
    flag("context", kube.context.clone());
    flag("as", kube.impersonate.clone());
    for group in &kube.impersonate_groups {
        flag("as-group", Some(group.clone()));
    }
    flag("as-uid", kube.impersonate_uid.clone());
    for (key, value) in &kube.impersonate_extra {
        flag("as-user-extra", Some(format!("{key}={value}")));
    }
    // `Debug` writes it as `--request-timeout` reads it.
    flag("request-timeout", Some(format!("{:?}", kube.request_timeout)).filter(|timeout| timeout != "10s"));
    flag("v", Some(kube.verbosity.to_string()).filter(|level| level != "0"));
    match words.iter().find(|word| word.contains(char::is_control)) {
        // Only its name: a command of --reload may hold a password.
        Some(word) => Err(unfit(word.split('=').next().unwrap_or_default())),
        None => Ok(words),
    }
}

/// Paths that the service uses.
#[derive(Default)]
struct Paths {
    any_in_a_home: bool,
}

impl Paths {
    /// As a unit names it.
    fn read(&mut self, path: &Path) -> Result<String> {
        let path = absolute(path)?;
        // A link may lead there too.
        let leads_to = path.canonicalize().unwrap_or_else(|_| path.clone());
        self.any_in_a_home |= HOMES.iter().any(|home| path.starts_with(home) || leads_to.starts_with(home));
        let text = path.to_str().filter(|text| !text.contains(char::is_control));
        text.map(str::to_owned).ok_or_else(|| unfit(&path.to_string_lossy()))
    }
}

fn absolute(path: &Path) -> Result<PathBuf> {
    path::absolute(path)
        .map_err(|error| Error::usage(format!("{}: {error}", path.display())).hint("Name the full path"))
}

fn unfit(what: &str) -> Error {
    Error::usage(format!("{what:?} has characters that a systemd unit cannot have")).hint("Name it without them")
}
