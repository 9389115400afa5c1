//! The system's ssh: how it is called, and why it fails.

use crate::{
    error::{Error, Reason},
    model::{
        store::location::SshLocation,
        text::{line, shell::word},
    },
};
use std::{path::Path, process::Command, time::Duration};

/// Keys, agents, known hosts and everything else are ssh's and its configuration's business. Nothing of ours is
/// forwarded to that host.
///
/// Ctrl-C in a terminal, and its end, are for every program in it. ssh is to outlive them, so that what has begun can be
/// taken back: OpenSSH leaves a signal ignored that it finds so (`clientloop.c`).
pub(super) fn ssh(program: &Path, location: &SshLocation, timeout: Option<Duration>) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' INT HUP; exec \"$@\"", "sh"]).arg(program);
    command.args(["-T", "-a", "-x", "-o", "ClearAllForwardings=yes"]);
    // A host that is gone is noticed within half a minute.
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
    command.args(["--", &location.host, "sh"]);
    command
}

pub(super) fn shown(SshLocation { user, host, port, .. }: &SshLocation) -> String {
    let user = user.as_ref().map(|user| format!("{user}@")).unwrap_or_default();
    let port = port.map(|port| format!(" port {port}")).unwrap_or_default();
    format!("{user}{host}{port}")
}

/// The command to connect by hand.
fn by_hand(SshLocation { user, host, port, .. }: &SshLocation) -> String {
    let port = port.map(|port| format!("-p {port} ")).unwrap_or_default();
    let user = user.as_ref().map(|user| format!("{}@", word(user))).unwrap_or_default();
    format!("ssh {port}{user}{host}")
}

/// Texts of OpenSSH: `sshconnect.c`, `misc.c`, `ssh.c`, `sshconnect2.c`; what a login shell of one who may not log in
/// says is nologin(8)'s.
pub(super) fn refusal(location: &SshLocation, said: &str, ended: Option<&str>) -> Error {
    let (host, by_hand) = (shown(location), by_hand(location));
    let has = |texts: &[&str]| texts.iter().any(|text| said.contains(text));
    // The terse last line is of no use where ssh explains itself above it.
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
        let words: Vec<String> = command.get_args().map(|word| word.to_string_lossy().into_owned()).collect();
        assert_eq!(words[words.len() - 7..], ["-p", "2222", "-l", "admin", "--", "prom", "sh"]);
        assert!(words.contains(&"ConnectTimeout=1".to_owned()));
        assert!(!words.iter().any(|word| word.contains("StrictHostKeyChecking")));
    }
}
