//! The words that parse to given arguments, for the commands that are printed. What is the default is left out.
//!
//! Every field is destructured: a new flag does not compile before it has its words, or says why it has none.

use super::{
    AccountArgs, CheckArgs, ClashArgs, DEFAULT_PARALLEL, DestinationArgs, DryRunArg, FenceArg, FleetArgs, HowArgs,
    JoinArgs, KubeArgs, KubeletArgs, LeaveArgs, LimitArgs, RotateArgs, RouteArg, SeenArgs, Side, TimingArgs, Typed,
    WhatArgs,
};
use crate::model::{
    account::Account,
    job::{JobSpecs, ScrapeTiming, Selector, route::Route},
    report::status::Next,
    store::{
        location::{FolderLocation, Location},
        record::Record,
        reload::ReloadMode,
    },
    text::{
        duration::{RequestTimeout, Seconds},
        names::ClusterName,
        shell,
    },
    token,
};
use clap::ValueEnum;
use std::{
    fmt::Display,
    path::{Path, PathBuf},
};

impl JoinArgs {
    pub fn words(&self) -> Vec<String> {
        let Self {
            typed,
            what,
            cluster_name,
            cluster_name_template,
            node_selector,
            pace,
            limits: LimitArgs { body_size_limit, sample_limit, fallback_scrape_protocol },
            federate_match,
            keep_all_metrics,
            duration,
            self_renew,
            pin_nodes,
            long_lived_token,
            seen,
            kubelet: KubeletArgs { kubelet_ca_file },
            to,
            clash: ClashArgs { rename, replace },
            how,
            keep_on_failure,
            interactive,
            fleet,
            kube,
        } = self;
        let mut words = Words::of("join");
        words.kube(kube);
        words.fleet(fleet);
        words.each("--cluster-name", cluster_name);
        words.each("--cluster-name-template", cluster_name_template);
        words.what(what);
        words.each("--federate-match", federate_match);
        words.each("--node-selector", node_selector);
        words.flag("--pin-nodes", *pin_nodes);
        words.pace(pace);
        words.each("--body-size-limit", body_size_limit);
        words.each("--sample-limit", sample_limit);
        words.each("--fallback-scrape-protocol", fallback_scrape_protocol);
        words.flag("--keep-all-metrics", *keep_all_metrics);
        words.flag("--self-renew", *self_renew);
        words.flag("--long-lived-token", *long_lived_token);
        words.unless("--duration", duration, &token::DEFAULT);
        words.typed(*typed, what, *duration);
        words.seen(seen);
        words.paths("--kubelet-ca-file", kubelet_ca_file);
        words.flag("--rename", *rename);
        words.flag("--replace", *replace);
        words.how(how);
        words.flag("--keep-on-failure", *keep_on_failure);
        words.flag("--interactive", *interactive);
        words.to(to);
        words.0
    }

    /// The join that was recorded. A CA that was given is not in it: a record has its content, not the name of a file.
    pub fn of_record(record: &Record, to: DestinationArgs) -> Self {
        let usual = ScrapeTiming::usual_timeout(record.scrape_interval);
        let are_usual = !record.jobs.have_federate() || record.federate_match == Selector::defaults();
        let is_long_lived = record.token.never_expires();
        let address = record.access.address_given;
        Self {
            typed: Typed::default(),
            what: WhatArgs {
                jobs: JobSpecs::from(&record.jobs),
                account: record.account().into(),
                fence: if record.fenced { FenceArg::Required } else { FenceArg::Off },
                route: match record.route {
                    Route::Kubelet => RouteArg::Kubelet,
                    Route::ApiServer | Route::Pinned(_) => RouteArg::Apiserver,
                },
            },
            cluster_name: Some(record.cluster.clone()),
            cluster_name_template: None,
            node_selector: record.node_selector.clone(),
            pace: TimingArgs {
                scrape_interval: record.scrape_interval,
                scrape_timeout: Some(record.scrape_timeout).filter(|timeout| *timeout != usual),
            },
            limits: LimitArgs {
                body_size_limit: record.body_size_limit,
                sample_limit: record.sample_limit,
                fallback_scrape_protocol: record.fallback_scrape_protocol,
            },
            federate_match: if are_usual { Vec::new() } else { record.federate_match.clone() },
            keep_all_metrics: record.keep_all_metrics,
            duration: if is_long_lived { token::DEFAULT } else { record.duration },
            self_renew: record.self_renew,
            pin_nodes: matches!(record.route, Route::Pinned(_)),
            long_lived_token: is_long_lived,
            seen: SeenArgs {
                api_server: address.then(|| record.access.api_server.clone()),
                api_server_ca_file: None,
                api_server_tls_name: record.access.tls_server_name.clone().filter(|_| address),
                api_server_proxy: record.access.proxy.clone(),
            },
            kubelet: KubeletArgs::default(),
            to,
            clash: ClashArgs::default(),
            how: HowArgs::default(),
            keep_on_failure: false,
            interactive: false,
            fleet: FleetArgs::default(),
            kube: KubeArgs { context: vec![record.context.clone()], ..KubeArgs::default() },
        }
    }
}

