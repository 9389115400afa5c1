//! One cluster under every consumer at once: what they write to one storage has the same names and labels.

use crate::{
    jobs::Workloads,
    plugin::{Account, Run, command},
};
use serde_json::{Value, json};
use std::{
    any::Any,
    collections::{BTreeMap, BTreeSet},
    fs,
    time::Duration,
};
use testbed::{
    ClusterSpec, Collector, CollectorSpec, Delay, Kubeconfig, Prometheus, PrometheusSpec, Release, Scraper, Vmagent,
    VmagentSpec, hub, machine_address,
};

trials! {
    consumers:
    full {
        every_consumer_writes_the_same_series,
        differences_of_consumers_stand_in_the_page,
    }
}

const WRITTEN_WITHIN: Duration = Duration::from_secs(90);
/// So many series has the cluster at least, most of them of the API server.
const ALL: usize = 1000;

const CURRENT: &str = "Prometheus 3.16";
const V3_14: &str = "Prometheus 3.14";
const V3_5: &str = "Prometheus 3.5";
const V2_53: &str = "Prometheus 2.53";
const V2_45: &str = "Prometheus 2.45";
const AGENT: &str = "Prometheus agent";
const VMAGENT: &str = "vmagent 1.133";
const OLD_VMAGENT: &str = "vmagent 1.79";
const COLLECTOR: &str = "OpenTelemetry Collector";
const OPERATED: &str = "Prometheus of an operator";
const OPERATED_AGENT: &str = "PrometheusAgent of an operator";
const OPERATED_VMAGENT: &str = "VMAgent of an operator";

/// How the series of some consumers differ from those of [`CURRENT`].
struct Difference {
    consumers: &'static [&'static str],
    what: What,
    /// Why.
    reason: &'static str,
}

enum What {
    /// The consumer has series of these names in addition.
    MoreSeries(&'static [&'static str]),
    /// The consumer has no series of these names.
    FewerSeries(&'static [&'static str]),
    /// Every series has these labels in addition.
    MoreLabels(&'static [&'static str]),
    /// The numbers in `le` and `quantile` have another text.
    Numbers(&'static str),
    /// A histogram has the bucket `+Inf` although its buckets are dropped.
    LastBucket,
    /// A series that the job federate reads without a label `instance` has that of its target.
    Instance,
}

/// All that is allowed. `docs/destinations/README.md` has the same table. One that is gone fails the trial.
const DIFFERENCES: &[Difference] = &[
    Difference {
        consumers: &[V2_53, V2_45, VMAGENT, OLD_VMAGENT, OPERATED_VMAGENT],
        what: What::Numbers("`1`, as on the page"),
        reason: "Prometheus 3 writes a whole number of a classic histogram or summary as `1.0`",
    },
    Difference {
        consumers: &[COLLECTOR],
        what: What::Numbers("`1` and `0.00001`"),
        reason: "the exporter writes the number anew",
    },
    Difference {
        consumers: &[AGENT, VMAGENT, OLD_VMAGENT, COLLECTOR, OPERATED_AGENT, OPERATED_VMAGENT],
        what: What::FewerSeries(&["prom_federate_token_expiry_timestamp_seconds"]),
        reason: "a recording rule: the server that stores the samples has it from `rules`",
    },
    Difference {
        consumers: &[VMAGENT, OLD_VMAGENT, OPERATED_VMAGENT],
        what: What::MoreSeries(&["scrape_samples_limit", "scrape_timeout_seconds"]),
        reason: "vmagent writes them for each target",
    },
    Difference {
        consumers: &[VMAGENT, OPERATED_VMAGENT],
        what: What::MoreSeries(&["scrape_response_size_bytes"]),
        reason: "newer releases of vmagent write it for each target",
    },
    Difference {
        consumers: &[COLLECTOR],
        what: What::MoreLabels(&["otel_scope_name", "otel_scope_version"]),
        reason: "the exporter adds the receiver's name; `disable_scope_info` turns it off",
    },
    Difference {
        consumers: &[COLLECTOR],
        what: What::MoreSeries(&["target_info"]),
        reason: "the exporter writes the attributes of a target's resource",
    },
    Difference {
        consumers: &[COLLECTOR],
        what: What::LastBucket,
        reason: "the exporter writes this bucket from the histogram's count",
    },
    Difference {
        consumers: &[COLLECTOR],
        what: What::Instance,
        reason: "the exporter writes the instance of the resource where a series has none",
    },
    Difference {
        consumers: &[OPERATED, OPERATED_AGENT],
        what: What::MoreLabels(&["prometheus", "prometheus_replica"]),
        reason: "external labels of the operator, in what its Prometheus sends elsewhere",
    },
    Difference {
        consumers: &[OPERATED_VMAGENT],
        what: What::MoreLabels(&["prometheus"]),
        reason: "an external label of the operator",
    },
];

