//! Who is believed to read a destination: a process that the kernel shows to be an administrator's, or of a user whom an
//! administrator has named. Every other local user may run programs of any name and arguments, and has no say.

use crate::{
    needs,
    plugin::{Account, Run, command},
    push::generations,
};
use std::{
    fs,
    os::unix::{
        fs::{MetadataExt, PermissionsExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};
use testbed::{FaultProxy, Front, Prometheus, PrometheusSpec, Sshd, machine_address};

trials! {
    reader:
    smoke {
        strangers_that_start_first_get_no_token,
    }
    full {
        strangers_that_start_later_get_no_token,
        users_without_a_proof_are_all_named,
        several_prometheus_of_several_users_are_all_named,
        named_owner_is_remembered_and_changes_only_by_flag,
        group_of_an_earlier_release_is_remembered,
        folder_of_a_stranger_names_no_reader,
        api_of_a_stranger_is_not_asked,
        strangers_at_the_default_address_are_not_asked,
        strangers_get_no_token_over_ssh,
        strangers_get_no_token_by_script,
    }
}

const MAIN: &str = "global:\n  scrape_interval: 1s\nscrape_config_files: [prom-federate/*.scrape.yml]\n\
                    rule_files: [prom-federate/*.rules.yml]\n";
/// The user of Prometheus, another one, and a local user with no rights.
const OWNER: u32 = 61001;
const SECOND: u32 = 61003;
const STRANGER: u32 = 61002;

/// A folder of root with a main configuration that every user may read.
struct Desk {
    folder: tempfile::TempDir,
    account: Account<'static>,
}

impl Desk {
    fn new(name: &str) -> Self {
        needs::root();
        let folder = tempfile::tempdir().expect("a folder");
        let desk = Self { folder, account: Account::new(&testbed::shared().east, &format!("reader-{name}")) };
        mode(desk.dir(), 0o755);
        fs::write(desk.config(), MAIN).expect("a file");
        mode(&desk.config(), 0o644);
        desk
    }

    fn dir(&self) -> &Path {
        self.folder.path()
    }

    fn config(&self) -> PathBuf {
        self.dir().join("prometheus.yml")
    }

    fn typed(&self) -> &str {
        self.dir().to_str().expect("UTF-8")
    }

    fn flag(&self) -> String {
        format!("--config.file={}", self.config().display())
    }

    /// The program of the system, which any user may run; in a cgroup if one is given.
    fn prometheus(&self, user: u32, cgroup: Option<&Cgroup>) -> Server {
        let into = cgroup.map(Cgroup::enter).unwrap_or_default();
        let script = format!("{into}exec 3< \"$0\"; exec {} /proc/self/fd/3 \"$@\"", become_user(user));
        Server::start(self, home_of(user), &script)
    }

    fn join(&self, more: &[&str]) -> Run {
        let mut all = vec!["join", "-p", self.typed(), "--scrape-interval=1s", "--scrape-timeout=1s"];
        all.extend(more);
        self.account.run(&all)
    }

    fn rotate(&self, more: &[&str]) -> Run {
        let mut all = vec!["rotate", "--now", "-p", self.typed()];
        all.extend(more);
        crate::plugin::run(self.account.cluster.kubeconfig(), &all)
    }

    fn status(&self) -> Run {
        crate::plugin::run(self.account.cluster.kubeconfig(), &["status", "-p", self.typed()])
    }

    /// The owners of the token and of the folders on the way to it, and their modes.
    fn readers(&self) -> Vec<String> {
        let ours = self.dir().join("prom-federate");
        let cluster = ours.join("east");
        let generation = generations(self.dir(), "east").pop().expect("a generation");
        let shown = |path: &Path| {
            let found = fs::metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            format!("{}:{} {:o}", found.uid(), found.gid(), found.mode() & 0o7777)
        };
        [ours, cluster, generation.clone(), generation.join("token")].iter().map(|path| shown(path)).collect()
    }

    fn is_for(&self, user: u32) {
        let folder = format!("0:{user} 750");
        assert_eq!(self.readers(), [folder.clone(), folder.clone(), folder, format!("0:{user} 640")]);
    }

    /// Nothing was written on either side.
    fn is_untouched(&self) {
        assert!(!self.dir().join("prom-federate").exists());
        assert_eq!(self.account.objects(), Vec::<String>::new());
    }
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("a mode");
}

fn become_user(user: u32) -> String {
    format!("setpriv --reuid={user} --regid={user} --clear-groups")
}

/// A folder in which one user may write.
fn home_of(user: u32) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    mode(folder.path(), 0o755);
    chown(folder.path(), Some(user), Some(user)).expect("root may");
    folder
}

/// A Prometheus with the main configuration of a desk, and the folder in which it keeps its data.
struct Server {
    prometheus: Prometheus,
    home: tempfile::TempDir,
}

impl Server {
    /// The script becomes the Prometheus: its name is `$0`, and its arguments follow.
    fn start(desk: &Desk, home: tempfile::TempDir, script: &str) -> Self {
        let spec = PrometheusSpec::new(MAIN)
            .in_folder(home.path())
            .config_file(desk.config().to_str())
            .wrapper(&["sh", "-c", script]);
        Self { prometheus: Prometheus::start_with(&spec).expect("Prometheus starts"), home }
    }

    fn restart(self) -> Self {
        Self { prometheus: self.prometheus.restart().expect("it starts again"), home: self.home }
    }

    /// How people are told of it.
    fn shown(&self, user: u32) -> String {
        format!("process {} of user {user} (", self.prometheus.pid())
    }

    fn as_reader(&self, user: u32) -> String {
        format!("process {}, user {user}", self.prometheus.pid())
    }

    /// How often its API was asked.
    fn requests(&self) -> f64 {
        let page = self.prometheus.get("/metrics").expect("an answer").body;
        let counts = page.lines().filter(|line| line.starts_with("prometheus_http_requests_total"));
        let of_api = counts.filter(|line| !line.contains("handler=\"/metrics\""));
        of_api.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
    }
}

/// A cgroup with the name that a service manager gives it. Only root can make it there.
struct Cgroup(PathBuf);

impl Cgroup {
    fn service() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let mounts = fs::read_to_string("/proc/mounts").expect("mounts");
        let at = |is_it: fn(&str, &str) -> bool| {
            let lines = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
            lines.filter(|words| is_it(words[2], words[3])).map(|words| words[1].to_owned()).next()
        };
        let root = at(|kind, options| kind == "cgroup" && options.split(',').any(|option| option == "name=systemd"))
            .or_else(|| at(|kind, _| kind == "cgroup2"))
            .expect("a hierarchy of cgroups is mounted");
        let unit = format!("prometheus@trial-{}-{number}.service", std::process::id());
        let folder = Path::new(&root).join("system.slice").join(unit);
        fs::create_dir_all(&folder).expect("root may make a cgroup");
        Self(folder)
    }

    fn enter(&self) -> String {
        format!("echo $$ > '{}/cgroup.procs' || exit; ", self.0.display())
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // It goes when the last of its processes has gone.
        let _ = testbed::until(Duration::from_secs(10), || fs::remove_dir(&self.0).ok());
    }
}

