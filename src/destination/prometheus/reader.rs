//! For whom the files of a destination are, and which of the processes that claim to read it are believed: these are asked,
//! and told to read again.
//!
//! A process of another user than root and the user of the command is believed if the kernel shows that an administrator
//! started it, or if an administrator has named its user: with `--owner` now, or earlier, which is remembered.

use super::process::{Doubt, PrometheusProcess};
use crate::{
    error::{Error, Reason, Result},
    host::{ownership::Ids, remembered::Remembered},
};
use std::collections::BTreeSet;

/// No user has this number, see chown(2).
const UNKNOWN_USER: u32 = u32::MAX;

/// Who reads a destination.
pub struct Readers {
    /// Those that are believed: of one user.
    pub processes: Vec<PrometheusProcess>,
    /// For whom the files are to be; none where nothing is known.
    ///
    /// # Errors
    /// [`Reason::NotReadable`] where an administrator must say it.
    pub reader: Result<Option<Ids>>,
    /// Processes that claim to read it and have no say.
    pub ignored: Vec<PrometheusProcess>,
}

impl Readers {
    /// `own` is the user of the command, `named` the one of `--owner`; `config` is for people.
    pub fn choose(
        own: u32,
        named: Option<&Ids>,
        remembered: Option<&Remembered>,
        claims: Vec<PrometheusProcess>,
        config: &str,
    ) -> Self {
        let named_before = named.map(|named| Remembered { uid: Some(named.uid), gid: named.gid });
        let Some(known) = named_before.as_ref().or(remembered) else { return Self::found(claims, config) };
        let is_theirs = |claim: &PrometheusProcess| {
            claim.doubt != Some(Doubt::ChangesUser) && known.uid.map_or(claim.gid == known.gid, |uid| claim.uid == uid)
        };
        // They may read everything anyway.
        let is_free = |claim: &PrometheusProcess| claim.doubt.is_none() && (claim.uid == 0 || claim.uid == own);
        let has_theirs = claims.iter().any(is_theirs);
        let (processes, ignored): (Vec<_>, Vec<_>) =
            claims.into_iter().partition(|claim| if has_theirs { is_theirs(claim) } else { is_free(claim) });
        // A group alone was remembered by a release that believed any process.
        let is_sure = known.uid.is_some() && has_theirs;
        let proven = ignored.iter().find(|other| other.doubt.is_none() && !is_free(other) && !is_sure);
        let reader = match (named, proven, processes.first().filter(|_| has_theirs)) {
            (Some(named), ..) => Ok(Some(named.clone())),
            (None, Some(other), _) => Err(changed(known, other, config)),
            (None, None, Some(process)) => of_known(known, process, config).map(Some),
            (None, None, None) => {
                Ok(Some(Ids { uid: known.uid.unwrap_or(UNKNOWN_USER), gid: known.gid, groups: Vec::new() }))
            }
        };
        let processes = if reader.is_ok() { processes } else { Vec::new() };
        Self { processes, reader, ignored }
    }

    /// The same where no user is known.
    fn found(claims: Vec<PrometheusProcess>, config: &str) -> Self {
        let (believed, ignored): (Vec<_>, Vec<_>) = claims.into_iter().partition(|claim| claim.doubt.is_none());
        let reader = match (believed.first(), ignored.is_empty()) {
            (None, true) => Ok(None),
            (None, false) => Err(unproven(&ignored, config)),
            (Some(first), _) if believed.iter().all(|one| (one.uid, one.gid) == (first.uid, first.gid)) => {
                Ok(Some(Ids { uid: first.uid, gid: first.gid, groups: first.groups.clone() }))
            }
            (Some(_), _) => Err(several(&believed, config)),
        };
        let processes = if reader.is_ok() { believed } else { Vec::new() };
        Self { processes, reader, ignored }
    }

    /// What is to be remembered of a reader; none where its user is not known.
    pub fn note(reader: &Ids, remembered: Option<&Remembered>) -> Option<String> {
        let is_news = remembered != Some(&Remembered { uid: Some(reader.uid), gid: reader.gid });
        (is_news && is_known(reader)).then(|| Remembered::note(reader))
    }
}

/// A process of the user who is remembered: it must be able to read what is written for that user.
fn of_known(known: &Remembered, process: &PrometheusProcess, config: &str) -> Result<Ids> {
    let PrometheusProcess { uid, gid, groups, .. } = process;
    if *gid != known.gid && !groups.contains(&known.gid) {
        let message =
            format!("the files are for group {}, but {} reads {config} with group {gid}", known.gid, shown(process));
        return Err(name_the_owner(message, [format!("{uid}:{gid}")]));
    }
    Ok(Ids { uid: *uid, gid: known.gid, groups: groups.clone() })
}

fn changed(known: &Remembered, other: &PrometheusProcess, config: &str) -> Error {
    let files = match known.uid {
        Some(uid) => format!("user {uid}"),
        None => format!("group {}", known.gid),
    };
    let message = format!("the files are for {files}, but {} reads {config}", shown(other));
    name_the_owner(message, [other.uid.to_string()])
}

