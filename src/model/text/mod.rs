//! Text that is safe where it is written: names, durations, lines of a terminal, words of a shell.

pub mod duration;
pub mod encoding;
pub mod figures;
pub mod header;
pub mod json;
pub mod limits;
pub mod line;
pub mod name_template;
pub mod names;
pub mod shell;
pub(in crate::model) mod spelled;
