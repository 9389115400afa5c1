//! A systemd service that renews tokens: `rotate --watch` with minimal rights.

use crate::model::store::location::FileOwner;

/// The values of a host. No text has control characters.
#[derive(Clone, Debug)]
pub struct Unit<'a> {
    /// The absolute path.
    pub program: &'a str,
    /// The arguments, beginning with `rotate`.
    pub arguments: &'a [String],
    /// The absolute paths of the folders that it writes to.
    pub writable: &'a [String],
    pub runs_as: RunsAs<'a>,
    /// Whether the service reads a file in a home folder.
    pub reads_home: bool,
    pub kubeconfig: Option<KubeconfigFile<'a>>,
    pub http_config: Option<HttpConfigFile<'a>>,
    /// Whether `--reload` has a command.
    pub runs_a_command: bool,
}

/// A kubeconfig that exists.
#[derive(Clone, Copy, Debug)]
pub struct KubeconfigFile<'a> {
    /// The absolute path, if systemd reads the file for the service. None: it names other files, and is among the
    /// arguments.
    pub passed_on: Option<&'a str>,
    pub has_plugins: bool,
}

/// A client configuration file for Prometheus.
#[derive(Clone, Copy, Debug)]
pub enum HttpConfigFile<'a> {
    /// The absolute path; systemd reads the file for the service.
    PassedOn(&'a str),
    /// It names other files, and is among the arguments.
    NamesOthers,
}

/// The user of the service.
#[derive(Clone, Debug)]
pub enum RunsAs<'a> {
    /// The user of Prometheus.
    Owner(&'a FileOwner),
    Root(Root),
}

/// What root does.
#[derive(Clone, Debug)]
pub struct Root {
    /// The group that reads the files, if it is known and not root's.
    pub group: Option<String>,
    /// Whether a Prometheus of this host reads the files.
    pub finds_prometheus: bool,
    /// Whether root writes into folders of another user, or gives files to another user than root.
    pub gives_files: bool,
    /// Whether root reads files that only another user may read, or the environment of a vmagent or a collector.
    pub reads_files: bool,
}

/// The folders that `ProtectHome=` of systemd.exec(5) hides.
pub const HOMES: [&str; 3] = ["/home", "/root", "/run/user"];

impl Unit<'_> {
    pub fn render(&self) -> String {
        let Self { program, arguments, writable, runs_as, reads_home, kubeconfig, .. } = self;
        let mut command = vec![quoted(program)];
        command.extend(arguments.iter().map(|argument| quoted(argument).replace('$', "$$")));
        let passed_on = kubeconfig.and_then(|file| file.passed_on);
        command.extend(passed_on.map(|_| "--kubeconfig ${CREDENTIALS_DIRECTORY}/kubeconfig".to_owned()));
        if let Some(HttpConfigFile::PassedOn(_)) = self.http_config {
            command.push("--prometheus-http-config ${CREDENTIALS_DIRECTORY}/prometheus-http-config".to_owned());
        }
        let command = command.join(" ");
        let writable = writable.iter().map(|folder| quoted(folder)).collect::<Vec<_>>().join(" ");
        let user = user(runs_as);
        let credentials =
            kubeconfig.map(credentials).unwrap_or_default() + &self.http_config.map(http_config).unwrap_or_default();
        let home = if *reads_home {
            "# The service reads a file in a home folder.\nProtectHome=read-only"
        } else {
            "ProtectHome=yes"
        };
        let chown = if matches!(runs_as, RunsAs::Root(Root { gives_files: true, .. })) {
            "\nSystemCallFilter=@chown"
        } else {
            ""
        };
        // A program that compiles while it runs needs such memory, and some read /proc/meminfo or /proc/sys.
        let alone = if kubeconfig.is_some_and(|file| file.has_plugins) || self.runs_a_command {
            ""
        } else {
            "\nProcSubset=pid\nMemoryDenyWriteExecute=yes"
        };
        format!(
            "\
# Written by kubectl prom-federate v{version}. Put it into /etc/systemd/system/prom-federate.service, then:
# systemctl daemon-reload && systemctl enable --now prom-federate

[Unit]
Description=Rotate the tokens of Prometheus for Kubernetes clusters
Documentation={repository}
Wants=network-online.target
After=network-online.target

[Service]
Type=notify
ExecStart={command}
Restart=on-failure
RestartSec=30s
# An interrupted rotation is undone before the service ends.
TimeoutStopSec=2min
{user}
UMask=0077
NoNewPrivileges=yes
{credentials}# A cluster that answers without end costs rotate less than 100 MB; promtool and credential plugins need the rest.
MemoryMax=1G
LimitCORE=0

# The service may write jobs, tokens and metrics.
ProtectSystem=strict
ReadWritePaths={writable}
{home}
PrivateTmp=yes
PrivateDevices=yes
PrivateMounts=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible

# For API servers, Prometheus and the journal.
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources{chown}
SystemCallErrorNumber=EPERM
SystemCallArchitectures=native
LockPersonality=yes
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes{alone}

[Install]
WantedBy=multi-user.target
",
            version = env!("CARGO_PKG_VERSION"),
            repository = env!("CARGO_PKG_REPOSITORY"),
        )
    }
}

