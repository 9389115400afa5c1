//! Changes to the files of a destination as data: ordered operations, each with its undo. They run on this host, or as a
//! shell script on another host.

use super::layout::{self, CA, Generation, KUBELET_CA, Layout, PREVIOUS, PREVIOUS_RULES, RECORD, TOKEN};
use crate::model::text::names::ClusterName;
use crate::model::token::bearer::BearerToken;

/// One change. Paths are relative to the folder of the main configuration. An operation can be repeated after a run that
/// was killed during the operation.
#[derive(Clone, Debug)]
pub enum Operation {
    /// Creates a folder that only this user and Prometheus may enter. The folder may exist.
    MakeFolder { path: String },
    /// Writes a new file that only this user and Prometheus may read. Replaces the leftover of a killed run.
    Write { path: String, content: Content },
    /// Writes a new file with the owner and the mode of the file `like`.
    WriteLike { path: String, like: String, content: Content },
    /// Copies a file with its owner and mode.
    Copy { from: String, to: String },
    /// Gives a file a second name, which keeps the very file. A copy where the file system has no second names.
    Link { from: String, to: String },
    /// Writes the content of one file into another, which stays the file that it is.
    Overwrite { path: String, from: String },
    /// Renames a file atomically and replaces an existing one.
    Rename { from: String, to: String },
    /// Points a symbolic link elsewhere in one step. What has its name and is no link stays, and the operation fails.
    Point { link: String, to: String },
    /// Deletes a file or a link, if it exists.
    Remove { path: String },
    /// Deletes a file whose content another file has as well.
    RemoveCopy { path: String, of: String },
    /// Deletes a folder with its content, if it exists.
    RemoveFolder { path: String },
    /// Deletes a folder, if it is empty.
    RemoveEmptyFolder { path: String },
}

/// The content of a file. Its Debug form shows no token.
#[derive(Clone, Debug)]
pub enum Content {
    Plain(String),
    Secret(BearerToken),
}

impl Content {
    /// What is written to the file, a token included.
    pub fn written(&self) -> &str {
        match self {
            Self::Plain(text) => text,
            Self::Secret(secret) => secret.written(),
        }
    }
}

/// The readers of written files: the owner, and a group if Prometheus is not the owner. Never other users.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileOwnership {
    /// None: the user of this process.
    pub owner: Option<u32>,
    /// None: only the owner.
    pub group: Option<u32>,
    /// Whether folders belong to the owner too. Otherwise they belong to the user of this process: a folder of another
    /// user is that user's to change.
    pub owns_folders: bool,
}

impl FileOwnership {
    pub fn file_mode(self) -> u32 {
        if self.group.is_some() { 0o640 } else { 0o600 }
    }

    pub fn folder_owner(self) -> Option<u32> {
        self.owner.filter(|_| self.owns_folders)
    }

    /// The owner of the files must be able to enter. What other users may list has no secret: the names of clusters.
    pub fn folder_mode(self) -> u32 {
        match (self.group, self.owner) {
            (Some(_), _) => 0o750,
            (None, Some(_)) if !self.owns_folders => 0o755,
            (None, _) => 0o700,
        }
    }
}

/// An operation and its undo.
#[derive(Clone, Debug)]
pub struct Step {
    pub operation: Operation,
    pub undo: Option<Operation>,
}

impl Step {
    fn new(operation: Operation, undo: Operation) -> Self {
        Self { operation, undo: Some(undo) }
    }

    /// An operation that the undo of another step covers, or that has no undo.
    pub fn bare(operation: Operation) -> Self {
        Self { operation, undo: None }
    }
}

/// The files of one delivery.
pub struct Files {
    pub token: BearerToken,
    pub ca: Option<String>,
    pub kubelet_ca: Option<String>,
    /// The record as JSON.
    pub record: String,
    /// None where the one in place stays.
    pub fragment: Option<String>,
    /// Whether the fragment names the link to the live generation, and not the generation.
    pub through_current: bool,
    /// None for an agent, which has no rules.
    pub rules: Option<String>,
    /// The name of the file by whose time Prometheus tells of the rotation, if the jobs name it.
    pub rotated: Option<String>,
}

/// The existing files of a cluster at a destination that the steps depend on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Present {
    pub fragment: bool,
    pub rules: bool,
    /// Where the link to the live generation leads, if it leads to a generation.
    pub current: Option<Generation>,
}