impl CheckArgs {
    pub fn words(&self) -> Vec<String> {
        let Self {
            clusters,
            what,
            cluster_name,
            cluster_name_template,
            node_selector,
            pace,
            self_renew,
            pin_nodes,
            seen,
            kubelet: KubeletArgs { kubelet_ca_file },
            to,
            clash: ClashArgs { rename, replace },
            output,
            fleet,
            kube,
        } = self;
        let mut words = Words::of("check");
        words.0.extend(clusters.iter().map(ClusterName::to_string));
        words.kube(kube);
        words.fleet(fleet);
        words.each("--cluster-name", cluster_name);
        words.each("--cluster-name-template", cluster_name_template);
        words.what(what);
        words.each("--node-selector", node_selector);
        words.flag("--pin-nodes", *pin_nodes);
        words.pace(pace);
        words.flag("--self-renew", *self_renew);
        words.seen(seen);
        words.paths("--kubelet-ca-file", kubelet_ca_file);
        words.flag("--rename", *rename);
        words.flag("--replace", *replace);
        words.each("--output", output.map(name));
        words.to(to);
        words.0
    }
}

impl LeaveArgs {
    pub fn words(&self) -> Vec<String> {
        let Self { clusters, to, only, account, seen, how, fleet, kube } = self;
        let mut words = Words::of("leave");
        words.0.extend(clusters.iter().map(ClusterName::to_string));
        words.each("--only", only.map(name));
        words.kube(kube);
        words.fleet(fleet);
        words.account(account);
        words.seen(seen);
        words.how(how);
        words.to(to);
        words.0
    }

    /// What ends every use of an account, whichever destination made it.
    pub fn of_account(context: &str, account: &Account) -> Self {
        Self {
            only: Some(Side::Cluster),
            account: account.clone().into(),
            kube: KubeArgs { context: vec![context.to_owned()], ..KubeArgs::default() },
            ..Self::default()
        }
    }
}

impl RotateArgs {
    pub fn words(&self) -> Vec<String> {
        let Self { clusters, now, watch, print_unit, metrics_file, proof_interval, to, output, fleet, kube } = self;
        let mut words = Words::of("rotate");
        words.0.extend(clusters.iter().map(ClusterName::to_string));
        words.flag("--now", *now);
        words.flag("--watch", *watch);
        words.flag("--print-unit", *print_unit);
        words.paths("--metrics-file", metrics_file);
        words.each("--proof-interval", proof_interval);
        words.each("--output", output.map(name));
        words.kube(kube);
        words.fleet(fleet);
        words.to(to);
        words.0
    }

    /// The files and folders of this host that it names.
    pub fn paths_mut(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let Self {
            clusters: _,
            now: _,
            watch: _,
            print_unit: _,
            metrics_file,
            proof_interval: _,
            to,
            output: _,
            fleet: FleetArgs { all_contexts: _, contexts_from, parallel: _ },
            kube,
        } = self;
        let DestinationArgs { prometheus, prometheus_url: _, prometheus_http_config, reload: _, format: _, owner: _ } =
            to;
        let KubeArgs {
            kubeconfig,
            context: _,
            impersonate: _,
            impersonate_groups: _,
            impersonate_uid: _,
            impersonate_extra: _,
            request_timeout: _,
            verbosity: _,
        } = kube;
        let folders = prometheus.iter_mut().filter_map(|location| match location {
            Location::Directory(FolderLocation::Here(path)) => Some(path),
            Location::Directory(FolderLocation::Ssh(_)) | Location::Operator(_) => None,
        });
        metrics_file.iter_mut().chain(contexts_from).chain(kubeconfig).chain(prometheus_http_config).chain(folders)
    }
}

