//! A page's commands with what it shows of their output.

/// A command and the lines that are shown below it.
#[derive(Debug)]
pub(super) struct Step {
    /// Where the command stands in the page, from 1.
    pub(super) line: usize,
    /// As typed, with all its lines and without the prompts.
    pub(super) command: String,
    pub(super) shows: Vec<String>,
}

impl Step {
    /// Whether to do it again while it shows something else: what Prometheus has scraped or sent is there a moment later.
    pub(super) fn looks(&self) -> bool {
        ["promtool query ", "curl "].iter().any(|program| self.command.starts_with(program))
    }

    /// A command that fails shows its error.
    pub(super) fn fails(&self) -> bool {
        self.shows.iter().any(|line| line.starts_with("error ("))
    }
}

/// The commands of all blocks of the language `console`, in order. A command begins with `$ ` and goes on in the next line
/// after a backslash, or where that begins with `> `. All else is output, of which a line of dots is left out.
///
/// # Errors
/// A line of the page and what is wrong with it: commands elsewhere, which are not run.
pub(super) fn steps(page: &str) -> Result<Vec<Step>, String> {
    let mut steps: Vec<Step> = Vec::new();
    let mut lines = (1..).zip(page.lines());
    while let Some((opened, fence)) = lines.next() {
        let Some(language) = fence.trim_start().strip_prefix("```") else { continue };
        let mut block = Vec::new();
        loop {
            match lines.next() {
                Some((_, line)) if line.trim() == "```" => break,
                Some(numbered) => block.push(numbered),
                None => return Err(format!("line {opened}: this block has no end")),
            }
        }
        match language {
            "console" => read_block(&block, &mut steps)?,
            "sh" | "bash" | "shell" => return Err(elsewhere(opened)),
            _ if block.iter().any(|(_, line)| line.starts_with("$ ")) => return Err(elsewhere(opened)),
            _ => {}
        }
    }
    Ok(steps)
}

fn elsewhere(line: usize) -> String {
    format!("line {line}: commands stand in a block of the language console, with a prompt")
}

fn read_block(block: &[(usize, &str)], steps: &mut Vec<Step>) -> Result<(), String> {
    let first = steps.len();
    for (line, text) in block {
        if let Some(command) = text.strip_prefix("$ ") {
            steps.push(Step { line: *line, command: command.to_owned(), shows: Vec::new() });
            continue;
        }
        let Some(step) = steps[first..].last_mut() else {
            return Err(format!("line {line}: nothing was typed before this is shown"));
        };
        if step.shows.is_empty() && (step.command.ends_with('\\') || text.starts_with("> ")) {
            step.command.push('\n');
            step.command.push_str(text.strip_prefix("> ").unwrap_or(text));
        } else if !text.trim().chars().all(|c| c == '.') {
            step.shows.push((*text).to_owned());
        }
    }
    Ok(())
}

/// The first shown line that does not occur in the output after those before it.
pub(super) fn first_missing<'a>(shown: &'a [String], output: &str) -> Option<&'a String> {
    let mut lines = output.lines();
    shown.iter().find(|shown| !lines.by_ref().any(|line| is_shown_as(line, shown)))
}

/// Whether a page may show a line so: any number stands for any other, `...` for anything, white space for any.
fn is_shown_as(line: &str, shown: &str) -> bool {
    let (line, shown) = (plain(line), plain(shown));
    let mut parts = shown.split("...");
    let Some(mut rest) = parts.next().and_then(|start| line.strip_prefix(start)) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        let Some((_, after)) = rest.split_once(part) else { return false };
        rest = after;
    }
    rest.ends_with(last)
}

/// A line without what differs from run to run: each number is a 0, each white space a blank, and none is at an end.
fn plain(line: &str) -> String {
    let words: Vec<&str> = line.split_whitespace().collect();
    let mut plain = String::new();
    for c in words.join(" ").chars() {
        let c = if c.is_ascii_digit() { '0' } else { c };
        if c != '0' || !plain.ends_with('0') {
            plain.push(c);
        }
    }
    plain
}
