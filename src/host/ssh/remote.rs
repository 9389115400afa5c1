//! What is done on another host, as questions to the shell there and what their answers mean.

use super::session::{Answer, Item, Session};
use crate::{
    error::{Error, Reason, Result},
    host::{
        AfterCut, Attempt, Ended, Program,
        ownership::{Folder, Ids},
        process::{Holding, Process},
    },
    model::{
        store::{
            install::{FileOwnership, Operation, Step},
            location::{FileOwner, SshLocation},
        },
        text::{line, shell::word},
    },
    render::script::{self, Question},
};
use jiff::Timestamp;
use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

/// The problem of a host that cannot send HTTP requests.
pub(crate) const NO_HTTP_PROGRAM: &str = "neither curl nor wget is installed on that host";
/// For what takes a moment: reading and writing files.
const SOON: Duration = Duration::from_secs(60);
/// For the way there and back, where a program there has a limit of its own.
const SLACK: Duration = Duration::from_secs(10);

/// Another host, with the folder of its main configuration.
#[derive(Clone, Debug)]
pub struct Remote {
    session: Arc<Session>,
    /// As scp writes it: `admin@prom-0`.
    pub place: String,
    /// Its own name.
    pub nodename: String,
    /// As whom the shell runs.
    pub ids: Ids,
    pub(in crate::host) tools: Tools,
}

/// Programs of that host that we can make use of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each for itself")]
pub(in crate::host) struct Tools {
    pub curl: bool,
    pub wget: bool,
    /// GNU's, which verifies certificates; busybox' does not.
    pub gnu_wget: bool,
    pub promtool: bool,
}

/// The main configuration that was found there.
pub(in crate::host) struct Found {
    pub remote: Remote,
    pub root: PathBuf,
    pub main: String,
    pub main_text: String,
}

/// Files of our folder as they were.
#[derive(Debug, Default)]
pub struct Tree(BTreeMap<String, Entry>);

#[derive(Debug)]
enum Entry {
    Folder,
    /// Its content does not matter.
    There,
    File(Vec<u8>),
    /// Why not.
    Unreadable(String),
}

impl Tree {
    fn read(answer: Answer) -> Self {
        let entries = answer.items.into_iter().filter_map(|item| {
            let entry = match item.kind.as_str() {
                "folder" => Entry::Folder,
                "there" => Entry::There,
                "file" => Entry::File(item.body),
                "unreadable" => Entry::Unreadable(complaint(&item)),
                _ => return None,
            };
            Some((item.of, entry))
        });
        Self(entries.collect())
    }

    /// What is in a folder, and whether each may be a folder; none if it is not there. The error says why it cannot be read.
    pub(in crate::host) fn list(&self, folder: &str) -> Result<Option<Vec<(String, bool)>>, String> {
        match self.0.get(folder) {
            None | Some(Entry::File(_) | Entry::There) => Ok(None),
            Some(Entry::Unreadable(why)) => Err(why.clone()),
            Some(Entry::Folder) => {
                let inner = format!("{folder}/");
                let of = self.0.range(inner.clone()..).take_while(|(path, _)| path.starts_with(&inner));
                let own = of.filter(|(path, _)| !path[inner.len()..].contains('/'));
                let is_folder = |entry: &Entry| matches!(entry, Entry::Folder | Entry::Unreadable(_));
                Ok(Some(own.map(|(path, entry)| (path[inner.len()..].to_owned(), is_folder(entry))).collect()))
            }
        }
    }

    /// A file as text; none if it is not there.
    pub(in crate::host) fn text(&self, path: &str) -> Result<Option<String>, String> {
        match self.0.get(path) {
            Some(Entry::File(bytes)) => {
                String::from_utf8(bytes.clone()).map(Some).map_err(|_| "it is not UTF-8 text".to_owned())
            }
            Some(Entry::Unreadable(why)) => Err(why.clone()),
            _ => Ok(None),
        }
    }

    pub(in crate::host) fn has(&self, path: &str) -> bool {
        self.0.contains_key(path)
    }
}

/// What a program of that host said, on one line, without its own name.
fn complaint(item: &Item) -> String {
    let last = line::last(&item.text());
    // `cat: prom-federate/east: Permission denied`
    last.rsplit(": ").next().unwrap_or_default().to_owned()
}

/// A fetched page.
pub(crate) struct Fetched {
    pub code: u16,
    pub body: String,
}

