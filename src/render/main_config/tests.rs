use super::*;
use crate::hostile;
use proptest::prelude::*;

const JOBS: (List, &str) = (List::ScrapeConfigFiles, "prom-federate/*.scrape.yml");
const RULES: (List, &str) = (List::RuleFiles, "prom-federate/*.rules.yml");
const DIR: &str = "/etc/prometheus";

/// The configuration that comes with Prometheus, shortened.
const EXAMPLE: &str = r#"# my global config
global:
  scrape_interval: 15s # Set the scrape interval to every 15 seconds. Default is every 1 minute.
  # scrape_timeout is set to the global default (10s).

# Load rules once and periodically evaluate them according to the global 'evaluation_interval'.
rule_files:
  # - "first_rules.yml"
  # - "second_rules.yml"

# A scrape configuration containing exactly one endpoint to scrape:
# Here it's Prometheus itself.
scrape_configs:
  # The job name is added as a label `job=<job_name>` to any timeseries scraped from this config.
  - job_name: "prometheus"

    static_configs:
      - targets: ["localhost:9090"]
        # The label name is added as a label.
        labels:
          app: "prometheus"
"#;

fn config(text: &str) -> MainConfig {
    MainConfig::read(text).unwrap_or_else(|why| panic!("{why}: {text}"))
}

fn with(text: &str, additions: &[(List, &str)]) -> String {
    config(text).with(additions).unwrap_or_else(|why| panic!("{why}: {text}"))
}

fn includes(config: &MainConfig, (list, pattern): (List, &str)) -> bool {
    config.includes(list, Path::new(DIR), &pattern.replace('*', "east"))
}

