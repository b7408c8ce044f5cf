//! How much work a schema can make of a value. Answers are checked by the host itself, on no fuel of the plugin's, so that a
//! schema must not be able to ask for more than a moment: definitions that refer to each other twice are walked four times two
//! levels down, and a thousand million times thirty levels down.

use std::collections::HashMap;

use serde_json::Value;

/// Values of a schema with everything that it refers to written out.
const MOST_VALUES: u64 = 100_000;
/// How deep it may nest then; what compiles and checks it goes down by calling itself.
const DEEPEST: u32 = 128;
/// Words that hold schemas by names of the author's, which may be like any word here.
const MAPS: [&str; 4] = [
    "properties",
    "patternProperties",
    "dependentSchemas",
    "dependencies",
];
/// Words that hold data, and no schema.
const DATA: [&str; 4] = ["const", "enum", "default", "examples"];
/// Words by which a schema is named or found in ways that are not followed here.
const NAMES: [&str; 5] = [
    "$anchor",
    "$dynamicAnchor",
    "$recursiveAnchor",
    "$dynamicRef",
    "$recursiveRef",
];

/// Of one schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Weight {
    /// Values with what they refer to written out; where that comes round to itself it counts once.
    pub(super) values: u64,
    /// Whether it refers to itself.
    pub(super) is_recursive: bool,
}

/// Weighs a schema before anything else looks at it.
///
/// # Errors
/// The end of a sentence.
pub(super) fn weigh(schema: &Value) -> Result<Weight, String> {
    let mut scale = Scale {
        schema,
        known: HashMap::new(),
        is_recursive: false,
    };
    let (values, _) = scale.weigh(schema, 0)?;
    Ok(Weight {
        values,
        is_recursive: scale.is_recursive,
    })
}

/// Values of a value that a check may look at, texts by their length; no more than `most` are counted.
pub(super) fn values(value: &Value, most: u64) -> u64 {
    let mut count = 0_u64;
    let mut open = vec![value];
    while let Some(value) = open.pop() {
        count += match value {
            Value::String(text) => 1 + text.len() as u64 / 64,
            _ => 1,
        };
        if count >= most {
            return most;
        }
        match value {
            Value::Array(items) => open.extend(items),
            Value::Object(fields) => open.extend(fields.values()),
            _ => {}
        }
    }
    count
}

struct Scale<'a> {
    schema: &'a Value,
    /// By what refers to them: values and depth; none of those that are being weighed.
    known: HashMap<&'a str, Option<(u64, u32)>>,
    is_recursive: bool,
}

/// Of what stands side by side.
#[derive(Default)]
struct Sum {
    values: u64,
    deepest: u32,
}

impl Sum {
    fn add(&mut self, (values, deepest): (u64, u32)) {
        self.values = self.values.saturating_add(values);
        self.deepest = self.deepest.max(deepest + 1);
    }

    fn all(self) -> Result<(u64, u32), String> {
        let values = self.values.saturating_add(1);
        match values > MOST_VALUES {
            true => Err(format!(
                "has more than {MOST_VALUES} values, with what it refers to written out"
            )),
            false => Ok((values, self.deepest)),
        }
    }
}

impl<'a> Scale<'a> {
    /// Values of a schema, and how deep it nests.
    fn weigh(&mut self, part: &'a Value, depth: u32) -> Result<(u64, u32), String> {
        if depth > DEEPEST {
            return Err(format!(
                "nests more than {DEEPEST} deep, with what it refers to"
            ));
        }
        match part {
            Value::Array(items) => self.sum(items.iter(), depth),
            Value::Object(fields) => {
                let mut sum = Sum::default();
                for (key, value) in fields {
                    sum.add(self.word(key, value, depth)?);
                }
                sum.all()
            }
            _ => Ok((1, 0)),
        }
    }

    /// What a word of a schema at `depth` comes to.
    fn word(&mut self, key: &str, value: &'a Value, depth: u32) -> Result<(u64, u32), String> {
        match (key, value) {
            ("$ref", Value::String(name)) => self.refer(name, depth + 1),
            ("$id" | "id", Value::String(_)) if depth > 0 => Err(format!(
                "gives a part of itself an address ({key}); refer to it by `#/…`"
            )),
            (_, Value::String(_)) if NAMES.contains(&key) => {
                Err(format!("has {key}; refer to its parts by `#/…`"))
            }
            // They count where they are referred to.
            ("$defs" | "definitions", Value::Object(_)) => Ok((1, 0)),
            (_, Value::Object(named)) if MAPS.contains(&key) => self.sum(named.values(), depth + 1),
            _ if DATA.contains(&key) => Ok((values(value, MOST_VALUES), 0)),
            _ => self.weigh(value, depth + 1),
        }
    }

