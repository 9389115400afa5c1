//! File operations as a script for a POSIX shell, for hosts without this program. The text contains the written files,
//! tokens included, so it goes only to a shell's standard input.

use super::{
    prometheus::{CredentialFiles, ScrapeJobs, fragment, pem, validity},
    rules::{self, ClusterRules},
};
use crate::model::token::bearer::BearerToken;
use crate::model::{
    access::Access,
    plan::request::JoinRequest,
    store::{
        install::{FileOwnership, Files, Install, Operation, Present, Step},
        layout::{CA, Generation, KUBELET_CA, Layout, TOKEN},
        record::{Record, UNKNOWN_MACHINE},
    },
    text::{encoding::query_value, figures::minute, shell, shell::word},
};
use jiff::Timestamp;

/// The functions behind the operations.
pub const OPERATIONS: &str = include_str!("script/operations.sh");

/// Functions for a host other than file operations.
pub const HOST: &str = include_str!("script/host.sh");
/// Functions of a session over ssh.
pub const SESSION: &str = include_str!("script/session.sh");

/// Functions of a delivery that runs without this program.
const STANDALONE: &str = include_str!("script/standalone.sh");

/// A shell function that runs these steps in order and ends with the first failure. The undo of a step is registered
/// before the step begins. A shell reads a function completely before it runs it, so a truncated text does nothing.
pub fn function(name: &str, steps: &[Step]) -> String {
    compiled(name, steps, false)
}

/// [`function`] for a folder with unknown content. The steps assume that all files exist that they may replace. The
/// script does not copy a missing file, and its undo removes the file instead of restoring it.
pub fn function_for_any_folder(name: &str, steps: &[Step]) -> String {
    compiled(name, steps, true)
}

fn compiled(name: &str, steps: &[Step], for_any_folder: bool) -> String {
    let mut text = format!("{name}() {{\n:\n");
    for (at, Step { operation, undo }) in steps.iter().enumerate() {
        text.push_str(&format!("at={at}\n"));
        if let Some(undo) = undo {
            let later = |undo: &Operation| format!("later {}\n", word(&format!("back {}", call(undo))));
            text.push_str(&match (operation, undo) {
                // The undo must not delete a folder that existed before.
                (Operation::MakeFolder { path }, _) => format!("is_there {} || {}", word(path), later(undo)),
                (Operation::Rename { .. }, Operation::Rename { from, to }) if for_any_folder => {
                    let remove = later(&Operation::Remove { path: to.clone() });
                    format!("if is_there {}; then\n{}else\n{remove}fi\n", word(from), later(undo))
                }
                _ => later(undo),
            });
        }
        match operation {
            Operation::Copy { from, .. } if for_any_folder => {
                text.push_str(&format!("! is_there {} || ", word(from)));
            }
            _ => {}
        }
        text.push_str(&step(operation));
    }
    text + "}\n"
}

/// One cluster's delivery, for a host that this program cannot reach.
pub struct Delivery<'a> {
    pub request: &'a JoinRequest,
    pub record: &'a Record,
    pub access: &'a Access,
    pub token: &'a BearerToken,
    pub generation: &'a Generation,
    pub made: Timestamp,
}

/// In the place of the hash of a machine, which the script finds out; as long as the hash.
const THIS_MACHINE: &str = "THE-HASH-OF-THE-MACHINE-OF-HERE!";

/// The tolerated delay of a scrape, for a busy Prometheus.
const SLACK: u64 = 10;