/// What an unrelated user runs to be taken for the Prometheus.
struct Strangers {
    _real: Server,
    _copied: Server,
    named: Child,
}

impl Strangers {
    fn start(desk: &Desk) -> Self {
        let home = home_of(STRANGER);
        let copy = home.path().join("prometheus");
        fs::copy(&testbed::tools().prometheus, &copy).expect("a copy");
        chown(&copy, Some(STRANGER), Some(STRANGER)).expect("root may");
        mode(&copy, 0o755);
        let script = format!("exec {} '{}' \"$@\"", become_user(STRANGER), copy.display());
        // Any program under this name, which has the configuration by default.
        let named = Command::new("sleep")
            .arg0("prometheus")
            .arg("600")
            .uid(STRANGER)
            .gid(STRANGER)
            .current_dir(desk.dir())
            .stdin(Stdio::null())
            .spawn()
            .expect("sleep starts");
        Self { _real: desk.prometheus(STRANGER, None), _copied: Server::start(desk, home, &script), named }
    }
}

impl Drop for Strangers {
    fn drop(&mut self) {
        let _ = self.named.kill();
        let _ = self.named.wait();
    }
}

fn says(run: &Run, parts: &[&str]) {
    for part in parts {
        assert!(run.stderr.contains(part), "no {part:?}: {}", run.stderr);
    }
}