/// One that scrapes and writes what it scrapes to the storage, with its name as the label `consumer`.
struct Consumer {
    name: &'static str,
    destination: String,
    /// Ends when dropped.
    _running: Box<dyn Any>,
}

impl Consumer {
    fn of(name: &'static str, destination: String, running: impl Any) -> Self {
        Self { name, destination, _running: Box::new(running) }
    }

    fn prometheus(name: &'static str, storage: &str, adapt: impl FnOnce(PrometheusSpec) -> PrometheusSpec) -> Self {
        let config = format!("global: {{external_labels: {{consumer: {name}}}}}\nremote_write: [{{url: {storage}}}]\n");
        let running = Prometheus::start_with(&adapt(PrometheusSpec::new(config))).expect("Prometheus starts");
        Self::of(name, running.dir().display().to_string(), running)
    }

    fn vmagent(name: &'static str, storage: &str, scraper: Scraper) -> Self {
        let config = format!("global: {{external_labels: {{consumer: {name}}}}}\n");
        let spec = VmagentSpec::new(config).scraper(scraper).remote_write(storage);
        let running = Vmagent::start_with(&spec).expect("vmagent starts");
        Self::of(name, running.dir().join("vmagent.yml").display().to_string(), running)
    }

    fn collector(name: &'static str, storage: &str) -> Self {
        let mut spec = CollectorSpec::with_receiver();
        let exporter = format!(
            "  prometheusremotewrite: {{endpoint: {storage}, translation_strategy: UnderscoreEscapingWithoutSuffixes, external_labels: {{consumer: {name}}}}}\n"
        );
        for (plain, own) in [
            ("  debug: {}\n", exporter.as_str()),
            ("exporters: [debug]", "exporters: [prometheusremotewrite]"),
            ("[prometheus/self, prometheus/federate]", "[prometheus/federate]"),
        ] {
            spec.config = spec.config.replace(plain, own);
        }
        let running = Collector::start(&spec).expect("the collector starts");
        Self::of(name, running.dir().display().to_string(), running)
    }

    /// Of an operator, in a namespace of its own.
    fn operated(name: &'static str, storage: &str, agent: bool) -> Self {
        let namespace = format!("consumers-{}{}", if agent { "agent" } else { "server" }, crate::trial::suffix());
        let mut spec = json!({
            "scrapeConfigSelector": {}, "externalLabels": { "consumer": name }, "remoteWrite": [{ "url": storage }],
        });
        let running = if agent {
            hub().agent(&namespace, "kps", &spec).expect("a PrometheusAgent");
            hub().run_agent(&namespace, "kps")
        } else {
            spec["ruleSelector"] = json!({});
            hub().prometheus(&namespace, "kps", &spec).expect("a Prometheus");
            hub().run(&namespace, "kps", 0)
        };
        Self::of(name, format!("operator://{namespace}/kps?context=hub"), running.expect("Prometheus starts"))
    }

