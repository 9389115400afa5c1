//! The only user of `serde_yaml`, which is finished but unmaintained: swapping it means editing this file.

use crate::model::text::line::drives_a_terminal;
use granit_parser::{ErrorKind, Options, Parser};
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, EnumAccess, Error, IgnoredAny, MapAccess, SeqAccess, VariantAccess, Visitor},
};
use serde_json::Value;
use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
    fmt,
};

/// A JSON value as a YAML document in block style; where something in it drives a terminal, on one line of quoted
/// strings, for only those have escapes.
///
/// # Panics
/// Never: every JSON value has a YAML form.
pub fn write(value: &Value) -> String {
    let text = serde_yaml::to_string(value).expect("JSON is YAML");
    if text.contains(|c| c == MARK || c != '\n' && drives_a_terminal(c)) {
        return format!("{}\n", escaped(&value.to_string()));
    }
    serde_yaml::to_string(&marked(value)).expect("JSON is YAML").replace(MARK, "\"")
}

/// Stands for quotes where `serde_yaml` sets none: private use, so no text has it by chance.
const MARK: char = '\u{e000}';

fn marked(value: &Value) -> Value {
    let text = |text: &str| if is_bare(text) { format!("{MARK}{text}{MARK}") } else { text.to_owned() };
    match value {
        Value::String(string) => text(string).into(),
        Value::Array(items) => items.iter().map(marked).collect(),
        Value::Object(fields) => fields.iter().map(|(key, value)| (text(key), marked(value))).collect(),
        other => other.clone(),
    }
}

/// Whether `serde_yaml` leaves a string bare that YAML 1.1, as kubectl reads it, takes for a boolean, a number or a time.
fn is_bare(text: &str) -> bool {
    const WORDS: [&str; 8] = ["y", "n", "yes", "no", "on", "off", "<<", "="];
    let is_number = text.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c))
        // To base 60 only the last part has a point: an address has others.
        && (text.contains('_') || text.split_once(':').is_some_and(|(first, _)| !first.contains('.')))
        && text.chars().all(|c| c.is_ascii_hexdigit() || "_:.+-xo".contains(c));
    let is_date = text.split_once('-').is_some_and(|(year, _)| year.len() == 4 && year.parse::<u16>().is_ok())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "-:.+".contains(c));
    WORDS.contains(&text.to_ascii_lowercase().as_str()) || is_number || is_date
}

/// As many values may a document have beside one for each of its bytes, by aliases: Go's YAML allows no more (`decode.go`,
/// `allowedAliasRatio`), and two hundred bytes can stand for gigabytes.
const ALIASED: usize = 400_000;
const TOO_MUCH: &str = "its aliases expand to too much";

/// `serde_yaml` refuses what is nested deeper, but only when its scanner is through, and that takes the square of the
/// brackets that are open at once: a minute for 64 KiB of them.
const DEEPEST: usize = 128;
/// Of brackets that are no YAML either, where no parser says how deep they are.
const UNCLOSED: usize = 1000;
const TOO_DEEP: &str = "its brackets are nested too deeply";

/// A YAML document as a JSON value.
pub fn read(text: &str) -> Result<Value, String> {
    bounded(text)?;
    if expands(text) {
        return Err(TOO_MUCH.to_owned());
    }
    serde_yaml::from_str(text).map_err(|error| error.to_string())
}

/// A YAML document that the plugin did not write, as a JSON value, its merge keys (`<<`) applied. Null if there is nothing in it.
///
/// The error is one line, with the number of the line where that is known. It quotes no value, for the text may hold
/// credentials.
pub fn read_foreign(text: &str) -> Result<Value, String> {
    let text = without_mark(text);
    bounded(text)?;
    let mut documents = serde_yaml::Deserializer::from_str(text);
    let Some(first) = documents.next() else { return Ok(Value::Null) };
    let value = foreign(first, text)?;
    match documents.next() {
        None => Ok(value),
        Some(second) => {
            syntax(second)?;
            Err("it holds more than one YAML document, of which Prometheus reads the first: delete the others"
                .to_owned())
        }
    }
}

