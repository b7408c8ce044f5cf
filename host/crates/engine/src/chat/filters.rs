//! Filters and tests of Jinja2 where minijinja's differ.

use minijinja::{Environment, Error, State, Value, value::Kwargs, value::ValueKind};

use super::{methods, python};

/// Puts them into an environment.
pub(super) fn install(environment: &mut Environment<'_>) {
    environment.add_filter("tojson", python::tojson);
    environment.add_filter("string", |value: &Value| python::text(value));
    environment.add_filter("trim", trim);
    environment.add_filter("length", length);
    environment.add_filter("count", length);
    environment.add_filter("int", int);
    environment.add_filter("float", float);
    environment.add_filter("default", default);
    environment.add_filter("d", default);
    environment.add_filter("wordcount", wordcount);
    environment.add_filter("truncate", truncate);
    environment.add_test("sequence", |value: &Value| {
        matches!(
            value.kind(),
            ValueKind::String | ValueKind::Map | ValueKind::Seq
        )
    });
    environment.add_test("iterable", |value: &Value| {
        value.is_undefined()
            || matches!(
                value.kind(),
                ValueKind::String | ValueKind::Map | ValueKind::Seq | ValueKind::Iterable
            )
    });
    environment.add_test("number", |value: &Value| {
        matches!(value.kind(), ValueKind::Number | ValueKind::Bool)
    });
    environment.add_test("callable", is_callable);
}

fn trim(value: &Value, set: Option<&str>) -> String {
    let text = value.to_string();
    methods::stripped(&text, set, true, true).to_owned()
}

/// `len`, which is 0 for what is not defined.
fn length(value: &Value) -> Result<usize, Error> {
    if value.is_undefined() {
        return Ok(0);
    }
    if let Some(length) = value.len() {
        return Ok(length);
    }
    match value.kind() {
        ValueKind::Iterable => Ok(value.try_iter()?.count()),
        kind => Err(Error::new(
            minijinja::ErrorKind::InvalidOperation,
            format!("length: {kind} has none"),
        )),
    }
}

/// `int(value)`, or the default where that is no number.
fn int(
    value: &Value,
    default: Option<Value>,
    base: Option<u32>,
    kwargs: Kwargs,
) -> Result<Value, Error> {
    let named: Option<Value> = kwargs.get("default")?;
    let base = base.or(kwargs.get("base")?);
    kwargs.assert_all_used()?;
    let otherwise = default.or(named).unwrap_or_else(|| Value::from(0));
    if let Some(text) = value.as_str() {
        let text = methods::stripped(text, None, true, true).replace('_', "");
        let base = base.unwrap_or(10);
        if !(2..=36).contains(&base) {
            return Ok(otherwise);
        }
        let (sign, digits) = match text.strip_prefix('-') {
            Some(digits) => (-1, digits),
            None => (1, text.strip_prefix('+').unwrap_or(&text)),
        };
        let digits = match base {
            16 => digits.trim_start_matches("0x").trim_start_matches("0X"),
            8 => digits.trim_start_matches("0o"),
            2 => digits.trim_start_matches("0b"),
            _ => digits,
        };
        if let Ok(number) = i128::from_str_radix(digits, base) {
            return Ok(Value::from(sign * number));
        }
        return Ok(text
            .parse::<f64>()
            .ok()
            .filter(|number| number.is_finite())
            .map_or(otherwise, |number| Value::from(number.trunc() as i128)));
    }
    Ok(match value.kind() {
        ValueKind::Bool => Value::from(i64::from(value.is_true())),
        ValueKind::Number if value.is_integer() => value.clone(),
        ValueKind::Number => f64::try_from(value.clone())
            .ok()
            .filter(|number| number.is_finite())
            .map_or(otherwise, |number| Value::from(number.trunc() as i128)),
        _ => otherwise,
    })
}

/// `float(value)`, or the default where that is no number.
fn float(value: &Value, default: Option<f64>) -> f64 {
    let otherwise = default.unwrap_or(0.0);
    match value.kind() {
        ValueKind::String => value
            .as_str()
            .and_then(|text| text.trim().parse().ok())
            .unwrap_or(otherwise),
        ValueKind::Bool => f64::from(u8::from(value.is_true())),
        _ => f64::try_from(value.clone()).unwrap_or(otherwise),
    }
}

/// Jinja2's `default(default_value='', boolean=false)`.
fn default(
    value: &Value,
    other: Option<Value>,
    boolean: Option<bool>,
    kwargs: Kwargs,
) -> Result<Value, Error> {
    let other = other.or(kwargs.get("default_value")?);
    let boolean = boolean.or(kwargs.get("boolean")?).unwrap_or(false);
    kwargs.assert_all_used()?;
    Ok(match value.is_undefined() || boolean && !value.is_true() {
        true => other.unwrap_or_else(|| Value::from("")),
        false => value.clone(),
    })
}

/// Jinja2's `truncate(length=255, killwords=False, end='...', leeway=5)`.
fn truncate(
    value: &Value,
    length: Option<usize>,
    killwords: Option<bool>,
    end: Option<String>,
    kwargs: Kwargs,
) -> Result<String, Error> {
    let length = length.or(kwargs.get("length")?).unwrap_or(255);
    let killwords = killwords.or(kwargs.get("killwords")?).unwrap_or(false);
    let end = end
        .or(kwargs.get("end")?)
        .unwrap_or_else(|| "...".to_owned());
    let leeway = kwargs.get::<Option<usize>>("leeway")?.unwrap_or(5);
    kwargs.assert_all_used()?;
    let text = value.to_string();
    if text.chars().count() <= length.saturating_add(leeway) {
        return Ok(text);
    }
    let kept: String = text
        .chars()
        .take(length.saturating_sub(end.chars().count()))
        .collect();
    Ok(match kept.rsplit_once(' ') {
        Some((words, _)) if !killwords => words.to_owned() + &end,
        _ => kept + &end,
    })
}

fn wordcount(value: &Value) -> usize {
    let text = value.to_string();
    let word = |character: char| character.is_alphanumeric() || character == '_';
    text.split(|character| !word(character))
        .filter(|part| !part.is_empty())
        .count()
}

fn is_callable(_: &State<'_, '_>, value: &Value) -> bool {
    value
        .as_object()
        .is_some_and(|object| object.repr() == minijinja::value::ObjectRepr::Plain)
}