impl Remote {
    /// Connects and finds the main configuration. Blocks, also on what ssh asks on the terminal.
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
                format!("{}: cannot open {}: {}", session.host, location.path, complaint(missing)),
                rights,
            ));
        }
        let text = |kind: &str| answer.first(kind).map(Item::text).unwrap_or_default();
        let (root, main) = (text("root"), text("main"));
        if let Some(unreadable) = answer.items.iter().find(|item| item.kind == "unreadable" && item.of == "config") {
            let why = complaint(unreadable);
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
        let has = |tool: &str| answer.items.iter().any(|item| item.kind == "tool" && item.of == tool);
        let user = location.user.as_ref().map(|user| format!("{user}@")).unwrap_or_default();
        let remote = Self {
            place: format!("{user}{}", location.host),
            nodename: line::escaped(text("host").trim()),
            ids: Ids { uid: *uid, gid: *gid, groups: groups.to_vec() },
            tools: Tools { curl: has("curl"), wget: has("wget"), gnu_wget: has("gnu-wget"), promtool: has("promtool") },
            session: Arc::new(session),
        };
        Ok(Found { remote, root: root.into(), main, main_text })
    }

    /// As people know it.
    pub(crate) fn host(&self) -> &str {
        &self.session.host
    }

    /// Whether it writes as root, which sudo made it.
    pub(crate) fn is_root_by_sudo(&self) -> bool {
        self.session.by_sudo
    }

    /// Whether the host undoes unfinished changes by itself, because the connection is lost.
    pub(in crate::host) fn is_lost(&self) -> bool {
        self.session.is_lost()
    }

    /// What there is of one cluster, or of all.
    pub(in crate::host) async fn tree(&self, cluster: Option<&str>) -> Result<Tree> {
        self.session.ask(&format!("tree {}", cluster.map_or("'*'".to_owned(), word)), SOON).await.map(Tree::read)
    }

    /// One file, as text.
    pub(in crate::host) async fn read(&self, path: &str) -> Result<Attempt<String>> {
        Ok(Tree::read(self.session.ask(&format!("content {}", word(path)), SOON).await?).text(path).into())
    }

    /// Whether these are there, links that lead nowhere included.
    pub(in crate::host) async fn are_there(&self, paths: &[String]) -> Result<Vec<bool>> {
        if paths.is_empty() {
            return Ok(Vec::new());
        }
        let asked: String = paths.iter().map(|path| format!("! is_there {} || say there {0}\n", word(path))).collect();
        let tree = Tree::read(self.session.ask(&asked, SOON).await?);
        Ok(paths.iter().map(|path| tree.has(path)).collect())
    }

    /// Takes the lock. False if another run holds it.
    pub(in crate::host) async fn lock(&self) -> Result<bool> {
        let answer = self.session.ask("lock", SOON).await?;
        match answer.first("failed") {
            Some(failed) => Err(self.write_failed(failed)),
            None => Ok(!answer.has("busy")),
        }
    }

    pub(in crate::host) fn unlock(&self) {
        // A host that is lost has let go by itself.
        self.session.tell("unlock", SOON);
    }

    /// Takes the steps in order; what undoes each that was begun goes on `undo`.
    pub(in crate::host) async fn run_noting(
        &self,
        ownership: FileOwnership,
        steps: &[Step],
        undo: &mut Vec<Operation>,
    ) -> Result<()> {
        let folder = |step: &Step| match &step.operation {
            Operation::MakeFolder { path } if step.undo.is_some() => Some(path.clone()),
            _ => None,
        };
        let folders: Vec<String> = steps.iter().filter_map(folder).collect();
        let there_before = self.are_there(&folders).await?;
        let text = [script::readers(ownership), script::function("run", steps), "run\n".to_owned()].concat();
        let answer = self.session.ask(&text, SOON).await?;
        let failed = answer.first("failed");
        let begun = failed.map_or(steps.len(), |failed| {
            let at = failed.of.split(' ').next().and_then(|at| at.parse::<usize>().ok()).unwrap_or_default();
            (at + 1).min(steps.len())
        });
        for step in &steps[..begun] {
            let is_there =
                |path: String| folders.iter().zip(&there_before).any(|(folder, there)| *folder == path && *there);
            if !folder(step).is_some_and(is_there) {
                undo.extend(step.undo.clone());
            }
        }
        failed.map_or(Ok(()), |failed| Err(self.write_failed(failed)))
    }

    /// There is nothing any more that a lost connection would take back.
    pub(in crate::host) async fn finished(&self) -> Result<()> {
        self.session.ask("finished\nagain() { :; }", SOON).await.map(drop)
    }

    /// What a lost connection has done there after everything is undone.
    pub(in crate::host) async fn after_a_cut(&self, reload: &AfterCut<'_>) -> Result<()> {
        let text = match reload {
            AfterCut::Nothing => String::new(),
            AfterCut::Post(url) => self.request("POST", url, None),
            AfterCut::HangUp(processes) => {
                processes.iter().map(|(pid, started)| format!("hang_up {pid} {started}\n")).collect()
            }
            AfterCut::Command { command, limit } => reload_command(command, *limit) + "reload_command",
        };
        self.session.ask(&format!("again() {{\n:\n{text}\n}}"), SOON).await.map(drop)
    }

    fn write_failed(&self, item: &Item) -> Error {
        let path = item.of.split_once(' ').map_or("", |(_, path)| path);
        let why = complaint(item);
        let hint = if why.contains("No space") || why.contains("quota") {
            "Free space there and run the command again"
        } else if why.contains("Read-only") {
            "Mount it writable, or name another destination with -p"
        } else if why.contains("denied") || why.contains("not permitted") {
            "Connect as a user who may write there (ssh://root@HOST/DIR), or allow this user sudo without a password"
        } else {
            "Check the path with ls -la, and run the command again"
        };
        let host = self.host();
        Error::new(Reason::WriteFailed, format!("{host}: cannot write {path}: {why}")).hint(hint)
    }

    /// The clock of that host. A shell with no finer clock gives whole seconds, rounded down.
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

    /// The processes of that host that may be consumers, by their arguments or their program.
    pub(in crate::host) async fn candidates(&self) -> Result<Vec<Process>> {
        let answer = self.session.ask("consumers", SOON).await?;
        let mut processes: Vec<Process> = Vec::new();
        for item in &answer.items {
            if item.kind == "process" {
                processes.extend(item.of.parse().ok().map(|pid| Process::new(pid, item.body.clone())));
                continue;
            }
            let Some(process) = processes.last_mut() else { continue };
            match item.kind.as_str() {
                "exe" => {
                    let exe = PathBuf::from(item.text().trim_end_matches('\n'));
                    process.exe = Some(exe).filter(|exe| exe.is_absolute());
                }
                "status" => process.status = item.text(),
                "stat" => process.stat = item.text(),
                "same-network" => process.shares_network = true,
                _ => {}
            }
        }
        Ok(processes)
    }

    /// Which of these processes mean our main configuration by these paths.
    pub(in crate::host) async fn holding(&self, named: &[(i32, PathBuf)]) -> Result<Vec<Option<Holding>>> {
        let asked: String =
            named.iter().filter_map(|(pid, path)| Some(format!("holds {pid} {}\n", word(path.to_str()?)))).collect();
        let answer = self.session.ask(&asked, SOON).await?;
        let says =
            |kind: &str, pid: i32| answer.items.iter().any(|item| item.kind == kind && item.of == pid.to_string());
        let holding = |pid: i32| says("holds", pid).then(|| Holding { shares_mounts: says("shares", pid) });
        Ok(named.iter().map(|(pid, _)| holding(*pid)).collect())
    }

    /// Sends SIGHUP; absent where the process has ended.
    pub(in crate::host) async fn hang_up(&self, pid: i32, started: u64) -> Result<Attempt<()>> {
        let answer = self.session.ask(&format!("hang_up {pid} {started}"), SOON).await?;
        Ok(match answer.first("refused") {
            Some(refused) => Attempt::Refused(complaint(refused)),
            None if answer.has("gone") => Attempt::Absent,
            None => Attempt::Done(()),
        })
    }

    /// A command of `--reload`, for a shell there. Its text is in the arguments of no process.
    pub(in crate::host) async fn command(&self, command: &str, limit: Duration) -> Result<Ended> {
        let function = reload_command(command, limit);
        let text = format!("{function}said=$(reload_command)\nsay ended $?\nprintf %s \"$said\"");
        let answer = self.session.ask(&text, limit + SLACK).await?;
        let ended = answer.first("ended");
        let code = ended.map(|item| item.of.clone()).unwrap_or_default();
        let said = ended.map(Item::text).unwrap_or_default();
        Ok(if code == "0" {
            Ended::Well
        } else {
            Ended::Badly { how: format!("on {} with exit status {code}", self.host()), said }
        })
    }

    /// Has a program of that host run that looks at a file in our folder, and keeps what it complains about; absent where
    /// there is none that may be run.
    pub(in crate::host) async fn check(
        &self,
        program: &Program,
        arguments: &[&str],
        limit: Duration,
    ) -> Result<Attempt<()>> {
        let arguments: String = arguments.iter().map(|argument| format!(" {}", word(argument))).collect();
        let seconds = limit.as_secs();
        let text = match program {
            Program::OnPath(name) => format!("check {seconds} {name}{arguments}"),
            Program::At(path) => match path.to_str().map(word) {
                Some(path) => format!("! is_trusted {path} || check {seconds} {path}{arguments}"),
                None => return Ok(Attempt::Absent),
            },
        };
        let answer = self.session.ask(&text, limit + SLACK).await?;
        Ok(match answer.first("checked") {
            None => Attempt::Absent,
            Some(item) if item.of == "0" => Attempt::Done(()),
            Some(item) => Attempt::Refused(item.text()),
        })
    }

    /// Whether that host can send HTTP requests.
    pub(in crate::host) fn can_ask(&self) -> bool {
        self.tools.curl || self.tools.wget
    }

    /// A request over HTTP from that host, by curl or else wget. The inner error is what they say: there is no answer.
    /// With `only`, words of an extended regular expression, other lines are left out.
    pub(crate) async fn fetch(
        &self,
        method: &str,
        url: &str,
        limit: Option<Duration>,
        only: Option<&str>,
    ) -> Result<Result<Fetched, String>> {
        let waits = limit.map_or(SOON, |limit| limit + Duration::from_secs(10));
        if self.tools.curl {
            return self.curl(&self.plain(method, url, limit), only, waits).await;
        }
        if !self.tools.wget {
            return Ok(Err(NO_HTTP_PROGRAM.to_owned()));
        }
        Ok(by_wget(&self.session.ask(&self.request(method, url, limit), waits).await?))
    }

    /// The same as text of shell; nothing where there is neither.
    pub(in crate::host) fn request(&self, method: &str, url: &str, limit: Option<Duration>) -> String {
        if self.tools.curl {
            return self.curl_text(&self.plain(method, url, limit), None);
        }
        if !self.tools.wget {
            return String::new();
        }
        let post = if method == "POST" { "--post-data= " } else { "" };
        let seconds = seconds(limit).unwrap_or(900);
        let on_error = if self.tools.gnu_wget { "-nv --tries=1 --content-on-error --no-proxy " } else { "" };
        format!("fetch_by_wget {seconds} {on_error}{post}{}", word(url))
    }

    fn plain(&self, method: &str, url: &str, limit: Option<Duration>) -> String {
        script::curl(&[("url", url), ("request", method)], seconds(limit), &self.code())
    }

    /// What curl writes when it is done.
    fn code(&self) -> String {
        format!("\\n{} code %{{http_code}}\\n", self.session.mark())
    }

    fn curl_text(&self, configuration: &str, only: Option<&str>) -> String {
        let end = script::delimiter(configuration);
        let only = only.map(|only| word(&format!("{only}|^{} ", self.session.mark()))).unwrap_or_default();
        format!("fetch {only} <<'{end}'\n{configuration}{end}\n")
    }

    async fn curl(&self, config: &str, only: Option<&str>, waits: Duration) -> Result<Result<Fetched, String>> {
        let answer = self.session.ask(&self.curl_text(config, only), waits).await?;
        let code = answer.first("code").and_then(|item| item.of.trim().parse().ok()).unwrap_or(0_u16);
        Ok(match (code, answer.first("body"), answer.first("fetched")) {
            (1.., Some(body), _) => Ok(Fetched { code, body: body.text() }),
            (_, _, Some(said)) => Err(line::last(&said.text())),
            _ => Err("no output from curl".to_owned()),
        })
    }

    /// Whether that host can prove anything about an API server: by curl, or GNU's wget where it needs no other name.
    pub(in crate::host) fn can_prove(&self, tls_server_name: Option<&str>) -> bool {
        self.tools.curl || self.tools.gnu_wget && tls_server_name.is_none()
    }

    /// Asks an API server with a token, which is in no argument, under a CA that is in a file of our folder. The inner
    /// error is what curl or wget says: there is no answer that can be trusted.
    pub(in crate::host) async fn ask_api_server(&self, question: &Question<'_>) -> Result<Attempt<u16>> {
        let waits = Duration::from_secs(question.seconds.unwrap_or(SOON.as_secs()) + 10);
        if self.tools.curl {
            let fetched = self.curl(&question.curl(&self.code()), None, waits).await?;
            return Ok(fetched.map(|fetched| Some(fetched.code)).into());
        }
        let configuration = question.wget();
        let end = script::delimiter(&configuration);
        let asked = format!(
            "with_configuration fetch_by_wget {} -nv --tries=1 --max-redirect=0 {} <<'{end}'\n{configuration}{end}\n",
            question.seconds.unwrap_or(900),
            word(question.url)
        );
        let answer = self.session.ask(&asked, waits).await?;
        match answer.first("failed") {
            Some(failed) => Err(self.write_failed(failed)),
            None => Ok(by_wget(&answer).map(|fetched| Some(fetched.code)).into()),
        }
    }

    /// Of whom `--owner` names: the user's number, the user's group and the group's number, where there are such.
    pub(in crate::host) async fn look_up(&self, owner: &FileOwner) -> Result<[Option<u32>; 3]> {
        let group = owner.group.as_deref().unwrap_or_default();
        let text = format!(
            "say uid\nid -u {user} 2> /dev/null\nsay gid\nid -g {user} 2> /dev/null\nsay group\n{{ getent group {group} || grep '^'{group}: /etc/group; }} 2> /dev/null",
            user = word(&owner.user),
            group = word(group)
        );
        let answer = self.session.ask(&text, SOON).await?;
        Ok(["uid", "gid", "group"].map(|kind| {
            let text = answer.first(kind).map(Item::text)?;
            text.trim().split(':').find_map(|part| part.parse().ok())
        }))
    }

    /// Every folder on the way to ours, innermost first.
    pub(in crate::host) async fn way(&self) -> Result<Vec<Folder>> {
        let answer = self.session.ask("way", SOON).await?;
        let folders = answer.items.iter().filter(|item| item.kind == "way");
        Ok(folders
            .filter_map(|item| {
                let text = item.text();
                let mut words = text.split_whitespace();
                let (mode, _, uid, gid) = (words.next()?, words.next()?, words.next()?, words.next()?);
                let (uid, gid) = (uid.parse().ok()?, gid.parse().ok()?);
                Some(Folder { path: PathBuf::from(&item.of), mode: mode_of(mode)?, uid, gid })
            })
            .collect())
    }
}

