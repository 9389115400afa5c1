//! What happens to the files of a destination, as data: ordered operations, each with its undo. They are executed on
//! this host, and are simple enough to be written down as a shell script for another.

use super::layout::{self, CA, Generation, KUBELET_CA, Layout, PREVIOUS, PREVIOUS_RULES, RECORD, TOKEN};
use crate::model::text::names::ClusterName;
use secrecy::SecretString;

/// One change; paths are relative to the folder of the main configuration. Each can be repeated after a run that was
/// killed in the midst of it.
#[derive(Clone, Debug)]
pub enum Operation {
    /// A folder that only we and Prometheus may enter; there already is fine.
    MakeFolder { path: String },
    /// A new file that only we and Prometheus may read; what a killed run left under this name goes first.
    Write { path: String, content: Content },
    /// A new file that belongs to whom `like` belongs to, and may be read by the same.
    WriteLike { path: String, like: String, content: Content },
    /// A copy, of the same owner and mode.
    Copy { from: String, to: String },
    /// In one step, over what is there.
    Rename { from: String, to: String },
    /// A file; gone already is fine.
    Remove { path: String },
    /// A folder and all that is in it; gone already is fine.
    RemoveFolder { path: String },
    /// A folder, if nothing is in it.
    RemoveEmptyFolder { path: String },
}

/// What goes into a file. Its Debug form shows no token.
#[derive(Clone, Debug)]
pub enum Content {
    Plain(String),
    Secret(SecretString),
}

/// Who may read what is written: the owner, and a group where Prometheus is not the owner. Nobody else, ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Readers {
    /// None: whoever runs this.
    pub owner: Option<u32>,
    /// None: nobody but the owner.
    pub group: Option<u32>,
}

impl Readers {
    pub fn file_mode(self) -> u32 {
        if self.group.is_some() { 0o640 } else { 0o600 }
    }

    pub fn folder_mode(self) -> u32 {
        if self.group.is_some() { 0o750 } else { 0o700 }
    }
}

/// An operation and what takes it back.
#[derive(Clone, Debug)]
pub struct Step {
    pub operation: Operation,
    pub undo: Option<Operation>,
}

impl Step {
    fn new(operation: Operation, undo: Operation) -> Self {
        Self { operation, undo: Some(undo) }
    }

    /// Taken back by what takes back another.
    fn bare(operation: Operation) -> Self {
        Self { operation, undo: None }
    }
}

/// The files of one delivery.
pub struct Files {
    pub token: SecretString,
    pub ca: Option<String>,
    pub kubelet_ca: Option<String>,
    /// The record as JSON.
    pub record: String,
    pub fragment: String,
    /// None for an agent, which knows no rules.
    pub rules: Option<String>,
}

/// What a destination has of a cluster in its folder, as far as the steps depend on it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Present {
    pub fragment: bool,
    pub rules: bool,
}

/// Something new: everything is written beside what is in use and checked, then put in place.
pub struct Install {
    /// Nothing reads it yet.
    pub stage: Vec<Step>,
    /// The fragment's rename is the commit; the rules follow.
    pub commit: Vec<Step>,
}

