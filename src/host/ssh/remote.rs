//! Another host with a main configuration, and the shell that answers requests there.

use super::{
    answer::{Answer, Item},
    session::Session,
};
use crate::{
    error::{Error, Reason, Result},
    host::{
        Attempt,
        main_file::{MainFile, ReadMain},
        ownership::Ids,
        tree::{MAIN_LIMIT, too_large},
    },
    model::{
        store::{install::LeftOfEdit, location::SshLocation},
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
    /// A mv that can replace a link to a folder.
    pub mv: bool,
}

/// A host and its main configuration.
pub(in crate::host) struct Found {
    pub remote: Remote,
    pub root: PathBuf,
    pub main: String,
    pub read: ReadMain,
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
        let read = match main_configuration(&answer) {
            Attempt::Done(read) => read,
            Attempt::Absent => {
                let hint = "If the configuration file has another name: -p ssh://HOST/DIR/FILE.yml";
                return Err(unusable(format!("{}: {} has no {main}", session.host, location.path), hint));
            }
            Attempt::Refused(why) if why == NOT_TEXT => {
                let hint = "Name the configuration file of Prometheus: -p ssh://HOST/DIR/FILE.yml";
                return Err(unusable(format!("{}: {root}/{main} is not UTF-8 text", session.host), hint));
            }
            Attempt::Refused(why) => {
                return Err(unusable(format!("{}: cannot read {root}/{main}: {why}", session.host), rights));
            }
        };
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
        let has = |tool: &str| answer.items.iter().any(|item| item.kind == "tool" && item.of == tool);
        let user = location.user.as_ref().map(|user| format!("{user}@")).unwrap_or_default();
        let remote = Self {
            place: format!("{user}{}", location.host),
            nodename: line::escaped(text("host").trim()),
            machine: Some(line::escaped(text("machine").trim())).filter(|machine| machine.len() == 32),
            ids: Ids { uid: *uid, gid: *gid, groups: groups.to_vec() },
            tools: Tools {
                curl: has("curl"),
                wget: has("wget"),
                gnu_wget: has("gnu-wget"),
                promtool: has("promtool"),
                mv: has("mv-T"),
            },
            session: Arc::new(session),
            location: location.clone(),
        };
        Ok(Found { remote, root: root.into(), main, read })
    }

    /// The main configuration; absent if it is not there any more.
    pub(in crate::host) async fn read_main(&self) -> Result<Attempt<ReadMain>> {
        Ok(main_configuration(&self.session.ask("main_configuration", SOON).await?))
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

const NOT_TEXT: &str = "it is not UTF-8 text";

/// What an answer says of the main configuration.
fn main_configuration(answer: &Answer) -> Attempt<ReadMain> {
    if let Some(unreadable) = answer.items.iter().find(|item| item.kind == "unreadable" && item.of == "config") {
        let why = unreadable.complaint();
        return if why.contains("No such file") { Attempt::Absent } else { Attempt::Refused(why) };
    }
    let body = |kind: &str| answer.first(kind).map(|item| item.body.clone());
    let staged = body("prom-federate.new");
    let (left, content) =
        LeftOfEdit::find(body("config").unwrap_or_default(), staged.as_deref(), body("before-prom-federate"));
    if content.len() as u64 > MAIN_LIMIT {
        return Attempt::Refused(too_large(MAIN_LIMIT));
    }
    let Ok(text) = String::from_utf8(content) else { return Attempt::Refused(NOT_TEXT.to_owned()) };
    let file = MainFile {
        link: answer.first("link").map(|item| line::escaped(item.text().trim_end()).into()),
        is_mounted: answer.has("mounted"),
        has_other_names: answer.has("other-names"),
        has_attributes: answer.has("attributes"),
        is_of_others: answer.has("of-others"),
        unwritable: answer.has("unwritable").then(|| "permission denied, or it is read-only or immutable".to_owned()),
        // The shell refuses such a folder.
        may_be_swapped: false,
    };
    Attempt::Done(ReadMain { text, left, file })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hostile;

    fn read(items: &[(&str, &str, &str)]) -> Attempt<ReadMain> {
        let item = |(kind, of, body): &(&str, &str, &str)| Item {
            kind: (*kind).into(),
            of: (*of).into(),
            body: (*body).into(),
        };
        main_configuration(&Answer { items: items.iter().map(item).collect(), succeeded: true })
    }

    #[test]
    fn main_configuration_of_another_host_is_read_with_what_hangs_on_it() {
        let plain = ReadMain { text: "global: {}".into(), ..ReadMain::default() };
        assert_eq!(read(&[("config", "", "global: {}")]), Attempt::Done(plain.clone()));
        let file = MainFile { is_mounted: true, has_attributes: true, ..MainFile::default() };
        let held = [("config", "", "global: {}"), ("mounted", "", ""), ("attributes", "", "")];
        assert_eq!(read(&held), Attempt::Done(ReadMain { file, ..plain.clone() }));
        let torn = [("config", "", "ab3"), ("prom-federate.new", "", "abc"), ("before-prom-federate", "", "123")];
        let before = ReadMain { text: "123".into(), left: LeftOfEdit::Torn, file: MainFile::default() };
        assert_eq!(read(&torn), Attempt::Done(before));
        let gone = [("config", "", ""), ("unreadable", "config", "cat: prometheus.yml: No such file or directory\n")];
        assert_eq!(read(&gone), Attempt::Absent);
    }

    #[test]
    fn hostile_answers_are_survived() {
        hostile::texts(&["global: {}\nscrape_configs: []\n", "cat: x: No such file or directory\n"], |body| {
            for kind in ["config", "link", "unreadable", "prom-federate.new", "before-prom-federate"] {
                let _ =
                    read(&[("config", "", "global: {}"), (kind, "config", body), ("before-prom-federate", "", body)]);
            }
        });
    }
}