/// The shell function that runs a command of `--reload`.
fn reload_command(command: &str, limit: Duration) -> String {
    let end = script::delimiter(command);
    format!("reload_command() {{\ncommand_of_reload {} <<'{end}'\n{command}\n{end}\n}}\n", limit.as_secs())
}

/// At least one: curl and wget take 0 for ever.
fn seconds(limit: Option<Duration>) -> Option<u64> {
    limit.map(|limit| limit.as_secs().max(1))
}

/// The code is in what it complains about, if it does: `ERROR 404: Not Found.`, `server returned error: HTTP/1.1 404`.
fn by_wget(answer: &Answer) -> Result<Fetched, String> {
    let said = answer.first("fetched").map(Item::text).unwrap_or_default();
    let succeeded = answer.first("fetched").is_some_and(|item| item.of == "0");
    let code = if succeeded {
        Some(200)
    } else if said.contains("Authentication Failed") {
        // All that GNU's says of it.
        Some(401)
    } else {
        let after = ["ERROR ", "HTTP/1.1 ", "HTTP/1.0 "].iter().find_map(|word| Some(said.split_once(word)?.1));
        after.and_then(|rest| rest.get(..3)?.parse().ok())
    };
    match (code, answer.first("body")) {
        (Some(code), Some(body)) => Ok(Fetched { code, body: body.text() }),
        _ => Err(line::last(&said)),
    }
}

