//! JSON of a less trusted side, read within a limit of memory: 2 bytes of `[[],[],…]` would become 32 and more.

use super::limits::size;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use std::{cell::Cell, fmt};

/// A value in a list that grows by doubling.
const ELEMENT: usize = 2 * size_of::<Value>();
/// A node of a B-tree has room for eleven entries (std `collections/btree/node.rs`), and is half full at least.
const NODE: usize = 11 * (size_of::<Value>() + size_of::<String>());
const ENTRY: usize = NODE / 5;
/// What an allocation takes beside its content.
const ALLOCATION: usize = 16;

/// The metadata of a list.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ListMeta {
    /// `continue`; empty at the last page.
    pub more: String,
    /// `remainingItemCount`
    pub remaining: u64,
}

/// Why a value cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unread {
    #[error("it takes more than {} of memory", size(*.0))]
    TooLarge(usize),
    #[error("{0}")]
    Invalid(String),
}

/// A value that takes no more memory than this, about.
pub fn read(text: &[u8], memory: usize) -> Result<Value, Unread> {
    let left = Cell::new(memory);
    let mut json = serde_json::Deserializer::from_slice(text);
    let value = Within { memory, left: &left }.deserialize(&mut json).and_then(|value| json.end().map(|()| value));
    // All JSON is a value, so only the limit rejects its data.
    value.map_err(|error| if error.is_data() { Unread::TooLarge(memory) } else { Unread::Invalid(error.to_string()) })
}

/// The items of a Kubernetes list, one after the other, each with the memory that it takes and within this limit.
///
/// # Errors
/// Why it cannot be read; what `take` says.
pub fn list(
    text: &[u8],
    memory: usize,
    take: impl FnMut(Value, usize) -> Result<(), String>,
) -> Result<ListMeta, String> {
    let mut json = serde_json::Deserializer::from_slice(text);
    let meta = List { memory, take }.deserialize(&mut json).map_err(|error| error.to_string())?;
    json.end().map_err(|error| error.to_string())?;
    Ok(meta)
}

/// Reads one value within a limit that its parts share.
#[derive(Clone, Copy)]
struct Within<'a> {
    memory: usize,
    left: &'a Cell<usize>,
}

impl Within<'_> {
    fn charge<E: Error>(self, bytes: usize) -> Result<(), E> {
        let left = self.left.get().checked_sub(bytes);
        self.left.set(left.ok_or_else(|| E::custom(format!("it takes more than {} of memory", size(self.memory))))?);
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Within<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Within<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        self.charge(value.len() + ALLOCATION)?;
        Ok(value.into())
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        let mut all = Vec::new();
        while let Some(value) = from.next_element_seed(self)? {
            // The first allocation has room for four.
            self.charge(if all.is_empty() { 4 * ELEMENT } else { ELEMENT })?;
            all.push(value);
        }
        Ok(Value::Array(all))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        let mut all = Map::new();
        while let Some(key) = from.next_key::<String>()? {
            self.charge(if all.is_empty() { NODE } else { ENTRY } + key.len() + ALLOCATION)?;
            all.insert(key, from.next_value_seed(self)?);
        }
        Ok(Value::Object(all))
    }
}

struct List<F> {
    memory: usize,
    take: F,
}

impl<'de, F: FnMut(Value, usize) -> Result<(), String>> DeserializeSeed<'de> for List<F> {
    type Value = ListMeta;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<ListMeta, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, F: FnMut(Value, usize) -> Result<(), String>> Visitor<'de> for List<F> {
    type Value = ListMeta;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of objects")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut from: A) -> Result<ListMeta, A::Error> {
        let memory = self.memory;
        let (mut meta, mut has_items) = (ListMeta::default(), false);
        while let Some(key) = from.next_key::<String>()? {
            match key.as_str() {
                "items" => {
                    from.next_value_seed(Items(&mut self))?;
                    has_items = true;
                }
                "metadata" => {
                    let found = from.next_value_seed(Within { memory, left: &Cell::new(memory) })?;
                    meta = ListMeta {
                        more: found["continue"].as_str().unwrap_or_default().to_owned(),
                        remaining: found["remainingItemCount"].as_u64().unwrap_or_default(),
                    };
                }
                _ => drop(from.next_value::<IgnoredAny>()?),
            }
        }
        // An empty list has them too: what has none is another object, and says nothing of what there is.
        if has_items { Ok(meta) } else { Err(Error::missing_field("items")) }
    }
}