fn strangers_that_start_first_get_no_token() {
    let desk = Desk::new("first");
    let strangers = Strangers::start(&desk);
    let cgroup = Cgroup::service();
    let server = desk.prometheus(OWNER, Some(&cgroup));
    assert!(server.prometheus.pid() > strangers.named.id());
    let run = desk.join(&[]).succeeded();
    says(&run, &[&server.as_reader(OWNER), "of user 61002 (", "is ignored", "4 of 4 targets up"]);
    desk.is_for(OWNER);

    // A restart gives it a later number than theirs.
    let server = server.restart();
    let run = desk.rotate(&[]).succeeded();
    says(&run, &[&server.as_reader(OWNER), "4 of 4 targets up"]);
    desk.is_for(OWNER);
    let run = desk.rotate(&["-o", "json"]).succeeded();
    assert!(run.stdout.contains(&format!("\"{}\"", server.as_reader(OWNER))), "{}", run.stdout);

    // While Prometheus is down, theirs are the only ones.
    drop(server);
    let run = desk.rotate(&[]).succeeded();
    says(&run, &["user 61001, no process", "no scrape with the new token was observed"]);
    desk.is_for(OWNER);
    let status = desk.status();
    assert!(!status.stdout.contains("4/4"), "{}{}", status.stdout, status.stderr);
}

fn strangers_that_start_later_get_no_token() {
    let desk = Desk::new("later");
    let cgroup = Cgroup::service();
    let server = desk.prometheus(OWNER, Some(&cgroup));
    let strangers = Strangers::start(&desk);
    assert!(server.prometheus.pid() < strangers.named.id());
    let run = desk.join(&[]).succeeded();
    says(&run, &[&server.as_reader(OWNER), "is ignored"]);
    desk.is_for(OWNER);
    desk.rotate(&[]).succeeded();
    desk.is_for(OWNER);
    let status = desk.status();
    assert!(status.stdout.contains("4/4"), "{}{}", status.stdout, status.stderr);
}

fn users_without_a_proof_are_all_named() {
    let desk = Desk::new("unproven");
    let server = desk.prometheus(OWNER, None);
    let one = desk.join(&[]).failed("NotReadable", &["of user 61001 (", "--owner 61001"]);
    assert!(!one.stderr.contains("61002"), "{}", one.stderr);
    desk.is_untouched();
    let _strangers = Strangers::start(&desk);
    let path = testbed::tools().prometheus.display().to_string();
    let all = [&server.shown(OWNER), &path, "of user 61002 (", "--owner 61001", "--owner 61002"];
    desk.join(&[]).failed("NotReadable", &all);
    desk.is_untouched();
}

fn several_prometheus_of_several_users_are_all_named() {
    let desk = Desk::new("several");
    let cgroups = [Cgroup::service(), Cgroup::service()];
    let one = desk.prometheus(OWNER, Some(&cgroups[0]));
    let other = desk.prometheus(SECOND, Some(&cgroups[1]));
    let both = [&one.shown(OWNER), &other.shown(SECOND), "--owner 61001", "--owner 61003"];
    desk.join(&[]).failed("NotReadable", &[&["several users"], &both[..]].concat());
    desk.is_untouched();
}

fn named_owner_is_remembered_and_changes_only_by_flag() {
    let desk = Desk::new("named");
    desk.join(&[]).failed("NotReadable", &["no running Prometheus uses", "--owner prometheus"]);
    desk.join(&["--owner=61001"]).succeeded();
    desk.is_for(OWNER);
    desk.rotate(&[]).succeeded();
    desk.is_for(OWNER);
    let unit = crate::plugin::run(desk.account.cluster.kubeconfig(), &["rotate", "--print-unit", "-p", desk.typed()]);
    let unit = unit.succeeded().stdout;
    assert!(unit.contains(" --owner 61001:61001") && unit.contains("\nUser=root\n"), "{unit}");
    // A system service of another user may be right, and an administrator says so.
    let cgroup = Cgroup::service();
    let server = desk.prometheus(SECOND, Some(&cgroup));
    let asks = ["the files are for user 61001", &server.shown(SECOND), "--owner 61003"];
    desk.rotate(&[]).failed("RotationFailed", &asks);
    desk.is_for(OWNER);
    let run = desk.rotate(&["--owner=61003"]).succeeded();
    says(&run, &[&server.as_reader(SECOND)]);
    desk.is_for(SECOND);
    drop(server);
    desk.rotate(&[]).succeeded();
    desk.is_for(SECOND);
    // What another user may have written is not believed; who may read the last token is.
    let note = desk.dir().join("prom-federate/.owner");
    fs::write(&note, "61002:61002\n").expect("a file");
    chown(&note, Some(STRANGER), None).expect("root may");
    let run = desk.rotate(&[]).succeeded();
    assert!(!run.stderr.contains("61002"), "{}", run.stderr);
    desk.is_for(SECOND);
}

