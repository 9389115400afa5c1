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
    let text = r#"{"current-context": "nimda\u202e\u200b", "clusters": [], "users": [], "contexts": []}"#;
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
fn help_and_usage() {
    trycmd::TestCases::new()
        .case("tests/cli/*.trycmd")
        .env("COLUMNS", "100")
        .insert_var("[VERSION]", env!("CARGO_PKG_VERSION"))
        .expect("a valid variable");
}
