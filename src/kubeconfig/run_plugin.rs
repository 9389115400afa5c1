//! Runs credential plugins. Each distinct plugin runs once while its credential is valid, for all callers.

use super::plugin::{Credential, CredentialPlugin, EXEC_INFO, Interaction};
use crate::{
    clock,
    error::{Error, Reason, Result},
    model::text::{
        json::{self, Unread},
        limits::{PLUGIN, size},
        line::last,
        shell,
    },
    yaml,
};
use jiff::SignedDuration;
use serde_json::Value;
use std::{
    collections::HashMap,
    env,
    io::{self, IsTerminal},
    process::{Output, Stdio},
    sync::{Arc, LazyLock, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::{Child, Command},
};

/// How long what a plugin wrote last may take through the pipe once the plugin has exited.
const LAST_WORDS: Duration = Duration::from_millis(200);
/// The least remaining life of a credential for a new command.
const RESERVE: SignedDuration = SignedDuration::from_mins(1);

/// The time limit of a non-interactive plugin, as a multiple of the request timeout: a plugin may start slowly and calls a
/// cloud. kubectl has no limit.
const PATIENCE: u32 = 6;

/// A plugin and the description of the cluster that it gets.
type Key = (CredentialPlugin, Option<String>);
/// Locked while the plugin runs.
type Slot = Arc<tokio::sync::Mutex<Option<Outcome>>>;

static OUTCOMES: LazyLock<Mutex<HashMap<Key, Slot>>> = LazyLock::new(Mutex::default);
/// Only one interactive plugin runs at a time.
static TERMINAL: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

struct Outcome {
    ended: Instant,
    result: Result<Credential>,
}

impl Outcome {
    /// Whether the result is valid for this caller: a credential for all callers until it expires, a failure only for the
    /// callers that were waiting.
    fn is_for(&self, asked: Instant) -> bool {
        match &self.result {
            Ok(credential) => credential.expires.is_none_or(|end| clock::now() + RESERVE < end),
            Err(_) => asked <= self.ended,
        }
    }
}

/// The credential of a plugin. `cluster` is the description for a plugin that requests it, `timeout` the request timeout.
///
/// # Errors
/// [`Reason::CredentialPluginFailed`], without the plugin's standard output and without its arguments.
pub async fn credential(
    plugin: &CredentialPlugin,
    cluster: Option<&Value>,
    timeout: Option<Duration>,
) -> Result<Credential> {
    let is_terminal = io::stdin().is_terminal();
    let is_interactive = match plugin.interaction() {
        Some(Interaction::Always) if !is_terminal => {
            return Err(failed(plugin, "it is interactive, and standard input is not a terminal"));
        }
        interaction => is_terminal && interaction != Some(Interaction::Never),
    };
    once(plugin, cluster, is_interactive, timeout).await
}

/// Discards the credential of a plugin after a server refused it, so that the plugin runs again, as in client-go after a
/// 401.
pub fn forget(plugin: &CredentialPlugin) {
    OUTCOMES.lock().unwrap_or_else(PoisonError::into_inner).retain(|(known, _), _| known != plugin);
}

async fn once(
    plugin: &CredentialPlugin,
    cluster: Option<&Value>,
    is_interactive: bool,
    timeout: Option<Duration>,
) -> Result<Credential> {
    let asked = Instant::now();
    let key = (plugin.clone(), cluster.map(ToString::to_string));
    let slot = Slot::clone(OUTCOMES.lock().unwrap_or_else(PoisonError::into_inner).entry(key).or_default());
    let mut slot = slot.lock().await;
    if let Some(outcome) = slot.as_ref().filter(|outcome| outcome.is_for(asked)) {
        return outcome.result.clone();
    }
    let told = plugin.told(is_interactive, cluster);
    let result = if is_interactive {
        let _alone = TERMINAL.lock().await;
        run(plugin, &told, is_interactive, None).await
    } else {
        run(plugin, &told, is_interactive, timeout.map(|timeout| timeout * PATIENCE)).await
    };
    *slot = Some(Outcome { ended: Instant::now(), result: result.clone() });
    result
}

async fn run(
    plugin: &CredentialPlugin,
    told: &str,
    is_interactive: bool,
    limit: Option<Duration>,
) -> Result<Credential> {
    let mut command = Command::new(&plugin.command);
    command.args(&plugin.args).envs(plugin.env.iter().map(|variable| (&variable.name, &variable.value)));
    command.env(EXEC_INFO, told).stdout(Stdio::piped()).kill_on_drop(true);
    if is_interactive {
        command.stdin(Stdio::inherit()).stderr(Stdio::inherit());
    } else {
        command.stdin(Stdio::null()).stderr(Stdio::piped());
    }
    let child = command.spawn().map_err(|error| not_started(plugin, &error))?;
    let output = match limit {
        None => output(child).await,
        Some(limit) => tokio::time::timeout(limit, output(child)).await.map_err(|_| {
            failed(plugin, &format!("it did not exit within {limit:?}, {PATIENCE} times --request-timeout"))
        })?,
    };
    let output = output.map_err(|error| failed(plugin, &format!("it cannot be waited for: {error}")))?;
    if output.stdout.len() > PLUGIN.bytes {
        return Err(failed(plugin, &format!("it prints more than {}", size(PLUGIN.bytes))));
    }
    if !output.status.success() {
        return Err(failed(plugin, &ended(&output)));
    }
    let printed = match json::read(&output.stdout, PLUGIN.memory) {
        Err(Unread::Invalid(_)) => yaml::read_first_foreign(&String::from_utf8_lossy(&output.stdout)).ok(),
        read => read.ok(),
    };
    let printed = printed.unwrap_or_default();
    plugin.answered(&printed).map_err(|why| failed(plugin, why))
}

/// Waits for a program that prints no more than is read. One that prints more has its pipe closed. A daemon that it leaves
/// behind may keep standard error open, as it may for kubectl, which gives plugins its own.
async fn output(mut child: Child) -> io::Result<Output> {
    let said = tokio::spawn(beginning(child.stderr.take()));
    let stdout = beginning(child.stdout.take()).await?;
    let status = child.wait().await?;
    let stderr = tokio::time::timeout(LAST_WORDS, said).await.ok().and_then(Result::ok);
    Ok(Output { status, stdout, stderr: stderr.transpose()?.unwrap_or_default() })
}

async fn beginning(from: Option<impl AsyncRead + Unpin>) -> io::Result<Vec<u8>> {
    let mut read = Vec::new();
    if let Some(from) = from {
        from.take(PLUGIN.bytes as u64 + 1).read_to_end(&mut read).await?;
    }
    Ok(read)
}

/// How the plugin failed, and the last line of its standard error.
fn ended(output: &Output) -> String {
    let complaint = last(&String::from_utf8_lossy(&output.stderr));
    let complaint = if complaint.is_empty() { complaint } else { format!(": {complaint}") };
    format!("it failed with {}{complaint}", output.status)
}

fn not_started(plugin: &CredentialPlugin, error: &io::Error) -> Error {
    let hint = plugin.install_hint.trim();
    match error.kind() {
        io::ErrorKind::NotFound if !hint.is_empty() => {
            let error = failed(plugin, "the command does not exist; see the kubeconfig's install hint");
            error.without_hints().hint(hint)
        }
        io::ErrorKind::NotFound => failed(plugin, &format!("the command does not exist{}", looked_in(plugin))),
        _ => failed(plugin, &format!("it cannot be started: {error}")),
    }
}

/// Where a name without a slash was searched.
fn looked_in(plugin: &CredentialPlugin) -> String {
    let is_path = plugin.command.components().count() > 1;
    env::var_os("PATH")
        .filter(|_| !is_path)
        .map(|path| format!(" in any folder of PATH: {}", path.display()))
        .unwrap_or_default()
}

pub(super) fn failed(plugin: &CredentialPlugin, why: &str) -> Error {
    let command = shell::word(&plugin.command.display().to_string());
    Error::new(Reason::CredentialPluginFailed, format!("the credential plugin {command}: no credentials: {why}"))
        .hint("The kubeconfig names this command; test it: kubectl get --raw /version")
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use crate::kubeconfig::plugin::Variable;
    use secrecy::ExposeSecret;
    use std::{fs, path::Path};
    use tokio::join;

    const API_VERSION: &str = "client.authentication.k8s.io/v1";

    /// A plugin that runs this script in this folder, counts its runs in the file `runs`, and prints a credential.
    fn plugin(folder: &Path, script: &str, expires: &str) -> CredentialPlugin {
        let status = format!(r#"{{"token":"of-the-plugin","expirationTimestamp":"{expires}"}}"#);
        let answer = format!(r#"{{"kind":"ExecCredential","apiVersion":"{API_VERSION}","status":{status}}}"#);
        let script = format!("cd \"$FOLDER\"; echo >>runs; {script}\nprintf %s '{answer}'");
        CredentialPlugin {
            api_version: API_VERSION.to_owned(),
            command: "/bin/sh".into(),
            args: vec!["-c".to_owned(), script],
            env: vec![Variable { name: "FOLDER".to_owned(), value: folder.display().to_string() }],
            ..CredentialPlugin::default()
        }
    }

    fn runs(folder: &Path) -> usize {
        fs::read_to_string(folder.join("runs")).unwrap_or_default().lines().count()
    }

    const LATER: &str = "2999-01-01T00:00:00Z";

    #[tokio::test]
    async fn plugin_runs_once_for_all_callers() {
        let folder = tempfile::tempdir().unwrap();
        let plugin = plugin(folder.path(), "", LATER);
        let (first, second) = join!(once(&plugin, None, false, None), once(&plugin, None, false, None));
        let third = once(&plugin, None, false, None).await;
        for credential in [first, second, third] {
            assert_eq!(credential.unwrap().token.unwrap().expose_secret(), "of-the-plugin");
        }
        assert_eq!(runs(folder.path()), 1);
        // Another cluster may need another credential.
        once(&plugin, Some(&serde_json::json!({ "server": "https://east" })), false, None).await.unwrap();
        assert_eq!(runs(folder.path()), 2);
    }

    #[tokio::test]
    async fn plugin_runs_again_after_its_credential_expires() {
        let folder = tempfile::tempdir().unwrap();
        let soon = (clock::now() + SignedDuration::from_secs(30)).to_string();
        let plugin = plugin(folder.path(), "", &soon);
        for expected in 1..=3 {
            once(&plugin, None, false, None).await.unwrap();
            assert_eq!(runs(folder.path()), expected);
        }
    }

    #[tokio::test]
    async fn daemon_of_a_plugin_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let plugin = plugin(folder.path(), "sleep 60 > /dev/null &", LATER);
        assert!(once(&plugin, None, false, Some(Duration::from_secs(10))).await.is_ok());
    }

    #[tokio::test]
    async fn endless_output_of_a_plugin_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        for script in ["yes; exit", "yes >&2; exit 1"] {
            let plugin = plugin(folder.path(), script, LATER);
            let limit = Some(Duration::from_secs(60));
            let error = once(&plugin, None, false, limit).await.err().unwrap();
            assert_eq!(error.reason, Reason::CredentialPluginFailed);
            let says = if script.contains('2') { "it failed with" } else { "it prints more than 1 MiB" };
            assert!(error.to_string().contains(says), "{error}");
        }
    }

    #[tokio::test]
    async fn plugin_runs_again_after_its_credential_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let plugin = plugin(folder.path(), "", LATER);
        once(&plugin, None, false, None).await.unwrap();
        forget(&plugin);
        once(&plugin, None, false, None).await.unwrap();
        assert_eq!(runs(folder.path()), 2);
    }

    #[tokio::test]
    async fn failure_is_shared_only_with_waiting_callers() {
        let folder = tempfile::tempdir().unwrap();
        let plugin = plugin(folder.path(), "test -e well || { echo 'log in' >&2; exit 3; }", LATER);
        let (first, second) = join!(once(&plugin, None, false, None), once(&plugin, None, false, None));
        assert_eq!(first.err(), second.err());
        assert_eq!(runs(folder.path()), 1);
        fs::write(folder.path().join("well"), "").unwrap();
        assert!(once(&plugin, None, false, None).await.is_ok());
    }

    /// Each plugin waits for the other one at the two ends of a pipe.
    #[tokio::test]
    async fn non_interactive_plugins_run_concurrently() {
        let folder = tempfile::tempdir().unwrap();
        assert!(std::process::Command::new("mkfifo").arg(folder.path().join("pipe")).status().unwrap().success());
        let (reader, writer) = (plugin(folder.path(), ": <pipe", LATER), plugin(folder.path(), ": >pipe", LATER));
        let (first, second) = join!(once(&reader, None, false, None), once(&writer, None, false, None));
        assert!(first.is_ok() && second.is_ok());
    }

    #[tokio::test]
    async fn interactive_plugins_run_one_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let alone = "mkdir alone || echo >>together; i=0; while [ $i -lt 30000 ]; do i=$((i+1)); done; rmdir alone";
        let [a, b, c] =
            ["true", "true a", "true b"].map(|own| plugin(folder.path(), &format!("{own}; {alone}"), LATER));
        let outcomes = join!(once(&a, None, true, None), once(&b, None, true, None), once(&c, None, true, None));
        assert!(outcomes.0.is_ok() && outcomes.1.is_ok() && outcomes.2.is_ok());
        assert!(!folder.path().join("together").exists());
    }

    #[tokio::test]
    async fn non_interactive_plugin_is_killed_after_the_timeout() {
        let folder = tempfile::tempdir().unwrap();
        assert!(std::process::Command::new("mkfifo").arg(folder.path().join("pipe")).status().unwrap().success());
        let plugin = plugin(folder.path(), ": <pipe", LATER);
        let error = once(&plugin, None, false, Some(Duration::from_millis(50))).await.err().unwrap();
        assert!(error.to_string().contains("within 300ms, 6 times --request-timeout"), "{error}");
    }

    #[tokio::test]
    async fn plugin_gets_the_same_input_as_from_client_go() {
        let folder = tempfile::tempdir().unwrap();
        let plugin = plugin(folder.path(), &format!("printf %s \"${EXEC_INFO}\" >told; cat >stdin"), LATER);
        let cluster = serde_json::json!({ "server": "https://east" });
        once(&plugin, Some(&cluster), false, None).await.unwrap();
        let told: Value = serde_json::from_str(&fs::read_to_string(folder.path().join("told")).unwrap()).unwrap();
        let spec = serde_json::json!({ "interactive": false, "cluster": cluster });
        assert_eq!(told, serde_json::json!({ "kind": "ExecCredential", "apiVersion": API_VERSION, "spec": spec }));
        assert_eq!(fs::read_to_string(folder.path().join("stdin")).unwrap(), "");
    }

    /// The messages of all failures of a plugin.
    #[tokio::test]
    async fn failures_have_a_line_and_a_next_command_and_no_secret() {
        let folder = tempfile::tempdir().unwrap();
        let shell = |script: &str| CredentialPlugin {
            args: vec!["-c".to_owned(), script.to_owned(), "hunter2".to_owned()],
            ..plugin(folder.path(), "", LATER)
        };
        let missing = |command: &str, hint: &str| CredentialPlugin {
            command: command.into(),
            install_hint: hint.to_owned(),
            ..plugin(folder.path(), "", LATER)
        };
        let always = CredentialPlugin { interactive_mode: "Always".to_owned(), ..shell("true") };
        let plugins = [
            shell("echo hunter2; echo first >&2; printf 'last\\033[2J\\n\\n' >&2; exit 3"),
            shell("echo hunter2"),
            shell("printf 'kind: ExecCredential\\napiVersion: hunter2'"),
            missing("/nowhere/get-token", ""),
            missing("/nowhere/get-token", "\nbrew install get-token\n"),
            missing("/etc", "brew install get-token"),
        ];
        let mut shown = Vec::new();
        for plugin in &plugins {
            let error = once(plugin, None, false, None).await.err().expect("a failure");
            shown.push(format!("{error}\n  hint: {}", error.hints.join(" | ")));
        }
        // If the tests have a terminal, the plugin would run.
        if !io::stdin().is_terminal() {
            let error = credential(&always, None, None).await.err().expect("a failure");
            assert!(error.to_string().contains("standard input is not a terminal"), "{error}");
        }
        let shown = shown.join("\n");
        assert!(!shown.contains("hunter2"), "{shown}");
        insta::assert_snapshot!(shown);
    }
}