/// Earlier releases left no note, and believed any process.
fn group_of_an_earlier_release_is_remembered() {
    let desk = Desk::new("earlier");
    let note = desk.dir().join("prom-federate/.owner");
    desk.join(&["--owner=61001"]).succeeded();
    fs::remove_file(&note).expect("a note");
    desk.rotate(&[]).succeeded();
    desk.is_for(OWNER);
    assert!(!note.exists(), "the user is not known");
    let server = desk.prometheus(OWNER, None);
    let run = desk.rotate(&[]).succeeded();
    says(&run, &[&server.as_reader(OWNER), "4 of 4 targets up"]);
    assert_eq!(fs::read_to_string(&note).expect("a note"), "61001:61001\n");
    fs::remove_file(&note).expect("a note");
    // That one may have been a stranger.
    let cgroup = Cgroup::service();
    let other = desk.prometheus(SECOND, Some(&cgroup));
    let asks = ["the files are for group 61001", &other.shown(SECOND), "--owner 61003"];
    desk.rotate(&[]).failed("RotationFailed", &asks);
    desk.is_for(OWNER);
}

/// It was made while every user could write in the folder of the main configuration.
fn folder_of_a_stranger_names_no_reader() {
    let desk = Desk::new("planted");
    let ours = desk.dir().join("prom-federate");
    fs::create_dir(&ours).expect("a folder");
    mode(&ours, 0o755);
    chown(&ours, Some(STRANGER), Some(STRANGER)).expect("root may");
    desk.join(&[]).failed("NotReadable", &["no running Prometheus uses"]);
    assert_eq!(fs::read_dir(&ours).expect("a folder").count(), 0);
    assert_eq!(desk.account.objects(), Vec::<String>::new());
}

/// A shell of root in a file of this name claims an address at which another user listens.
fn api_of_a_stranger_is_not_asked() {
    let desk = Desk::new("port");
    desk.join(&["--owner=0"]).succeeded();
    let stranger = desk.prometheus(STRANGER, None);
    let shell = desk.dir().join("prometheus");
    fs::copy("/bin/sh", &shell).expect("a copy");
    mode(&shell, 0o755);
    let address = format!("--web.listen-address={}", stranger.prometheus.address());
    let mut claims = Command::new(&shell)
        .args(["-c", "trap '' HUP; read -r _", &desk.flag(), &address])
        .stdin(Stdio::piped())
        .spawn()
        .expect("a shell starts");
    let before = stranger.requests();
    let runs = [desk.status(), desk.rotate(&[])];
    let after = stranger.requests();
    drop(claims.stdin.take());
    claims.wait().expect("it ends");
    says(&runs[1], &[&format!("process {}, user 0", claims.id()), "no scrape with the new token was observed"]);
    assert!((after - before).abs() < 0.5, "asked {} times: {}{}", after - before, runs[0].stderr, runs[1].stderr);
}

/// A network of its own, in which the default port is free.
fn strangers_at_the_default_address_are_not_asked() {
    let desk = Desk::new("default");
    desk.join(&["--owner=61001"]).succeeded();
    let home = home_of(STRANGER);
    let plugin = command(desk.account.cluster.kubeconfig(), &[]);
    let script = format!(
        "busybox ip link set lo up; exec 3< \"$1\"; cd '{home}'; \
         {become_user} /proc/self/fd/3 {config} --storage.tsdb.path=data --web.listen-address=127.0.0.1:9090 2> log & \
         until busybox wget -q -O /dev/null http://127.0.0.1:9090/-/ready; do sleep 0.1; done; \
         \"$2\" status -p '{dir}' --request-timeout=2s; kill -KILL $!",
        home = home.path().display(),
        become_user = become_user(STRANGER),
        config = desk.flag(),
        dir = desk.typed(),
    );
    let alone = needs::namespace("net");
    let mut shell = Command::new(&alone[0]);
    shell.args(&alone[1..]).args(["sh", "-c", &script, "sh"]).arg(&testbed::tools().prometheus);
    shell.arg(plugin.get_program()).env("KUBECONFIG", desk.account.cluster.kubeconfig()).stdin(Stdio::null());
    let run: Run = shell.output().expect("a shell starts").into();
    let said = format!("{}{}", run.stdout, run.stderr);
    assert!(said.contains("user 61002 listens at http://localhost:9090"), "{said}");
}

