//! Any text in what the plugin writes, as the programs that read it see it.

use prom_federate::{
    model::{
        access::{Access, CertificateAuthority, Origin},
        account::{Account, desired::Fence},
        job::{ScrapeTiming, Selector, limits::ScrapeLimits},
        plan::request::JoinRequest,
        store::location::Format,
        text::{duration::Seconds, line::drives_a_terminal, shell},
        token::expiry,
    },
    render::prometheus::{CredentialFiles, Header, ScrapeJobs, fragment, printed},
    yaml,
};
use proptest::{
    prelude::*,
    strategy::ValueTree,
    test_runner::{Config, TestRunner},
};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};
use testbed::Prometheus;

trials! {
    hostile:
    full {
        prometheus_reads_any_text_as_it_is,
        prometheus_reads_any_text_in_the_jobs,
        kubectl_reads_any_text_as_it_is,
    }
}

/// What YAML 1.1 takes for something else, what has a meaning in YAML, PromQL or Go's templates, long text, and chance.
fn texts() -> Vec<String> {
    let plain = "on No y n ~ null = << 1_000 0x1_f 0o17 017 0b1 1e3 .5 -1 +1 12:30:45 2026-11-25 2026-11-25T09:12:00Z .inf .nan true &a *a !a \
                 | >- %a @a `a` ' \" \\ \\n [a] $x ${x} $$ %{x} --- ... \u{feff}a \u{202e}a \u{10ffff} \u{e000}on \0 \u{1b}[2J \u{7f}";
    let blank =
        ["- a", "? a", "a: b", "a #b", "{a: b}", "{{ .x }}", " a ", "\t", "\n", "a\n", "a\r\nb", "\u{85}", "\u{2028}"];
    let mut texts: Vec<String> = plain.split_ascii_whitespace().chain(blank).map(str::to_owned).collect();
    texts.push("'\"\\\n{}: #".repeat(64 << 7));
    let any = "([a-zA-Z0-9]|[-+.:_#&*!|>%@`'\"\\\\{}\\[\\],=~?<$ \t\n]|.){1,40}";
    let mut runner = TestRunner::new(Config::default());
    texts.extend((0..1000).map(|_| any.new_tree(&mut runner).expect("a text").current()));
    texts
}

fn folder(name: &str) -> PathBuf {
    let folder = testbed::run_dir().expect("a folder").join(format!("hostile-{name}"));
    fs::create_dir_all(&folder).expect("a folder");
    folder
}

