//! Where the commands of a page run: a home with a kubeconfig, a `PATH`, and folders that have other names here.

use super::page;
use crate::plugin::Account;
use std::{
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::{
        fs::{PermissionsExt, symlink},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Mutex, MutexGuard, PoisonError,
        mpsc::{Receiver, RecvTimeoutError, channel},
    },
    thread,
    time::{Duration, Instant},
};
use testbed::{Tools, shared};

/// For one command: a join waits for a scrape.
const LIMIT: Duration = Duration::from_secs(120);
/// For what a Prometheus is asked for.
const SEEN_WITHIN: Duration = Duration::from_secs(30);
/// Follows every command's output, and is not printed.
const END: &str = "~~~ ended with ";

/// Pages use the default account in the shared clusters, so they take turns.
static TURN: Mutex<()> = Mutex::new(());

/// What the reader of a page has: kubectl with the contexts `east` and `west`, the plugin, promtool, and `sudo`, which
/// does as it is told. Any scrape interval that a page leaves at its default is a second, so that scrapes come soon.
pub(super) struct Desk {
    home: PathBuf,
    /// What the page calls something, and what that is here.
    names: Vec<(String, String)>,
    _turn: MutexGuard<'static, ()>,
}

impl Desk {
    /// `name` is the page's, for its folder.
    pub(super) fn new(name: &str) -> Self {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let home = testbed::run_dir().expect("a folder").join(format!("page-{name}"));
        // Of an attempt before.
        let _ = fs::remove_dir_all(&home);
        for folder in ["bin", ".kube"] {
            fs::create_dir_all(home.join(folder)).expect("a folder");
        }
        let desk = Self { home, names: Vec::new(), _turn: turn };
        let tools = Tools::get().expect("tools");
        desk.program("kubectl", &tools.kubectl);
        desk.program("promtool", &tools.promtool);
        desk.script("sudo", "while [ \"${1#-}\" != \"$1\" ]; do shift; done\nexec \"$@\"\n");
        let plugin = env!("CARGO_BIN_EXE_kubectl-prom_federate");
        desk.script(
            "kubectl-prom_federate",
            &format!(
                "if [ \"$1\" = join ] && ! echo \"$*\" | grep -q -e --scrape-interval\n\
                 then shift && set -- join --scrape-interval=1s \"$@\"\nfi\nexec {plugin} \"$@\"\n"
            ),
        );
        let [east, west] = [&shared().east, &shared().west].map(|cluster| cluster.kubeconfig().display().to_string());
        let both = Command::new(&tools.kubectl)
            .args(["config", "view", "--flatten"])
            .env("KUBECONFIG", format!("{east}:{west}"))
            .output()
            .expect("kubectl starts");
        desk.write(".kube/config", &String::from_utf8_lossy(&both.stdout), 0o600);
        desk
    }

    /// The reader's own folder, where the commands begin.
    pub(super) fn home(&self) -> &Path {
        &self.home
    }

    /// A program of this `PATH`.
    pub(super) fn program(&self, name: &str, file: &Path) {
        symlink(file, self.home.join("bin").join(name)).expect("a link");
    }

    /// The same, written down here: what stands in for something that no test can have. Say why where you use it.
    pub(super) fn script(&self, name: &str, script: &str) {
        self.write(&format!("bin/{name}"), &format!("#!/bin/sh\n{script}"), 0o755);
    }

    /// A file of the reader's home.
    pub(super) fn write(&self, path: &str, content: &str, mode: u32) {
        let path = self.home.join(path);
        fs::write(&path, content).expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("a mode");
    }

    /// What the page calls `shown` is `real` here: in its commands, and the other way round in their output.
    pub(super) fn stands_for(&mut self, shown: &str, real: &str) {
        self.names.push((shown.to_owned(), real.to_owned()));
    }

    /// The same for a folder.
    pub(super) fn folder(&mut self, shown: &str, real: &Path) {
        let real = real.to_str().expect("UTF-8").to_owned();
        self.stands_for(shown, &real);
    }

