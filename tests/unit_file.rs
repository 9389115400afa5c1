//! `rotate --print-unit` before systemd itself. It needs systemd-analyze, not a systemd that runs.

use std::{fs, path::Path, process::Command};

fn print(folder: &Path, more: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kubectl-prom_federate"));
    command.args(["rotate", "--print-unit"]).args(more).env_clear().current_dir(folder);
    let output = command.output().expect("the plugin starts");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// What systemd-analyze says of a unit: nothing, if all is well. What is only ignored is no failure to it.
fn verify(unit: &str) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("prom-federate.service");
    fs::write(&path, unit).expect("a file");
    let output = Command::new("systemd-analyze").arg("verify").arg(&path).output();
    let output = output.expect("systemd-analyze starts: `cargo verify` installs it");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn destination(name: &str) -> tempfile::TempDir {
    let folder = tempfile::Builder::new().prefix(name).tempdir().expect("a folder");
    fs::write(folder.path().join("prometheus.yml"), "{}\n").expect("a file");
    fs::create_dir(folder.path().join("prom-federate")).expect("a folder");
    folder
}

#[test]
fn systemd_takes_the_unit_whatever_the_flags_are() {
    let folder = destination("100% \"$HOME\" ");
    let reload = "--reload=command:kill -HUP $(pidof prometheus); echo '100%' \"\\n\"";
    for flags in [
        &["-p", "."][..],
        &["-p", ".", "--owner=daemon:daemon", "--metrics-file=x.prom"],
        &["-p", "prometheus.yml", "east", reload, "--request-timeout=0", "-v6", "--context=a;b"],
        &["-p", ".", "--kubeconfig=/root/.kube/config", "--as=x", "--as-group=a b", "--as-group=-c", "--as-uid=%n"],
    ] {
        let (code, unit, said) = print(folder.path(), flags);
        assert_eq!((code, said.as_str()), (Some(0), ""), "{flags:?}");
        assert_eq!(verify(&unit), "", "{unit}");
    }
    // So that it can fail.
    let (_, unit, _) = print(folder.path(), &["-p", "."]);
    assert_ne!(verify(&unit.replace("Type=notify", "Type=notified")), "");
    assert_ne!(verify(&unit.replace("/kubectl-prom_federate", "/nothing")), "");
}

/// What systemd-analyze makes of a unit: from 0 to 10, less is better.
fn exposure(unit: &str) -> f64 {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("prom-federate.service");
    fs::write(&path, unit).expect("a file");
    let analyze =
        Command::new("systemd-analyze").args(["security", "--offline=true", "--no-pager"]).arg(&path).output();
    let said = String::from_utf8(analyze.expect("systemd-analyze starts: `cargo verify` installs it").stdout);
    let said = said.expect("UTF-8");
    let level = said.lines().find_map(|line| line.split_once("exposure level for ")?.1.split(' ').nth(1));
    level.and_then(|level| level.parse().ok()).unwrap_or_else(|| panic!("no level: {said}"))
}

/// As root: where the folder is root's, as the tests run.
#[test]
fn unit_exposes_little() {
    let folder = destination("unit");
    let note = folder.path().join("prom-federate/.owner");
    fs::write(&note, "114:114\n").expect("a file");
    for (flags, limit) in [(&["-p", "."][..], 2.0), (&["-p", ".", "--owner=daemon"], 1.5)] {
        let (_, unit, _) = print(folder.path(), flags);
        let exposure = exposure(&unit);
        assert!(exposure <= limit, "{exposure}: {unit}");
        assert!(!unit.contains("CAP_CHOWN") && !unit.contains("CAP_DAC"), "{unit}");
    }
    // So that it can fail.
    let (_, unit, _) = print(folder.path(), &["-p", "."]);
    assert!(exposure(&unit.replace("ProtectProc=invisible\n", "")) > 2.0);
    // A reader that no note names may turn out to be another user, whose files root makes then.
    fs::remove_file(note).expect("a file");
    let (_, unit, _) = print(folder.path(), &["-p", "."]);
    assert!(unit.contains("CAP_CHOWN") && exposure(&unit) <= 2.4, "{unit}");
}

/// systemd passes on a kubeconfig that needs no other file.
#[test]
fn kubeconfig_is_a_credential_unless_it_names_files() {
    let folder = destination("unit");
    let here = folder.path().display();
    let users = |user: &str| format!("apiVersion: v1\nkind: Config\nusers:\n- name: a\n  user: {user}\n");
    let plugin = |command: &str| {
        users(&format!("{{exec: {{command: {command}, apiVersion: client.authentication.k8s.io/v1}}}}"))
    };
    for (kubeconfig, is_passed_on, has_plugin) in [
        (users("{token: hunter2}"), true, false),
        (users("{client-certificate: a.crt, client-key: a.key}"), false, false),
        (users("{tokenFile: /run/token}"), false, false),
        ("clusters:\n- name: a\n  cluster: {certificate-authority: ca.crt}\n".to_owned(), false, false),
        (plugin("aws"), true, true),
        (plugin("/usr/bin/aws"), true, true),
        (plugin("./aws"), false, true),
        ("- is: none".to_owned(), false, false),
    ] {
        fs::write(folder.path().join("k"), &kubeconfig).expect("a file");
        let (code, unit, said) = print(folder.path(), &["-p", ".", "--kubeconfig=k"]);
        assert_eq!((code, said.as_str()), (Some(0), ""), "{kubeconfig}");
        assert_eq!(verify(&unit), "", "{unit}");
        let given = [
            format!("\nLoadCredential=kubeconfig:{here}/k\n"),
            format!(" -p {here} --kubeconfig ${{CREDENTIALS_DIRECTORY}}/kubeconfig\n"),
        ];
        assert!(given.iter().all(|line| unit.contains(line) == is_passed_on), "{unit}");
        assert_eq!(unit.contains(&format!(" --kubeconfig {here}/k ")), !is_passed_on, "{unit}");
        assert_eq!(unit.contains("\nCacheDirectory=prom-federate\n"), has_plugin, "{unit}");
        assert_eq!(unit.contains("MemoryDenyWriteExecute"), !has_plugin, "{unit}");
        assert!(!unit.contains("hunter2"), "{unit}");
    }
}

#[test]
fn paths_are_full_and_homes_are_hidden_unless_needed() {
    let folder = destination("unit");
    let here = folder.path().to_str().expect("UTF-8");
    let (_, unit, _) = print(folder.path(), &["-p", ".", "--metrics-file=x.prom", "--kubeconfig=k"]);
    for line in [
        format!(" rotate --watch --metrics-file {here}/x.prom --kubeconfig {here}/k -p {here}\n"),
        format!("\nReadWritePaths={here}/prom-federate {here}\n"),
    ] {
        assert!(unit.contains(&line), "{line}{unit}");
    }
    let (_, unit, _) = print(folder.path(), &["-p", ".", "--kubeconfig=/home/jane/.kube/config"]);
    assert!(unit.contains("\nProtectHome=read-only\n"), "{unit}");
}

/// The shell's own pipe ends with the command, and a named one gives nothing to the next reader.
#[test]
fn unit_names_only_files_that_last() {
    let folder = destination("unit");
    let pipe = folder.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo starts").success());
    for kubeconfig in ["--kubeconfig=/dev/fd/63", "--kubeconfig=pipe", "--kubeconfig=/proc/self/fd/0"] {
        let (code, unit, said) = print(folder.path(), &["-p", ".", kubeconfig]);
        assert_eq!((code, unit.as_str()), (Some(2), ""), "{kubeconfig}");
        assert!(said.contains("is no file that lasts") && said.contains("hint: Write it to a file"), "{said}");
    }
}

#[test]
fn client_configuration_file_is_passed_on_unless_it_names_others() {
    let folder = destination("unit");
    let path = |name: &str| folder.path().canonicalize().expect("a folder").join(name).display().to_string();
    let alone = "basic_auth: {username: jane, password: hunter2}";
    fs::write(path("http.yml"), alone).expect("a file");
    let arguments = ["-p", ".", "--prometheus-http-config=http.yml"];
    let (code, unit, said) = print(folder.path(), &arguments);
    assert_eq!(code, Some(0), "{said}");
    for line in [
        format!("\nLoadCredential=prometheus-http-config:{}\n", path("http.yml")),
        " --prometheus-http-config ${CREDENTIALS_DIRECTORY}/prometheus-http-config\n".to_owned(),
    ] {
        assert!(unit.contains(&line), "{line}: {unit}");
    }
    fs::write(path("http.yml"), "basic_auth: {username: jane, password_file: password}").expect("a file");
    let (_, unit, _) = print(folder.path(), &arguments);
    assert!(unit.contains(&format!(" --prometheus-http-config {} ", path("http.yml"))), "{unit}");
    assert!(unit.contains("names other files") && !unit.contains("LoadCredential="), "{unit}");
    fs::write(path("http.yml"), "basic_auth: {user: hunter2}").expect("a file");
    let (code, unit, said) = print(folder.path(), &arguments);
    assert_eq!((code, unit.as_str()), (Some(2), ""));
    assert!(said.contains("user of basic_auth is unknown") && !said.contains("hunter2"), "{said}");
    let (code, unit, said) = print(folder.path(), &["-p", ".", "--prometheus-http-config=/dev/fd/63"]);
    assert_eq!((code, unit.as_str()), (Some(2), ""));
    assert!(said.contains("--prometheus-http-config /dev/fd/63 is no file that lasts"), "{said}");
}

#[test]
fn what_no_service_could_keep_alive_is_refused() {
    let folder = destination("unit");
    let (code, _, said) = print(folder.path(), &["-p", ".", "--reload=command:a secret\nof mine"]);
    assert_eq!(code, Some(2));
    assert!(
        said.contains("\"--reload\" has characters that a systemd unit cannot contain") && !said.contains("secret"),
        "{said}"
    );
    fs::remove_dir(folder.path().join("prom-federate")).expect("a folder");
    let (code, unit, said) = print(folder.path(), &["-p", "."]);
    assert_eq!((code, unit.as_str()), (Some(1), ""));
    assert!(said.contains("error (DestinationUnusable): ") && said.contains("hint: Join a cluster first: "), "{said}");
}
