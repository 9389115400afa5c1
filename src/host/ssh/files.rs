//! Files of another host.

use super::{
    answer::{Answer, Item},
    remote::{Remote, SOON},
};
use crate::{
    error::{Error, Reason, Result},
    host::{
        Attempt,
        tree::{Entry, LIMIT, MAIN_LIMIT, Tree, too_large},
    },
    model::{
        store::install::{FileOwnership, Operation, Step},
        text::shell::word,
    },
    render::script,
};

/// What an answer has of our folder.
fn tree(answer: Answer) -> Tree {
    Tree::of(answer.items.into_iter().filter_map(|item| {
        let entry = match item.kind.as_str() {
            "folder" => Entry::Folder,
            "there" => Entry::There,
            "link" => Entry::Link(item.text().trim_end().to_owned()),
            "file" if item.body.len() as u64 > limit(&item.of) => Entry::Unreadable(too_large(limit(&item.of))),
            "file" => Entry::File(item.body),
            "unreadable" => Entry::Unreadable(item.complaint()),
            _ => return None,
        };
        Some((item.of, entry))
    }))
}

fn limit(path: &str) -> u64 {
    if path.contains('/') { LIMIT } else { MAIN_LIMIT }
}

impl Remote {
    /// The files of one cluster, or of all clusters.
    pub(in crate::host) async fn tree(&self, cluster: Option<&str>) -> Result<Tree> {
        self.session.ask(&format!("tree {}", cluster.map_or("'*'".to_owned(), word)), SOON).await.map(tree)
    }

    /// One file, as text.
    pub(in crate::host) async fn read(&self, path: &str) -> Result<Attempt<String>> {
        Ok(tree(self.session.ask(&format!("content {}", word(path)), SOON).await?).text(path).into())
    }

    /// Whether these paths exist, dangling links included.
    pub(in crate::host) async fn are_there(&self, paths: &[String]) -> Result<Vec<bool>> {
        if paths.is_empty() {
            return Ok(Vec::new());
        }
        let asked: String = paths.iter().map(|path| format!("! is_there {} || say there {0}\n", word(path))).collect();
        let found = tree(self.session.ask(&asked, SOON).await?);
        Ok(paths.iter().map(|path| found.has(path)).collect())
    }

    /// Acquires the lock, which the shell holds until the connection ends. False if another run holds it.
    pub(in crate::host) async fn lock(&self) -> Result<bool> {
        let answer = self.session.ask("lock", SOON).await?;
        match answer.first("failed") {
            Some(failed) => Err(self.write_failed(failed)),
            None => Ok(!answer.has("busy")),
        }
    }

    /// Executes the steps in order. Adds the undo of every step that was begun.
    pub(in crate::host) async fn run_noting(
        &self,
        ownership: FileOwnership,
        steps: &[Step],
        undo: &mut Vec<Operation>,
    ) -> Result<()> {
        let folder = |step: &Step| match &step.operation {
            Operation::MakeFolder { path } if step.undo.is_some() => Some(path.clone()),
            _ => None,
        };
        let folders: Vec<String> = steps.iter().filter_map(folder).collect();
        let there_before = self.are_there(&folders).await?;
        let text = [script::readers(ownership), script::function("run", steps), "run\n".to_owned()].concat();
        if steps.iter().any(|step| step.undo.is_some()) {
            self.session.note_unfinished(true);
        }
        let answer = self.session.ask(&text, SOON).await?;
        let failed = answer.first("failed");
        let begun = failed.map_or(steps.len(), |failed| {
            let at = failed.of.split(' ').next().and_then(|at| at.parse::<usize>().ok()).unwrap_or_default();
            (at + 1).min(steps.len())
        });
        for step in &steps[..begun] {
            let is_there =
                |path: String| folders.iter().zip(&there_before).any(|(folder, there)| *folder == path && *there);
            if !folder(step).is_some_and(is_there) {
                undo.extend(step.undo.clone());
            }
        }
        failed.map_or(Ok(()), |failed| Err(self.write_failed(failed)))
    }

