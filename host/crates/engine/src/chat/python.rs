//! What Transformers gives its templates beyond Jinja: Python's JSON and Python's clock.

use std::fmt::Write as _;

use minijinja::{
    Error, ErrorKind, Value,
    value::{Kwargs, ValueKind},
};
use serde_json::Value as Json;

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
        Json::Object(map) => {
            Value::from_pairs(map.iter().map(|(key, item)| (key.as_str(), value(item))))
        }
    }
}

/// `datetime.now().strftime(format)`.
pub(super) fn strftime_now(format: &str) -> Result<String, Error> {
    let mut text = String::new();
    write!(text, "{}", chrono::Local::now().format(format)).map_err(|_| {
        Error::new(
            ErrorKind::InvalidOperation,
            format!("strftime_now: {format:?} is no date format"),
        )
    })?;
    Ok(text)
}

/// `json.dumps(value, ensure_ascii=False, indent=indent)`: unlike Jinja's own filter it escapes no HTML.
pub(super) fn tojson(json: &Value, kwargs: Kwargs) -> Result<String, Error> {
    let indent = kwargs.get::<Option<usize>>("indent")?;
    // Transformers takes these too; their defaults are the only values that templates in the wild use.
    kwargs.get::<Option<bool>>("ensure_ascii")?;
    kwargs.get::<Option<Value>>("separators")?;
    kwargs.get::<Option<bool>>("sort_keys")?;
    kwargs.assert_all_used()?;
    let mut out = String::new();
    write_json(&mut out, json, indent, 0)?;
    Ok(out)
}

fn write_json(
    out: &mut String,
    json: &Value,
    indent: Option<usize>,
    depth: usize,
) -> Result<(), Error> {
    let (open, close, entries) = match json.kind() {
        ValueKind::Map => {
            let entries = json
                .try_iter()?
                .map(|key| Ok((Some(key.to_string()), json.get_item(&key)?)))
                .collect::<Result<Vec<_>, Error>>()?;
            ('{', '}', entries)
        }
        ValueKind::Seq | ValueKind::Iterable => (
            '[',
            ']',
            json.try_iter()?.map(|item| (None, item)).collect(),
        ),
        ValueKind::String => {
            out.push_str(&quoted(json.as_str().unwrap_or_default()));
            return Ok(());
        }
        ValueKind::None => {
            out.push_str("null");
            return Ok(());
        }
        ValueKind::Bool | ValueKind::Number => {
            let _ = write!(out, "{json}");
            return Ok(());
        }
        kind => {
            return Err(Error::new(
                ErrorKind::InvalidOperation,
                format!("tojson: {kind} has no JSON form"),
            ));
        }
    };
    out.push(open);
    let empty = entries.is_empty();
    for (index, (key, item)) in entries.into_iter().enumerate() {
        if index > 0 {
            out.push_str(if indent.is_some() { "," } else { ", " });
        }
        new_line(out, indent, depth + 1);
        if let Some(key) = key {
            out.push_str(&quoted(&key));
            out.push_str(": ");
        }
        write_json(out, &item, indent, depth + 1)?;
    }
    if !empty {
        new_line(out, indent, depth);
    }
    out.push(close);
    Ok(())
}

fn new_line(out: &mut String, indent: Option<usize>, depth: usize) {
    if let Some(width) = indent {
        out.push('\n');
        out.extend(std::iter::repeat_n(' ', width * depth));
    }
}

fn quoted(text: &str) -> String {
    Json::from(text).to_string()
}
