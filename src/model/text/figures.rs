//! Numbers and times as people read them.

use jiff::Timestamp;
use std::fmt::Display;

/// `1 node`, `2 nodes`.
pub fn counted<N: Display + PartialEq + From<u8> + Copy>(count: N, what: &str) -> String {
    let plural = if count == N::from(1) { "" } else { "s" };
    format!("{count} {what}{plural}")
}

/// `2026-11-24 09:30 UTC`
pub fn minute(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M UTC").to_string()
}

/// `2026-11-24`
pub fn day(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d").to_string()
}