/// The same of the first of several documents: Go's `yaml.Unmarshal` never looks at the others.
pub fn read_first_foreign(text: &str) -> Result<Value, String> {
    let text = without_mark(text);
    bounded(text)?;
    serde_yaml::Deserializer::from_str(text).next().map_or(Ok(Value::Null), |first| foreign(first, text))
}

/// The first document of this text. It is parsed again only to explain an error: a kubeconfig may have megabytes.
fn foreign(first: serde_yaml::Deserializer, text: &str) -> Result<Value, String> {
    if expands(text) {
        return Err(TOO_MUCH.to_owned());
    }
    let mut value = match serde_yaml::Value::deserialize(first) {
        Ok(value) => value,
        Err(error) => {
            serde_yaml::Deserializer::from_str(text).next().map_or(Ok(()), syntax)?;
            return Err(match error.location() {
                Some(at) => doubled(text)
                    .unwrap_or_else(|| format!("a key is there twice in the mapping at line {}", at.line())),
                None => TOO_MUCH.to_owned(),
            });
        }
    };
    // What was merged may have a merge key itself, which one pass only brings up.
    while text.contains("<<") {
        let before = value.clone();
        value.apply_merge().map_err(|_| "a merge key (<<) has no mapping")?;
        if value == before {
            break;
        }
    }
    serde_json::to_value(value).map_err(|_| "a key in it is no string".to_owned())
}

/// Whether `serde_yaml` may see this text. A parser whose time grows with the length alone counts the levels, where there
/// are brackets enough to matter.
fn bounded(text: &str) -> Result<(), String> {
    let levels = |text: &str| {
        text.bytes().fold((0_usize, 0), |(open, most), byte| match byte {
            b'[' | b'{' => (open + 1, most.max(open + 1)),
            b']' | b'}' => (open.saturating_sub(1), most),
            _ => (open, most),
        })
    };
    if text.bytes().filter(|byte| b"[{".contains(byte)).nth(DEEPEST).is_none() {
        return Ok(());
    }
    let mut options = Options::default();
    options.flow_nesting_limit = DEEPEST;
    match Parser::new_from_str_with_options(text, options).find_map(Result::err) {
        Some(why) if *why.kind() == ErrorKind::RecursionLimitExceeded || levels(text).1 > UNCLOSED => {
            Err(TOO_DEEP.to_owned())
        }
        _ => Ok(()),
    }
}

/// Whether the first document has more values than it may, its aliases expanded.
fn expands(text: &str) -> bool {
    let walk = Walk::new(text, Goal::Second);
    text.contains('&') && text.contains('*') && walk.through(text).is_err() && walk.left.get() == 0
}

/// The first key that a mapping of the first document has twice, and the lines of both.
fn doubled(text: &str) -> Option<String> {
    let walk = |goal: Goal| {
        let walk = Walk::new(text, goal);
        let error = walk.through(text).err()?;
        let (mapping, key) = walk.found.take()?;
        Some((error.location()?.line(), mapping, key))
    };
    let (second, mapping, key) = walk(Goal::Second)?;
    let (first, ..) = walk(Goal::First(mapping, key.clone()))?;
    let lines = if first == second { format!("on line {first}") } else { format!("on lines {first} and {second}") };
    // Other keys could be credentials that have lost their field.
    let is_name = key.len() <= 40 && key.chars().all(|c| c.is_ascii_alphabetic() || "<-_".contains(c));
    let key = if is_name { format!("the key {key}") } else { "a key".to_owned() };
    Some(format!("{key} is there twice, {lines}: delete one"))
}

/// The key at which a walk through a document stops. The library names the line of it.
enum Goal {
    /// A key that its mapping has already.
    Second,
    /// This key of the mapping of this number.
    First(usize, String),
}

struct Walk {
    goal: Goal,
    /// The values that may still come.
    left: Cell<usize>,
    mappings: Cell<usize>,
    found: RefCell<Option<(usize, String)>>,
}

