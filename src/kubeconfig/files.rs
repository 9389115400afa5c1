//! Finds and reads the files of a kubeconfig as kubectl does, and selects a context.

use super::{
    entries::{Context, Kubeconfig, User},
    plugin::CredentialPlugin,
    pod, run_plugin,
    selected::Selected,
    source,
};
use crate::{
    error::{Error, Reason, Result},
    model::text::{line::drives_a_terminal, name_template::ContextEntry, shell},
    yaml,
};
use std::{
    collections::BTreeMap,
    env, io,
    path::{self, Path, PathBuf},
    sync::Arc,
};

/// The flags that choose the cluster.
#[derive(Clone, Default)]
pub struct Choice {
    pub kubeconfig: Option<PathBuf>,
    /// The same, if it is read once for many contexts.
    pub read: Option<Arc<ReadKubeconfig>>,
    pub context: Option<String>,
    pub impersonation: Impersonation,
}

/// `--as`, `--as-group`, `--as-uid`, `--as-user-extra`.
#[derive(Clone, Debug, Default)]
pub struct Impersonation {
    pub user: Option<String>,
    pub groups: Vec<String>,
    pub uid: Option<String>,
    pub extra: BTreeMap<String, Vec<String>>,
}

/// All files of a kubeconfig, merged. Contains credentials, so it has no Debug.
pub struct ReadKubeconfig {
    kubeconfig: Kubeconfig,
    /// The files, for messages.
    files: String,
}

impl ReadKubeconfig {
    /// # Errors
    /// [`Reason::KubeconfigNotFound`], [`Reason::InvalidKubeconfig`].
    pub fn read(file: Option<&Path>) -> Result<Self> {
        let (kubeconfig, files) = read(file)?;
        Ok(Self { kubeconfig, files })
    }

    /// The names of all contexts.
    pub fn contexts(&self) -> Vec<String> {
        self.kubeconfig.contexts.keys().cloned().collect()
    }

    /// Whether a credential plugin of any user may ask at the terminal.
    pub fn may_ask(&self) -> bool {
        self.kubeconfig.users.values().filter_map(|user| user.exec.as_ref()).any(CredentialPlugin::may_ask)
    }

    /// What is said of this context, or of the current one; none where there is no such context.
    pub fn entry(&self, context: Option<&str>) -> Option<ContextEntry> {
        let context = context.unwrap_or(&self.kubeconfig.current_context);
        let Context { cluster, user, namespace } = self.kubeconfig.contexts.get(context)?.clone();
        Some(ContextEntry { context: context.to_owned(), cluster, user, namespace })
    }
}

/// Reads the kubeconfig and selects the context.
///
/// # Errors
/// [`Reason::KubeconfigNotFound`], [`Reason::InvalidKubeconfig`], [`Reason::ContextNotFound`].
pub fn select(choice: &Choice) -> Result<Selected> {
    if let Some(read) = &choice.read {
        return of_context(read, choice);
    }
    let read = match ReadKubeconfig::read(choice.kubeconfig.as_deref()) {
        // Without any kubeconfig kubectl takes the account of its pod (client-go `DeferredLoadingClientConfig`).
        // A file that is there and cannot be read is no missing file.
        Err(error) if is_absent(&error) && choice.kubeconfig.is_none() => {
            let is_named = choice.context.as_ref().is_none_or(|context| context == pod::CONTEXT);
            let mut selected = pod::account().filter(|_| is_named).ok_or(error)?;
            impersonate(&mut selected.user, &choice.impersonation);
            return Ok(selected);
        }
        read => read?,
    };
    of_context(&read, choice)
}

/// The same for a look that asks a person nothing: a context with a credential plugin has none. Any plugin may ask, at the
/// terminal or in a browser, and one that is cut short while it renews a credential may lose it.
///
/// # Errors
/// As [`select`]; [`Reason::CredentialPluginFailed`].
pub fn select_silent(choice: &Choice) -> Result<Selected> {
    let selected = select(choice)?;
    match &selected.user.exec {
        Some(plugin) => Err(run_plugin::failed(plugin, "it may ask for something")),
        None => Ok(selected),
    }
}