fn unproven(claims: &[PrometheusProcess], config: &str) -> Error {
    let said: Vec<String> = claims
        .iter()
        .take(SHOWN)
        .map(|claim| match &claim.doubt {
            Some(doubt) => format!("{} {doubt}", shown(claim)),
            None => shown(claim),
        })
        .collect();
    let may_be = if claims.len() == 1 {
        "it may be any user's program that claims"
    } else {
        "they may be any user's programs that claim"
    };
    let message = format!("{}, so {may_be} to read {config}", said.join("; "));
    name_the_owner(message, users(claims))
}

fn several(believed: &[PrometheusProcess], config: &str) -> Error {
    let said: Vec<String> = believed.iter().take(SHOWN).map(shown).collect();
    let message = format!("several users read {config}: {}", said.join(" and "));
    name_the_owner(message, users(believed))
}

/// As many are shown: a user may start thousands.
const SHOWN: usize = 4;

/// The next command names one of the owners.
fn name_the_owner(message: String, owners: impl IntoIterator<Item = String>) -> Error {
    owners.into_iter().fold(Error::new(Reason::NotReadable, message), |error, owner| {
        error.hint(format!("If Prometheus runs as user {owner}, run the command again with --owner {owner}"))
    })
}

fn users(claims: &[PrometheusProcess]) -> Vec<String> {
    let users: BTreeSet<u32> = claims.iter().take(SHOWN).map(|claim| claim.uid).collect();
    users.iter().map(u32::to_string).collect()
}

/// Whether its user is known, and not its group alone.
pub fn is_known(reader: &Ids) -> bool {
    reader.uid != UNKNOWN_USER
}

/// What is said of a process that has no say.
pub fn ignored(process: &PrometheusProcess) -> String {
    let why = match &process.doubt {
        Some(doubt) => format!("it {doubt}"),
        None => "the files are for another user".to_owned(),
    };
    format!(
        "{} claims to read this configuration and is ignored: {why}; if this process is your Prometheus, name its user with --owner",
        shown(process)
    )
}

/// For people.
fn shown(process: &PrometheusProcess) -> String {
    let program = process.exe.as_ref().map(|exe| format!(" ({})", exe.display())).unwrap_or_default();
    format!("process {} of user {}{program}", process.pid, process.uid)
}

#[cfg(test)]
mod tests {
    use super::super::{process::ConsumerKind, starter::Starter};
    use super::*;

    /// `doubtful`: nothing shows that an administrator started it.
    fn claim(pid: i32, uid: u32, doubtful: bool) -> PrometheusProcess {
        PrometheusProcess {
            pid,
            uid,
            gid: uid,
            groups: vec![7],
            consumer: ConsumerKind::Prometheus,
            exe: Some("/usr/bin/prometheus".into()),
            api: None,
            auto_reload: None,
            guard: None,
            own_metrics: None,
            check_flags: Vec::new(),
            config: "/p.yml".into(),
            shares_mounts: true,
            named: "/etc/prometheus/prometheus.yml".into(),
            has_folder: true,
            mounts_file: false,
            started: 1,
            doubt: doubtful.then_some(Doubt::StartedBy(Starter::Session)),
        }
    }

    fn ids(uid: u32, gid: u32) -> Ids {
        Ids { uid, gid, groups: vec![] }
    }

    fn known(uid: u32, gid: u32) -> Remembered {
        Remembered { uid: Some(uid), gid }
    }

    /// The user and group of the reader, the believed processes and the ignored ones.
    type Outcome = (Option<Option<(u32, u32)>>, Vec<i32>, Vec<i32>);

    fn chosen(named: Option<&Ids>, remembered: Option<&Remembered>, claims: Vec<PrometheusProcess>) -> Outcome {
        let readers = Readers::choose(0, named, remembered, claims, "/p.yml");
        let pids = |processes: &[PrometheusProcess]| processes.iter().map(|process| process.pid).collect();
        let reader = readers.reader.ok().map(|reader| reader.map(|ids| (ids.uid, ids.gid)));
        (reader, pids(&readers.processes), pids(&readers.ignored))
    }

    #[test]
    fn strangers_have_no_say() {
        let (prometheus, stranger) = (101, 61002);
        let real = || claim(20, prometheus, false);
        let fake = |pid| claim(pid, stranger, true);
        let readable = |uid, gid| Some(Some((uid, gid)));
        // Whichever started first.
        assert_eq!(chosen(None, None, vec![fake(10), real()]), (readable(101, 101), vec![20], vec![10]));
        assert_eq!(chosen(None, None, vec![real(), fake(30)]), (readable(101, 101), vec![20], vec![30]));
        assert_eq!(chosen(None, None, vec![fake(10)]), (None, vec![], vec![10]));
        assert_eq!(chosen(None, None, vec![]), (Some(None), vec![], vec![]));
        // As root.
        assert_eq!(chosen(None, None, vec![fake(10), claim(5, 0, false)]), (readable(0, 0), vec![5], vec![10]));
        // Remembered, where it runs and where it does not.
        let both = || vec![fake(10), claim(20, prometheus, true)];
        assert_eq!(chosen(None, Some(&known(101, 101)), both()), (readable(101, 101), vec![20], vec![10]));
        assert_eq!(chosen(None, Some(&known(101, 101)), vec![fake(10)]), (readable(101, 101), vec![], vec![10]));
        assert_eq!(chosen(None, Some(&known(101, 101)), vec![]), (readable(101, 101), vec![], vec![]));
        // Named.
        assert_eq!(chosen(Some(&ids(101, 7)), None, both()), (readable(101, 7), vec![20], vec![10]));
        assert_eq!(
            chosen(Some(&ids(61002, 61002)), Some(&known(101, 101)), both()),
            (readable(61002, 61002), vec![10], vec![20])
        );
    }