/// Of `drwxr-x---`, the last three triples.
fn mode_of(shown: &str) -> Option<u32> {
    let letters = shown.get(1..10)?.bytes();
    Some(letters.fold(0, |mode, letter| mode << 1 | u32::from(!matches!(letter, b'-' | b'S' | b'T'))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn item(kind: &str, of: &str, body: &str) -> Item {
        Item { kind: kind.into(), of: of.into(), body: body.into() }
    }

    fn tree(items: &[(&str, &str, &str)]) -> Tree {
        let items = items.iter().map(|(kind, of, body)| item(kind, of, body)).collect();
        Tree::read(Answer { items, succeeded: true })
    }

    #[test]
    fn remote_folder_is_listed_like_a_local_one() {
        let tree = tree(&[
            ("folder", "prom-federate", ""),
            ("file", "prom-federate/.id", "x7k2\n"),
            ("file", "prom-federate/east.scrape.yml", "scrape_configs: []"),
            ("there", "prom-federate/east.rules.yml", ""),
            ("folder", "prom-federate/east", ""),
            ("folder", "prom-federate/east/20261125t101500z-x7k2", ""),
            ("file", "prom-federate/east/20261125t101500z-x7k2/cluster.json", "{}"),
            ("file", "prom-federate/west.scrape.yml", "half of it"),
            ("unreadable", "prom-federate/west.scrape.yml", "cat: prom-federate/west.scrape.yml: Permission denied\n"),
            (
                "unreadable",
                "prom-federate/north",
                "ls: cannot open directory 'prom-federate/north': Permission denied\n",
            ),
            ("strange", "prom-federate/x", ""),
        ]);
        let list = tree.list("prom-federate").unwrap().unwrap();
        let names: Vec<(&str, bool)> = list.iter().map(|(name, is_folder)| (name.as_str(), *is_folder)).collect();
        assert_eq!(
            names,
            [
                (".id", false),
                ("east", true),
                ("east.rules.yml", false),
                ("east.scrape.yml", false),
                ("north", true),
                // What cannot be read may be either.
                ("west.scrape.yml", true)
            ]
        );
        assert_eq!(tree.list("prom-federate/east").unwrap().unwrap().len(), 1);
        assert_eq!(tree.list("prom-federate/south"), Ok(None));
        assert_eq!(tree.list("prom-federate/north"), Err("Permission denied".into()));
        assert_eq!(tree.text("prom-federate/.id"), Ok(Some("x7k2\n".into())));
        assert_eq!(tree.text("prom-federate/nothing"), Ok(None));
        assert_eq!(tree.text("prom-federate/west.scrape.yml"), Err("Permission denied".into()));
        assert!(tree.has("prom-federate/east.rules.yml") && !tree.has("prom-federate/x"));
    }

    #[test]
    fn files_other_than_utf_8_are_rejected() {
        let file = Item { kind: "file".into(), of: "x".into(), body: vec![0xff] };
        let tree = Tree::read(Answer { items: vec![file], succeeded: true });
        assert!(tree.text("x").is_err());
    }

    #[test]
    fn mode_is_read_from_ls() {
        for (shown, mode) in [
            ("drwxr-x---", Some(0o750)),
            ("drwxr-x---+", Some(0o750)),
            ("drwxrws--T.", Some(0o770)),
            ("-rwSr-Sr-t", Some(0o645)),
            ("----------", Some(0)),
            ("", None),
            ("drwx", None),
        ] {
            assert_eq!(mode_of(shown), mode, "{shown}");
        }
    }

    /// As GNU's wget 1.21 and busybox' 1.35 say it.
    #[test]
    fn status_code_is_read_from_wget() {
        let answer = |ended: &str, said: &str| Answer {
            items: vec![item("body", "", "text"), item("fetched", ended, said)],
            succeeded: true,
        };
        for (ended, said, expected) in [
            ("0", "2026-11-25 10:15:00 URL:http://x/ [4/4] -> \"-\" [1]", Ok(200)),
            ("8", "http://x/:\n2026-11-25 10:15:00 ERROR 403: Forbidden.", Ok(403)),
            (
                "1",
                "Connecting to x (10.0.0.1:80)\nwget: server returned error: HTTP/1.1 405 Method Not Allowed",
                Ok(405),
            ),
            ("6", "Username/Password Authentication Failed.", Ok(401)),
            ("4", "failed: Connection refused.\n", Err("failed: Connection refused.")),
            ("5", "ERROR: cannot verify x's certificate", Err("ERROR: cannot verify x's certificate")),
        ] {
            let code = by_wget(&answer(ended, said)).map(|fetched| fetched.code);
            assert_eq!(code, expected.map_err(str::to_owned), "{said}");
        }
    }

    proptest! {
        #[test]
        fn no_answer_of_a_host_panics(kind in "folder|file|there|unreadable|fetched", of in ".{0,20}", body in ".{0,40}") {
            let items = vec![item(&kind, &of, &body), item("body", "", &body)];
            let answer = Answer { items, succeeded: false };
            let _ = (by_wget(&answer), mode_of(&body));
            let tree = Tree::read(answer);
            let _ = (tree.list(&of), tree.text(&of));
        }
    }
}