/// The command that a report names, ready to paste.
pub fn next(next: Next, cluster: &ClusterName, destination: &str) -> String {
    let (to, clusters) = (to(destination), vec![cluster.clone()]);
    shell::plugin(match next {
        Next::Join(record) => JoinArgs::of_record(record, to).words(),
        Next::Replace(record) => {
            let clash = ClashArgs { replace: true, ..ClashArgs::default() };
            JoinArgs { clash, ..JoinArgs::of_record(record, to) }.words()
        }
        Next::Rotate { now } => RotateArgs { clusters, now, to, ..RotateArgs::default() }.words(),
        Next::Leave => LeaveArgs { clusters, to, ..LeaveArgs::default() }.words(),
    })
}

/// The command that renews every token of a destination that is due.
pub fn rotate_all(destination: &str) -> String {
    shell::plugin(RotateArgs { to: to(destination), ..RotateArgs::default() }.words())
}

fn to(destination: &str) -> DestinationArgs {
    // It was typed, or is the path of a folder.
    let place = destination.parse().unwrap_or_else(|_| Location::Directory(FolderLocation::Here(destination.into())));
    DestinationArgs { prometheus: vec![place], ..DestinationArgs::default() }
}

struct Words(Vec<String>);

impl Words {
    fn of(verb: &str) -> Self {
        Self(vec![verb.to_owned()])
    }

    fn flag(&mut self, flag: &str, is_set: bool) {
        self.0.extend(is_set.then(|| flag.to_owned()));
    }

    /// One word where two would be read as two flags.
    fn each(&mut self, flag: &str, values: impl IntoIterator<Item = impl Display>) {
        for value in values {
            match value.to_string() {
                value if value.starts_with('-') => self.0.push(format!("{flag}={value}")),
                value => self.0.extend([flag.to_owned(), value]),
            }
        }
    }

