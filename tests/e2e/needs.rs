//! What a test needs of its machine. Where that is missing the test fails, with the line that says so: one that returned
//! instead would be green and would have proven nothing.

use std::process::{Command, Stdio};

/// For files and processes of other users, and for mounts that this process is to see.
///
/// # Panics
/// Where the test runs as another user.
pub(crate) fn root() {
    assert!(
        rustix::process::geteuid().is_root(),
        "only root may do what this test does: `cargo verify` runs the tests by sudo"
    );
}

/// The words that let a program watch no file: its user has no inotify instances in a namespace of its own.
pub(crate) const WITHOUT_INOTIFY: [&str; 6] = [
    "unshare",
    "--user",
    "--map-root-user",
    "sh",
    "-c",
    "echo 0 > /proc/sys/user/max_inotify_instances && exec \"$0\" \"$@\"",
];

/// The words that give a program a namespace of its own, `mount` or `net`: as root, or else in a user namespace.
///
/// # Panics
/// Where neither is allowed.
pub(crate) fn namespace(kind: &str) -> Vec<String> {
    let own = format!("--{kind}");
    let mut words = vec!["unshare", &own];
    if !rustix::process::geteuid().is_root() {
        words.extend(["--user", "--map-root-user"]);
    }
    let status = Command::new(words[0]).args(&words[1..]).arg("true").stderr(Stdio::null()).status();
    assert!(
        status.is_ok_and(|status| status.success()),
        "{words:?} is not allowed here: it takes root with CAP_SYS_ADMIN, or sysctl kernel.apparmor_restrict_unprivileged_userns=0"
    );
    words.into_iter().map(str::to_owned).collect()
}