impl Walk {
    fn new(text: &str, goal: Goal) -> Self {
        Self { goal, left: Cell::new(text.len() + ALIASED), mappings: Cell::new(0), found: RefCell::default() }
    }

    fn through(&self, text: &str) -> serde_yaml::Result<()> {
        let start = Node { walk: self, key_of: None };
        serde_yaml::Deserializer::from_str(text).next().map_or(Ok(()), |first| start.deserialize(first))
    }
}

struct Mapping {
    number: usize,
    keys: RefCell<BTreeSet<String>>,
}

/// A value, or a key of a mapping.
#[derive(Clone, Copy)]
struct Node<'a> {
    walk: &'a Walk,
    key_of: Option<&'a Mapping>,
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        let left = self.walk.left.get().checked_sub(1).ok_or_else(|| D::Error::custom(TOO_MUCH))?;
        self.walk.left.set(left);
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("YAML")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let number = self.walk.mappings.replace(self.walk.mappings.get() + 1);
        let mapping = Mapping { number, keys: RefCell::default() };
        while map.next_key_seed(Node { key_of: Some(&mapping), ..self })?.is_some() {
            map.next_value_seed(Node { key_of: None, ..self })?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element_seed(Node { key_of: None, ..self })?.is_some() {}
        Ok(())
    }

    fn visit_enum<A: EnumAccess<'de>>(self, tagged: A) -> Result<(), A::Error> {
        tagged.variant::<IgnoredAny>()?.1.newtype_variant_seed(self)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        let Some(mapping) = self.key_of else { return Ok(()) };
        let is_goal = match &self.walk.goal {
            Goal::Second => mapping.keys.borrow().contains(text),
            Goal::First(number, key) => *number == mapping.number && key == text,
        };
        if is_goal {
            self.walk.found.replace(Some((mapping.number, text.to_owned())));
            return Err(E::custom("found"));
        }
        mapping.keys.borrow_mut().insert(text.to_owned());
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

/// Go's YAML drops a byte order mark; here it would indent the first line.
fn without_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

/// Only syntax can be wrong with what is ignored, and of syntax the library speaks in words of its own. About values
/// it quotes them.
fn syntax(document: serde_yaml::Deserializer) -> Result<(), String> {
    IgnoredAny::deserialize(document).map(drop).map_err(|error| error.to_string())
}

/// A string as a YAML scalar that no reader, of YAML 1.1 or 1.2, takes for anything but this string.
/// A JSON string is a double-quoted YAML scalar; `serde_yaml` itself would leave `on`, `1_000` or `12:30:45` bare.
pub fn quoted(text: &str) -> String {
    escaped(&Value::from(text).to_string())
}