/// The lines about a kubeconfig, each with its end.
fn credentials(file: KubeconfigFile) -> String {
    let mut lines = if let Some(path) = file.passed_on {
        format!(
            "\
# systemd reads the kubeconfig and gives the service a copy, so only root needs to read it. After a change of the
# file: systemctl restart prom-federate. (systemd 247 or later)
LoadCredential=kubeconfig:{}\n",
            path.replace('%', "%%")
        )
    } else {
        "\
# The kubeconfig names other files, so the service reads it and them where they are. A kubeconfig without other files,
# which systemd can read for the service: kubectl config view --flatten --raw --kubeconfig=FILE
"
        .to_owned()
    };
    if file.has_plugins {
        lines += "\
# The kubeconfig has a credential plugin. It runs with these limits too: in PATH of systemd, with the home of the user
# above, read-only, and with a folder for its cache. What else it writes needs a ReadWritePaths= line.
CacheDirectory=prom-federate
Environment=XDG_CACHE_HOME=%C/prom-federate KUBECACHEDIR=%C/prom-federate
";
    }
    lines
}

/// The lines about a client configuration file, each with its end.
fn http_config(file: HttpConfigFile) -> String {
    match file {
        HttpConfigFile::PassedOn(path) => format!(
            "\
# systemd reads the client configuration file of Prometheus too and gives the service a copy. (systemd 247 or later)
LoadCredential=prometheus-http-config:{}\n",
            path.replace('%', "%%")
        ),
        HttpConfigFile::NamesOthers => "\
# The client configuration file of Prometheus names other files, so the service reads it and them where they are: the
# user above must be able to read all of them.
"
        .to_owned(),
    }
}

/// Capabilities: see capabilities(7). The access check for /proc of another process: see ptrace(2).
fn user(runs_as: &RunsAs) -> String {
    let root = match runs_as {
        RunsAs::Root(root) => root,
        RunsAs::Owner(FileOwner { user, group }) => {
            let group = group.as_ref().map(|group| format!("\nGroup={group}")).unwrap_or_default();
            return format!(
                "\
# The user of Prometheus, which can inspect and reload Prometheus without any capability. The folder below must
# belong to this user, so run each join as this user too: sudo -u {user} kubectl prom-federate join ...
User={user}{group}
CapabilityBoundingSet="
            );
        }
    };
    let mut lines = String::from(
        "\
# Root, because the service gives each token to Prometheus. As the user of Prometheus, the service needs no
# capability: print this unit with --owner USER.
User=root",
    );
    if let Some(group) = &root.group {
        lines += &format!("\n# The group of Prometheus, so that new files have it.\nGroup={group}");
    }
    let mut capabilities = Vec::new();
    if root.gives_files {
        lines += "\n# CAP_CHOWN, CAP_FOWNER, CAP_DAC_OVERRIDE: files for another user, in folders of another user.";
        capabilities.extend(["CAP_CHOWN", "CAP_FOWNER", "CAP_DAC_OVERRIDE"]);
    }
    if root.reads_files && !root.gives_files {
        lines += "\n# CAP_DAC_READ_SEARCH: files that only another user may read, and the environment of vmagent or a collector.";
        capabilities.push("CAP_DAC_READ_SEARCH");
    }
    if root.finds_prometheus {
        lines += "
# CAP_SYS_PTRACE: to find the Prometheus that reads the folder, by /proc/PID/root, cwd and exe. CAP_KILL: SIGHUP.";
        capabilities.extend(["CAP_SYS_PTRACE", "CAP_KILL"]);
    }
    lines + "\nCapabilityBoundingSet=" + &capabilities.join(" ")
}