    /// Of schemas side by side, one level down.
    fn sum(
        &mut self,
        parts: impl Iterator<Item = &'a Value>,
        depth: u32,
    ) -> Result<(u64, u32), String> {
        let mut sum = Sum::default();
        for part in parts {
            sum.add(self.weigh(part, depth + 1)?);
        }
        sum.all()
    }

    fn refer(&mut self, name: &'a str, depth: u32) -> Result<(u64, u32), String> {
        let place = match name.strip_prefix('#') {
            Some("") => Some(self.schema),
            Some(pointer) if pointer.starts_with('/') => self.find(pointer),
            _ => None,
        };
        let target = place.ok_or_else(|| {
            let name: String = name.chars().take(100).collect();
            format!("refers to {name:?}, which is no place in it; refer to its parts by `#/…`")
        })?;
        match self.known.get(name) {
            // It is being weighed: it comes round to itself.
            Some(None) => {
                self.is_recursive = true;
                return Ok((1, 0));
            }
            Some(Some((values, deepest))) if depth + deepest <= DEEPEST => {
                return Ok((*values, *deepest));
            }
            // Weighed from further up; from here it may be too deep.
            _ => {}
        }
        self.known.insert(name, None);
        let found = self.weigh(target, depth)?;
        self.known.insert(name, Some(found));
        Ok(found)
    }

    /// A pointer in a URI may have characters written as `%25`.
    fn find(&self, pointer: &str) -> Option<&'a Value> {
        self.schema.pointer(pointer).or_else(|| {
            let plain = percent_decoded(pointer)?;
            self.schema.pointer(&plain)
        })
    }
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, json};

    use super::*;

    /// Definitions of which each refers to the next one so many times.
    fn chain(length: usize, times: usize) -> Value {
        let mut definitions: Map<String, Value> = (0..length)
            .map(|at| {
                let next = json!({ "$ref": format!("#/$defs/d{}", at + 1) });
                (format!("d{at}"), json!({ "allOf": vec![next; times] }))
            })
            .collect();
        definitions.insert(format!("d{length}"), json!(false));
        json!({ "$ref": "#/$defs/d0", "$defs": definitions })
    }

    #[test]
    fn what_is_referred_to_counts_each_time() {
        let weight =
            weigh(&json!({ "type": "object", "properties": { "a": { "type": "string" } } }));
        assert_eq!(
            weight,
            Ok(Weight {
                values: 5,
                is_recursive: false
            })
        );
        assert!(weigh(&chain(5, 2)).unwrap().values > 64);
        for (schema, part) in [
            (chain(30, 2), "100000 values"),
            (chain(5000, 1), "128 deep"),
            (
                json!({ "$ref": "https://example.com/schema" }),
                "no place in it",
            ),
            (json!({ "$dynamicRef": "#a" }), "$dynamicRef"),
            (json!({ "items": { "$anchor": "a" } }), "$anchor"),
        ] {
            let message = weigh(&schema).unwrap_err();
            assert!(message.contains(part), "{message}");
        }
    }

    #[test]
    fn what_refers_to_itself_is_told_and_counts_once() {
        let tree = json!({ "properties": {
            "children": { "type": "array", "items": { "$ref": "#" } },
            "a b": { "$ref": "#/properties/a%20b" },
        } });
        let weight = weigh(&tree).unwrap();
        assert!(weight.is_recursive && weight.values < 40, "{weight:?}");
        // Data looks like a schema, and is none.
        let data = json!({ "enum": [{ "$ref": "nowhere" }], "default": { "$anchor": "a" } });
        assert!(!weigh(&data).unwrap().is_recursive);
        // A property may be called like a word, and what it holds counts.
        let named = json!({ "properties": { "$ref": { "type": "string" }, "$id": true } });
        assert!(weigh(&named).is_ok());
        let hidden = |name: &str| {
            let mut schema = chain(30, 2);
            schema["properties"] = json!({ name: { "$ref": "#/$defs/d0" } });
            schema.as_object_mut().unwrap().remove("$ref");
            schema
        };
        for name in ["default", "enum", "$defs", "definitions", "const"] {
            assert!(weigh(&hidden(name)).is_err(), "{name}");
        }
        let elsewhere = json!({ "allOf": [{ "id": "http://a/", "$ref": "#/$defs/b" }], "$defs": { "b": true } });
        assert!(weigh(&elsewhere).unwrap_err().contains("address"));
    }

    #[test]
    fn values_are_counted_up_to_a_bound() {
        let value = json!({ "a": [1, 2, { "b": "x".repeat(640) }] });
        assert_eq!(values(&value, 1000), 5 + 11);
        assert_eq!(values(&value, 3), 3);
    }
}
