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
    /// The user of the service, which is the user of Prometheus; None: root.
    pub owner: Option<&'a FileOwner>,
    /// Whether the service reads a file in a home folder.
    pub reads_home: bool,
}

/// The folders that `ProtectHome=` of systemd.exec(5) hides.
pub const HOMES: [&str; 3] = ["/home", "/root", "/run/user"];

impl Unit<'_> {
    pub fn render(&self) -> String {
        let Self { program, arguments, writable, owner, reads_home } = self;
        let mut command = vec![quoted(program)];
        command.extend(arguments.iter().map(|argument| quoted(argument).replace('$', "$$")));
        let command = command.join(" ");
        let writable = writable.iter().map(|folder| quoted(folder)).collect::<Vec<_>>().join(" ");
        let user = user(*owner);
        let home = if *reads_home {
            "# The service reads a file in a home folder.\nProtectHome=read-only"
        } else {
            "ProtectHome=yes"
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

# The service may write jobs, tokens and metrics.
ProtectSystem=strict
ReadWritePaths={writable}
{home}
PrivateTmp=yes
PrivateDevices=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes

# For API servers, Prometheus and the journal.
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM
SystemCallArchitectures=native
LockPersonality=yes
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes

[Install]
WantedBy=multi-user.target
",
            version = env!("CARGO_PKG_VERSION"),
            repository = env!("CARGO_PKG_REPOSITORY"),
        )
    }
}

/// Capabilities: see capabilities(7). The access check for /proc of another process: see ptrace(2).
fn user(owner: Option<&FileOwner>) -> String {
    let Some(FileOwner { user, group }) = owner else {
        return "\
# Root, because the service gives each token to the user of Prometheus. As this user, the service needs no
# capability: print this unit with --owner USER.
User=root
# CAP_CHOWN, CAP_FOWNER: tokens that only Prometheus can read. CAP_DAC_OVERRIDE: folders of Prometheus' user.
# CAP_SYS_PTRACE: to find the Prometheus that reads the folder, by /proc/PID/root, cwd and exe. CAP_KILL: SIGHUP.
CapabilityBoundingSet=CAP_CHOWN CAP_FOWNER CAP_DAC_OVERRIDE CAP_SYS_PTRACE CAP_KILL"
            .to_owned();
    };
    let group = group.as_ref().map(|group| format!("\nGroup={group}")).unwrap_or_default();
    format!(
        "\
# The user of Prometheus, which can inspect and reload Prometheus without any capability. The folder below must
# belong to this user, so run each join as this user too: sudo -u {user} kubectl prom-federate join ...
User={user}{group}
CapabilityBoundingSet="
    )
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

    fn unit(owner: Option<&FileOwner>) -> String {
        let arguments = ["rotate", "--watch", "-p", "/etc/prometheus"].map(str::to_owned);
        let unit = Unit {
            program: "/usr/local/bin/kubectl-prom_federate",
            arguments: &arguments,
            writable: &["/etc/prometheus/prom-federate".to_owned()],
            owner,
            reads_home: false,
        };
        unit.render().replace(env!("CARGO_PKG_VERSION"), "VERSION")
    }

    #[test]
    fn unit_runs_as_root_without_an_owner() {
        insta::assert_snapshot!(unit(None), @r"
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
        # Root, because the service gives each token to the user of Prometheus. As this user, the service needs no
        # capability: print this unit with --owner USER.
        User=root
        # CAP_CHOWN, CAP_FOWNER: tokens that only Prometheus can read. CAP_DAC_OVERRIDE: folders of Prometheus' user.
        # CAP_SYS_PTRACE: to find the Prometheus that reads the folder, by /proc/PID/root, cwd and exe. CAP_KILL: SIGHUP.
        CapabilityBoundingSet=CAP_CHOWN CAP_FOWNER CAP_DAC_OVERRIDE CAP_SYS_PTRACE CAP_KILL
        UMask=0077
        NoNewPrivileges=yes

        # The service may write jobs, tokens and metrics.
        ProtectSystem=strict
        ReadWritePaths=/etc/prometheus/prom-federate
        ProtectHome=yes
        PrivateTmp=yes
        PrivateDevices=yes
        ProtectClock=yes
        ProtectControlGroups=yes
        ProtectHostname=yes
        ProtectKernelLogs=yes
        ProtectKernelModules=yes
        ProtectKernelTunables=yes

        # For API servers, Prometheus and the journal.
        RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
        SystemCallFilter=@system-service
        SystemCallErrorNumber=EPERM
        SystemCallArchitectures=native
        LockPersonality=yes
        RestrictNamespaces=yes
        RestrictRealtime=yes
        RestrictSUIDSGID=yes

        [Install]
        WantedBy=multi-user.target
        ");
    }

    #[test]
    fn unit_of_the_prometheus_user_needs_no_capability() {
        let text = unit(Some(&"prometheus:monitoring".parse().unwrap()));
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
            owner: None,
            reads_home: true,
        };
        let text = unit.render();
        assert!(
            text.contains("\nExecStart=\"/a $b/c\" rotate --reload \"command:kill $$PID; echo 100%%\"\n"),
            "{text}"
        );
        assert!(text.contains("\nReadWritePaths=\"/x y\"\n") && text.contains("\nProtectHome=read-only\n"), "{text}");
    }
}