    pub(super) fn write_failed(&self, item: &Item) -> Error {
        let path = item.of.split_once(' ').map_or("", |(_, path)| path);
        let why = item.complaint();
        let hint = if why.contains("No space") || why.contains("quota") {
            "Free space there and run the command again"
        } else if why.contains("Read-only") {
            "Mount it writable, or name another destination with -p"
        } else if why.contains("denied") || why.contains("not permitted") {
            "Connect as a user who may write there (ssh://root@HOST/DIR), or allow this user sudo without a password"
        } else {
            "Check the path with ls -la, and run the command again"
        };
        let host = self.host();
        Error::new(Reason::WriteFailed, format!("{host}: cannot write {path}: {why}")).hint(hint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hostile;

    fn item(kind: &str, of: &str, body: &str) -> Item {
        Item { kind: kind.into(), of: of.into(), body: body.into() }
    }

    fn tree(items: &[(&str, &str, &str)]) -> Tree {
        let items = items.iter().map(|(kind, of, body)| item(kind, of, body)).collect();
        super::tree(Answer { items, succeeded: true })
    }

    #[test]
    fn remote_folder_is_listed_like_a_local_one() {
        let tree = tree(&[
            ("folder", "prom-federate", ""),
            ("file", "prom-federate/.id", "x7k2\n"),
            ("file", "prom-federate/east.scrape.yml", "scrape_configs: []"),
            ("there", "prom-federate/east.rules.yml", ""),
            ("folder", "prom-federate/east", ""),
            ("folder", "prom-federate/east/20261125t101500z-x7k2", ""),
            ("file", "prom-federate/east/20261125t101500z-x7k2/cluster.json", "{}"),
            ("file", "prom-federate/west.scrape.yml", "half of it"),
            ("unreadable", "prom-federate/west.scrape.yml", "cat: prom-federate/west.scrape.yml: Permission denied\n"),
            (
                "unreadable",
                "prom-federate/north",
                "ls: cannot open directory 'prom-federate/north': Permission denied\n",
            ),
            ("strange", "prom-federate/x", ""),
        ]);
        let list = tree.list("prom-federate").unwrap().unwrap();
        let names: Vec<(&str, bool)> = list.iter().map(|(name, is_folder)| (name.as_str(), *is_folder)).collect();
        assert_eq!(
            names,
            [
                (".id", false),
                ("east", true),
                ("east.rules.yml", false),
                ("east.scrape.yml", false),
                ("north", true),
                // An unreadable path may be a file or a folder.
                ("west.scrape.yml", true)
            ]
        );
        assert_eq!(tree.list("prom-federate/east").unwrap().unwrap().len(), 1);
        assert_eq!(tree.list("prom-federate/south"), Ok(None));
        assert_eq!(tree.list("prom-federate/north"), Err("Permission denied".into()));
        assert_eq!(tree.text("prom-federate/.id"), Ok(Some("x7k2\n".into())));
        assert_eq!(tree.text("prom-federate/nothing"), Ok(None));
        assert_eq!(tree.text("prom-federate/west.scrape.yml"), Err("Permission denied".into()));
        assert!(tree.has("prom-federate/east.rules.yml") && !tree.has("prom-federate/x"));
    }

    #[test]
    fn files_other_than_utf_8_are_rejected() {
        let file = Item { kind: "file".into(), of: "x".into(), body: vec![0xff] };
        let tree = super::tree(Answer { items: vec![file], succeeded: true });
        assert!(tree.text("x").is_err());
    }

    #[test]
    fn hostile_trees_are_survived() {
        hostile::texts(
            &["folder a\nfile a/b x\nlink a/c ../b\nunreadable a/d cat: a/d: Permission denied\n"],
            |text| {
                let items = text.lines().map(|line| {
                    let mut words = line.splitn(3, ' ').map(str::to_owned);
                    let mut next = || words.next().unwrap_or_default();
                    Item { kind: next(), of: next(), body: next().into_bytes() }
                });
                let tree = super::tree(Answer { items: items.collect(), succeeded: false });
                for path in ["a", "a/b", "a/c", text] {
                    let _ = (tree.list(path), tree.text(path), tree.link(path));
                }
            },
        );
    }
}
