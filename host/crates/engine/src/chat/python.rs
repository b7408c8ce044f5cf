//! Python's values and its JSON, as templates see them.

use std::{fmt::Write as _, sync::LazyLock};

use minijinja::{
    Error, ErrorKind, Value,
    value::{Kwargs, Rest, ValueKind},
};
use serde_json::{Map, Value as Json};

/// JSON as a template value; the order of keys is kept.
pub(super) fn value(json: &Json) -> Value {
    match json {
        Json::Null => Value::from(()),
        Json::Bool(flag) => (*flag).into(),
        Json::Number(number) => number
            .as_i64()
            .map(Value::from)
            .or_else(|| number.as_u64().map(Value::from))
            .or_else(|| number.as_f64().map(Value::from))
            .unwrap_or_default(),
        Json::String(text) => text.as_str().into(),
        Json::Array(items) => items.iter().map(value).collect(),
        Json::Object(map) => object(map),
    }
}

fn object(map: &Map<String, Json>) -> Value {
    Value::from_pairs(map.iter().map(|(key, item)| (key.as_str(), value(item))))
}

/// Names under which a message's reasoning comes; the first is the one that templates read.
pub(super) const REASONING: [&str; 3] = ["reasoning_content", "thinking", "reasoning"];

/// A message as Transformers hands it to a template: without the keys that hold nothing, and with its reasoning under
/// the names that templates look for (`_normalize_chat_messages` and `_alias_reasoning_fields`).
pub(super) fn message(json: &Json) -> Json {
    let Json::Object(given) = json else {
        return json.clone();
    };
    let mut message: Map<String, Json> = given
        .iter()
        .filter(|(_, value)| !value.is_null())
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    let reasoning = REASONING.iter().find_map(|key| message.get(*key)).cloned();
    if let Some(reasoning) = reasoning {
        if !message.contains_key("thinking") {
            message.shift_insert(0, "thinking".to_owned(), reasoning.clone());
        }
        message.insert("reasoning_content".to_owned(), reasoning);
    }
    Json::Object(message)
}

/// How `tojson` writes.
struct Dumps {
    ensure_ascii: bool,
    /// What one level of nesting puts before a line.
    indent: Option<String>,
    between_items: String,
    after_key: String,
    sort_keys: bool,
}

/// `json.dumps(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False)`: unlike Jinja's own filter it
/// escapes no HTML.
pub(super) fn tojson(json: &Value, given: Rest<Value>, kwargs: Kwargs) -> Result<String, Error> {
    let argument = |index: usize, name: &str| -> Result<Option<Value>, Error> {
        match given.get(index) {
            Some(value) => Ok(Some(value.clone())),
            None => kwargs.get::<Option<Value>>(name),
        }
    };
    let told =
        |value: Option<Value>| value.filter(|value| !value.is_none() && !value.is_undefined());
    let ensure_ascii = argument(0, "ensure_ascii")?.is_some_and(|flag| flag.is_true());
    let indent = match told(argument(1, "indent")?) {
        None => None,
        Some(width) => Some(match (width.as_str(), width.as_i64()) {
            (Some(text), _) => text.to_owned(),
            (None, Some(width)) if width <= 64 => " ".repeat(width.max(0) as usize),
            _ => {
                return Err(refused(
                    "tojson: indent must be a text or a number up to 64",
                ));
            }
        }),
    };
    let separators = match told(argument(2, "separators")?) {
        None => None,
        Some(pair) => {
            let pair: Vec<Value> = pair.try_iter()?.collect();
            match &pair[..] {
                [items, keys] => Some((items.to_string(), keys.to_string())),
                _ => return Err(refused("tojson: separators must be a pair of texts")),
            }
        }
    };
    let sort_keys = argument(3, "sort_keys")?.is_some_and(|flag| flag.is_true());
    if given.len() > 4 {
        return Err(refused("tojson: takes at most four settings"));
    }
    kwargs.assert_all_used()?;
    let (between_items, after_key) = separators.unwrap_or_else(|| {
        let items = if indent.is_some() { "," } else { ", " };
        (items.to_owned(), ": ".to_owned())
    });
    let dumps = Dumps {
        ensure_ascii,
        indent,
        between_items,
        after_key,
        sort_keys,
    };
    let mut out = String::new();
    dumps.write(&mut out, json, 0)?;
    Ok(out)
}

fn refused(message: &str) -> Error {
    Error::new(ErrorKind::InvalidOperation, message.to_owned())
}

/// Levels of nesting that are written; a template cannot build more by accident.
const DEEPEST: usize = 200;

