//! The end of each command's help: lines to copy, each with what it does.

pub(super) const ALL: &str = "\
Examples:
  # Find out what would stop a join of the current context, then join it
  kubectl prom-federate check
  kubectl prom-federate join -p /etc/prometheus

  # All joined clusters: what needs attention
  kubectl prom-federate status -p /etc/prometheus";

pub(super) const JOIN: &str = "\
Examples:
  # Print the scrape jobs of the current context, with a token
  kubectl prom-federate join > east.scrape.yml

  # Choose clusters, jobs, route and destination by questions
  kubectl prom-federate join --interactive

  # Deliver the jobs of several contexts to the Prometheus of this host
  kubectl prom-federate join --context 'prod-*' --jobs default,apiserver -p /etc/prometheus

  # Show what would change, and write nothing
  kubectl prom-federate join --dry-run=client -p ssh://root@prometheus.example.com/etc/prometheus";

pub(super) const LEAVE: &str = "\
Examples:
  # Remove a cluster from Prometheus, and the access from the cluster
  kubectl prom-federate leave east -p /etc/prometheus

  # Remove what printed jobs of a context need
  kubectl prom-federate leave --context east

  # Remove the jobs of a cluster that is gone
  kubectl prom-federate leave east --only prometheus -p /etc/prometheus";

pub(super) const ROTATE: &str = "\
Examples:
  # Replace the tokens that are due
  kubectl prom-federate rotate -p /etc/prometheus

  # Replace the token of one cluster now, because it may be stolen
  kubectl prom-federate rotate east --now -p /etc/prometheus

  # Stay and rotate on time; print the systemd unit that does so
  kubectl prom-federate rotate --watch -p /etc/prometheus
  kubectl prom-federate rotate --print-unit -p /etc/prometheus";

pub(super) const STATUS: &str = "\
Examples:
  # A row for each cluster, and what needs attention
  kubectl prom-federate status -p /etc/prometheus

  # The clusters of a big fleet that need attention
  kubectl prom-federate status -p /etc/prometheus --only-broken

  # A screen that stays up to date
  kubectl prom-federate status -p /etc/prometheus --watch

  # One cluster, for a script
  kubectl prom-federate status east -p /etc/prometheus -o json";

pub(super) const CHECK: &str = "\
Examples:
  # Find out what would stop a join of the current context
  kubectl prom-federate check --jobs default,kube-state-metrics

  # Prove the access of every cluster of a destination
  kubectl prom-federate check -p /etc/prometheus";

pub(super) const MANIFESTS: &str = "\
Examples:
  # Review the objects, or commit them to Git
  kubectl prom-federate manifests > prom-federate.yaml

  # The smallest rights: the recording rules of a Prometheus in the cluster
  kubectl prom-federate manifests --jobs federate=monitoring/prometheus-k8s:web";

pub(super) const RULES: &str = "\
Examples:
  # The rules of two clusters whose jobs were printed
  kubectl prom-federate rules east west > clusters.rules.yml

  # The rules of all clusters of a destination, for a vmalert elsewhere
  kubectl prom-federate rules -p /etc/prometheus";

pub(super) const DASHBOARD: &str = "\
Examples:
  # The overview, for Grafana's import
  kubectl prom-federate dashboard fleet > fleet.json

  # All dashboards, for the sidecar of Grafana's chart
  kubectl prom-federate dashboard -o configmap | kubectl apply -n monitoring -f -

  # All dashboards, for the file provisioning of a Grafana on this host
  kubectl prom-federate dashboard --out /var/lib/grafana/dashboards";

pub(super) const COMPLETION: &str = "\
Examples:
  # Completion for kubectl prom-federate
  kubectl prom-federate completion kubectl > /usr/local/bin/kubectl_complete-prom_federate

  # Completion for the program by its own name
  kubectl prom-federate completion bash > /etc/bash_completion.d/kubectl-prom_federate";

pub(super) const VERSION: &str = "\
Examples:
  # Print the version
  kubectl prom-federate version

  # The same for a script
  kubectl prom-federate --version";

#[cfg(test)]
mod tests {
    use crate::cli::Cli;
    use clap::{CommandFactory, Parser};

    /// The words of a command as a shell would split them, without where its output goes.
    fn words(line: &str) -> Vec<String> {
        let command = line.split(['>', '|']).next().unwrap_or_default().trim_end();
        let mut words = vec![String::new()];
        for (index, part) in command.split('\'').enumerate() {
            if index % 2 == 1 {
                words.last_mut().expect("one").push_str(part);
                continue;
            }
            for (index, word) in part.split(' ').enumerate() {
                if index > 0 {
                    words.push(String::new());
                }
                words.last_mut().expect("one").push_str(word);
            }
        }
        words
    }

    #[test]
    fn each_command_has_examples_that_parse() {
        let all = Cli::command();
        for command in all.get_subcommands().chain([&all]) {
            let name = if command.has_subcommands() { "" } else { command.get_name() };
            let help = command.get_after_help().unwrap_or_else(|| panic!("{name} has no examples")).to_string();
            let lines: Vec<&str> = help.lines().skip(1).map(str::trim).filter(|line| !line.is_empty()).collect();
            let examples: Vec<Vec<String>> =
                lines.iter().filter_map(|line| line.strip_prefix("kubectl prom-federate ")).map(words).collect();
            assert!(help.starts_with("Examples:\n") && examples.len() >= 2, "{name}: {help}");
            for words in examples {
                assert!(words.iter().any(|word| word.contains(name)), "{words:?} is no example of {name}");
                let parsed = Cli::try_parse_from(["kubectl-prom_federate".to_owned()].iter().chain(&words));
                let is_version =
                    matches!(&parsed, Err(error) if error.kind() == clap::error::ErrorKind::DisplayVersion);
                assert!(parsed.is_ok() || is_version, "{words:?}: {}", parsed.expect_err("it is one"));
            }
            // A comment says what each does.
            assert!(lines[0].starts_with("# ") && lines.iter().all(|line| line.starts_with(['#', 'k'])), "{help}");
        }
    }
}