impl Install {
    /// The steps for one generation of a cluster.
    pub fn new(cluster: &ClusterName, generation: &Generation, files: Files, present: &Present) -> Self {
        let layout = Layout(cluster);
        let own = |name| layout.file(generation, name);
        let plain = |path, text| Operation::Write { path, content: Content::Plain(text) };
        // The record is first: whatever else is there after a kill, it says which Secret the token is bound to.
        let mut stage = vec![
            Step::new(
                Operation::MakeFolder { path: layout.folder() },
                Operation::RemoveEmptyFolder { path: layout.folder() },
            ),
            Step::new(
                Operation::MakeFolder { path: layout.generation(generation) },
                Operation::RemoveFolder { path: layout.generation(generation) },
            ),
            Step::bare(plain(own(RECORD), files.record)),
            Step::bare(Operation::Write { path: own(TOKEN), content: Content::Secret(files.token) }),
        ];
        stage.extend(files.ca.map(|pem| Step::bare(plain(own(CA), pem))));
        stage.extend(files.kubelet_ca.map(|pem| Step::bare(plain(own(KUBELET_CA), pem))));
        stage.push(Step::new(
            plain(layout.staged_fragment(), files.fragment),
            Operation::Remove { path: layout.staged_fragment() },
        ));
        let mut commit = Vec::new();
        let back = if present.fragment {
            stage.push(Step::bare(Operation::Copy { from: layout.fragment(), to: own(PREVIOUS) }));
            Operation::Rename { from: own(PREVIOUS), to: layout.fragment() }
        } else {
            Operation::Remove { path: layout.fragment() }
        };
        commit.push(Step::new(Operation::Rename { from: layout.staged_fragment(), to: layout.fragment() }, back));
        match files.rules {
            Some(rules) => {
                stage.push(Step::new(
                    plain(layout.staged_rules(), rules),
                    Operation::Remove { path: layout.staged_rules() },
                ));
                // They say when the token expires: those of a token that is revoked again would alarm too late.
                let back = if present.rules {
                    stage.push(Step::bare(Operation::Copy { from: layout.rules(), to: own(PREVIOUS_RULES) }));
                    Operation::Rename { from: own(PREVIOUS_RULES), to: layout.rules() }
                } else {
                    Operation::Remove { path: layout.rules() }
                };
                commit.push(Step::new(Operation::Rename { from: layout.staged_rules(), to: layout.rules() }, back));
            }
            None if present.rules => commit.push(Step::bare(Operation::Remove { path: layout.rules() })),
            None => {}
        }
        Self { stage, commit }
    }
}

/// The steps that take a cluster's jobs out of a destination. Rules first: they would complain about the missing jobs.
/// Its folder goes later, when Prometheus has let go of the token.
pub fn removal(cluster: &ClusterName, live: Option<&Generation>, present: &Present) -> Vec<Step> {
    let layout = Layout(cluster);
    let mut steps = Vec::new();
    for staged in [layout.staged_fragment(), layout.staged_rules()] {
        steps.push(Step::bare(Operation::Remove { path: staged }));
    }
    let files = [(present.rules, layout.rules(), PREVIOUS_RULES), (present.fragment, layout.fragment(), PREVIOUS)];
    for (_, path, kept) in files.into_iter().filter(|(present, ..)| *present) {
        let remove = Operation::Remove { path: path.clone() };
        match live {
            Some(live) => {
                let kept = layout.file(live, kept);
                steps.push(Step::bare(Operation::Copy { from: path.clone(), to: kept.clone() }));
                steps.push(Step::new(remove, Operation::Rename { from: kept, to: path }));
            }
            None => steps.push(Step::bare(remove)),
        }
    }
    steps
}

/// Our own folder.
pub fn make_folder() -> Step {
    let path = layout::FOLDER.to_owned();
    Step::new(Operation::MakeFolder { path: path.clone() }, Operation::RemoveEmptyFolder { path })
}

/// What gives the main configuration a new text; a copy of the old one stays beside it.
pub fn edit(main: &str, text: &str) -> Install {
    let (staged, backup) = (staged_main(main), backup_of_main(main));
    let write =
        Operation::WriteLike { path: staged.clone(), like: main.to_owned(), content: Content::Secret(text.into()) };
    Install {
        stage: vec![
            Step::bare(Operation::Copy { from: main.to_owned(), to: backup.clone() }),
            Step::new(write, Operation::Remove { path: staged.clone() }),
        ],
        commit: vec![Step::new(
            Operation::Rename { from: staged, to: main.to_owned() },
            Operation::Rename { from: backup, to: main.to_owned() },
        )],
    }
}

/// The main configuration before it is put in place.
pub fn staged_main(main: &str) -> String {
    format!("{main}.prom-federate.new")
}