/// A delivery: the new files are staged next to those in use, validated, and then put in place.
pub struct Install {
    /// Writes files that Prometheus does not read yet.
    pub stage: Vec<Step>,
    /// The fragment's rename is the commit, or that of the link, if the fragment in place names it; the rules follow.
    pub commit: Vec<Step>,
}

impl Install {
    /// The steps for one generation of a cluster.
    pub fn new(cluster: &ClusterName, generation: &Generation, files: Files, present: &Present) -> Self {
        let layout = Layout(cluster);
        let own = |name: &str| layout.file(generation, name);
        let plain = |path, text| Operation::Write { path, content: Content::Plain(text) };
        // The record is first: after a kill it names the Secret that the token is bound to.
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
        stage.extend(files.rotated.map(|name| Step::bare(plain(own(&name), "[]\n".to_owned()))));
        let mut commit = Vec::new();
        // Before the jobs: they are never to be there without what they name. Where new jobs name a generation, Prometheus
        // reads the old link until it has reloaded, so that the link goes with its generation.
        if files.through_current {
            let point = |to: &Generation| Operation::Point { link: layout.current(), to: to.to_string() };
            let unlink = || Operation::Remove { path: layout.current() };
            commit.push(Step::new(point(generation), present.current.as_ref().map_or_else(unlink, point)));
        }
        if let Some(fragment) = files.fragment {
            stage.push(Step::new(
                plain(layout.staged_fragment(), fragment),
                Operation::Remove { path: layout.staged_fragment() },
            ));
            let back = if present.fragment {
                stage.push(Step::bare(Operation::Copy { from: layout.fragment(), to: own(PREVIOUS) }));
                Operation::Rename { from: own(PREVIOUS), to: layout.fragment() }
            } else {
                Operation::Remove { path: layout.fragment() }
            };
            commit.push(Step::new(Operation::Rename { from: layout.staged_fragment(), to: layout.fragment() }, back));
        }
        match files.rules {
            Some(rules) => {
                stage.push(Step::new(
                    plain(layout.staged_rules(), rules),
                    Operation::Remove { path: layout.staged_rules() },
                ));
                // The rules contain the token's expiry: after an undo, rules for the revoked token would alarm too late.
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

/// The steps that remove a cluster's jobs from a destination. The rules go first, because they would alarm about the
/// missing jobs. The folder goes later, when Prometheus does not use the token any more.
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

/// Creates the plugin's folder.
pub fn make_folder() -> Step {
    let path = layout::FOLDER.to_owned();
    Step::new(Operation::MakeFolder { path: path.clone() }, Operation::RemoveEmptyFolder { path })
}

/// Remembers for whom the files are. A user that was named stays remembered if the delivery fails.
pub fn note_owner(note: String, is_new: bool) -> Step {
    let path = layout::OWNER.to_owned();
    let write = Operation::Write { path: path.clone(), content: Content::Plain(note) };
    Step { operation: write, undo: is_new.then_some(Operation::Remove { path }) }
}

/// How the text of the main configuration is changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edit {
    /// By another file, which is renamed to its name.
    Replace,
    /// Within the file, because of this.
    InPlace(String),
}

/// Changes the text of the main configuration and keeps the old text beside it. The undo gives back the very file.
pub fn edit(main: &str, text: &str, how: &Edit) -> Install {
    let (staged, backup) = (staged_main(main), backup_of_main(main));
    let main = || main.to_owned();
    let write = Operation::WriteLike { path: staged.clone(), like: main(), content: Content::Secret(text.into()) };
    let keep = match how {
        Edit::Replace => Operation::Link { from: main(), to: backup.clone() },
        Edit::InPlace(_) => Operation::Copy { from: main(), to: backup.clone() },
    };
    let stage = vec![
        Step::new(keep, Operation::RemoveCopy { path: backup.clone(), of: main() }),
        Step::new(write, Operation::Remove { path: staged.clone() }),
    ];
    let commit = match how {
        Edit::Replace => vec![Step::new(
            Operation::Rename { from: staged, to: main() },
            Operation::Rename { from: backup, to: main() },
        )],
        // After a kill, both files that the text is made of are there.
        Edit::InPlace(_) => vec![
            Step::new(
                Operation::Overwrite { path: main(), from: staged.clone() },
                Operation::Overwrite { path: main(), from: backup },
            ),
            Step::bare(Operation::Remove { path: staged }),
        ],
    };
    Install { stage, commit }
}

/// What a killed run left of an edit in place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LeftOfEdit {
    #[default]
    Nothing,
    /// The new text in a file of its own.
    Staged,
    /// A main configuration with parts of both texts, or with nothing in it.
    Torn,
}

impl LeftOfEdit {
    /// What is left, and the main configuration: as it was before the edit if it is torn. `staged` and `backup` are the
    /// files beside it.
    pub fn find(main: Vec<u8>, staged: Option<&[u8]>, backup: Option<Vec<u8>>) -> (Self, Vec<u8>) {
        match (staged, backup) {
            (None, _) => (Self::Nothing, main),
            (Some(new), Some(old)) if is_torn(&main, new, &old) => (Self::Torn, old),
            (Some(_), _) => (Self::Staged, main),
        }
    }

    /// What puts it right.
    pub fn mend(self, main: &str) -> Vec<Step> {
        let (staged, backup) = (staged_main(main), backup_of_main(main));
        let restore = Operation::Overwrite { path: main.to_owned(), from: backup };
        let remove = Operation::Remove { path: staged };
        let mend = match self {
            Self::Nothing => Vec::new(),
            Self::Staged => vec![remove],
            Self::Torn => vec![restore, remove],
        };
        mend.into_iter().map(Step::bare).collect()
    }
}

/// What a disk writes at once. After a loss of power a part may be old, new, or zeros.
const SECTOR: usize = 512;

/// Whether a file has the beginning of one text and the end of the other, as after a kill, or sectors of both, as after a
/// loss of power.
fn is_torn(found: &[u8], new: &[u8], old: &[u8]) -> bool {
    let meet = |start: &[u8], end: &[u8]| {
        let same = found.iter().zip(start).take_while(|(found, written)| found == written).count();
        found[same..] == *end.get(same..).unwrap_or_default()
    };
    let is_sector = |(number, sector): (usize, &[u8])| {
        let is_of = |text: &[u8]| text.get(number * SECTOR..).is_some_and(|rest| rest.starts_with(sector));
        is_of(new) || is_of(old) || sector.iter().all(|byte| *byte == 0)
    };
    found != new
        && found != old
        && (meet(new, old) || meet(old, new) || found.chunks(SECTOR).enumerate().all(is_sector))
}

/// The path of the new main configuration before it is put in place.
pub fn staged_main(main: &str) -> String {
    format!("{main}.prom-federate.new")
}

/// The path of the copy of the old main configuration.
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
            Operation::Link { from, to } => format!("ln {from} {to}"),
            Operation::Overwrite { path, from } => format!("cat {from} over {path}"),
            Operation::Rename { from, to } => format!("mv {from} {to}"),
            Operation::Point { link, to } => format!("ln -s {to} over {link}"),
            Operation::Remove { path } => format!("rm {path}"),
            Operation::RemoveCopy { path, of } => format!("rm {path} if it is {of}"),
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
        installed(present, Some("scrape_configs:"), false, rules)
    }