    #[test]
    fn reader_changes_only_by_name() {
        let readable = |uid, gid| Some(Some((uid, gid)));
        // Another user by a system service, where one is remembered: it may be right, and an administrator says so.
        assert_eq!(chosen(None, Some(&known(101, 101)), vec![claim(20, 102, false)]), (None, vec![], vec![20]));
        assert_eq!(
            chosen(Some(&ids(102, 102)), Some(&known(101, 101)), vec![claim(20, 102, false)]),
            (readable(102, 102), vec![20], vec![])
        );
        // Root may read the files of all.
        assert_eq!(
            chosen(None, Some(&known(101, 101)), vec![claim(5, 0, false)]),
            (readable(101, 101), vec![5], vec![])
        );
        // Another group, and one that it is in.
        assert_eq!(chosen(None, Some(&known(101, 102)), vec![claim(20, 101, false)]), (None, vec![], vec![]));
        assert_eq!(
            chosen(None, Some(&known(101, 7)), vec![claim(20, 101, false)]),
            (readable(101, 7), vec![20], vec![])
        );
        // An older release left its group alone.
        let group = |gid| Remembered { uid: None, gid };
        assert_eq!(chosen(None, Some(&group(101)), vec![claim(20, 101, true)]), (readable(101, 101), vec![20], vec![]));
        assert_eq!(
            chosen(None, Some(&group(102)), vec![claim(20, 101, true)]),
            (readable(u32::MAX, 102), vec![], vec![20])
        );
        assert_eq!(chosen(None, Some(&group(101)), vec![]), (readable(u32::MAX, 101), vec![], vec![]));
        let rivals = || vec![claim(10, 61002, true), claim(20, 101, false)];
        assert_eq!(chosen(None, Some(&group(61002)), rivals()), (None, vec![], vec![20]));
        assert_eq!(chosen(None, Some(&known(61002, 61002)), rivals()), (readable(61002, 61002), vec![10], vec![20]));
        // Rights of another user are not that user's word.
        let changed = PrometheusProcess { doubt: Some(Doubt::ChangesUser), ..claim(20, 101, true) };
        assert_eq!(chosen(None, Some(&known(101, 101)), vec![changed]), (readable(101, 101), vec![], vec![20]));
    }

    #[test]
    fn several_users_are_all_named() {
        let said = |claims: Vec<PrometheusProcess>| {
            let readers = Readers::choose(0, None, None, claims, "/etc/prometheus/prometheus.yml");
            let error = readers.reader.expect_err("nobody is chosen");
            format!("{error}\n{}", error.hints.join("\n"))
        };
        insta::assert_snapshot!(said(vec![claim(10, 102, false), claim(20, 101, false)]), @r"
        several users read /etc/prometheus/prometheus.yml: process 10 of user 102 (/usr/bin/prometheus) and process 20 of user 101 (/usr/bin/prometheus)
        If Prometheus runs as user 101, run the command again with --owner 101
        If Prometheus runs as user 102, run the command again with --owner 102
        ");
        insta::assert_snapshot!(said(vec![claim(10, 61002, true)]), @r"
        process 10 of user 61002 (/usr/bin/prometheus) was started by a user, in a session or a user's service, so it may be any user's program that claims to read /etc/prometheus/prometheus.yml
        If Prometheus runs as user 61002, run the command again with --owner 61002
        ");
        let two = said(vec![claim(10, 61002, true), claim(20, 101, true)]);
        for part in ["process 10 of user 61002 (", "process 20 of user 101 (", "--owner 61002", "--owner 101"] {
            assert!(two.contains(part), "{two}");
        }
        let unlike = PrometheusProcess { gid: 9, ..claim(30, 101, false) };
        assert!(said(vec![claim(20, 101, false), unlike]).contains("several users"));
    }

    #[test]
    fn only_news_of_a_known_user_are_noted() {
        let note = |reader: Ids, remembered: Option<&Remembered>| Readers::note(&reader, remembered);
        assert_eq!(note(ids(101, 102), None).as_deref(), Some("101:102\n"));
        assert_eq!(note(ids(101, 102), Some(&known(101, 102))), None);
        assert_eq!(note(ids(101, 102), Some(&known(101, 7))).as_deref(), Some("101:102\n"));
        assert_eq!(note(ids(UNKNOWN_USER, 102), None), None);
    }
}
