//! The system's ssh: how it is called, and why it fails.

use crate::{
    error::{Error, Reason},
    model::{
        store::location::SshLocation,
        text::{line, shell::word},
    },
};
use std::{path::Path, time::Duration};
use tokio::process::Command;

/// The user's ssh configuration decides about keys, agents, known hosts and the rest. Neither agent nor display of this
/// host is forwarded.
///
/// A terminal sends Ctrl-C and its hangup to every program in it. ssh must outlive both, because the undo needs the
/// connection: OpenSSH keeps ignoring a signal that was ignored at its start (`clientloop.c`).
pub(super) fn ssh(program: &Path, location: &SshLocation, timeout: Option<Duration>) -> Command {
    let mut command = to_host(program, location, timeout);
    command.args(["--", &location.host, "sh"]);
    command
}

/// The same for a connection from that host to a server, HOST:PORT, on the standard input and output of ssh.
pub(super) fn forward(program: &Path, location: &SshLocation, timeout: Option<Duration>, server: &str) -> Command {
    let mut command = to_host(program, location, timeout);
    command.args(["-W", server, "--", &location.host]);
    command
}

/// The same over a connection that a `ControlMaster` keeps open. Without one, `-O` fails before it connects.
pub(super) fn over_open(program: &Path, location: &SshLocation) -> Command {
    let mut command = to_host(program, location, None);
    command.args(["-O", "proxy", "-o", "BatchMode=yes", "--", &location.host, "sh"]);
    command
}

fn to_host(program: &Path, location: &SshLocation, timeout: Option<Duration>) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' INT HUP; exec \"$@\"", "sh"]).arg(program);
    command.args(["-T", "-a", "-x", "-o", "ClearAllForwardings=yes"]);
    // ssh ends half a minute after the host has stopped to answer.
    command.args(["-o", "ServerAliveInterval=10", "-o", "ServerAliveCountMax=3"]);
    if let Some(timeout) = timeout {
        command.arg("-o").arg(format!("ConnectTimeout={}", timeout.as_secs().max(1)));
    }
    if let Some(port) = location.port {
        command.arg("-p").arg(port.to_string());
    }
    if let Some(user) = &location.user {
        command.arg("-l").arg(user);
    }
    command
}

pub(super) fn shown(SshLocation { user, host, port, .. }: &SshLocation) -> String {
    let user = user.as_ref().map(|user| format!("{user}@")).unwrap_or_default();
    let port = port.map(|port| format!(" port {port}")).unwrap_or_default();
    format!("{user}{host}{port}")
}

/// The command with which a user connects by hand.
fn by_hand(SshLocation { user, host, port, .. }: &SshLocation) -> String {
    let port = port.map(|port| format!("-p {port} ")).unwrap_or_default();
    let user = user.as_ref().map(|user| format!("{}@", word(user))).unwrap_or_default();
    format!("ssh {port}{user}{host}")
}

/// Texts of OpenSSH: `sshconnect.c`, `misc.c`, `ssh.c`, `sshconnect2.c`. The text of an account without a login shell is
/// that of nologin(8).
pub(super) fn refusal(location: &SshLocation, said: &str, ended: Option<&str>) -> Error {
    let (host, by_hand) = (shown(location), by_hand(location));
    let has = |texts: &[&str]| texts.iter().any(|text| said.contains(text));
    // ssh explains some failures above its last line.
    let line = |text: &str| said.lines().find(|line| line.contains(text)).map(line::escaped);
    let last = match line::last(said) {
        last if last.is_empty() => format!("it ended without output ({})", ended.unwrap_or("no status")),
        last => last,
    };
    let error = |reason, why: String| Error::new(reason, format!("{host}: {why}"));
    if has(&["REMOTE HOST IDENTIFICATION HAS CHANGED"]) {
        return error(Reason::HostKeyUnknown, "its host key differs from the known key".to_owned())
            .hint("This may be an attack. If the host was reinstalled, ask its administrator for the new key")
            .hint(format!("Connect by hand: {by_hand}"));
    }
    if has(&["Host key verification failed", "host key is known for"]) {
        let why = line("host key is known for").unwrap_or(last);
        return error(Reason::HostKeyUnknown, format!("its host key is not known: {why}"))
            .hint(format!("Connect once by hand and compare the key: {by_hand}"));
    }
    let unreachable =
        ["Could not resolve hostname", "connect to host", "banner exchange", "kex_exchange_identification"];
    if let Some(why) = unreachable.iter().find_map(|text| line(text)) {
        return error(Reason::HostUnreachable, why.trim_start_matches("ssh: ").to_owned())
            .hint("Is the host running, and is the name correct? Names of your ssh configuration work too")
            .hint("To wait longer: --request-timeout");
    }
    if let Some(why) = line("Permission denied (").or_else(|| line("Too many authentication failures")) {
        return error(Reason::SshRefused, why)
            .hint(format!("Connect by hand: {by_hand}"))
            .hint("Name another user: ssh://USER@HOST/DIR; keys and agents are as in your ssh configuration");
    }
    error(Reason::SshFailed, format!("cannot start a shell: {last}")).hint(format!("Test by hand: {by_hand} sh"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ssh_errors_have_a_reason_and_a_next_step() {
        let errors = [
            ("ssh: Could not resolve hostname prom: Name or service not known\r\n", "exit status: 255"),
            ("ssh: connect to host 10.0.0.5 port 22: Connection refused\r\n", "exit status: 255"),
            ("Warning\nConnection timed out during banner exchange\r\nConnection to 10.0.0.5 port 22 timed out\r\n", "exit status: 255"),
            ("No ED25519 host key is known for prom and you have requested strict checking.\r\nHost key verification failed.\r\n", "exit status: 255"),
            ("Host key verification failed.\r\n", "exit status: 255"),
            ("@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\r\n…\r\nHost key verification failed.\r\n", "exit status: 255"),
            ("\u{1b}[1mBanner\nprom: Permission denied (publickey,password).\r\n", "exit status: 255"),
            ("This account is currently not available.\n", "exit status: 1"),
            ("", "exit status: 255"),
        ]
        .map(|(said, ended)| {
            let error = refusal(&"prom:2222/p".parse().unwrap(), said, Some(ended));
            format!("{}: {error}\n{}", error.reason, error.hints.iter().map(|hint| format!("  hint: {hint}\n")).collect::<String>())
        });
        insta::assert_snapshot!(errors.concat());
    }

    #[test]
    fn destination_is_never_an_option_or_a_command() {
        let location: SshLocation = "admin@prom:2222/etc/$(id)".parse().unwrap();
        let command = ssh(Path::new("/usr/bin/ssh"), &location, Some(Duration::from_millis(10)));
        let words: Vec<String> = command.as_std().get_args().map(|word| word.to_string_lossy().into_owned()).collect();
        assert_eq!(words[words.len() - 7..], ["-p", "2222", "-l", "admin", "--", "prom", "sh"]);
        assert!(words.contains(&"ConnectTimeout=1".to_owned()));
        assert!(!words.iter().any(|word| word.contains("StrictHostKeyChecking")));
    }
}