/// With an address that the host of sshd reaches as well.
fn routed(desk: &Desk) -> FaultProxy {
    let address = machine_address().expect("an address");
    let front = Front { address, hosts: vec![address.to_string()], ..Front::default() };
    FaultProxy::with(desk.account.cluster, front).expect("a proxy")
}

fn strangers_get_no_token_over_ssh() {
    let desk = Desk::new("ssh");
    let sshd = Sshd::start().expect("sshd starts");
    let routed = routed(&desk);
    let typed = format!("ssh://prom{}", desk.typed());
    let run = |arguments: &[&str]| -> Run {
        command(&routed.kubeconfig(), arguments).env("PATH", sshd.path()).output().expect("the plugin starts").into()
    };
    let namespace = desk.account.namespace.as_str();
    let mut join = vec!["join", "--scrape-interval=1s", "--scrape-timeout=1s", "-p", &typed, "--cluster-name=east"];
    join.extend(["--yes", "--namespace", namespace]);
    let _strangers = Strangers::start(&desk);
    run(&join).failed("NotReadable", &["of user 61002 (", "--owner 61002"]);
    desk.is_untouched();
    let cgroup = Cgroup::service();
    let server = desk.prometheus(OWNER, Some(&cgroup));
    let joined = run(&join).succeeded();
    says(&joined, &[&server.as_reader(OWNER), "is ignored", "4 of 4 targets up"]);
    desk.is_for(OWNER);
    let server = server.restart();
    let rotated = run(&["rotate", "--now", "-p", &typed]).succeeded();
    says(&rotated, &[&server.as_reader(OWNER), "4 of 4 targets up"]);
    desk.is_for(OWNER);
    drop(server);
    let rotated = run(&["rotate", "--now", "-p", &typed]).succeeded();
    says(&rotated, &["user 61001, no process"]);
    desk.is_for(OWNER);
}

fn strangers_get_no_token_by_script() {
    let desk = Desk::new("script");
    let routed = routed(&desk);
    let namespace = desk.account.namespace.as_str();
    let mut join = vec!["join", "--format=script", "--scrape-interval=1s", "--cluster-name=east", "--yes"];
    join.extend(["--namespace", namespace]);
    let printed: Run = command(&routed.kubeconfig(), &join).output().expect("the plugin starts").into();
    let script = desk.dir().join("script");
    fs::write(&script, printed.succeeded().stdout).expect("a file");
    mode(&script, 0o600);
    let deliver = |shell: &[&str], more: &[&str]| -> Run {
        let mut command = Command::new(shell[0]);
        command.args(&shell[1..]).arg(&script).arg(desk.dir()).args(more).stdin(Stdio::null());
        command.output().expect("a shell starts").into()
    };
    let _strangers = Strangers::start(&desk);
    for shell in [&["sh"][..], &["busybox", "sh"]] {
        let run = deliver(shell, &[]);
        assert_ne!(run.code, Some(0), "{}", run.stderr);
        says(&run, &["of user 61002 (", "Name the user of Prometheus after the folder"]);
        assert!(!desk.dir().join("prom-federate").exists());
    }
    let cgroup = Cgroup::service();
    let server = desk.prometheus(OWNER, Some(&cgroup));
    let run = deliver(&["sh"], &[]).succeeded();
    says(&run, &["is ignored", "of 4 targets up"]);
    desk.is_for(OWNER);
    // Remembered: where it does not run, and by the plugin too.
    drop(server);
    let run = deliver(&["busybox", "sh"], &[]).succeeded();
    says(&run, &["is ignored"]);
    desk.is_for(OWNER);
    desk.join(&[]).succeeded();
    desk.is_for(OWNER);
}
