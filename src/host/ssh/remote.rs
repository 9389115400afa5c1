//! Another host with a main configuration, and the shell that answers requests there.

use super::{answer::Item, session::Session};
use crate::{
    error::{Error, Reason, Result},
    host::{
        ownership::Ids,
        tree::{MAIN_LIMIT, too_large},
    },
    model::{
        store::location::SshLocation,
        text::{line, shell::word},
    },
};
use jiff::Timestamp;
use std::{path::PathBuf, sync::Arc, time::Duration};

/// The limit for requests that read and write files.
pub(super) const SOON: Duration = Duration::from_secs(60);
/// What the network adds to the limit of a program.
pub(super) const SLACK: Duration = Duration::from_secs(10);

/// Another host, with the folder of its main configuration.
#[derive(Clone, Debug)]
pub struct Remote {
    pub(super) session: Arc<Session>,
    pub(super) location: SshLocation,
    /// As in paths of scp: `admin@prom-0`.
    pub place: String,
    /// Its `uname -n`.
    pub nodename: String,
    /// As [`crate::host::Host::machine`].
    pub machine: Option<String>,
    /// The user of the shell.
    pub ids: Ids,
    pub(in crate::host) tools: Tools,
}

/// Programs that the host has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each for itself")]
pub(in crate::host) struct Tools {
    pub curl: bool,
    pub wget: bool,
    /// GNU wget verifies certificates; that of busybox does not.
    pub gnu_wget: bool,
    pub promtool: bool,
}

/// A host and its main configuration.
pub(in crate::host) struct Found {
    pub remote: Remote,
    pub root: PathBuf,
    pub main: String,
    pub main_text: String,
}

impl Remote {
    /// Connects and reads the main configuration.
    ///
    /// # Errors
    /// As [`Session::open`]; [`Reason::DestinationUnusable`].
    pub(in crate::host) async fn open(location: &SshLocation, timeout: Option<Duration>) -> Result<Found> {
        let session = Session::open(location, timeout).await?;
        let answer = session.ask(&format!("locate {}", word(&location.path)), SOON).await?;
        let unusable = |what: String, hint: &str| Error::new(Reason::DestinationUnusable, what).hint(hint);
        let rights = if session.restricted {
            "Connect as a user who may read and write there (ssh://root@HOST/DIR), or allow this user sudo without a password"
        } else {
            "Name the folder of prometheus.yml on that host, or that file: -p ssh://HOST/etc/prometheus"
        };
        if let Some(missing) = answer.first("missing") {
            return Err(unusable(
                format!("{}: cannot open {}: {}", session.host, location.path, missing.complaint()),
                rights,
            ));
        }
        let text = |kind: &str| answer.first(kind).map(Item::text).unwrap_or_default();
        let (root, main) = (text("root"), text("main"));
        if let Some(unreadable) = answer.items.iter().find(|item| item.kind == "unreadable" && item.of == "config") {
            let why = unreadable.complaint();
            let path = format!("{root}/{main}");
            return Err(if why.contains("No such file") {
                let hint = "If the configuration file has another name: -p ssh://HOST/DIR/FILE.yml";
                unusable(format!("{}: {} has no {main}", session.host, location.path), hint)
            } else {
                unusable(format!("{}: cannot read {path}: {why}", session.host), rights)
            });
        }
        let numbers: Vec<u32> = answer
            .first("ids")
            .map(|ids| ids.of.split_whitespace().filter_map(|number| number.parse().ok()).collect())
            .unwrap_or_default();
        let [uid, gid, groups @ ..] = numbers.as_slice() else {
            return Err(Error::new(
                Reason::SshFailed,
                format!("{}: the host does not report the user's id", session.host),
            )
            .hint("Is the login shell a POSIX shell, with the usual programs on its PATH?"));
        };
        let main_text = String::from_utf8(answer.first("config").map(|item| item.body.clone()).unwrap_or_default())
            .map_err(|_| {
                let hint = "Name the configuration file of Prometheus: -p ssh://HOST/DIR/FILE.yml";
                unusable(format!("{}: {root}/{main} is not UTF-8 text", session.host), hint)
            })?;
        if main_text.len() as u64 > MAIN_LIMIT {
            let why = too_large(MAIN_LIMIT);
            return Err(unusable(format!("{}: cannot read {root}/{main}: {why}", session.host), rights));
        }
        let has = |tool: &str| answer.items.iter().any(|item| item.kind == "tool" && item.of == tool);
        let user = location.user.as_ref().map(|user| format!("{user}@")).unwrap_or_default();
        let remote = Self {
            place: format!("{user}{}", location.host),
            nodename: line::escaped(text("host").trim()),
            machine: Some(line::escaped(text("machine").trim())).filter(|machine| machine.len() == 32),
            ids: Ids { uid: *uid, gid: *gid, groups: groups.to_vec() },
            tools: Tools { curl: has("curl"), wget: has("wget"), gnu_wget: has("gnu-wget"), promtool: has("promtool") },
            session: Arc::new(session),
            location: location.clone(),
        };
        Ok(Found { remote, root: root.into(), main, main_text })
    }

    /// Its name in messages.
    pub(crate) fn host(&self) -> &str {
        &self.session.host
    }

    /// Whether the shell runs as root by sudo.
    pub(crate) fn is_root_by_sudo(&self) -> bool {
        self.session.by_sudo
    }

    /// The clock of that host: whole seconds, rounded down, if its `date` knows no nanoseconds.
    pub(in crate::host) async fn now(&self) -> Result<Timestamp> {
        let answer = self.session.ask("say now\ndate +%s.%N", SOON).await?;
        let text = answer.first("now").map(Item::text).unwrap_or_default();
        let (seconds, rest) = text.trim().split_once('.').unwrap_or((text.trim(), ""));
        let nanoseconds = rest.parse().ok().filter(|_| rest.len() == 9).unwrap_or(0);
        seconds.parse().ok().and_then(|seconds| Timestamp::new(seconds, nanoseconds).ok()).ok_or_else(|| {
            Error::new(Reason::SshFailed, format!("{}: the host does not report its time", self.host()))
                .hint("Does `date +%s` work there?")
        })
    }
}