/// The main configuration as it was before we added to it.
pub fn backup_of_main(main: &str) -> String {
    format!("{main}.before-prom-federate")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(operation: &Operation) -> String {
        match operation {
            Operation::MakeFolder { path } => format!("mkdir {path}"),
            Operation::Write { path, .. } => format!("write {path}"),
            Operation::WriteLike { path, like, .. } => format!("write {path} like {like}"),
            Operation::Copy { from, to } => format!("cp {from} {to}"),
            Operation::Rename { from, to } => format!("mv {from} {to}"),
            Operation::Remove { path } => format!("rm {path}"),
            Operation::RemoveFolder { path } => format!("rm -r {path}"),
            Operation::RemoveEmptyFolder { path } => format!("rmdir {path}"),
        }
    }

    fn shown(steps: &[Step]) -> String {
        let undo =
            |step: &Step| step.undo.as_ref().map(|undo| format!("   <- {}", described(undo))).unwrap_or_default();
        steps.iter().map(|step| format!("{}{}\n", described(&step.operation), undo(step))).collect()
    }

    fn install(present: &Present, rules: bool) -> Install {
        let files = Files {
            token: "TOKEN".into(),
            ca: Some("PEM".into()),
            kubelet_ca: None,
            record: "{}".into(),
            fragment: "scrape_configs:".into(),
            rules: rules.then(|| "groups:".into()),
        };
        Install::new(&"east".parse().unwrap(), &"20261125t101500z-x7k2".parse().unwrap(), files, present)
    }

    #[test]
    fn a_first_delivery_is_staged_and_then_renamed() {
        let install = install(&Present::default(), true);
        insta::assert_snapshot!(shown(&install.stage), @r"
        mkdir prom-federate/east   <- rmdir prom-federate/east
        mkdir prom-federate/east/20261125t101500z-x7k2   <- rm -r prom-federate/east/20261125t101500z-x7k2
        write prom-federate/east/20261125t101500z-x7k2/cluster.json
        write prom-federate/east/20261125t101500z-x7k2/token
        write prom-federate/east/20261125t101500z-x7k2/ca.crt
        write prom-federate/east.scrape.yml.new   <- rm prom-federate/east.scrape.yml.new
        write prom-federate/east.rules.yml.new   <- rm prom-federate/east.rules.yml.new
        ");
        insta::assert_snapshot!(shown(&install.commit), @r"
        mv prom-federate/east.scrape.yml.new prom-federate/east.scrape.yml   <- rm prom-federate/east.scrape.yml
        mv prom-federate/east.rules.yml.new prom-federate/east.rules.yml   <- rm prom-federate/east.rules.yml
        ");
    }

    #[test]
    fn a_later_delivery_keeps_the_jobs_it_replaces_to_go_back_to() {
        let present = Present { fragment: true, rules: true };
        insta::assert_snapshot!(shown(&install(&present, true).commit), @r"
        mv prom-federate/east.scrape.yml.new prom-federate/east.scrape.yml   <- mv prom-federate/east/20261125t101500z-x7k2/previous.scrape.yml prom-federate/east.scrape.yml
        mv prom-federate/east.rules.yml.new prom-federate/east.rules.yml   <- mv prom-federate/east/20261125t101500z-x7k2/previous.rules.yml prom-federate/east.rules.yml
        ");
        let install = install(&present, false);
        assert!(shown(&install.stage).ends_with(
            "cp prom-federate/east.scrape.yml prom-federate/east/20261125t101500z-x7k2/previous.scrape.yml\n"
        ));
        insta::assert_snapshot!(shown(&install.commit), @r"
        mv prom-federate/east.scrape.yml.new prom-federate/east.scrape.yml   <- mv prom-federate/east/20261125t101500z-x7k2/previous.scrape.yml prom-federate/east.scrape.yml
        rm prom-federate/east.rules.yml
        ");
    }

    #[test]
    fn rules_leave_before_the_jobs_that_they_would_miss() {
        let steps = removal(
            &"east".parse().unwrap(),
            Some(&"20261125t101500z-x7k2".parse().unwrap()),
            &Present { fragment: true, rules: true },
        );
        insta::assert_snapshot!(shown(&steps));
    }

    #[test]
    fn the_main_configuration_is_kept_beside_and_replaced_in_one_step() {
        let Install { stage, commit } = edit("prometheus.yml", "…");
        insta::assert_snapshot!(shown(&stage) + &shown(&commit), @r"
        cp prometheus.yml prometheus.yml.before-prom-federate
        write prometheus.yml.prom-federate.new like prometheus.yml   <- rm prometheus.yml.prom-federate.new
        mv prometheus.yml.prom-federate.new prometheus.yml   <- mv prometheus.yml.before-prom-federate prometheus.yml
        ");
    }

    #[test]
    fn no_operation_shows_its_token() {
        let install = install(&Present::default(), true);
        assert!(!format!("{:?}", install.stage).contains("TOKEN"));
    }
}