impl Delivery<'_> {
    /// The script. It contains the token.
    pub fn text(&self) -> String {
        let Self { request, record, access, token, generation, made } = self;
        let (cluster, jobs) = (&record.cluster, &record.jobs);
        let comment = format!(
            "\
# Delivers the scrape jobs of cluster {cluster} ({url}, context {context:?}) to a Prometheus, made
# {made} by kubectl prom-federate {version}. It contains a token that is {expires}: a secret, for one run.
#   on the host of Prometheus:  sh THIS_FILE [--edit] [/etc/prometheus [USER[:GROUP]]]
#   from here:                  ssh HOST sh -s -- [--edit] [/etc/prometheus [USER[:GROUP]]] < THIS_FILE
# --edit: the script may add the lines to prometheus.yml that include these jobs. USER: the user of Prometheus, if
# Prometheus does not run yet. PROMETHEUS_URL in the environment: the address of Prometheus' API.
",
            url = access.url,
            context = record.context,
            made = minute(*made),
            version = env!("CARGO_PKG_VERSION"),
            expires = validity(record.token.expires),
        );
        let install = self.install();
        let jobs: Vec<String> = jobs.iter().map(|job| query_value(&job.to_string())).collect();
        let server = format!("{}/version", access.url);
        let ca = access.ca.as_ref().map(|_| Layout(cluster).file(generation, CA));
        let facts = [
            ("cluster", cluster.to_string()),
            ("jobs", jobs.join(" ")),
            ("server", server.clone()),
            ("tls_name", access.tls_server_name.clone().unwrap_or_default()),
            ("unknown_machine", UNKNOWN_MACHINE.to_owned()),
            ("patience", (request.pace.interval.0 + request.pace.timeout.0 + SLACK).to_string()),
        ];
        let facts: String = facts.iter().map(|(name, value)| format!("{name}={}\n", word(value))).collect();
        let question = Question {
            url: &server,
            token,
            ca: ca.as_deref(),
            tls_server_name: access.tls_server_name.as_deref(),
            proxy: access.proxy.as_ref().map(ToString::to_string),
            seconds: Some(20),
        };
        [
            "#!/bin/sh\n",
            &comment,
            OPERATIONS,
            HOST,
            &facts,
            STANDALONE,
            &format!("curl_configuration() {{\n{}}}\n", text(&question.curl("%{http_code}"))),
            &format!("wget_configuration() {{\n{}}}\n", text(&question.wget())),
            // Within the quotes of a text.
            &function_for_any_folder("stage", &install.stage).replace(THIS_MACHINE, "'\"$machine\"'"),
            &function_for_any_folder("commit", &install.commit),
            "deliver \"$@\"\n",
        ]
        .concat()
    }

    /// It is not known whether the host has jobs and rules already: the script decides how to replace and restore them.
    fn install(&self) -> Install {
        let Self { request, record, access, token, generation, .. } = self;
        let of_generation = |name: &str| format!("{}/{generation}/{name}", record.cluster);
        let files = Files {
            token: (*token).clone(),
            ca: access.ca.as_ref().map(|ca| pem(&ca.certificates)),
            kubelet_ca: access.kubelet_ca.as_ref().map(|ca| pem(&ca.certificates)),
            record: serde_json::to_string_pretty(&Record {
                machine: Some(THIS_MACHINE.to_owned()),
                ..(*record).clone()
            })
            .expect("a record has string keys")
                + "\n",
            fragment: Some(fragment(
                ScrapeJobs { request, access },
                &CredentialFiles {
                    token: &of_generation(TOKEN),
                    ca: &of_generation(CA),
                    kubelet_ca: &of_generation(KUBELET_CA),
                    rotated: None,
                    expires: Some(record.token.expires),
                    rotate: &shell::plugin(["rotate", record.cluster.as_str(), "--now", "-p", "DESTINATION"]),
                    leave: &shell::plugin(["leave", record.cluster.as_str(), "-p", "DESTINATION"]),
                },
                None,
                record.format,
            )),
            // What reads the jobs is known on the host alone: they name the generation.
            through_current: false,
            rules: Some(rules::file(&ClusterRules {
                cluster: &record.cluster,
                jobs: &record.jobs,
                pace: request.pace,
                token: Some(record.token),
                destination: None,
                rotated: None,
            })),
            rotated: None,
        };
        Install::new(&record.cluster, generation, files, &Present { fragment: true, rules: true, current: None })
    }
}

/// The line that gives the functions their text. It stays in the shell: no program has it in its arguments or its
/// environment, and no file has it that the functions do not write.
pub fn text(text: &str) -> String {
    format!("text={}\n", word(text))
}

/// What an API server is asked, from another host: with a token, under a CA. The programs that ask it are told on
/// standard input or in a file.
#[derive(Clone)]
pub struct Question<'a> {
    pub url: &'a str,
    pub token: &'a BearerToken,
    /// A path from the folder of the main configuration; none: those that the host trusts.
    pub ca: Option<&'a str>,
    pub tls_server_name: Option<&'a str>,
    pub proxy: Option<String>,
    pub seconds: Option<u64>,
}

impl Question<'_> {
    /// As a configuration of curl's, which says `written` when it is done.
    pub fn curl(&self, written: &str) -> String {
        let authorization = format!("Authorization: Bearer {}", self.token.written());
        // The name in the URL is the one that is verified; the connection goes to the address.
        let named = self.tls_server_name.and_then(|name| {
            let rest = self.url.strip_prefix("https://")?;
            let (address, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
            let (_, port) = address.rsplit_once(':')?;
            Some((format!("https://{name}:{port}{path}"), format!("{name}:{port}:{address}")))
        });
        let mut options = vec![
            ("url", named.as_ref().map_or(self.url, |(url, _)| url)),
            ("header", &authorization),
            ("output", "/dev/null"),
        ];
        options.extend(self.ca.map(|ca| ("cacert", ca)));
        options.extend(named.as_ref().map(|(_, to)| ("connect-to", to.as_str())));
        options.extend(self.proxy.as_deref().map(|proxy| ("proxy", proxy)));
        curl(&options, self.seconds, written)
    }

    /// As a configuration of GNU's wget: <https://www.gnu.org/software/wget/manual/html_node/Wgetrc-Commands.html>
    pub fn wget(&self) -> String {
        let mut text = format!("header = Authorization: Bearer {}\n", self.token.written());
        text += &self.ca.map(|ca| format!("ca_certificate = {ca}\n")).unwrap_or_default();
        text + &match &self.proxy {
            Some(proxy) => format!("use_proxy = on\nhttps_proxy = {proxy}\n"),
            None => "use_proxy = off\n".to_owned(),
        }
    }
}