fn of_context(ReadKubeconfig { kubeconfig, files }: &ReadKubeconfig, choice: &Choice) -> Result<Selected> {
    // A context may have no name, and then an absent current context is that one.
    let current = kubeconfig.current_context.clone();
    let current = (!current.is_empty() || kubeconfig.contexts.contains_key("")).then_some(current);
    let context = choice.context.clone().or(current).ok_or_else(|| {
        Error::new(Reason::ContextNotFound, format!("{files} has no current context")).hint(choices(kubeconfig, ""))
    })?;
    if context.contains(drives_a_terminal) {
        return Err(Error::new(
            Reason::ContextNotFound,
            format!("the context {context:?} has characters in its name that a terminal does not show"),
        )
        .hint("Rename it with kubectl config rename-context"));
    }
    let shown = shell::word(&context);
    let entry = kubeconfig.contexts.get(&context).ok_or_else(|| {
        Error::new(Reason::ContextNotFound, format!("there is no context {shown} in {files}"))
            .hint(choices(kubeconfig, &context))
    })?;
    let name = shell::word(&entry.cluster);
    let namesake = kubeconfig.namesake(&context).map(str::to_owned);
    let cluster =
        kubeconfig.clusters.get(&entry.cluster).cloned().ok_or_else(|| {
            invalid(files, &format!("context {shown} names the cluster {name}, which does not exist"))
        })?;
    if let Some(fault) = cluster.fault() {
        return Err(invalid(files, &format!("the cluster {name} {fault}")));
    }
    let user_name = shell::word(&entry.user);
    let user = match kubeconfig.users.get(&entry.user).cloned() {
        Some(mut user) => {
            impersonate(&mut user, &choice.impersonation);
            user
        }
        // kubectl asks for a user name and a password.
        None if !entry.user.is_empty() => {
            return Err(invalid(files, &format!("context {shown} names the user {user_name}, which does not exist")));
        }
        None if choice.impersonation.user.is_some() => {
            return Err(invalid(files, &format!("context {shown} has no user, which impersonation needs")));
        }
        None => User::default(),
    };
    if let Some(fault) = user.fault() {
        return Err(invalid(files, &format!("the user {user_name} {fault}")));
    }
    Ok(Selected { context, namesake, cluster, user_name, user, files: files.clone() })
}

/// What a kubeconfig needs beside itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needs {
    /// Other files, or a program by its path from the folder of the kubeconfig.
    pub files: bool,
    pub plugins: bool,
}

/// What a file needs beside itself; none if it is no kubeconfig that this user may read.
pub fn needs(file: &Path) -> Option<Needs> {
    let text = decoded(&source::read(file).ok()?)?;
    let Kubeconfig { clusters, users, .. } = Kubeconfig::read(yaml::read_first_foreign(&text).ok()?).ok()?;
    let plugins = || users.values().filter_map(|user| user.exec.as_ref());
    let is_beside = |plugin: &CredentialPlugin| plugin.command.components().count() > 1 && plugin.command.is_relative();
    let of_users = users.values().flat_map(|user| [&user.client_certificate, &user.client_key, &user.token_file]);
    let mut files = clusters.values().map(|cluster| &cluster.certificate_authority).chain(of_users);
    Some(Needs {
        files: files.any(|file| !file.as_os_str().is_empty()) || plugins().any(is_beside),
        plugins: plugins().next().is_some(),
    })
}

fn is_absent(error: &Error) -> bool {
    error.reason == Reason::KubeconfigNotFound && error.cause::<io::Error>().is_none()
}

/// A file named with `--kubeconfig` must exist. Missing files in `KUBECONFIG` are skipped.
fn read(file: Option<&Path>) -> Result<(Kubeconfig, String)> {
    let (files, all_must_exist) = match (file, env::var_os("KUBECONFIG").filter(|list| !list.is_empty())) {
        (Some(file), _) => (vec![file.to_owned()], true),
        (None, Some(list)) => (env::split_paths(&list).filter(|path| !path.as_os_str().is_empty()).collect(), false),
        (None, None) => (env::home_dir().map(|home| home.join(".kube/config")).into_iter().collect(), false),
    };
    let shown = files.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ");
    let mut merged: Option<Kubeconfig> = None;
    for path in &files {
        let bytes = match source::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && !all_must_exist => continue,
            bytes => bytes.map_err(|error| {
                not_found(format!("cannot read the kubeconfig {}: {error}", path.display())).caused_by(error)
            })?,
        };
        let next = parse(&bytes, path).map_err(|what| {
            let error = invalid(&path.display().to_string(), &what);
            // kubectl config view shows only the last.
            let is_doubled = what.contains("is there twice");
            if is_doubled {
                error.without_hints().hint("kubectl takes the last one: delete the other in the file")
            } else {
                error
            }
        })?;
        match &mut merged {
            None => merged = Some(next),
            Some(merged) => merged.merge(next),
        }
    }
    match merged {
        Some(kubeconfig) => Ok((kubeconfig, shown)),
        None if files.is_empty() => Err(not_found("no kubeconfig: KUBECONFIG names no file".to_owned())),
        None => Err(not_found(format!("no kubeconfig: {shown} does not exist"))),
    }
}