    fn operated_vmagent(name: &'static str, storage: &str) -> Self {
        let namespace = format!("consumers-vmagent{}", crate::trial::suffix());
        let spec = json!({ "scrapeConfigSelector": {}, "externalLabels": { "consumer": name } });
        hub().vmagent(&namespace, "kps", &spec).expect("a VMAgent");
        let running = hub().run_vmagent(&namespace, "kps", |spec| spec.remote_write(storage)).expect("vmagent starts");
        Self::of(name, format!("operator://{namespace}/vmagent/kps?context=hub"), running)
    }
}

fn every_consumer_writes_the_same_series() {
    let receiver = PrometheusSpec::new("global: {}\n").flag("--web.enable-remote-write-receiver");
    let storage = Prometheus::start_with(&receiver).expect("Prometheus starts");
    let write = format!("{}/api/v1/write", storage.url());
    let consumers = [
        Consumer::prometheus(CURRENT, &write, |spec| spec),
        Consumer::prometheus(V3_14, &write, |spec| spec.release(Release::V3_14)),
        Consumer::prometheus(V3_5, &write, |spec| spec.release(Release::V3_5)),
        Consumer::prometheus(V2_53, &write, |spec| spec.release(Release::V2_53)),
        Consumer::prometheus(V2_45, &write, |spec| spec.release(Release::V2_45)),
        Consumer::prometheus(AGENT, &write, PrometheusSpec::agent),
        Consumer::vmagent(VMAGENT, &write, Scraper::Current),
        Consumer::vmagent(OLD_VMAGENT, &write, Scraper::Debian),
        Consumer::collector(COLLECTOR, &write),
        Consumer::operated(OPERATED, &write, false),
        Consumer::operated(OPERATED_AGENT, &write, true),
        Consumer::operated_vmagent(OPERATED_VMAGENT, &write),
    ];
    // A cluster tells of its requests, and other trials would make some.
    let cluster = testbed::special("consumers", || ClusterSpec::new("shop").nodes(2));
    let workloads = Workloads::start(cluster, "consumers");
    let account = Account::new(cluster, "consumers");
    let address = machine_address().expect("an address");
    let front = Delay::listening_on((address, 0).into(), cluster.address(), Duration::ZERO).expect("a way there");
    let kubeconfig = cluster.dir().join("with-hub");
    fs::write(&kubeconfig, Kubeconfig::merged(&[cluster.admin(), hub().cluster().admin()])).expect("a kubeconfig");
    let run = |arguments: &[&str]| -> Run {
        let destinations = consumers.iter().flat_map(|consumer| ["-p", &consumer.destination]);
        let all: Vec<&str> = arguments.iter().copied().chain(destinations).collect();
        Run::from(command(&kubeconfig, &all).output().expect("the plugin starts")).succeeded()
    };
    let (jobs, url, space) = (workloads.jobs(), front.url(), account.namespace.as_str());
    let address = ["--api-server", &url, "--api-server-tls-name=localhost"];
    run(&[&["join", "--yes", "--namespace", space, "--scrape-interval=5s", &jobs], &address[..]].concat());

    for consumer in &consumers {
        let differences: Vec<&What> =
            DIFFERENCES.iter().filter(|one| one.consumers.contains(&consumer.name)).map(|one| &one.what).collect();
        let unlike = |differences: &[&What]| unlike(&storage, consumer.name, differences);
        let equal = testbed::until(WRITTEN_WITHIN, || unlike(&differences).is_empty().then_some(()));
        assert!(equal.is_some(), "{}:\n{}", consumer.name, unlike(&differences).join("\n"));
        for number in 0..differences.len() {
            let mut fewer = differences.clone();
            fewer.remove(number);
            assert!(!unlike(&fewer).is_empty(), "{}: difference {number} is none", consumer.name);
        }
    }

    run(&["leave", "shop", "--yes"]);
    assert_eq!(account.objects(), Vec::<String>::new());
}

