//! Help, usage errors and the commands that ask no cluster: what is typed and what is answered.

use std::{
    io,
    process::{Command, Output, Stdio},
};

fn plugin(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kubectl-prom_federate"));
    command.args(arguments).env_clear().stdin(Stdio::null());
    command
}

/// `… | head`: the reader has gone before anything is written.
fn without_reader(arguments: &[&str]) -> Output {
    let (reader, writer) = io::pipe().expect("a pipe");
    drop(reader);
    plugin(arguments).stdout(writer).output().expect("the plugin starts")
}

#[test]
fn a_closed_pipe_ends_the_output_quietly() {
    for arguments in [&["--help"][..], &["join", "--help"], &["version"], &["manifests"], &["completion", "bash"]] {
        let output = without_reader(arguments);
        assert!(output.status.success() && output.stderr.is_empty(), "{arguments:?}: {output:?}");
    }
    // What the command found is still its exit code.
    let output = without_reader(&["check", "--kubeconfig", "/does/not/exist"]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && errors.contains("(CheckFailed)"), "{errors}");
    assert!(!errors.contains("OutputClosed"), "{errors}");
}

#[test]
fn hidden_characters_reach_neither_stream() {
    let folder = tempfile::tempdir().expect("a folder");
    let kubeconfig = folder.path().join("config");
    let text = r#"{"current-context": "east", "clusters": [], "users": [],
        "contexts": [{"name": "east", "context": {"cluster": "nimda\u202e\u200b", "user": "jane"}}]}"#;
    std::fs::write(&kubeconfig, text).expect("a file");
    let kubeconfig = kubeconfig.to_str().expect("a name");
    for output in [&["--output=json"][..], &["--output=yaml"], &[]] {
        let run = plugin(&[&["check", "--kubeconfig", kubeconfig], output].concat()).output().expect("it starts");
        let (out, err) = (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
        assert!(out.contains("nimda") && out.contains("202e"), "{out}");
        assert!(!out.contains(['\u{202e}', '\u{200b}']), "{out:?}");
        assert!(!err.contains(['\u{202e}', '\u{200b}']), "{err:?}");
        if output == ["--output=json"] {
            let report: serde_json::Value = serde_json::from_str(&out).expect("JSON");
            assert!(report.to_string().contains("nimda\u{202e}\u{200b}"), "{report}");
        }
    }
}

#[test]
fn crash_writes_no_core_file() {
    use std::os::unix::process::ExitStatusExt;
    let folder = tempfile::tempdir().expect("a folder");
    // It waits for a destination, with no need for a cluster.
    let watch = r#"ulimit -c unlimited && exec "$0" rotate --watch -p "$PWD/missing""#;
    let mut shell = Command::new("sh");
    shell.args(["-c", watch, env!("CARGO_BIN_EXE_kubectl-prom_federate")]).current_dir(folder.path());
    let mut child = shell.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("sh starts");
    let mut line = String::new();
    io::BufRead::read_line(&mut io::BufReader::new(child.stderr.take().expect("a pipe")), &mut line)
        .expect("it starts");
    assert!(line.contains("event=started"), "{line}");
    let pid = rustix::process::Pid::from_child(&child);
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", child.id())).expect("it runs");
    rustix::process::kill_process(pid, rustix::process::Signal::ABORT).expect("it runs");
    let status = child.wait().expect("it ends");
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).expect("a limit");
    assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");
    assert!(status.signal().is_some() && !status.core_dumped(), "{status}");
    assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 0);
}

#[test]
fn help_and_usage() {
    trycmd::TestCases::new()
        .case("tests/cli/*.trycmd")
        .env("COLUMNS", "100")
        .insert_var("[VERSION]", env!("CARGO_PKG_VERSION"))
        .expect("a valid variable");
}