fn parse(bytes: &[u8], path: &Path) -> Result<Kubeconfig, String> {
    let text = decoded(bytes).ok_or("it is not text in UTF-8 or UTF-16")?;
    let mut kubeconfig = Kubeconfig::read(yaml::read_first_foreign(&text)?)?;
    let path = path::absolute(path).map_err(|error| error.to_string())?;
    if let Some(folder) = path.parent() {
        kubeconfig.resolve(folder);
    }
    Ok(kubeconfig)
}

/// UTF-8, or UTF-16 with a byte order mark, which `>` of PowerShell writes.
fn decoded(bytes: &[u8]) -> Option<String> {
    let wide = |read: fn([u8; 2]) -> u16| {
        let units: Vec<u16> = bytes[2..].chunks(2).map(|pair| pair.try_into().ok().map(read)).collect::<Option<_>>()?;
        String::from_utf16(&units).ok()
    };
    match bytes {
        [0xff, 0xfe, ..] => wide(u16::from_le_bytes),
        [0xfe, 0xff, ..] => wide(u16::from_be_bytes),
        _ => String::from_utf8(bytes.to_vec()).ok(),
    }
}

fn not_found(message: String) -> Error {
    Error::new(Reason::KubeconfigNotFound, message)
        .hint("Name one with --kubeconfig FILE or in KUBECONFIG; in a pod, its service account is used if its token is mounted")
}

fn invalid(files: &str, what: &str) -> Error {
    Error::new(Reason::InvalidKubeconfig, format!("{files}: {what}")).hint("Inspect it: kubectl config view")
}

/// The contexts, those that resemble the wanted one first.
fn choices(kubeconfig: &Kubeconfig, wanted: &str) -> String {
    /// As many as a person reads.
    const SHOWN: usize = 10;
    let names: Vec<&str> = kubeconfig.contexts.keys().map(String::as_str).collect();
    if names.is_empty() {
        return "Choose one with --context NAME: it has no contexts".to_owned();
    }
    let close = similar::get_close_matches(wanted, &names, 5, 0.6);
    let others = names.iter().filter(|name| !close.contains(name));
    let shown: Vec<String> = close.iter().chain(others).take(SHOWN).map(|name| shell::word(&shortened(name))).collect();
    let rest = match names.len().saturating_sub(SHOWN) {
        0 => String::new(),
        rest => format!(", and {rest} more: kubectl config get-contexts -o name"),
    };
    format!("Choose one with --context NAME: {}{rest}", shown.join(", "))
}

fn shortened(name: &str) -> String {
    match name.char_indices().nth(200) {
        Some((end, _)) => format!("{}…", &name[..end]),
        None => name.to_owned(),
    }
}