/// Quotes a word for systemd (systemd.service(5), systemd.unit(5)): `%` begins a specifier, and quotes keep blanks
/// together.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./:=@%+,$".contains(c);
    let doubled = word.replace('%', "%%");
    if !word.is_empty() && word.chars().all(plain) {
        doubled
    } else {
        format!("\"{}\"", doubled.replace('\\', r"\\").replace('"', "\\\""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(runs_as: RunsAs) -> String {
        let arguments = ["rotate", "--watch", "-p", "/etc/prometheus"].map(str::to_owned);
        let unit = Unit {
            program: "/usr/local/bin/kubectl-prom_federate",
            arguments: &arguments,
            writable: &["/etc/prometheus/prom-federate".to_owned()],
            runs_as,
            reads_home: false,
            kubeconfig: None,
            http_config: None,
            runs_a_command: false,
        };
        unit.render().replace(env!("CARGO_PKG_VERSION"), "VERSION")
    }

    fn root(gives_files: bool) -> Root {
        Root { group: Some("114".to_owned()), finds_prometheus: true, gives_files, reads_files: false }
    }

    #[test]
    fn unit_runs_as_root_without_an_owner() {
        insta::assert_snapshot!(unit(RunsAs::Root(root(false))), @r"
        # Written by kubectl prom-federate vVERSION. Put it into /etc/systemd/system/prom-federate.service, then:
        # systemctl daemon-reload && systemctl enable --now prom-federate

        [Unit]
        Description=Rotate the tokens of Prometheus for Kubernetes clusters
        Documentation=https://github.com/prom-federate/kubectl-prom-federate
        Wants=network-online.target
        After=network-online.target

        [Service]
        Type=notify
        ExecStart=/usr/local/bin/kubectl-prom_federate rotate --watch -p /etc/prometheus
        Restart=on-failure
        RestartSec=30s
        # An interrupted rotation is undone before the service ends.
        TimeoutStopSec=2min
        # Root, because the service gives each token to Prometheus. As the user of Prometheus, the service needs no
        # capability: print this unit with --owner USER.
        User=root
        # The group of Prometheus, so that new files have it.
        Group=114
        # CAP_SYS_PTRACE: to find the Prometheus that reads the folder, by /proc/PID/root, cwd and exe. CAP_KILL: SIGHUP.
        CapabilityBoundingSet=CAP_SYS_PTRACE CAP_KILL
        UMask=0077
        NoNewPrivileges=yes
        # A cluster that answers without end costs rotate less than 100 MB; promtool and credential plugins need the rest.
        MemoryMax=1G
        LimitCORE=0

        # The service may write jobs, tokens and metrics.
        ProtectSystem=strict
        ReadWritePaths=/etc/prometheus/prom-federate
        ProtectHome=yes
        PrivateTmp=yes
        PrivateDevices=yes
        PrivateMounts=yes
        ProtectClock=yes
        ProtectControlGroups=yes
        ProtectHostname=yes
        ProtectKernelLogs=yes
        ProtectKernelModules=yes
        ProtectKernelTunables=yes
        ProtectProc=invisible

        # For API servers, Prometheus and the journal.
        RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
        SystemCallFilter=@system-service
        SystemCallFilter=~@privileged @resources
        SystemCallErrorNumber=EPERM
        SystemCallArchitectures=native
        LockPersonality=yes
        RestrictNamespaces=yes
        RestrictRealtime=yes
        RestrictSUIDSGID=yes
        ProcSubset=pid
        MemoryDenyWriteExecute=yes

        [Install]
        WantedBy=multi-user.target
        ");
    }

    #[test]
    fn unit_of_the_prometheus_user_needs_no_capability() {
        let text = unit(RunsAs::Owner(&"prometheus:monitoring".parse().unwrap()));
        let user = text.split("TimeoutStopSec=2min\n").nth(1).and_then(|text| text.split("UMask").next()).unwrap();
        insta::assert_snapshot!(user, @r"
        # The user of Prometheus, which can inspect and reload Prometheus without any capability. The folder below must
        # belong to this user, so run each join as this user too: sudo -u prometheus kubectl prom-federate join ...
        User=prometheus
        Group=monitoring
        CapabilityBoundingSet=
        ");
    }

    #[test]
    fn words_are_quoted_for_systemd() {
        for (word, expected) in [
            ("/usr/bin/x", "/usr/bin/x"),
            ("100%", "100%%"),
            ("a b", "\"a b\""),
            ("", "\"\""),
            (";", "\";\""),
            ("a\"b\\c'd", "\"a\\\"b\\\\c'd\""),
            ("%n \"", "\"%%n \\\"\""),
        ] {
            assert_eq!(quoted(word), expected);
        }
        let arguments = ["rotate".to_owned(), "--reload".to_owned(), "command:kill $PID; echo 100%".to_owned()];
        let unit = Unit {
            program: "/a $b/c",
            arguments: &arguments,
            writable: &["/x y".to_owned()],
            runs_as: RunsAs::Root(root(true)),
            reads_home: true,
            kubeconfig: Some(KubeconfigFile { passed_on: Some("/x 100%/config"), has_plugins: true }),
            http_config: Some(HttpConfigFile::PassedOn("/x 100%/http.yml")),
            runs_a_command: true,
        };
        let text = unit.render();
        assert!(
            text.contains("\nExecStart=\"/a $b/c\" rotate --reload \"command:kill $$PID; echo 100%%\" --kubeconfig ${CREDENTIALS_DIRECTORY}/kubeconfig --prometheus-http-config ${CREDENTIALS_DIRECTORY}/prometheus-http-config\n"),
            "{text}"
        );
        assert!(text.contains("\nLoadCredential=kubeconfig:/x 100%%/config\n"), "{text}");
        assert!(text.contains("\nLoadCredential=prometheus-http-config:/x 100%%/http.yml\n"), "{text}");
        assert!(!text.contains("MemoryDenyWriteExecute") && text.contains("\nSystemCallFilter=@chown\n"), "{text}");
        assert!(text.contains("\nReadWritePaths=\"/x y\"\n") && text.contains("\nProtectHome=read-only\n"), "{text}");
    }
}
