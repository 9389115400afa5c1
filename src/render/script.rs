//! File operations as a script for a POSIX shell: what a host runs that this program is not installed on. The text holds
//! whatever is written, tokens too: it goes to a shell's standard input and nowhere else.

use crate::model::{
    install::{Content, Operation, Readers, Step},
    shell::word,
};
use secrecy::ExposeSecret;

/// The functions that the operations are calls of.
pub const OPERATIONS: &str = include_str!("script/operations.sh");

/// What a session over ssh can be asked for besides.
pub const SESSION: &str = include_str!("script/session.sh");

/// A function that takes these steps in order and ends with the first that fails; what takes each back is noted before
/// it begins. A shell reads a function to its end before it does anything, so a text that was cut off does nothing.
pub fn function(name: &str, steps: &[Step]) -> String {
    let mut text = format!("{name}() {{\n:\n");
    for (at, Step { operation, undo }) in steps.iter().enumerate() {
        text.push_str(&format!("at={at}\n"));
        if let Some(undo) = undo {
            let later = format!("later {}", word(&format!("back {}", call(undo))));
            text.push_str(&match operation {
                // An undo of something that was there before would take away what is not ours to take.
                Operation::MakeFolder { path } => format!("is_there {} || {later}\n", word(path)),
                _ => format!("{later}\n"),
            });
        }
        text.push_str(&step(operation));
    }
    text + "}\n"
}

/// One operation as a line, and what it writes behind it.
fn step(operation: &Operation) -> String {
    let call = call(operation);
    match operation {
        Operation::Write { content, .. } | Operation::WriteLike { content, .. } => fed(&call, exposed(content)),
        _ => format!("step {call} || return\n"),
    }
}

/// The operation and its arguments, without content.
fn call(operation: &Operation) -> String {
    match operation {
        Operation::MakeFolder { path } => format!("make_folder {}", word(path)),
        Operation::Write { path, content } => format!("write {} {}", word(path), exposed(content).len()),
        Operation::WriteLike { path, like, content } => {
            format!("write_like {} {} {}", word(path), exposed(content).len(), word(like))
        }
        Operation::Copy { from, to } => format!("copy {} {}", word(from), word(to)),
        Operation::Rename { from, to } => format!("rename {} {}", word(from), word(to)),
        Operation::Remove { path } => format!("remove {}", word(path)),
        Operation::RemoveFolder { path } => format!("remove_folder {}", word(path)),
        Operation::RemoveEmptyFolder { path } => format!("remove_empty_folder {}", word(path)),
    }
}

/// A call with a text on its standard input, in the script itself: no argument and no other file has it. What does not
/// end with a line goes through `dd`, because a here-document always does.
fn fed(call: &str, text: &str) -> String {
    if text.is_empty() {
        return format!("step {call} < /dev/null || return\n");
    }
    let end = delimiter(text);
    match text.strip_suffix('\n') {
        Some(lines) => format!("step {call} <<'{end}' || return\n{lines}\n{end}\n"),
        None => format!("dd bs=1 count={} 2> /dev/null <<'{end}' | step {call} || return\n{text}\n{end}\n", text.len()),
    }
}

/// A line that the text does not have.
pub fn delimiter(text: &str) -> String {
    (0..=text.len())
        .map(|number| format!("END_{number}"))
        .find(|line| !text.contains(line.as_str()))
        .unwrap_or_default()
}

fn exposed(content: &Content) -> &str {
    match content {
        Content::Plain(text) => text,
        Content::Secret(secret) => secret.expose_secret(),
    }
}

/// What stands before [`OPERATIONS`]: who may read what is written.
pub fn readers(readers: Readers) -> String {
    let number = |id: Option<u32>| id.map(|id| id.to_string()).unwrap_or_default();
    // Spelled so that chmod clears what a folder takes over from the one that it is in.
    let (folder, shown) = match readers.group {
        Some(_) => ("u=rwx,g=rx,o=,u-s,g-s,-t", "drwxr-x---"),
        None => ("u=rwx,g=,o=,u-s,g-s,-t", "drwx------"),
    };
    format!(
        "owner={}\ngroup={}\nfile_mode={:o}\nfolder_mode={folder}\nfolder_shown={shown}\n",
        number(readers.owner),
        number(readers.group),
        readers.file_mode()
    )
}