/// What is in one of the two only.
fn unlike(storage: &Prometheus, consumer: &str, differences: &[&What]) -> Vec<String> {
    let (mut own, mut expected) = (series(storage, consumer), series(storage, CURRENT));
    if expected.len() < ALL {
        return vec![format!("Prometheus has written {} series of {ALL}", expected.len())];
    }
    for difference in differences {
        match difference {
            What::MoreSeries(names) => own.retain(|one| !one.is_one_of(names)),
            What::FewerSeries(names) => expected.retain(|one| !one.is_one_of(names)),
            What::MoreLabels(names) => own = own.into_iter().map(|one| one.without(names)).collect(),
            What::Numbers(_) => {
                own = own.into_iter().map(Series::with_plain_numbers).collect();
                expected = expected.into_iter().map(Series::with_plain_numbers).collect();
            }
            What::Instance => {
                let as_expected = |one: Series| {
                    let bare = one.clone().without(&["instance"]);
                    if expected.contains(&bare) { bare } else { one }
                };
                own = own.into_iter().map(as_expected).collect();
            }
            What::LastBucket => own.retain(|one| expected.contains(one) || !one.is_last_bucket()),
        }
    }
    let more = own.difference(&expected).map(|one| format!("+ {one:?}"));
    more.chain(expected.difference(&own).map(|one| format!("- {one:?}"))).collect()
}

/// Its labels: of some the values count, of the others the names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Series(BTreeMap<String, String>);

const VALUES: [&str; 8] = ["__name__", "cluster", "instance", "job", "le", "metrics_path", "node", "quantile"];

impl Series {
    fn read(labels: &Value) -> Self {
        let label = |(name, value): (&String, &Value)| {
            let counts = VALUES.contains(&name.as_str());
            (name.clone(), value.as_str().filter(|_| counts).unwrap_or_default().to_owned())
        };
        Self(labels.as_object().into_iter().flatten().filter(|(name, _)| *name != "consumer").map(label).collect())
    }

    fn is_one_of(&self, names: &[&str]) -> bool {
        names.contains(&self.0["__name__"].as_str())
    }

    fn is_last_bucket(&self) -> bool {
        self.0.get("le").is_some_and(|le| le == "+Inf" || le == "inf")
    }

    fn without(mut self, names: &[&str]) -> Self {
        self.0.retain(|name, _| !names.contains(&name.as_str()));
        self
    }

    fn with_plain_numbers(mut self) -> Self {
        for name in ["le", "quantile"] {
            if let Some(text) = self.0.get_mut(name)
                && let Ok(number) = text.parse::<f64>()
            {
                *text = number.to_string();
            }
        }
        self
    }
}

/// What the storage has of a consumer now.
fn series(storage: &Prometheus, consumer: &str) -> BTreeSet<Series> {
    let all = storage.query(&format!("{{consumer=\"{consumer}\"}}")).expect("an answer");
    all.as_array().into_iter().flatten().map(|one| Series::read(&one["metric"])).collect()
}

fn differences_of_consumers_stand_in_the_page() {
    let page = include_str!("../../docs/destinations/README.md");
    let code = |names: &[&str]| names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    let row = |difference: &Difference| {
        let what = match difference.what {
            What::MoreSeries(names) => format!("also writes {}", code(names)),
            What::FewerSeries(names) => format!("does not write {}", code(names)),
            What::MoreLabels(names) => format!("every series also has {}", code(names)),
            What::Numbers(text) => format!("`le` and `quantile` are {text}"),
            What::LastBucket => "`le=\"+Inf\"` of a dropped histogram stays".to_owned(),
            What::Instance => "a federated series without `instance` gets that of its target".to_owned(),
        };
        format!("| {} | {what} | {} |", difference.consumers.join(", "), difference.reason)
    };
    let mut rows: Vec<String> = DIFFERENCES.iter().map(row).collect();
    rows.splice(0..0, ["| consumer | difference | reason |".to_owned(), "|---|---|---|".to_owned()]);
    let table = rows.join("\n") + "\n\n";
    assert!(page.contains(&table), "docs/destinations/README.md needs this table:\n\n{table}");
}
