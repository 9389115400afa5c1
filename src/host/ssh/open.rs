//! A look at another host over a connection that its user keeps open, for completion.

use super::client::over_open;
use crate::{
    host::local::programs::on_path,
    model::{
        store::{layout::FOLDER, location::SshLocation},
        text::shell::word,
    },
};
use std::{env, process::Stdio};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// As much of an answer as is read.
const MOST: u64 = 1024 * 1024;

/// The names in our folder of that host. ssh shares a connection that a `ControlMaster` keeps open, and makes none: a new
/// one may ask for a password, a confirmation or a touch, and takes longer than a person waits for completion. None
/// without such a connection.
pub(crate) async fn names_over_open_connection(location: &SshLocation) -> Option<Vec<String>> {
    let program = on_path("ssh", &env::var_os("PATH").unwrap_or_default())?;
    let mut ssh = over_open(&program, location);
    let pipes = ssh.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = pipes.kill_on_drop(true).spawn().ok()?;
    let (mut input, output) = (child.stdin.take()?, child.stdout.take()?);
    let folder = format!("[ -d \"$place\" ] || place=${{place%/*}}\nexec ls \"$place/{FOLDER}\"\n");
    input.write_all(format!("place={}\n{folder}", word(&location.path)).as_bytes()).await.ok()?;
    drop(input);
    let mut names = String::new();
    output.take(MOST).read_to_string(&mut names).await.ok()?;
    Some(names.lines().map(str::to_owned).collect())
}