    fn installed(present: &Present, fragment: Option<&str>, through_current: bool, rules: bool) -> Install {
        let files = Files {
            token: "TOKEN".into(),
            ca: Some("PEM".into()),
            kubelet_ca: None,
            record: "{}".into(),
            fragment: fragment.map(str::to_owned),
            through_current,
            rules: rules.then(|| "groups:".into()),
            rotated: None,
        };
        Install::new(&"east".parse().unwrap(), &"20261125t101500z-x7k2".parse().unwrap(), files, present)
    }

    #[test]
    fn first_delivery_is_staged_and_then_renamed() {
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
    fn later_delivery_keeps_the_replaced_jobs_for_the_undo() {
        let present = Present { fragment: true, rules: true, current: None };
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
    fn removal_deletes_rules_before_jobs() {
        let steps = removal(
            &"east".parse().unwrap(),
            Some(&"20261125t101500z-x7k2".parse().unwrap()),
            &Present { fragment: true, rules: true, current: None },
        );
        insta::assert_snapshot!(shown(&steps));
    }

    #[test]
    fn rotation_of_jobs_that_name_the_link_renames_the_link() {
        let old = || "20261125t101400z-x7k2".parse().ok();
        let named = Present { fragment: true, rules: false, current: old() };
        insta::assert_snapshot!(
            shown(&installed(&named, None, true, false).commit),
            @"ln -s 20261125t101500z-x7k2 over prom-federate/east/current   <- ln -s 20261125t101400z-x7k2 over prom-federate/east/current"
        );
        assert!(!shown(&installed(&named, None, true, false).stage).contains("scrape.yml"));
        let first = Present { current: None, ..named.clone() };
        insta::assert_snapshot!(shown(&installed(&first, Some("scrape_configs:"), true, false).commit), @r"
        ln -s 20261125t101500z-x7k2 over prom-federate/east/current   <- rm prom-federate/east/current
        mv prom-federate/east.scrape.yml.new prom-federate/east.scrape.yml   <- mv prom-federate/east/20261125t101500z-x7k2/previous.scrape.yml prom-federate/east.scrape.yml
        ");
        assert!(!shown(&installed(&named, Some("scrape_configs:"), false, false).commit).contains("current"));
    }

    #[test]
    fn edited_main_configuration_is_replaced_atomically_or_stays_the_same_file() {
        let Install { stage, commit } = edit("prometheus.yml", "…", &Edit::Replace);
        insta::assert_snapshot!(shown(&stage) + &shown(&commit), @r"
        ln prometheus.yml prometheus.yml.before-prom-federate   <- rm prometheus.yml.before-prom-federate if it is prometheus.yml
        write prometheus.yml.prom-federate.new like prometheus.yml   <- rm prometheus.yml.prom-federate.new
        mv prometheus.yml.prom-federate.new prometheus.yml   <- mv prometheus.yml.before-prom-federate prometheus.yml
        ");
        let Install { stage, commit } = edit("prometheus.yml", "…", &Edit::InPlace("it is mounted".into()));
        insta::assert_snapshot!(shown(&stage) + &shown(&commit), @r"
        cp prometheus.yml prometheus.yml.before-prom-federate   <- rm prometheus.yml.before-prom-federate if it is prometheus.yml
        write prometheus.yml.prom-federate.new like prometheus.yml   <- rm prometheus.yml.prom-federate.new
        cat prometheus.yml.prom-federate.new over prometheus.yml   <- cat prometheus.yml.before-prom-federate over prometheus.yml
        rm prometheus.yml.prom-federate.new
        ");
    }

    #[test]
    fn torn_main_configuration_is_read_as_it_was_before() {
        let (old, new) =
            ("global: {}\n# …\nscrape_configs: []\n", "global: {}\n# …\nrule_files: [a]\nscrape_configs: []\n");
        let (old, new) = (old.as_bytes(), new.as_bytes());
        let find = |main: &[u8]| LeftOfEdit::find(main.to_vec(), Some(new), Some(old.to_vec()));
        let written = (0..=new.len()).map(|end| [&new[..end], old.get(end..).unwrap_or_default()].concat());
        let restored = (0..=old.len()).map(|end| [&old[..end], &new[end..]].concat());
        for found in written.chain(restored) {
            let is_whole = found == old || found == new;
            let expected =
                if is_whole { (LeftOfEdit::Staged, found.clone()) } else { (LeftOfEdit::Torn, old.to_vec()) };
            assert_eq!(find(&found), expected, "{}", String::from_utf8_lossy(&found));
        }
        for mine in ["# mine\n", "global: {}\n# mine\nscrape_configs: []\n", "global: {}\nrule_files: [b]\n"] {
            let mine = mine.as_bytes().to_vec();
            assert_eq!(find(&mine), (LeftOfEdit::Staged, mine.clone()));
            let without = |staged, backup| LeftOfEdit::find(mine.clone(), staged, backup);
            assert_eq!(without(None, Some(old.to_vec())), (LeftOfEdit::Nothing, mine.clone()));
            assert_eq!(without(Some(new), None), (LeftOfEdit::Staged, mine.clone()));
        }
    }

    #[test]
    fn main_configuration_is_torn_after_a_loss_of_power() {
        let old = "# old\n".repeat(400).into_bytes();
        let new = [&old[..1000], b"scrape_config_files: [a]\n", &old[1000..]].concat();
        let find = |main: &[u8]| LeftOfEdit::find(main.to_vec(), Some(&new), Some(old.clone())).0;
        let (mut mixed, mut zeros) = (new.clone(), new.clone());
        mixed[1024..1536].copy_from_slice(&old[1024..1536]);
        zeros[512..1024].fill(0);
        for torn in [Vec::new(), new[..700].to_vec(), mixed, zeros, vec![0; old.len()]] {
            assert_eq!(find(&torn), LeftOfEdit::Torn, "{}", String::from_utf8_lossy(&torn));
        }
        let mut mine = new.clone();
        mine[600] = b'!';
        assert_eq!(find(&mine), LeftOfEdit::Staged);
    }

    #[test]
    fn operations_never_show_the_token() {
        let install = install(&Present::default(), true);
        assert!(!format!("{:?}", install.stage).contains("TOKEN"));
    }
}