/// A flag replaces the kubeconfig's value; an extra is replaced by its key.
fn impersonate(user: &mut User, impersonation: &Impersonation) {
    let Impersonation { user: name, groups, uid, extra } = impersonation.clone();
    user.impersonate = name.unwrap_or_else(|| user.impersonate.clone());
    user.impersonate_uid = uid.unwrap_or_else(|| user.impersonate_uid.clone());
    if !groups.is_empty() {
        user.impersonate_groups = groups;
    }
    user.impersonate_extra.extend(extra);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hostile;

    #[test]
    fn kubeconfig_is_utf_8_or_utf_16() {
        let text = "kind: Config # 東";
        let wide = |write: fn(u16) -> [u8; 2]| -> Vec<u8> {
            "\u{feff}".encode_utf16().chain(text.encode_utf16()).flat_map(write).collect()
        };
        for bytes in [text.as_bytes().to_vec(), wide(u16::to_le_bytes), wide(u16::to_be_bytes)] {
            assert_eq!(decoded(&bytes).as_deref(), Some(text));
        }
        for bytes in [&b"\xff"[..], b"\xff\xfea", b"\xfe\xff\xd8\x00"] {
            assert_eq!(decoded(bytes), None);
        }
        assert_eq!(decoded(b"").as_deref(), Some(""));
    }

    #[test]
    fn contexts_that_resemble_the_wanted_one_come_first() {
        let context = |name: String| (name, super::super::entries::Context::default());
        let all = |names: Vec<String>| Kubeconfig {
            contexts: names.into_iter().map(context).collect(),
            ..Kubeconfig::default()
        };
        let many =
            all((0..3000).map(|number| format!("gke_shop-{number:04}")).chain(["zulu-prod".to_owned()]).collect());
        let shown = choices(&many, "zulu-prd");
        assert!(
            shown.starts_with("Choose one with --context NAME: zulu-prod, gke_shop-0000, gke_shop-0001, "),
            "{shown}"
        );
        assert!(shown.ends_with("gke_shop-0008, and 2991 more: kubectl config get-contexts -o name"), "{shown}");
        assert_eq!(
            choices(&all(vec!["b".to_owned(), "a c".to_owned()]), ""),
            "Choose one with --context NAME: 'a c', b"
        );
        assert!(choices(&all(vec!["x".repeat(1_000_000)]), "y").len() < 300);
    }

    #[test]
    fn flags_replace_values_of_the_kubeconfig() {
        let extra = |pairs: &[(&str, &str)]| -> BTreeMap<String, Vec<String>> {
            pairs.iter().map(|(key, value)| ((*key).to_owned(), vec![(*value).to_owned()])).collect()
        };
        let mut user = User {
            impersonate: "jane".to_owned(),
            impersonate_groups: vec!["a".to_owned()],
            impersonate_extra: extra(&[("scope", "read"), ("reason", "x")]),
            ..User::default()
        };
        impersonate(&mut user, &Impersonation { extra: extra(&[("scope", "write")]), ..Impersonation::default() });
        assert_eq!((user.impersonate.as_str(), user.impersonate_groups.len()), ("jane", 1));
        assert_eq!(user.impersonate_extra, extra(&[("scope", "write"), ("reason", "x")]));
        let flags =
            Impersonation { user: Some("joe".to_owned()), groups: vec!["b".to_owned()], ..Impersonation::default() };
        impersonate(&mut user, &flags);
        assert_eq!((user.impersonate.as_str(), user.impersonate_groups), ("joe", vec!["b".to_owned()]));
    }

    #[test]
    fn hostile_kubeconfigs_are_survived() {
        let plain = "apiVersion: v1\nkind: Config\ncurrent-context: a\ncontexts:\n- name: a\n  context: {cluster: c, user: u, namespace: n}\nclusters:\n- name: c\n  cluster:\n    server: https://10.0.0.5:6443\n    certificate-authority-data: YQ==\n    proxy-url: http://proxy:3128\nusers:\n- name: u\n  user:\n    token: hunter2\n    as: jane\n    as-groups: [a]\n    as-user-extra: {b: [c]}\n";
        let plugin = "{\"current-context\": \"a\", \"contexts\": [{\"name\": \"a\", \"context\": {\"cluster\": \"c\", \"user\": \"u\"}}], \"clusters\": [{\"name\": \"c\", \"cluster\": {\"server\": \"https://x\", \"extensions\": [{\"name\": \"e\", \"extension\": {}}]}}], \"users\": [{\"name\": \"u\", \"user\": {\"exec\": {\"apiVersion\": \"client.authentication.k8s.io/v1\", \"command\": \"./get\", \"args\": [\"x\"], \"env\": [{\"name\": \"A\", \"value\": \"b\"}], \"interactiveMode\": \"Never\"}}}]}";
        hostile::bytes(&[plain.as_bytes(), plugin.as_bytes()], |bytes| {
            let Ok(kubeconfig) = parse(bytes, Path::new("/k/config")) else { return };
            let read = ReadKubeconfig { kubeconfig, files: "/k/config".to_owned() };
            for context in read.contexts() {
                let _ = read.entry(Some(&context));
                match of_context(&read, &Choice { context: Some(context), ..Choice::default() }) {
                    Ok(Selected { cluster, user, .. }) => drop((cluster.for_plugin(""), user.fault())),
                    Err(error) => assert!(!error.hints.is_empty(), "{error:?}"),
                }
            }
        });
    }
}