    /// A systemd that verifies units and runs the one that is enabled: the machine of a test has none, or one that is
    /// nobody's to change.
    pub(super) fn systemd(&mut self) {
        let units = self.home.join("units");
        fs::create_dir_all(&units).expect("a folder");
        self.folder("/etc/systemd/system", &units);
        let home = self.home.display().to_string();
        let script = r#"case "$1" in
daemon-reload) exec systemd-analyze verify --man=no HOME/units/*.service ;;
enable)
  command=$(sed -n 's/^ExecStart=//p' "HOME/units/$3.service")
  timeout 300 $command > HOME/journal 2>&1 < /dev/null &
  echo $! > HOME/service.pid
  # Type=notify: it is there when it says so.
  for _ in $(seq 100); do
    grep -q event=started HOME/journal && exit
    sleep 0.1
  done
  cat HOME/journal >&2
  exit 1 ;;
disable) kill "$(cat HOME/service.pid)" && rm HOME/service.pid ;;
*) exit 64 ;;
esac
"#;
        self.script("systemctl", &script.replace("HOME", &home));
        self.script("journalctl", &format!("cat {home}/journal\n"));
    }

    /// Runs the commands of a page of this repository, and asks that nothing of the account is left afterwards: a page
    /// tells how to leave, too.
    ///
    /// # Panics
    /// With the line of the page, and all that its commands said so far, if a command fails or shows something else.
    pub(super) fn follow(&self, path: &str) {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{path}: {error}"));
        let outcome = self.try_follow(&text);
        let left = left();
        self.leave_all();
        match outcome {
            Err(error) => panic!("{path}: {error}"),
            Ok(()) => assert_eq!(left, Vec::<String>::new(), "{path} leaves this behind"),
        }
    }

    /// The same for the text of a page.
    ///
    /// # Errors
    /// The line and what is wrong with it, then the whole session.
    pub(super) fn try_follow(&self, text: &str) -> Result<(), String> {
        let mut shell = Shell::start(&self.home);
        let mut session = String::new();
        for step in page::steps(text)? {
            let wrong = |why: &str, session: &str| Err(format!("line {}: {why}\n{session}", step.line));
            let command = self.translate(&step.command, Way::In);
            let began = Instant::now();
            loop {
                let (code, output) = match shell.run(&command) {
                    Ok(ended) => ended,
                    Err(why) => return wrong(why, &session),
                };
                let output = self.translate(&output, Way::Out);
                let missing = page::first_missing(&step.shows, &output);
                if missing.is_some() && step.looks() && began.elapsed() < SEEN_WITHIN {
                    thread::sleep(Duration::from_millis(200));
                    continue;
                }
                session += &format!("$ {}\n{output}", step.command);
                if !session.ends_with('\n') {
                    session.push('\n');
                }
                if (code != 0) != step.fails() {
                    return wrong(&format!("{:?} ended with {code}", step.command), &session);
                }
                if let Some(missing) = missing {
                    return wrong(&format!("{:?} does not show {missing:?}", step.command), &session);
                }
                break;
            }
        }
        Ok(())
    }

    fn translate(&self, text: &str, way: Way) -> String {
        self.names.iter().fold(text.to_owned(), |text, (shown, real)| match way {
            Way::In => text.replace(shown, real),
            Way::Out => text.replace(real, shown),
        })
    }

    /// So that the next page finds nothing, also after a page that failed.
    fn leave_all(&self) {
        for context in ["east", "west"] {
            let mut leave = Command::new(env!("CARGO_BIN_EXE_kubectl-prom_federate"));
            leave.args(["leave", "--only=cluster", "--yes", "--context", context]).env("HOME", &self.home);
            let _ = leave.env_remove("KUBECONFIG").stdin(Stdio::null()).output();
        }
    }
}

/// What the default account has in either cluster.
pub(super) fn left() -> Vec<String> {
    let accounts =
        [&shared().east, &shared().west].map(|cluster| Account { cluster, namespace: "prom-federate".to_owned() });
    accounts.iter().flat_map(Account::objects).collect()
}

impl Drop for Desk {
    fn drop(&mut self) {
        if self.home.join("service.pid").exists() {
            let _ = Command::new(self.home.join("bin/systemctl")).args(["disable", "--now"]).status();
        }
    }
}

#[derive(Clone, Copy)]
enum Way {
    In,
    Out,
}

/// One shell for a whole page: it keeps its folder, its umask and its variables.
struct Shell {
    process: Child,
    lines: Receiver<String>,
}

impl Shell {
    fn start(home: &Path) -> Self {
        let path = format!("{}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", home.join("bin").display());
        let mut process = Command::new("sh")
            .env_clear()
            .envs([("HOME", &*home.to_string_lossy()), ("PATH", &path), ("LANG", "C.UTF-8"), ("NO_COLOR", "1")])
            .current_dir(home)
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("sh starts");
        let output = BufReader::new(process.stdout.take().expect("its output"));
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in output.split(b'\n').map_while(Result::ok) {
                if sender.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                    break;
                }
            }
        });
        Self { process, lines }
    }

    /// The exit code of a command, and what it printed, both streams as a terminal has them.
    fn run(&mut self, command: &str) -> Result<(i32, String), &'static str> {
        let input = self.process.stdin.as_mut().expect("its input");
        // In braces, so that it runs in this very shell and reads nothing of what follows.
        write!(input, "{{ {command}\n}} 2>&1 < /dev/null\nprintf '\\n{END}%d\\n' $?\n").map_err(|_| ENDED)?;
        let mut output = String::new();
        loop {
            match self.lines.recv_timeout(LIMIT) {
                Ok(line) => match line.strip_prefix(END) {
                    Some(code) => {
                        // One line end is that before the mark.
                        output.pop();
                        return Ok((code.parse().unwrap_or(-1), output));
                    }
                    None => output += &format!("{line}\n"),
                },
                Err(RecvTimeoutError::Timeout) => return Err("a command takes too long"),
                Err(RecvTimeoutError::Disconnected) => return Err(ENDED),
            }
        }
    }
}

const ENDED: &str = "the shell has ended";

impl Drop for Shell {
    fn drop(&mut self) {
        use rustix::process::{Pid, Signal, kill_process_group};
        if let Some(group) = Pid::from_raw(self.process.id().cast_signed()) {
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = self.process.wait();
    }
}