struct Items<'a, F>(&'a mut List<F>);

impl<'de, F: FnMut(Value, usize) -> Result<(), String>> DeserializeSeed<'de> for Items<'_, F> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, F: FnMut(Value, usize) -> Result<(), String>> Visitor<'de> for Items<'_, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("items")
    }

    /// As Go writes a list without items.
    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<(), A::Error> {
        let List { memory, take } = self.0;
        loop {
            let left = Cell::new(*memory);
            let Some(item) = from.next_element_seed(Within { memory: *memory, left: &left })? else { return Ok(()) };
            take(item, *memory - left.get()).map_err(Error::custom)?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hostile;
    use proptest::prelude::*;
    use serde_json::json;

    const MEMORY: usize = 64 * 1024;

    #[test]
    fn json_that_takes_too_much_memory_is_refused() {
        for part in ["[]", "[0]", "{}", r#"{"":0}"#, "0", r#""""#, "[[[[1]]]]"] {
            let text = format!("[{}0]", format!("{part},").repeat(MEMORY / 32));
            let error = read(text.as_bytes(), MEMORY).unwrap_err();
            assert_eq!(error, Unread::TooLarge(MEMORY), "{part}");
            assert!(read(text.as_bytes(), 1000 * MEMORY).is_ok(), "{part}");
        }
        let long = format!("{{\"{}\":0}}", "k".repeat(MEMORY));
        assert!(read(long.as_bytes(), MEMORY).is_err());
        assert!(read(b"{} {}", MEMORY).is_err());
    }

    #[test]
    fn items_of_a_list_share_no_limit() {
        let item = json!({ "metadata": { "name": "x".repeat(MEMORY / 2) } });
        let text = json!({ "kind": "PodList", "items": [item, item, item, item], "metadata": { "continue": "more", "remainingItemCount": 7 } });
        let mut taken = Vec::new();
        let meta = list(text.to_string().as_bytes(), MEMORY, |item, memory| {
            assert!((MEMORY / 2..MEMORY).contains(&memory), "{memory}");
            taken.push(item);
            Ok(())
        });
        assert_eq!(meta, Ok(ListMeta { more: "more".to_owned(), remaining: 7 }));
        assert_eq!(taken, [&item; 4].map(Clone::clone));
        let last = |text: &str| list(text.as_bytes(), MEMORY, |_, _| Err("no more".to_owned()));
        for empty in [r#"{"items":null,"metadata":null}"#, r#"{"items":[],"metadata":{"continue":7}}"#] {
            assert_eq!(last(empty), Ok(ListMeta::default()), "{empty}");
        }
        for (text, says) in [
            (r#"{"items":[1]}"#, "no more"),
            ("[]", "a list of objects"),
            (r#"{"items":5}"#, "items"),
            (r#"{"kind":"Pod"}"#, "missing field `items`"),
        ] {
            assert!(last(text).unwrap_err().contains(says), "{text}: {:?}", last(text));
        }
    }

    proptest! {
        #[test]
        fn json_is_read_as_by_the_library(text in r#"[\[\]{}:,"a0-9. \\-]{0,40}"#) {
            prop_assert_eq!(read(text.as_bytes(), MEMORY).ok(), serde_json::from_str::<Value>(&text).ok());
            let _ = list(text.as_bytes(), MEMORY, |_, _| Ok(()));
        }
    }

    #[test]
    fn hostile_answers_are_survived() {
        let list = r#"{"kind":"NodeList","metadata":{"continue":"x","remainingItemCount":9},"items":[{"a":[1,-2.5e3,"\u00e9\n"]},null]}"#;
        hostile::bytes(&[list.as_bytes(), b"[[],{},[null,true],\"\\ud834\\udd1e\"]"], |text| {
            let ours = read(text, MEMORY);
            if ours != Err(Unread::TooLarge(MEMORY)) {
                assert_eq!(ours.ok(), serde_json::from_slice::<Value>(text).ok());
            }
            let _ = super::list(text, MEMORY, |_, _| Ok(()));
        });
    }
}