fn output(program: &Path, arguments: &[&str], folder: &Path) -> String {
    let output = Command::new(program).args(arguments).current_dir(folder).output().expect("it starts");
    let said = [output.stdout.as_slice(), &output.stderr].map(String::from_utf8_lossy).concat();
    assert!(output.status.success(), "{said}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// The value of a label, as YAML that the plugin quotes. It must be that of a selector in PromQL, where each character is
/// written as its number.
fn prometheus_reads_any_text_as_it_is() {
    let folder = folder("promtool");
    let (mut rules, mut samples) = (String::new(), String::new());
    for (number, text) in texts().iter().enumerate() {
        rules += &format!(
            "  - {{record: text, expr: vector(1), labels: {{n: '{number}', text: {}}}}}\n",
            yaml::quoted(text)
        );
        let numbers: String = text.chars().map(|c| format!("\\U{:08x}", u32::from(c))).collect();
        samples += &format!("      - {{labels: 'text{{n=\"{number}\", text=\"{numbers}\"}}', value: 1}}\n");
    }
    fs::write(folder.join("rules.yml"), format!("groups:\n- name: a\n  rules:\n{rules}")).expect("a file");
    let test = "rule_files: [rules.yml]\ntests:\n- interval: 1m\n  promql_expr_test:\n  - expr: text\n    eval_time: 1m\n    exp_samples:\n";
    fs::write(folder.join("test.yml"), format!("{test}{samples}")).expect("a file");
    output(&testbed::tools().promtool, &["test", "rules", "test.yml"], &folder);
    // So that it can fail.
    fs::write(folder.join("test.yml"), format!("{test}{}", samples.replacen("\\U0000006f", "\\U00000070", 1)))
        .expect("a file");
    let other =
        Command::new(&testbed::tools().promtool).args(["test", "rules", "test.yml"]).current_dir(&folder).output();
    assert!(!other.expect("it starts").status.success());
}

/// The names and the fields of a kubeconfig, as YAML that the plugin writes: in block style, and on one line where a text
/// drives a terminal.
fn kubectl_reads_any_text_as_it_is() {
    let folder = folder("kubectl");
    let is_plain = |text: &String| !text.contains(|c| c == '\u{e000}' || c != '\n' && drives_a_terminal(c));
    let (plain, others): (BTreeSet<String>, BTreeSet<String>) = texts().into_iter().partition(is_plain);
    for texts in [plain, others] {
        let context =
            |text: &String| json!({ "name": text, "context": { "cluster": text, "user": "", "namespace": text } });
        let contexts: Vec<Value> = texts.iter().map(context).collect();
        fs::write(folder.join("config"), yaml::write(&json!({ "contexts": contexts }))).expect("a file");
        let arguments = ["config", "view", "--kubeconfig=config", "--output=json"];
        let read: Value = serde_json::from_str(&output(&testbed::tools().kubectl, &arguments, &folder)).expect("JSON");
        let mut read: Vec<Value> = read["contexts"].as_array().expect("contexts").clone();
        read.sort_by_key(|entry| entry["name"].as_str().map(str::to_owned));
        assert_eq!(read, contexts);
    }
}

/// What jobs take from outside: names, paths and selectors, and the words of commands in their comments. Contexts and
/// folders whose names a terminal does not show are refused before.
fn prometheus_reads_any_text_in_the_jobs() {
    let mut texts: Vec<String> =
        texts().into_iter().filter(|text| !text.contains(drives_a_terminal)).take(90).collect();
    texts.push("'\"\\{}: #$".repeat(8 << 10));
    let selector = |text: &str| format!("{{a=`{text}`}}").parse::<Selector>().ok();
    let request = |cluster: String, text: &str| JoinRequest {
        cluster: cluster.parse().expect("a name"),
        account: Account { namespace: "monitoring".parse().expect("a name"), name: "central".parse().expect("a name") },
        jobs: "kubelet,federate=monitoring/prometheus-k8s:web".parse().expect("jobs"),
        federate_match: selector(text).map_or_else(Selector::defaults, |one| vec![one]),
        fence: Fence::Required,
        pace: ScrapeTiming { interval: Seconds(60), timeout: Seconds(30) },
        limits: ScrapeLimits::default(),
        fallback: None,
        keep_all_metrics: false,
        self_renew: false,
        long_lived: false,
        duration: Seconds(604_800),
    };
    let mut config = "scrape_configs:\n".to_owned();
    for (number, text) in texts.iter().enumerate() {
        let access = Access {
            url: "https://127.0.0.1:9".parse().expect("a URL"),
            origin: Origin::Kubeconfig,
            ca: Some(CertificateAuthority {
                certificates: vec![b"not read".to_vec()],
                origin: "the kubeconfig".into(),
            }),
            tls_server_name: Some(text.clone()),
            proxy: None,
            kubelet_ca: None,
        };
        let (token, ca) = (format!("/token{text}"), format!("/ca{text}"));
        let words = shell::plugin(["rotate", "-p", text]);
        let (files, header) = (
            CredentialFiles {
                token: &token,
                ca: &ca,
                kubelet_ca: "",
                rotated: None,
                expires: Some(expiry::NEVER),
                rotate: &words,
                leave: &words,
            },
            Header {
                context: text,
                join: &words,
                bound_secret: "central-x7k2p",
                made: "2026-11-24T09:12:00Z".parse().expect("a time"),
                expires: expiry::NEVER,
            },
        );
        let [of_files, inline] = ["files", "inline"].map(|kind| request(format!("{kind}-{number}"), text));
        let jobs = |request| ScrapeJobs { request, access: &access };
        config += &fragment(jobs(&of_files), &files, None, Format::Prometheus).replacen("scrape_configs:\n", "", 1);
        let printed = printed(jobs(&inline), &header, text);
        yaml::read(&printed).expect("the jobs of a report");
        config += &printed.replacen("scrape_configs:\n", "", 1);
    }
    let prometheus = Prometheus::start(&config).expect("Prometheus reads it");
    let loaded = prometheus.get("/api/v1/status/config").expect("an answer").json();
    let loaded = yaml::read_foreign(loaded["data"]["yaml"].as_str().expect("a text")).expect("YAML");
    let jobs = loaded["scrape_configs"].as_array().expect("jobs");
    assert_eq!(jobs.len(), texts.len() * 4);
    for (text, jobs) in texts.iter().zip(jobs.chunks(4)) {
        let federates: Vec<&Value> = jobs.iter().filter(|job| !job["params"].is_null()).collect();
        assert_eq!(federates.len(), 2);
        for job in jobs {
            let discovery = &job["kubernetes_sd_configs"][0];
            for client in [job, discovery].into_iter().filter(|client| !client.is_null()) {
                assert_eq!(client["tls_config"]["server_name"], *text, "{job}");
            }
        }
        for job in &jobs[..2] {
            assert_eq!(job["authorization"]["credentials_file"], format!("/token{text}"), "{job}");
            assert_eq!(job["tls_config"]["ca_file"], format!("/ca{text}"), "{job}");
        }
        if let Some(selector) = selector(text) {
            assert!(
                federates.iter().all(|job| job["params"]["match[]"] == json!([selector.as_str()])),
                "{federates:?}"
            );
        }
    }
}