    fn paths<'a>(&mut self, flag: &str, paths: impl IntoIterator<Item = &'a PathBuf>) {
        self.each(flag, paths.into_iter().map(|path| Path::display(path)));
    }

    fn unless<T: Display + PartialEq>(&mut self, flag: &str, value: &T, default: &T) {
        self.each(flag, (value != default).then_some(value));
    }

    fn choice<T: ValueEnum + PartialEq + Copy>(&mut self, flag: &str, value: T, default: T) {
        self.each(flag, (value != default).then(|| name(value)));
    }

    fn account(&mut self, AccountArgs { namespace, service_account }: &AccountArgs) {
        let default = AccountArgs::default();
        self.unless("--namespace", namespace, &default.namespace);
        self.unless("--service-account", service_account, &default.service_account);
    }

    fn what(&mut self, WhatArgs { jobs, account, fence, route }: &WhatArgs) {
        self.account(account);
        self.unless("--jobs", jobs, &JobSpecs::default());
        self.choice("--route", *route, RouteArg::Apiserver);
        self.choice("--fence", *fence, FenceArg::Required);
    }

    /// Flags that `--interactive` would ask for without their words, although they have the default.
    fn typed(&mut self, typed: Typed, what: &WhatArgs, duration: Seconds) {
        let Typed { jobs, route, duration: life } = typed;
        self.each("--jobs", (jobs && what.jobs == JobSpecs::default()).then_some(&what.jobs));
        self.each("--route", (route && what.route == RouteArg::Apiserver).then(|| name(what.route)));
        self.each("--duration", (life && duration == token::DEFAULT).then_some(duration));
    }

    fn pace(&mut self, TimingArgs { scrape_interval, scrape_timeout }: &TimingArgs) {
        self.unless("--scrape-interval", scrape_interval, &ScrapeTiming::INTERVAL);
        self.each("--scrape-timeout", scrape_timeout);
    }

    fn fleet(&mut self, FleetArgs { all_contexts, contexts_from, parallel }: &FleetArgs) {
        self.flag("--all-contexts", *all_contexts);
        self.paths("--contexts-from", contexts_from);
        self.unless("--parallel", parallel, &DEFAULT_PARALLEL);
    }

    fn seen(&mut self, seen: &SeenArgs) {
        let SeenArgs { api_server, api_server_ca_file, api_server_tls_name, api_server_proxy } = seen;
        self.each("--api-server", api_server);
        self.paths("--api-server-ca-file", api_server_ca_file);
        self.each("--api-server-tls-name", api_server_tls_name);
        self.each("--api-server-proxy", api_server_proxy);
    }

    fn to(&mut self, to: &DestinationArgs) {
        let DestinationArgs { prometheus, prometheus_url, prometheus_http_config, reload, format, owner } = to;
        self.each("--prometheus-url", prometheus_url);
        self.paths("--prometheus-http-config", prometheus_http_config);
        self.unless("--reload", reload, &ReloadMode::default());
        self.each("--format", format.map(name));
        self.each("--owner", owner);
        self.each("-p", prometheus);
    }

    fn how(&mut self, HowArgs { dry_run, output, yes }: &HowArgs) {
        self.choice("--dry-run", *dry_run, DryRunArg::default());
        self.each("--output", output.map(name));
        self.flag("--yes", *yes);
    }

    fn kube(&mut self, kube: &KubeArgs) {
        let KubeArgs {
            kubeconfig,
            context,
            impersonate,
            impersonate_groups,
            impersonate_uid,
            impersonate_extra,
            request_timeout,
            verbosity,
        } = kube;
        self.paths("--kubeconfig", kubeconfig);
        self.each("--context", context);
        self.each("--as", impersonate);
        self.each("--as-group", impersonate_groups);
        self.each("--as-uid", impersonate_uid);
        self.each("--as-user-extra", impersonate_extra.iter().map(|(key, value)| format!("{key}={value}")));
        self.unless("--request-timeout", request_timeout, &RequestTimeout::default());
        self.unless("--v", verbosity, &0);
    }
}

