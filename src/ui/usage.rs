//! Mistakes in the command line, and the help texts.

use super::Ui;
use crate::error::Error;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use std::process::ExitCode;

/// Prints help or version as asked, or says what is wrong with the command line.
pub fn usage(error: &clap::Error) -> ExitCode {
    let ui = Ui::new(0);
    match error.kind() {
        // Without any word kubectl prints its help too, and that is no mistake.
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            ui.end(ui.print(&error.render().to_string()))
        }
        _ => ui.end(Err(explained(error))),
    }
}

/// kubectl's connection flags would mean something else here: which cluster is a matter of the kubeconfig, and what
/// Prometheus is to use has flags of its own. And one of `join` that others cannot have.
fn instead_of(flag: &str) -> Option<&'static str> {
    Some(match flag {
        "--server" | "-s" => {
            "--api-server URL is the address for Prometheus; the plugin itself uses the kubeconfig: --context NAME"
        }
        "--certificate-authority" => {
            "--api-server-ca-file FILE is the CA for Prometheus; the plugin itself uses the kubeconfig's CA"
        }
        "--tls-server-name" => {
            "--api-server-tls-name NAME is the name that Prometheus verifies; the plugin itself uses the kubeconfig"
        }
        "--insecure-skip-tls-verify" => "the plugin always verifies TLS; name the CA with --api-server-ca-file FILE",
        "--token" | "--user" | "--cluster" | "--client-certificate" | "--client-key" | "--username" | "--password" => {
            "your own credentials come from the kubeconfig: --context NAME"
        }
        "--self-renew" => {
            "it belongs to join: its policy names the Secret of the token, which only join creates; show its objects: \
             kubectl prom-federate join --self-renew --dry-run=client"
        }
        "--pin-nodes" => {
            "it belongs to join: only the cluster knows its nodes; show its objects: \
             kubectl prom-federate join --pin-nodes --dry-run=client"
        }
        _ => return None,
    })
}

fn explained(error: &clap::Error) -> Error {
    let mut text = error.render().to_string();
    if let Some(ContextValue::String(value)) = error.get(ContextKind::InvalidValue) {
        text = text.replace(value, &without_password(value));
    }
    let text = text.trim_start_matches("error: ").trim_end();
    let flag = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(flag)) if error.kind() == ErrorKind::UnknownArgument => flag.as_str(),
        _ => "",
    };
    match instead_of(flag) {
        Some(hint) => Error::usage(format!("unexpected argument '{flag}'")).hint(hint),
        None => Error::usage(text),
    }
}

/// A URL without its user and password, which must not appear in a log.
fn without_password(value: &str) -> String {
    match (value.split_once("://"), value.rsplit_once('@')) {
        (Some((scheme, _)), Some((before, after))) if before.len() > scheme.len() + 2 => {
            format!("{scheme}://...@{after}")
        }
        _ => value.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use crate::ui::usage::without_password;

    #[test]
    fn possible_passwords_are_not_repeated() {
        for (value, shown) in [
            ("http://user:hunter2@proxy:3128", "http://...@proxy:3128"),
            ("http://user:hun@ter2@proxy", "http://...@proxy"),
            ("http://proxy:3128", "http://proxy:3128"),
            ("7w", "7w"),
            ("a@b", "a@b"),
            ("", ""),
        ] {
            assert_eq!(without_password(value), shown);
        }
    }
}