/// JSON on one line as YAML: what is not printable there, though bare in JSON, and what drives a terminal is escaped.
fn escaped(json: &str) -> String {
    json.chars().fold(String::with_capacity(json.len()), |mut text, c| {
        match u32::from(c) {
            code @ ..=0xffff if drives_a_terminal(c) || code >= 0xfffe => text += &format!("\\u{code:04x}"),
            code if drives_a_terminal(c) => text += &format!("\\U{code:08x}"),
            _ => text.push(c),
        }
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hostile;
    use proptest::prelude::*;

    #[test]
    fn doubled_key_is_named_with_both_lines() {
        for (text, says) in [
            ("kind: Config\na: 1\nkind: Config\n", "the key kind is there twice, on lines 1 and 3: delete one"),
            (
                "a:\n- x: 1\n  y: 2\n- x: 1\n  'z': 2\n  \"z\": hunter2\n",
                "the key z is there twice, on lines 5 and 6: delete one",
            ),
            ("\u{feff}{a: 1, a: 2}", "the key a is there twice, on line 1: delete one"),
            ("{\"users\": [],\n\"users\": []}", "the key users is there twice, on lines 1 and 2: delete one"),
            (
                "a: &b\n  c: 1\nd: *b\ne:\n  c: *b\n  f: !t {g: 1}\n  c: 2\n",
                "the key c is there twice, on lines 5 and 7: delete one",
            ),
            ("<<: {a: 1}\nb: 1\n<<: {c: 1}\n", "the key << is there twice, on lines 1 and 3: delete one"),
            ("hunter2: 1\nhunter2: 2\n", "a key is there twice, on lines 1 and 2: delete one"),
            ("1: a\n1: b\n", "a key is there twice in the mapping at line 1"),
        ] {
            assert_eq!(read_first_foreign(text).unwrap_err(), says, "{text}");
        }
    }

    #[test]
    fn aliases_that_expand_to_too_much_are_refused() {
        let text = |aliases: usize| format!("a: &a [{}]\nb: [{}]\n", "1,".repeat(1000), "*a,".repeat(aliases));
        for read in [read, read_foreign, read_first_foreign] {
            assert_eq!(read(&text(300)).unwrap()["b"].as_array().map(Vec::len), Some(300));
            assert_eq!(read(&text(500)), Err(TOO_MUCH.to_owned()));
        }
    }

    #[test]
    fn brackets_cost_no_more_than_their_number() {
        let deep = |levels: usize| format!("a: {}{}", "[".repeat(levels), "]".repeat(levels));
        for read in [read, read_foreign, read_first_foreign] {
            assert!(read(&deep(100)).is_ok());
            assert!(read(&format!("{{\"a\": [{}0]}}", "{\"b\": [[0]]}, ".repeat(5000))).is_ok());
            assert!(read(&"- 'it is [ {'\n".repeat(5000)).is_ok());
            for text in [
                deep(65_000),
                format!("a: {{b: [1, x], {}", "{".repeat(65_000)),
                "[\"]\",".repeat(13_000),
                format!("a: [1 {}", "[{".repeat(32_000)),
                format!("\t- x: @ {}", "{".repeat(65_000)),
            ] {
                assert_eq!(read(&text), Err(TOO_DEEP.to_owned()), "{}", &text[..20]);
            }
        }
    }

    #[test]
    fn hostile_documents_are_survived() {
        let examples = [
            "a: &a {b: [1, hunter2], <<: {c: 'x', d: \"y\\n\"}}\n? [k]\n: *a\n<<: [*a, *a]\n",
            "%YAML 1.1\n---\n- !t &x\n  k: |\n    text\n  l: >-\n    text\n- *x\n...\n---\nk: ~\n",
            "a: 1\nb:\n  - a: 0x1f\n    b: 1e3\n    c: 2026-11-25\n    a: hunter2\n",
        ];
        hostile::texts(&examples, |text| {
            let _ = bounded(text).map(|()| doubled(text));
            for why in [read_foreign(text).err(), read_first_foreign(text).err()].into_iter().flatten() {
                assert!(!why.contains("hunter2") && !why.contains('\n'), "{why}");
            }
        });
    }

    proptest! {
        #[test]
        fn quoted_string_is_read_back(text in ".*") {
            prop_assert_eq!(read(&quoted(&text)).unwrap(), Value::from(text));
        }
    }

    #[test]
    fn strings_are_strings_in_yaml_1_1_too() {
        for text in
            ["on", "No", "y", "=", "<<", "1_000", "0x1_f", "12:30:45", "-1:30.5", "2026-11-25", "2026-11-25T09:12:00Z"]
        {
            assert_eq!(write(&serde_json::json!({ text: [text] })), format!("\"{text}\":\n- \"{text}\"\n"));
        }
        for text in ["east", "one", "v1.37.2", "10.0.0.5:6443", "a:b", "https://10.0.0.5:6443"] {
            assert_eq!(write(&text.into()), format!("{text}\n"));
        }
        for text in ["\u{e000}on", "2026-a: b", "2026-# c", "2026-\n\"x\""] {
            assert_eq!(read(&write(&text.into())), Ok(text.into()));
        }
    }
}