fn name(value: impl ValueEnum + Copy) -> String {
    value.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cli::{Cli, Command},
        model::{job::route::Pins, plan::request::command, report::status::tests::record},
    };
    use clap::{Arg, ArgAction, CommandFactory, Parser};
    use std::{collections::BTreeSet, iter};

    fn parse(words: &[String]) -> Option<Command> {
        let program = ["kubectl-prom_federate".to_owned()];
        Cli::try_parse_from(program.iter().chain(words)).ok().map(|cli| cli.command)
    }

    fn words(command: &Command) -> Vec<String> {
        match command {
            Command::Join(args) => args.words(),
            Command::Check(args) => args.words(),
            Command::Leave(args) => args.words(),
            Command::Rotate(args) => args.words(),
            command => panic!("{command:?} is not printed"),
        }
    }

    /// Values of a flag that has no list of them.
    fn samples(flag: &str) -> &'static [&'static str] {
        match flag {
            "clusters" | "cluster-name" => &["east", "1.west"],
            "cluster-name-template" => &["{context}", "-{user}.x"],
            "jobs" => &["default", "kubelet,cadvisor", "probes,federate,pods=shop", "service=a/https:b:web/m/x"],
            "node-selector" => &["type!=virtual-kubelet", "!a.b/c,d in (e,f)"],
            "federate-match" => &["up", "{job=\"it's\"}"],
            "namespace" => &["prom-federate", "x"],
            "service-account" => &["prometheus", "y"],
            "scrape-interval" | "scrape-timeout" => &["60s", "90s"],
            "body-size-limit" => &["64MB", "0"],
            "sample-limit" => &["1000", "0"],
            "fallback-scrape-protocol" => &["PrometheusText0.0.4", "OpenMetricsText1.0.0"],
            "duration" => &["7d", "90m"],
            "proof-interval" => &["0s", "5m", "30m"],
            "api-server" => &["https://h", "https://[fd00::1]:6443/k8s/clusters/c-1"],
            "api-server-proxy" => &["http://h:3128", "socks5://h:1080"],
            "api-server-tls-name" => &["h.example.com", "10.0.0.1"],
            "api-server-ca-file"
            | "kubelet-ca-file"
            | "metrics-file"
            | "kubeconfig"
            | "contexts-from"
            | "prometheus-http-config" => &["a b", "-x", "../é"],
            "prometheus" => &["/etc/prometheus", "-x", "ssh://u@h:22/p q", "operator://m/k8s?context=a b"],
            "prometheus-url" => &["http://h:9090/x"],
            "reload" => &["auto", "none", "command:kill -HUP '$(x)'"],
            "owner" => &["u", "u:1000"],
            "parallel" => &["8", "1"],
            "context" | "as" | "as-group" | "as-uid" => &["a b", "-x", ""],
            "as-user-extra" => &["a=", "a=b=c", "-x=y"],
            "request-timeout" => &["10s", "0", "1.5h", "1d", "1500us"],
            "v" => &["0", "6"],
            _ => panic!("add values of --{flag}, so that its words are tested"),
        }
    }

    /// Every way to give one flag.
    fn ways(argument: &Arg) -> Vec<String> {
        let name = argument.get_long().unwrap_or(argument.get_id().as_str());
        let flag = format!("--{name}");
        if matches!(argument.get_action(), ArgAction::SetTrue) {
            return vec![flag];
        }
        let choices: Vec<String> =
            argument.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect();
        // Some words only begin a value.
        let is_whole = |choices: &[String]| !choices.is_empty() && choices.iter().all(|word| !word.ends_with(':'));
        let values = if is_whole(&choices) { choices } else { samples(name).iter().map(ToString::to_string).collect() };
        let one = |value: String| if argument.is_positional() { value } else { format!("{flag}={value}") };
        values.into_iter().map(one).collect()
    }

    #[test]
    fn words_parse_to_the_arguments_that_they_are_of() {
        let cli = Cli::command();
        for verb in ["join", "check", "leave", "rotate"] {
            let command = cli.find_subcommand(verb).unwrap();
            let is_ours = |argument: &&Arg| !matches!(argument.get_action(), ArgAction::Help | ArgAction::HelpShort);
            let ways: Vec<String> = command.get_arguments().filter(is_ours).flat_map(ways).collect();
            let mut tested = BTreeSet::new();
            // Some flags contradict each other, or need another one.
            let mut try_out = |given: &[&String]| {
                let typed: Vec<String> =
                    iter::once(verb.to_owned()).chain(given.iter().map(ToString::to_string)).collect();
                let Some(parsed) = parse(&typed) else { return false };
                let words = words(&parsed);
                assert_eq!(parse(&words), Some(parsed), "{typed:?} became {words:?}");
                tested.extend(given.iter().map(ToString::to_string));
                true
            };
            let needed = ["--prometheus=/p".to_owned(), "--as=a".to_owned()];
            let mut together = Vec::new();
            for (at, way) in ways.iter().enumerate() {
                try_out(&[way]);
                for other in needed.iter().chain(ways.get(at + 1)) {
                    try_out(&[way, other]);
                }
                together.push(way);
                if !try_out(&together) {
                    together.pop();
                }
            }
            assert!(together.len() > ways.len() / 3, "hardly any of the flags go together: {together:?}");
            let untested: Vec<&String> = ways.iter().filter(|way| !tested.contains(*way)).collect();
            assert!(untested.is_empty(), "no {verb} parses with {untested:?}");
        }
    }

    #[test]
    fn defaults_have_no_words() {
        for verb in ["join", "check", "leave", "rotate"] {
            let verb = [verb.to_owned()];
            assert_eq!(words(&parse(&verb).unwrap()), verb);
        }
        let typed = "join --jobs=default --scrape-interval=1m --duration=168h --fence=required --reload=auto \
                     --request-timeout=10 -p /p";
        let typed: Vec<String> = typed.split_whitespace().map(str::to_owned).collect();
        assert_eq!(words(&parse(&typed).unwrap()), ["join", "-p", "/p"]);
    }

    /// Also at its default: the wizard does not ask for it.
    #[test]
    fn flags_that_were_typed_are_known_to_the_wizard() {
        let typed = |line: &str| match parse(&line.split(' ').map(str::to_owned).collect::<Vec<_>>()) {
            Some(Command::Join(JoinArgs { typed: Typed { jobs, route, duration }, .. })) => [jobs, route, duration],
            other => panic!("{line}: {other:?}"),
        };
        assert_eq!(typed("join --interactive"), [false; 3]);
        assert_eq!(typed("join --interactive --jobs=default"), [true, false, false]);
        assert_eq!(typed("join --interactive --route apiserver"), [false, true, false]);
        assert_eq!(typed("join --duration 7d --interactive"), [false, false, true]);
        assert_eq!(typed("join --jobs=kubelet --route=kubelet --duration=1h"), [false; 3], "nothing is asked for");
    }

    #[test]
    fn defaults_of_clap_and_of_the_types_are_the_same() {
        let Some(Command::Leave(leave)) = parse(&["leave".to_owned()]) else { panic!("leave parses") };
        assert_eq!(leave, LeaveArgs::default());
        let Some(Command::Rotate(rotate)) = parse(&["rotate".to_owned()]) else { panic!("rotate parses") };
        assert_eq!(rotate, RotateArgs::default());
    }

    /// The model cannot make it of arguments.
    #[test]
    fn commands_of_the_model_parse_to_what_they_mean() {
        for name in ["prometheus", "other"] {
            let account = Account { namespace: "x".parse().unwrap(), name: name.parse().unwrap() };
            let context = "admin@east";
            let printed = command("leave", context, &account);
            let typed: Vec<String> = printed.split(' ').skip(2).map(str::to_owned).collect();
            let expected = LeaveArgs { only: None, ..LeaveArgs::of_account(context, &account) };
            assert_eq!(parse(&typed), Some(Command::Leave(expected)), "{printed}");
        }
    }

    #[test]
    fn a_recorded_join_is_printed_as_the_join_that_it_was() {
        let join = |change: &dyn Fn(&mut Record)| {
            let mut record = record("east");
            change(&mut record);
            let printed = next(Next::Join(&record), &record.cluster, "/etc/prometheus");
            let args = JoinArgs::of_record(
                &record,
                DestinationArgs { prometheus: vec!["/etc/prometheus".parse().unwrap()], ..DestinationArgs::default() },
            );
            assert_eq!(parse(&args.words()), Some(Command::Join(args)), "{printed}");
            printed
        };
        let federated = |selectors: Vec<Selector>| {
            join(&|record| {
                record.jobs = "pods=shop/m,federate=ops/k8s:web".parse().unwrap();
                record.federate_match.clone_from(&selectors);
            })
        };
        let commands = [
            join(&|_| {}),
            federated(Selector::defaults()),
            federated(vec!["{job=\"it's\"}".parse().unwrap(), "up".parse().unwrap()]),
            join(&|record| {
                record.self_renew = true;
                record.access.proxy = Some("http://10.0.0.9:3128".parse().unwrap());
            }),
            join(&|record| record.token.expires = token::expiry::NEVER),
            join(&|record| record.route = Route::Pinned(Pins::default())),
            join(&|record| record.route = Route::Kubelet),
            join(&|record| record.node_selector = "!a/b,c in (d,e)".parse().ok()),
        ];
        insta::assert_snapshot!(commands.join("\n"), @r#"
        kubectl prom-federate join --context admin@east --cluster-name east -p /etc/prometheus
        kubectl prom-federate join --context admin@east --cluster-name east --jobs pods=shop/m,federate=ops/k8s:web -p /etc/prometheus
        kubectl prom-federate join --context admin@east --cluster-name east --jobs pods=shop/m,federate=ops/k8s:web --federate-match '{job="it'\''s"}' --federate-match up -p /etc/prometheus
        kubectl prom-federate join --context admin@east --cluster-name east --self-renew --api-server-proxy http://10.0.0.9:3128 -p /etc/prometheus
        kubectl prom-federate join --context admin@east --cluster-name east --long-lived-token -p /etc/prometheus
        kubectl prom-federate join --context admin@east --cluster-name east --pin-nodes -p /etc/prometheus
        kubectl prom-federate join --context admin@east --cluster-name east --route kubelet -p /etc/prometheus
        kubectl prom-federate join --context admin@east --cluster-name east --node-selector '!a/b,c in (d,e)' -p /etc/prometheus
        "#);
    }
}