impl Dumps {
    fn write(&self, out: &mut String, json: &Value, depth: usize) -> Result<(), Error> {
        if depth > DEEPEST {
            return Err(refused("tojson: the value is nested too deeply"));
        }
        match json.kind() {
            ValueKind::Map => self.map(out, json, depth),
            ValueKind::Seq | ValueKind::Iterable => {
                let items: Vec<Value> = json.try_iter()?.collect();
                out.push('[');
                for (index, item) in items.iter().enumerate() {
                    self.begin(out, index, depth + 1);
                    self.write(out, item, depth + 1)?;
                }
                self.end(out, items.len(), depth, ']');
                Ok(())
            }
            ValueKind::String => {
                self.quote(out, json.as_str().unwrap_or_default());
                Ok(())
            }
            ValueKind::None | ValueKind::Bool | ValueKind::Number => {
                out.push_str(&word(json));
                Ok(())
            }
            kind => Err(refused(&format!("tojson: {kind} has no JSON form"))),
        }
    }

    fn map(&self, out: &mut String, json: &Value, depth: usize) -> Result<(), Error> {
        let mut entries = json
            .try_iter()?
            .map(|key| {
                let item = json.get_item(&key)?;
                let key = match key.kind() {
                    ValueKind::String => key.to_string(),
                    _ => word(&key),
                };
                Ok((key, item))
            })
            .collect::<Result<Vec<_>, Error>>()?;
        if self.sort_keys {
            entries.sort_by(|a, b| a.0.cmp(&b.0));
        }
        out.push('{');
        for (index, (key, item)) in entries.iter().enumerate() {
            self.begin(out, index, depth + 1);
            self.quote(out, key);
            out.push_str(&self.after_key);
            self.write(out, item, depth + 1)?;
        }
        self.end(out, entries.len(), depth, '}');
        Ok(())
    }

    fn begin(&self, out: &mut String, index: usize, depth: usize) {
        if index > 0 {
            out.push_str(&self.between_items);
        }
        self.new_line(out, depth);
    }

    fn end(&self, out: &mut String, entries: usize, depth: usize, bracket: char) {
        if entries > 0 {
            self.new_line(out, depth);
        }
        out.push(bracket);
    }

    fn new_line(&self, out: &mut String, depth: usize) {
        if let Some(indent) = &self.indent {
            out.push('\n');
            out.extend(std::iter::repeat_n(indent.as_str(), depth));
        }
    }

    fn quote(&self, out: &mut String, text: &str) {
        let quoted = Json::from(text).to_string();
        if !self.ensure_ascii {
            out.push_str(&quoted);
            return;
        }
        for character in quoted.chars() {
            if (' '..='~').contains(&character) {
                out.push(character);
                continue;
            }
            let mut units = [0; 2];
            for unit in character.encode_utf16(&mut units) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        }
    }
}

/// Nothing, a truth value or a number, as JSON writes it.
fn word(value: &Value) -> String {
    match value.kind() {
        ValueKind::None => "null".to_owned(),
        ValueKind::Bool => value.is_true().to_string(),
        _ if value.is_integer() => value.to_string(),
        _ => f64::try_from(value.clone()).map_or_else(|_| value.to_string(), float),
    }
}

/// `str(x)`: minijinja writes lists and tables as Python does, but for characters that Python does not show.
pub(super) fn text(value: &Value) -> String {
    static HIDDEN: LazyLock<regex::Regex> =
        LazyLock::new(|| regex::Regex::new(r"[\p{C}\p{Z}--[ ]]").expect("a constant pattern"));
    let text = value.to_string();
    match value.kind() {
        ValueKind::Seq | ValueKind::Map => HIDDEN
            .replace_all(&text, |found: &regex::Captures<'_>| {
                let code = found[0].chars().next().map_or(0, u32::from);
                match code {
                    0..0x100 => format!("\\x{code:02x}"),
                    0x100..0x1_0000 => format!("\\u{code:04x}"),
                    _ => format!("\\U{code:08x}"),
                }
            })
            .into_owned(),
        ValueKind::Number if !value.is_integer() => word(value),
        _ => text,
    }
}

/// `repr(x)` of a float: the shortest digits that read back as `x`, with an exponent from 1e16 on and below 1e-4.
fn float(x: f64) -> String {
    if !x.is_finite() {
        let word = if x.is_nan() { "NaN" } else { "Infinity" };
        return if x < 0.0 {
            format!("-{word}")
        } else {
            word.to_owned()
        };
    }
    let scientific = format!("{x:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..16).contains(&exponent) {
        return format!("{x:?}");
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_written_as_python_writes_them() {
        for (x, text) in [
            (1.0, "1.0"),
            (0.1, "0.1"),
            (1e15, "1000000000000000.0"),
            (1e16, "1e+16"),
            (1.5e-7, "1.5e-07"),
            (0.0001, "0.0001"),
            (-0.0, "-0.0"),
            (1e100, "1e+100"),
        ] {
            assert_eq!(float(x), text);
        }
    }
}