#[test]
fn default_configuration_keeps_its_comments() {
    let after = with(EXAMPLE, &[JOBS, RULES]);
    insta::assert_snapshot!(diff("prometheus.yml", EXAMPLE, &after), @r#"
    --- prometheus.yml
    +++ prometheus.yml
    @@ -7,6 +7,7 @@
     rule_files:
       # - "first_rules.yml"
       # - "second_rules.yml"
    +  - prom-federate/*.rules.yml
     
     # A scrape configuration containing exactly one endpoint to scrape:
     # Here it's Prometheus itself.
    @@ -19,3 +20,5 @@
             # The label name is added as a label.
             labels:
               app: "prometheus"
    +scrape_config_files:
    +- prom-federate/*.scrape.yml
    "#);
}

#[test]
fn pattern_is_added_in_the_style_of_its_list() {
    for (what, before, after) in [
        ("nothing at all", "", "rule_files:\n- prom-federate/*.rules.yml\n"),
        ("only a comment", "# none yet", "# none yet\nrule_files:\n- prom-federate/*.rules.yml\n"),
        ("only a start", "---\n", "---\nrule_files:\n- prom-federate/*.rules.yml\n"),
        (
            "no such list",
            "global:\n  scrape_interval: 15s\n# the end\n",
            "global:\n  scrape_interval: 15s\n# the end\nrule_files:\n- prom-federate/*.rules.yml\n",
        ),
        (
            "no such list, no last newline",
            "global: {scrape_interval: 15s}",
            "global: {scrape_interval: 15s}\nrule_files:\n- prom-federate/*.rules.yml\n",
        ),
        (
            "a document with start and end",
            "---\nglobal: {}\n... # the end\n# really\n",
            "---\nglobal: {}\nrule_files:\n- prom-federate/*.rules.yml\n... # the end\n# really\n",
        ),
        (
            "a block scalar at the end",
            "scrape_configs:\n- job_name: |\n    rule_files:\n    - a\n\n    # b\n",
            "scrape_configs:\n- job_name: |\n    rule_files:\n    - a\n\n    # b\n\
             rule_files:\n- prom-federate/*.rules.yml\n",
        ),
        (
            "the key as a value and deeper down",
            "global:\n  external_labels:\n    rule_files: rule_files:none\n",
            "global:\n  external_labels:\n    rule_files: rule_files:none\n\
             rule_files:\n- prom-federate/*.rules.yml\n",
        ),
        ("null", "rule_files:\nglobal: {}\n", "rule_files:\n  - prom-federate/*.rules.yml\nglobal: {}\n"),
        ("null at the end", "rule_files: # none", "rule_files: # none\n  - prom-federate/*.rules.yml\n"),
        (
            "null with comments at the margin",
            "rule_files:\n# - a.yml\n\n# What is scraped\nscrape_configs: []\n",
            "rule_files:\n  - prom-federate/*.rules.yml\n# - a.yml\n\n# What is scraped\nscrape_configs: []\n",
        ),
        (
            "deeper than its key, with comments everywhere",
            "rule_files: # ours\n    # nodes\n    - node.yml # a, b\n\n    #- old.yml\n    - 'it''s # no comment.yml'\n    # - later.yml\n\n# What is scraped\nscrape_configs: []\n",
            "rule_files: # ours\n    # nodes\n    - node.yml # a, b\n\n    #- old.yml\n    - 'it''s # no comment.yml'\n    # - later.yml\n    - prom-federate/*.rules.yml\n\n# What is scraped\nscrape_configs: []\n",
        ),
        (
            "at the margin as its key is",
            "rule_files:\n\n# nodes\n- \"node.yml\"\n# pods\n- pod.yml\n\n# What is scraped\nscrape_configs: []\n",
            "rule_files:\n\n# nodes\n- \"node.yml\"\n# pods\n- pod.yml\n- prom-federate/*.rules.yml\n\n# What is scraped\nscrape_configs: []\n",
        ),
        (
            "wide dashes, a quoted key, no last newline",
            "\"rule_files\" :\n  -   node.yml",
            "\"rule_files\" :\n  -   node.yml\n  -   prom-federate/*.rules.yml\n",
        ),
        (
            "an item below its dash",
            "rule_files:\n -\n  node.yml\n",
            "rule_files:\n -\n  node.yml\n - prom-federate/*.rules.yml\n",
        ),
        (
            "an item of several lines",
            "rule_files:\n- >-\n  node.yml\n\n  # still the name\nglobal: {}\n",
            "rule_files:\n- >-\n  node.yml\n\n  # still the name\n- prom-federate/*.rules.yml\nglobal: {}\n",
        ),
        (
            "an item that is an alias",
            "global: {external_labels: {file: &file a.yml}}\nrule_files:\n- *file\n",
            "global: {external_labels: {file: &file a.yml}}\nrule_files:\n- *file\n- prom-federate/*.rules.yml\n",
        ),
        ("null in words", "rule_files: null # none\n", "rule_files: [prom-federate/*.rules.yml] # none\n"),
        ("null as a tilde", "rule_files: ~\nglobal: {}\n", "rule_files: [prom-federate/*.rules.yml]\nglobal: {}\n"),
        (
            "all of it indented",
            "---\n# all\n  global: {}\n  rule_files: # ours\n    - a.yml\n# here\n    # and here\n\n  scrape_configs: []\n",
            "---\n# all\n  global: {}\n  rule_files: # ours\n    - a.yml\n# here\n    # and here\n    - prom-federate/*.rules.yml\n\n  scrape_configs: []\n",
        ),
        (
            "all of it indented, the list as its key is",
            "  rule_files:\n  - a.yml\n  global: {}\n",
            "  rule_files:\n  - a.yml\n  - prom-federate/*.rules.yml\n  global: {}\n",
        ),
        (
            "all of it indented, no such list",
            "\u{feff}  global: {}\n",
            "\u{feff}  global: {}\n  rule_files:\n  - prom-federate/*.rules.yml\n",
        ),
        (
            "all of it indented, null",
            "  rule_files:\n  global: {}\n",
            "  rule_files:\n    - prom-federate/*.rules.yml\n  global: {}\n",
        ),
        ("an empty flow list", "rule_files: [] # none\n", "rule_files: [prom-federate/*.rules.yml] # none\n"),
        (
            "an empty flow list with a comment",
            "rule_files: [ # none ]\n  ]\n",
            "rule_files: [prom-federate/*.rules.yml # none ]\n  ]\n",
        ),
        (
            "a flow list",
            "rule_files: [ a.yml, \"b].yml\" ] # ]\n",
            "rule_files: [ a.yml, \"b].yml\", prom-federate/*.rules.yml ] # ]\n",
        ),
        (
            "quotes in a flow list",
            r#"rule_files: [it's.yml, "\"],", 'it''s], # ']"#,
            r#"rule_files: [it's.yml, "\"],", 'it''s], # ', prom-federate/*.rules.yml]"#,
        ),
        ("a last comma", "rule_files: [a.yml, ]\n", "rule_files: [a.yml, prom-federate/*.rules.yml ]\n"),
        (
            "a flow list in the next line",
            "rule_files:\n  # nodes\n  [a.yml,\n   b.yml]\n",
            "rule_files:\n  # nodes\n  [a.yml,\n   b.yml, prom-federate/*.rules.yml]\n",
        ),
        (
            "a flow list with a line for each",
            "rule_files: [\n  a.yml, # nodes, pods\n  b.yml # ]\n  # c.yml\n]\nglobal: {}\n",
            "rule_files: [\n  a.yml, # nodes, pods\n  b.yml, # ]\n  prom-federate/*.rules.yml\n  # c.yml\n]\nglobal: {}\n",
        ),
        (
            "the same with a last comma",
            "rule_files: [\n  a.yml, # nodes, pods\n  b.yml,\n]\n",
            "rule_files: [\n  a.yml, # nodes, pods\n  b.yml,\n  prom-federate/*.rules.yml,\n]\n",
        ),
        (
            "what is no pattern and has commas of its own",
            "rule_files: [\n  a.yml,\n  {b: c,\n    d: e}\n]\n",
            "rule_files: [\n  a.yml,\n  {b: c,\n    d: e},\n  prom-federate/*.rules.yml\n]\n",
        ),
        (
            "a byte order mark",
            "\u{feff}rule_files:\n- a.yml\nglobal: {}\n",
            "\u{feff}rule_files:\n- a.yml\n- prom-federate/*.rules.yml\nglobal: {}\n",
        ),
        ("nothing but that", "\u{feff}", "\u{feff}rule_files:\n- prom-federate/*.rules.yml\n"),
        (
            "a list that is merged elsewhere",
            "scrape_configs:\n- &base {job_name: a, scheme: https}\n- {<<: *base, job_name: b}\nrule_files: []\n",
            "scrape_configs:\n- &base {job_name: a, scheme: https}\n- {<<: *base, job_name: b}\nrule_files: [prom-federate/*.rules.yml]\n",
        ),
    ] {
        assert_eq!(with(before, &[RULES]), after, "{what}");
        // Windows line endings stay.
        let dos = |text: &str| text.replace('\n', "\r\n");
        if before.contains('\n') {
            assert_eq!(with(&dos(before), &[RULES]), dos(after), "{what}, CRLF");
        }
    }
}

#[test]
fn both_lists_are_edited_together_and_only_once() {
    let after = with("rule_files: [a.yml]\n", &[JOBS, RULES]);
    assert_eq!(
        after,
        "rule_files: [a.yml, prom-federate/*.rules.yml]\nscrape_config_files:\n- prom-federate/*.scrape.yml\n"
    );
    let config = config(&after);
    assert!(includes(&config, JOBS) && includes(&config, RULES));
    assert_eq!(config.with(&[]).unwrap(), after);
}

#[test]
fn pattern_is_quoted_only_if_necessary() {
    for (pattern, item) in [
        ("/etc/prom_2/*.yml", "/etc/prom_2/*.yml"),
        ("rules.yml", r#""rules.yml""#),
        ("*/a", r#""*/a""#),
        ("a b/#c", r#""a b/#c""#),
        ("12/[a]", r#""12/[a]""#),
    ] {
        assert_eq!(with("", &[(List::RuleFiles, pattern)]), format!("rule_files:\n- {item}\n"));
    }
}

#[test]
fn unsafe_edits_are_rejected() {
    for (text, why) in [
        ("rule_files: &all [a.yml]\n", "has an anchor, an alias or a tag"),
        ("global: {external_labels: &all [a.yml]}\nrule_files: *all\n", "has an anchor, an alias or a tag"),
        ("rule_files: &all\n- a.yml\n", "has an anchor, an alias or a tag"),
        ("rule_files: !!seq\n- a.yml\n", "has an anchor, an alias or a tag"),
        ("rule_files: a.yml\n", "is not a list"),
        ("rule_files: {a: b}\n", "is not a list"),
        ("{\"rule_files\": [\"a.yml\"]}\n", "is in a mapping in braces (JSON), which is not edited"),
        (
            "---\n{\n  \"rule_files\": [\n    \"a.yml\"\n  ]\n}\n",
            "is in a mapping in braces (JSON), which is not edited",
        ),
        ("{}\n", "is in a mapping in braces (JSON), which is not edited"),
        ("? rule_files\n: [a.yml]\n", "cannot be edited safely in this text"),
        ("\"rule\\x5ffiles\": [a.yml]\n", "cannot be edited safely in this text"),
        // The new key would hide the value from a merge key.
        ("a: &a {rule_files: [a.yml]}\n<<: *a\n", "cannot be edited safely in this text"),
        // A new last line would become part of the value above it.
        ("a: |+\n  b", "cannot be edited safely in this text"),
        ("a: \"\nrule_files: \n b\"\nrule_files: [a.yml]\n", "occurs twice"),
    ] {
        assert_eq!(
            config(text).with(&[RULES]).expect_err(text),
            format!("rule_files {why}: add \"prom-federate/*.rules.yml\" to that list by hand"),
            "{text}"
        );
    }
}

#[test]
fn syntax_errors_name_the_line_and_quote_nothing() {
    let level = |n: u8| format!("a{}: &a{} [{}]\n", n + 1, n + 1, vec![format!("*a{n}"); 9].join(", "));
    let bomb = format!("a0: &a0 hunter2\n{}", (0..9).map(level).collect::<String>());
    let errors: String = [
        "a: hunter2\nb: [hunter2\n",
        "a: hunter2\n hunter2: b\n",
        "a: \"\\hunter2\"\n",
        "a: *hunter2\n",
        "a: !hunter2!x y\n",
        "a: hunter2\n\thunter2: b\n",
        "hunter2: 1\nhunter2: 2\n",
        "a:\n  hunter2: 1\n  hunter2: 2\n",
        "a: {[hunter2]: b}\n",
        "a: {<<: hunter2}\n",
        "a: {<<: [hunter2]}\n",
        "- hunter2\n",
        "hunter2",
        "a: hunter2\n---\nb: 1\n",
        "a: hunter2\u{1}\n",
        &bomb,
    ]
    .iter()
    .map(|text| MainConfig::read(text).err().unwrap_or_else(|| panic!("{text}")) + "\n")
    .collect();
    assert!(!errors.contains("hunter2"), "{errors}");
    insta::assert_snapshot!(errors, @"
    did not find expected ',' or ']' at line 3 column 1, while parsing a flow sequence at line 2 column 4
    mapping values are not allowed in this context at line 2 column 9
    found unknown escape character at line 1 column 5, while parsing a quoted scalar at line 1 column 4
    unknown anchor at line 1 column 4
    found undefined tag handle at line 1 column 4, while parsing a node
    found a tab character that violates indentation at line 2 column 1, while scanning a plain scalar at line 1 column 4
    a key is there twice, on lines 1 and 2: delete one
    a key is there twice, on lines 2 and 3: delete one
    a key in it is no string
    a merge key (<<) has no mapping
    a merge key (<<) has no mapping
    it is not a mapping
    it is not a mapping
    it holds more than one YAML document, of which Prometheus reads the first: delete the others
    control characters are not allowed at position 10
    its aliases expand to too much
    ");
}

#[test]
fn patterns_match_as_in_prometheus() {
    for (pattern, expected) in [
        ("prom-federate/*.scrape.yml", true),
        ("prom-federate/*", true),
        ("./prom-federate/east.scrape.yml", true),
        ("../prometheus//prom-federate/./*.yml", true),
        ("/etc/prometheus/prom-federate/e?st.*.yml", true),
        ("/../etc/prometheus/prom-federate/*.yml", true),
        ("prom-federate/[a-e]as[^a-s].scrape.yml", true),
        ("prom-federate/[^a-d]ast*[.]scrape.y[m]l", true),
        (r"prom-federate/\e[\]a]*", true),
        ("*.yml", false),
        ("prom-federate/*.rules.yml", false),
        ("prom-federate/*.scrape.yaml", false),
        ("prom-federate", false),
        ("prom-federate/*/*", false),
        ("/prom-federate/*", false),
        ("/etc/other/prom-federate/*", false),
        ("prom-federate/[a-d]ast.scrape.yml", false),
        ("prom-federate/[^e]ast.scrape.yml", false),
        ("prom-federate/east.scrape.ym?l", false),
        ("prom-federate/[", false),
        ("prom-federate/xeast.scrape.yml", false),
        ("prom-federate/[^]ast.scrape.yml", false),
        ("prom-federate/[]e]ast.scrape.yml", false),
        ("prom-federate/[e-]ast.scrape.yml", false),
        (r"prom-federate/*\", false),
        ("", false),
    ] {
        let config = config(&with("", &[(List::ScrapeConfigFiles, pattern)]));
        let file = "prom-federate/east.scrape.yml";
        assert_eq!(config.includes(List::ScrapeConfigFiles, Path::new(DIR), file), expected, "{pattern}");
        assert!(!config.includes(List::RuleFiles, Path::new(DIR), file));
    }
    // Neither a list nor patterns.
    for text in ["", "rule_files:\n", "rule_files: a\n", "rule_files: [1, {}, null]\n"] {
        assert!(!includes(&config(text), RULES), "{text}");
    }
}

#[test]
fn job_names_are_those_of_the_file_itself() {
    let text = "scrape_configs: [&a {job_name: a}, {<<: *a, scheme: https}, {job_name: 2}, {}, x, {job_name: []}]\n";
    assert_eq!(config(text).job_names(), ["a", "a", "2"]);
    for text in ["", "scrape_configs:\n", "scrape_configs: a\n"] {
        assert!(config(text).job_names().is_empty(), "{text}");
    }
    assert_eq!(config(EXAMPLE).job_names(), ["prometheus"]);
}

#[test]
fn unknown_keys_are_named() {
    for (text, expected) in [
        ("", None),
        (EXAMPLE, None),
        ("storage: {}\nruntime: {gogc: 75}\notlp: {}\ntracing: {}\nremote_write: []\nalerting: {}\n", None),
        ("apiVersion: v1\nkind: Config\nclusters: []\n", Some("apiVersion")),
        ("global: {}\nscrape_confgs: []\n", Some("scrape_confgs")),
        ("scrape_config: []\n", Some("scrape_config")),
    ] {
        assert_eq!(config(text).unknown_key(), expected, "{text}");
    }
}

#[test]
fn diff_of_equal_texts_is_empty() {
    assert_eq!(diff("a", EXAMPLE, EXAMPLE), "");
}

/// Random lines that sometimes form a configuration.
fn texts() -> impl Strategy<Value = String> {
    let line = prop_oneof![
        Just("rule_files:"),
        Just("'scrape_config_files': [a, 'b' ,"),
        Just("scrape_config_files: &a [ # c"),
        Just("rule_files: # c"),
        Just("global: {a: *a}"),
        Just("x: |+"),
        Just("x: \""),
        Just("- a.yml"),
        Just("  - 'a.yml' # c"),
        Just("    - b"),
        Just("  -  \"c"),
        Just("  # - c"),
        Just("# c"),
        Just("  d\","),
        Just("  e"),
        Just("]"),
        Just("  , ]"),
        Just("[]"),
        Just("---"),
        Just("..."),
        Just("\u{feff}"),
        Just(""),
    ];
    let ending = prop_oneof![6 => Just("\n"), 1 => Just("\r\n"), 1 => Just("\r"), 1 => Just("")];
    proptest::collection::vec((line, ending), 0..8)
        .prop_map(|lines| lines.into_iter().map(|(line, ending)| format!("{line}{ending}")).collect())
}

fn is_subsequence(short: &str, long: &str) -> bool {
    let mut long = long.chars();
    short.chars().all(|c| long.any(|other| other == c))
}

/// Whether an edit keeps all of a text but a null.
fn is_kept(before: &str, after: &str) -> bool {
    let equal = |pairs: &mut dyn Iterator<Item = (u8, u8)>| pairs.take_while(|(one, other)| one == other).count();
    let start = equal(&mut before.bytes().zip(after.bytes()));
    let end = equal(&mut before[start..].bytes().rev().zip(after[start..].bytes().rev()));
    is_subsequence(before, after) || edit::NULLS.contains(&&before[start..before.len() - end])
}

fn edits_only_add_to(text: &str, pattern: &str) {
    let Ok(before) = MainConfig::read(text) else { return };
    for addition in [JOBS, RULES, (List::RuleFiles, pattern)] {
        let Ok(after) = before.with(&[addition]) else { continue };
        assert!(is_kept(text, &after), "{after}");
        let mut after = config(&after);
        let list = after.value.get_mut(addition.0.key()).and_then(Value::as_array_mut).unwrap();
        assert_eq!(list.pop(), Some(Value::from(addition.1)));
        let old = before.value.get(addition.0.key()).and_then(Value::as_array).cloned().unwrap_or_default();
        assert_eq!(&*list, &old);
        for (key, value) in &before.value {
            assert!(key == addition.0.key() || after.value.get(key) == Some(value));
        }
    }
}

#[test]
fn hostile_main_configurations_are_edited_or_refused() {
    let lists = "global: {scrape_interval: 15s}\nrule_files: [\"a.yml\", b.yml] # x\nscrape_config_files:\n- 'c/*.yml'\nscrape_configs:\n- job_name: a\n  static_configs: [{targets: [\"x:1\"]}]\n";
    let others = "---\r\nscrape_config_files: ~\r\nrule_files: [\r\n  a.yml,\r\n]\r\n...\r\n";
    hostile::texts(&[EXAMPLE, lists, others], |text| edits_only_add_to(text, "/p/*.yml"));
    hostile::texts(&["/p/[^a-c]?\\*.yml", "prom-federate/*.scrape.yml"], |pattern| {
        edits_only_add_to(EXAMPLE, pattern);
        let _ = (name_matches(pattern, "east.scrape.yml"), clean(Path::new(pattern)));
    });
    hostile::texts(&[COLLECTOR], |text| {
        let Ok(before) = MainConfig::read(text) else { return };
        let _ = (before.job_names(), before.unknown_key(), before.collector_metrics());
        if before.is_collectors()
            && let Ok(after) = before.with_receiver("/p/*.yml", Some("127.0.0.1:9099"))
        {
            assert!(is_kept(text, &after), "{after}");
            assert!(config(&after).includes(List::ScrapeConfigFiles, Path::new("/"), "p/x.yml"));
        }
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn edits_only_add_to_any_text(text in prop_oneof![4 => texts(), 1 => any::<String>()], pattern in ".*") {
        edits_only_add_to(&text, &pattern);
    }

    #[test]
    fn patterns_are_added_only_once(text in texts()) {
        let add = |text: &str| {
            let config = MainConfig::read(text)?;
            let missing: Vec<_> = [JOBS, RULES].into_iter().filter(|&addition| !includes(&config, addition)).collect();
            config.with(&missing)
        };
        if let Ok(once) = add(&text) {
            prop_assert_eq!(add(&once).unwrap(), once);
        }
    }

    #[test]
    fn matching_ends_for_any_pattern(pattern in any::<String>(), stars in r"[*?a\[\]\\^-]{0,60}", name in "[ab]{0,60}") {
        name_matches(&pattern, &name);
        name_matches(&stars, &name);
    }
}

const COLLECTOR: &str = "\
# Ours.
receivers:
  otlp:
    protocols: {grpc: {}} # from the applications

  # Scrapes itself.
  prometheus:
    config:
      scrape_configs:
      - job_name: self
        static_configs: [{targets: [localhost:8888]}]

exporters:
  debug: {}

service:
  pipelines:
    traces:
      receivers: [otlp]
      exporters: [debug]
    metrics:
      # In this order.
      receivers: [otlp, prometheus]
      exporters: [debug]
";

fn with_receiver(text: &str, pattern: &str) -> Result<String, String> {
    config(text).with_receiver(pattern, None)
}

#[test]
fn collector_gets_a_receiver_in_its_pipeline_of_metrics() {
    let pattern = "/etc/otelcol/prom-federate/*.scrape.yml";
    let edited = config(COLLECTOR).with_receiver(pattern, Some("127.0.0.1:9099")).unwrap();
    insta::assert_snapshot!(diff("config.yaml", COLLECTOR, &edited), @r"
    --- config.yaml
    +++ config.yaml
    @@ -9,6 +9,14 @@
           scrape_configs:
           - job_name: self
             static_configs: [{targets: [localhost:8888]}]
    +  prometheus/federate:
    +    config:
    +      scrape_config_files:
    +      - /etc/otelcol/prom-federate/*.scrape.yml
    +    api_server:
    +      enabled: true
    +      server_config:
    +        endpoint: 127.0.0.1:9099
     
     exporters:
       debug: {}
    @@ -20,5 +28,5 @@
           exporters: [debug]
         metrics:
           # In this order.
    -      receivers: [otlp, prometheus]
    +      receivers: [otlp, prometheus, prometheus/federate]
           exporters: [debug]
    ");
    let after = config(&edited);
    let dir = Path::new("/etc/otelcol");
    assert!(after.is_collectors() && after.includes(List::ScrapeConfigFiles, dir, "prom-federate/x.scrape.yml"));
    assert_eq!(after.receiver_of(dir, "prom-federate/x.scrape.yml").unwrap().id, RECEIVER);
    assert_eq!(after.job_names(), ["self"]);
    assert_eq!(
        (after.unknown_key(), config("global: {}\n").is_collectors(), config("").is_collectors()),
        (None, false, false)
    );
    let blocks = "service:\n    pipelines:\n        metrics/a:\n            receivers:\n            - x\n            # - y\n            exporters: [e]";
    let edited = with_receiver(blocks, "/p q/$a/*.yml").unwrap();
    assert!(edited.contains("            - x\n            - prometheus/federate\n            # - y\n"), "{edited}");
    assert!(
        edited.ends_with(
            "receivers:\n  prometheus/federate:\n    config:\n      scrape_config_files:\n      - \"/p q/$$a/*.yml\"\n"
        ),
        "{edited}"
    );
    assert!(config(&edited).includes(List::ScrapeConfigFiles, Path::new("/p q/$a"), "b.yml"));
}

#[test]
fn collector_whose_pipeline_is_not_clear_is_not_edited() {
    let two = "service: {pipelines: {metrics: {receivers: [a]}, metrics/b: {receivers: [b]}}}\n";
    for (text, why) in [
        ("receivers: {otlp: {}}\n", "has no pipeline of metrics"),
        ("service: {pipelines: {traces: {receivers: [a]}}}\n", "has no pipeline of metrics"),
        (two, "has several pipelines of metrics (metrics, metrics/b)"),
        ("service: {pipelines: {metrics: x}}\n", "without a list of receivers"),
        ("service:\n  pipelines:\n    metrics: {receivers: [a]}\n", "service.pipelines.metrics is not a mapping"),
        ("receivers: x\nservice:\n  pipelines:\n    metrics:\n      receivers: [a]\n", "receivers that are no mapping"),
        (
            "receivers:\n  prometheus/federate: {config: {}}\nservice:\n  pipelines:\n    metrics:\n      receivers: [a]\n",
            "has a receiver prometheus/federate of other files",
        ),
    ] {
        let error = with_receiver(text, "/p/*.yml").unwrap_err();
        assert!(error.contains(why), "{text}: {error}");
    }
}

#[test]
fn collector_reads_files_of_receivers_in_a_pipeline() {
    let includes = |text: &str| config(text).includes(List::ScrapeConfigFiles, Path::new("/p"), "x.yml");
    let receiver = "receivers: {prometheus/a: {config: {scrape_config_files: [/p/*.yml]}}}\n";
    // The pipelines may be in another file.
    assert!(includes(receiver));
    assert!(includes(&format!("{receiver}service: {{pipelines: {{metrics/x: {{receivers: [prometheus/a]}}}}}}\n")));
    assert!(!includes(&format!("{receiver}service: {{pipelines: {{metrics: {{receivers: [otlp]}}}}}}\n")));
    let api = |settings: &str| {
        let text = format!(
            "receivers: {{prometheus: {{config: {{scrape_config_files: [/p/*.yml]}}, api_server: {settings}}}}}\n"
        );
        config(&text).receiver_of(Path::new("/p"), "x.yml").unwrap().api.clone()
    };
    assert_eq!(api("{enabled: true, server_config: {endpoint: localhost:9099}}").as_deref(), Some("localhost:9099"));
    assert_eq!(api("{enabled: true}").as_deref(), Some("127.0.0.1:9090"));
    assert_eq!(api("{enabled: false}"), None);
}

#[test]
fn collector_shows_its_metrics_where_it_says() {
    let of = |telemetry: &str| config(&format!("service: {{pipelines: {{}}{telemetry}}}\n")).collector_metrics();
    let readers = |prometheus: &str| {
        format!(
            ", telemetry: {{metrics: {{readers: [{{periodic: {{}}}}, {{pull: {{exporter: {{prometheus: {prometheus}}}}}}}]}}}}"
        )
    };
    for (telemetry, expected) in [
        (String::new(), Some("localhost:8888")),
        (", telemetry: {metrics: {level: none}}".to_owned(), None),
        (", telemetry: {metrics: {readers: []}}".to_owned(), None),
        (readers("{host: 0.0.0.0, port: 9}"), Some("0.0.0.0:9")),
        (readers("{port: 9}"), Some("localhost:9")),
        (readers("{port: \"${env:PORT}\"}"), None),
    ] {
        assert_eq!(of(&telemetry).as_deref(), expected, "{telemetry}");
    }
    assert_eq!(config("receivers: {}\n").collector_metrics(), None);
    assert_eq!(config("global: {}\n").collector_metrics(), None);
}

#[test]
fn jobs_beside_a_collectors_configuration_are_escaped() {
    let text =
        with_jobs(RECEIVER, &["/p/$x.yml".into()], &["# c\nscrape_configs:\n- job_name: a\n  replacement: $1\n"]);
    let read = yaml::read_foreign(&text).unwrap();
    let jobs = &read["receivers"]["prometheus/federate"]["config"];
    assert_eq!(jobs["scrape_config_files"][0], "/p/$$x.yml");
    assert_eq!(
        (&jobs["scrape_configs"][0]["job_name"], &jobs["scrape_configs"][0]["replacement"]),
        (&"a".into(), &"$$1".into())
    );
}

proptest! {
    #[test]
    fn collectors_are_edited_or_refused(text in collectors(), pattern in "/[a-z$ ]{0,6}/\\*\\.yml") {
        let Ok(before) = MainConfig::read(&text) else { return Ok(()) };
        if let Ok(after) = before.with_receiver(&pattern, Some("127.0.0.1:9099")) {
            prop_assert!(is_subsequence(&text, &after));
            let after = config(&after);
            prop_assert!(after.includes(List::ScrapeConfigFiles, Path::new("/"), &pattern.replace('*', "x")));
        }
    }
}

/// Pieces of configurations of a collector, good and bad.
fn collectors() -> impl Strategy<Value = String> {
    let pieces = [
        "receivers:\n",
        "receivers: {}\n",
        "receivers: x\n",
        "  otlp: {}\n",
        "  otlp:\n",
        "  prometheus:\n    config: {}\n",
        "  # x\n",
        "\n",
        "service:\n",
        "  pipelines:\n",
        "    metrics:\n",
        "    metrics/x:\n",
        "      receivers: [otlp]\n",
        "      receivers:\n",
        "      - otlp\n",
        "      exporters: [debug]\n",
        "service: {pipelines: {metrics: {receivers: [a]}}}\n",
        "    metrics: null\n",
        "      receivers: null\n",
        "...\n",
        "---\n",
    ];
    proptest::collection::vec(proptest::sample::select(pieces.to_vec()), 0..12).prop_map(|pieces| pieces.concat())
}
