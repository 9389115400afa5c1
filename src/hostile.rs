//! Hostile data for the tests of everything that reads what others wrote: examples with changes, and long texts made of
//! them. `cargo test` tries a few, always the same, so that it has one outcome; `HOSTILE=all` tries others each time. A
//! failure prints the input, and the seed that makes it again.

use proptest::{
    prelude::*,
    sample::{Index, select},
    test_runner::{Config, RngSeed, TestError, TestRunner},
};
use rustix::time::{ClockId, clock_gettime};
use std::{env, fmt::Debug, time::Duration};

/// Tried of each reader: changed examples, and long texts.
const FEW: (u32, u32) = (200, 2);
const ALL: (u32, u32) = (25_000, 40);

const LENGTHS: [usize; 3] = [64 << 10, 256 << 10, 1 << 20];
/// Of a build without optimization.
const LONGEST: Duration = Duration::from_secs(1);
/// What means something in YAML, JSON, HTTP, shells, CEL, PromQL, systemd, Go's templates, paths, URLs or a terminal.
const PIECES: &str = "\" ' ` \\ \\n \\u0000 \\ud800 \\U0010ffff \\x $ $$ ${x} $(id) % %% %2f %zz {{ }} { } [ ] ( ) < > & &a *a !t !!int \
                      - -- : # , ; = == ! @ / // /../ * ? ~ | . é 東 null true 0 -1 65536 18446744073709551616 1e999 NaN 0x";
const BLANKS: &str = "\n¦\r\n¦\r¦\n\n¦\t¦ ¦\0¦\x0b¦\x7f¦\x1b[2J¦\u{85}¦\u{2028}¦\u{202e}¦\u{feff}¦\u{200b}¦\u{10ffff}¦<<: ¦&a ¦!t ¦|\n¦>-\n¦? ¦- ¦\
                      ---\n¦...\n¦: ¦ # ¦, ";

fn all() -> bool {
    env::var("HOSTILE").is_ok_and(|tried| tried == "all")
}

fn pieces() -> impl Strategy<Value = &'static str> {
    select(PIECES.split_ascii_whitespace().chain(BLANKS.split('¦')).collect::<Vec<_>>())
}

#[derive(Clone, Debug)]
enum Change {
    Insert(Index, &'static str),
    Replace(Index, u8),
    Remove(Index, usize),
    /// A part again, at another place.
    Repeat(Index, usize, Index),
}

impl Change {
    fn of(self, text: &mut Vec<u8>) {
        let from = |at: Index, text: &[u8]| at.index(text.len() + 1);
        let part = |at: Index, length: usize, text: &[u8]| from(at, text)..(from(at, text) + length).min(text.len());
        match self {
            Self::Insert(at, piece) => drop(text.splice(from(at, text)..from(at, text), piece.bytes())),
            Self::Replace(at, byte) => {
                let at = from(at, text);
                text.splice(at..(at + 1).min(text.len()), [byte]);
            }
            Self::Remove(at, length) => drop(text.drain(part(at, length, text))),
            Self::Repeat(at, length, to) => {
                let again = text[part(at, length, text)].to_vec();
                text.splice(from(to, text)..from(to, text), again);
            }
        }
    }
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let change = prop_oneof![
        4 => (any::<Index>(), pieces()).prop_map(|(at, piece)| Change::Insert(at, piece)),
        1 => (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Change::Replace(at, byte)),
        2 => (any::<Index>(), 1..20_usize).prop_map(|(at, length)| Change::Remove(at, length)),
        2 => (any::<Index>(), 1..60_usize, any::<Index>()).prop_map(|(at, length, to)| Change::Repeat(at, length, to)),
    ];
    proptest::collection::vec(change, 0..6)
}

/// An example up to a place, then a piece or a part of the example again and again, then the rest.
#[derive(Clone, Debug)]
struct Long {
    example: Vec<u8>,
    at: usize,
    again: Vec<u8>,
}

impl Long {
    fn text(&self, length: usize) -> Vec<u8> {
        [&self.example[..self.at], &self.again.repeat(length / self.again.len()), &self.example[self.at..]].concat()
    }
}

fn long(examples: Vec<Vec<u8>>) -> impl Strategy<Value = Long> {
    let again =
        prop_oneof![pieces().prop_map(|piece| (Some(piece), 0)), (1..400_usize).prop_map(|length| (None, length)),];
    (select(examples), any::<Index>(), again, any::<Index>()).prop_map(|(example, at, (piece, length), from)| {
        let from = from.index(example.len().max(1)).min(example.len());
        let part = &example[from..(from + length).min(example.len())];
        let again = piece.map_or(part, str::as_bytes).to_vec();
        let again = if again.is_empty() { b"\n".to_vec() } else { again };
        Long { at: at.index(example.len() + 1), example, again }
    })
}

/// Checks bytes made of these examples. `check` panics at what must not be.
pub(crate) fn bytes(examples: &[&[u8]], check: impl Fn(&[u8])) {
    let (changed, at_lengths) = if all() { ALL } else { FEW };
    let examples: Vec<Vec<u8>> = examples.iter().map(|example| example.to_vec()).collect();
    let time = |text: &[u8]| {
        let now = || Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).expect("a time");
        let started = now();
        check(text);
        now().saturating_sub(started)
    };
    let strategy = (select(examples.clone()), changes()).prop_map(|(mut text, changes)| {
        for change in changes {
            change.of(&mut text);
        }
        text
    });
    run(
        changed,
        &strategy,
        |text| String::from_utf8_lossy(text).into_owned(),
        |text| {
            let took = time(&text);
            prop_assert!(took < LONGEST, "{took:?}");
            Ok(())
        },
    );
    run(at_lengths, &long(examples), Long::clone, |long| {
        let mut before = None;
        for length in &LENGTHS[..if at_lengths == FEW.1 { 2 } else { 3 }] {
            let took = time(&long.text(*length));
            // Four times as long a text takes sixteen times as long where each part looks at all others.
            let most = before.map_or(LONGEST, |before: Duration| (before * 8).max(LONGEST / 10));
            prop_assert!(took < most, "{length} bytes took {took:?}, a quarter of it {before:?}");
            before = Some(took);
        }
        Ok(())
    });
}

/// The same for a reader of text.
pub(crate) fn texts(examples: &[&str], check: impl Fn(&str)) {
    let examples: Vec<&[u8]> = examples.iter().map(|text| text.as_bytes()).collect();
    bytes(&examples, |bytes| check(&String::from_utf8_lossy(bytes)));
}

fn run<T: Debug + Clone, Shown: Debug>(
    cases: u32,
    strategy: &impl Strategy<Value = T>,
    shown: impl Fn(&T) -> Shown,
    test: impl Fn(T) -> Result<(), TestCaseError>,
) {
    let seed = env::var("HOSTILE_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| if all() { getrandom::u64().expect("random bytes") } else { 1 });
    // A shorter input that takes long takes long to find.
    let max_shrink_iters = 1000;
    let config = Config {
        cases,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(seed),
        max_shrink_iters,
        max_shrink_time: 60_000,
        ..Config::default()
    };
    match TestRunner::new(config).run(strategy, test) {
        Err(TestError::Fail(why, input)) => {
            panic!("{why}\ninput: {:?}\nagain with HOSTILE=all HOSTILE_SEED={seed}", shown(&input))
        }
        outcome => outcome.expect("inputs are made"),
    }
}
