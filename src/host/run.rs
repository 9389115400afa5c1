//! Runs programs of this host to their end.

use std::{
    io,
    process::{ExitStatus, Stdio},
    time::Duration,
};
use tokio::{
    io::AsyncReadExt,
    process::{ChildStderr, Command},
    time::timeout,
};

/// So much of a complaint is kept, in bytes: its beginning. The rest is read, so that the program can end.
const KEPT: usize = 64 * 1024;
/// How long what a program wrote last may take through the pipe once the program has ended.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// Runs a program, without input, and keeps what it complains about. A daemon that the program leaves behind may keep
/// standard error open for ever, so the program's own end counts.
pub(super) async fn complaint_of(command: &mut Command) -> io::Result<(ExitStatus, String)> {
    let pipes = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = pipes.kill_on_drop(true).spawn()?;
    let mut errors = child.stderr.take().ok_or(io::ErrorKind::BrokenPipe)?;
    let mut said = Vec::new();
    let status = tokio::select! {
        status = child.wait() => status?,
        () = keep(&mut errors, &mut said) => child.wait().await?,
    };
    let _ = timeout(LAST_WORDS, keep(&mut errors, &mut said)).await;
    Ok((status, String::from_utf8_lossy(&said).into_owned()))
}

/// Reads to the end. What was read is kept if this is cancelled.
async fn keep(errors: &mut ChildStderr, said: &mut Vec<u8>) {
    let mut chunk = [0; 4096];
    while let Ok(count @ 1..) = errors.read(&mut chunk).await {
        said.extend_from_slice(&chunk[..count.min(KEPT - said.len())]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{host::conformance::SHELLS, model::text::shell::word, render::script};

    const SOON: Duration = Duration::from_secs(10);
    /// What programs do, with the exit status and how the complaint begins.
    const PROGRAMS: [(&str, i32, &str); 6] = [
        ("exit 0", 0, ""),
        ("echo no >&2; exit 3", 3, "no"),
        ("echo out; echo one >&2; echo two >&2; exit 1", 1, "one\ntwo"),
        ("printf 'no newline' >&2; exit 2", 2, "no newline"),
        // As a script of System V's init that starts a daemon.
        ("echo begun >&2; sleep 60 & exit 0", 0, "begun"),
        (
            "i=0; while [ $i -lt 5000 ]; do i=$((i + 1)); echo 'a line of many that nobody reads' >&2; done; exit 4",
            4,
            "a line",
        ),
    ];

    #[tokio::test]
    async fn a_program_ends_with_its_own_end_and_its_complaint_is_bounded() {
        for (program, status, complaint) in PROGRAMS {
            let mut command = Command::new("sh");
            let run = complaint_of(command.args(["-c", program]));
            let (ended, said) = timeout(SOON, run).await.expect("it ends").expect("it runs");
            assert_eq!(ended.code(), Some(status), "{program}: {said}");
            assert!(said.starts_with(complaint) && said.len() <= KEPT, "{program}: {said}");
        }
    }

    #[tokio::test]
    async fn shells_of_other_hosts_do_the_same() {
        for shell in SHELLS.iter() {
            for (program, status, complaint) in PROGRAMS {
                let text = format!(
                    "{}\nsaid=$(complaint within 5 sh -c {} < /dev/null)\necho $?\nprintf %s \"$said\"\n",
                    script::HOST,
                    word(program)
                );
                let mut command = Command::new(shell[0]);
                let command = command.args(&shell[1..]).args(["-c", &text]).kill_on_drop(true).output();
                let output = timeout(SOON, command).await.expect("it ends").expect("it runs");
                let output = String::from_utf8_lossy(&output.stdout).into_owned();
                let (ended, said) = output.split_once('\n').expect("a status");
                assert_eq!(ended, status.to_string(), "{shell:?} {program}: {said}");
                assert!(said.starts_with(complaint) && said.len() <= KEPT, "{shell:?} {program}: {said}");
            }
        }
    }

    #[tokio::test]
    async fn program_of_another_host_that_ignores_sigterm_is_killed() {
        for shell in SHELLS.iter() {
            let text = format!("{}\nwithin 1 sh -c \"trap '' TERM; exec sleep 60\"\n", script::HOST);
            let mut command = Command::new(shell[0]);
            let command = command.args(&shell[1..]).args(["-c", &text]).kill_on_drop(true).output();
            let output = timeout(SOON, command).await.expect("it ends").expect("it runs");
            assert!(!output.status.success(), "{shell:?}");
        }
    }
}