/// A configuration of curl's: <https://curl.se/docs/manpage.html#-K>. Without a proxy among the options there is none,
/// whatever the environment says: so does Prometheus.
pub fn curl(options: &[(&str, &str)], seconds: Option<u64>, written: &str) -> String {
    let seconds = seconds.map(|seconds| seconds.to_string());
    let more = [("write-out", Some(written)), ("max-time", seconds.as_deref())];
    let no_proxy = (!options.iter().any(|(name, _)| *name == "proxy")).then_some(("noproxy", "*"));
    let more = more.into_iter().filter_map(|(name, value)| Some((name, value?)));
    let all = options.iter().copied().chain(more).chain(no_proxy);
    all.map(|(name, value)| format!("{name} = {}\n", curl_quoted(value))).collect()
}

/// Within quotes curl knows \\, \", \t, \n, \r and \v.
fn curl_quoted(value: &str) -> String {
    let escaped = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n").replace('\r', "\\r");
    format!("\"{escaped}\"")
}

/// One operation as a line, and what it writes behind it.
fn step(operation: &Operation) -> String {
    let call = call(operation);
    match operation {
        Operation::Write { content, .. } | Operation::WriteLike { content, .. } => {
            format!("{}step {call} || return\n", text(content.written()))
        }
        _ => format!("step {call} || return\n"),
    }
}

/// The operation and its arguments, without content.
fn call(operation: &Operation) -> String {
    match operation {
        Operation::MakeFolder { path } => format!("make_folder {}", word(path)),
        Operation::Write { path, content } => format!("write {} {}", word(path), content.written().len()),
        Operation::WriteLike { path, like, content } => {
            format!("write_like {} {} {}", word(path), content.written().len(), word(like))
        }
        Operation::Copy { from, to } => format!("copy {} {}", word(from), word(to)),
        Operation::Link { from, to } => format!("keep {} {}", word(from), word(to)),
        Operation::Overwrite { path, from } => format!("overwrite {} {}", word(path), word(from)),
        Operation::Rename { from, to } => format!("rename {} {}", word(from), word(to)),
        Operation::Point { link, to } => format!("point {} {}", word(link), word(to)),
        Operation::Remove { path } => format!("remove {}", word(path)),
        Operation::RemoveCopy { path, of } => format!("remove_copy {} {}", word(path), word(of)),
        Operation::RemoveFolder { path } => format!("remove_folder {}", word(path)),
        Operation::RemoveEmptyFolder { path } => format!("remove_empty_folder {}", word(path)),
    }
}

/// Who may read what is written from here on.
pub fn readers(FileOwnership { owner, group, .. }: FileOwnership) -> String {
    let number = |id: Option<u32>| id.map(|id| id.to_string()).unwrap_or_default();
    format!("readers '{}' '{}'\n", number(owner), number(group))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::store::install::Content;
    use proptest::prelude::*;

    #[test]
    fn steps_are_calls_followed_by_their_content() {
        let write =
            |path: &str, text: &str| Operation::Write { path: path.into(), content: Content::Plain(text.into()) };
        let bare = |operation| Step { operation, undo: None };
        let steps = [
            Step {
                operation: Operation::MakeFolder { path: "a b".into() },
                undo: Some(Operation::RemoveEmptyFolder { path: "a b".into() }),
            },
            bare(write("a b/it's", "END_0\n$HOME\n")),
            bare(write("token", "ey")),
            bare(write("empty", "")),
            bare(Operation::Copy { from: "x".into(), to: "x.kept".into() }),
            Step {
                operation: Operation::Rename { from: "x.new".into(), to: "x".into() },
                undo: Some(Operation::Rename { from: "x.kept".into(), to: "x".into() }),
            },
        ];
        insta::assert_snapshot!(function("run", &steps));
        insta::assert_snapshot!(function_for_any_folder("run", &steps[4..]));
    }

    #[test]
    fn request_has_nothing_in_an_argument() {
        let question = Question {
            url: "https://10.0.0.5:6443/k8s/version",
            token: &"ey.1".into(),
            ca: Some("prom-federate/east/ca.crt"),
            tls_server_name: Some("api.internal"),
            proxy: Some("socks5://proxy:1080".into()),
            seconds: Some(10),
        };
        insta::assert_snapshot!(question.curl("%{http_code}"));
        let bare = Question { ca: None, tls_server_name: None, proxy: None, seconds: None, ..question };
        insta::assert_snapshot!(bare.curl("\\nM code %{http_code}\\n"));
        insta::assert_snapshot!(bare.wget());
    }

    proptest! {
        #[test]
        fn an_option_of_curl_is_one_line(value in ".{0,20}(\n|\r|\"|\\\\).{0,20}") {
            let text = curl(&[("url", &value)], None, "");
            prop_assert_eq!(text.lines().count(), 3);
            prop_assert!(text.starts_with("url = \""));
        }
    }
}
