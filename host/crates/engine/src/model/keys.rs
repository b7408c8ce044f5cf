use serde_json::{Map, Value};

/// Typed look-ups in a `config.json`, whose errors name the key.
#[derive(Clone, Copy)]
pub(super) struct Keys<'a>(pub(super) &'a Map<String, Value>);

impl<'a> Keys<'a> {
    /// The value of a key; null counts as missing.
    pub(super) fn get(&self, key: &str) -> Option<&'a Value> {
        self.0.get(key).filter(|value| !value.is_null())
    }

    /// Whether a key is there at all, if only as null.
    pub(super) fn has(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    pub(super) fn text(&self, key: &str) -> Result<Option<&'a str>, String> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(format!("{key} must be a word, not {other}")),
        }
    }

    pub(super) fn number(&self, key: &str) -> Result<Option<f64>, String> {
        match self.get(key) {
            None => Ok(None),
            Some(value) => value
                .as_f64()
                .filter(|number| number.is_finite())
                .map(Some)
                .ok_or(format!("{key} must be a number, not {value}")),
        }
    }

    pub(super) fn positive(&self, key: &str) -> Result<Option<f64>, String> {
        match self.number(key)? {
            Some(number) if number <= 0.0 => Err(format!("{key} must be above 0, not {number}")),
            other => Ok(other),
        }
    }

    pub(super) fn flag(&self, key: &str, default: bool) -> Result<bool, String> {
        match self.get(key) {
            None => Ok(default),
            Some(value) => value
                .as_bool()
                .ok_or(format!("{key} must be true or false, not {value}")),
        }
    }

    pub(super) fn optional_size(&self, key: &str) -> Result<Option<usize>, String> {
        match self.get(key) {
            None => Ok(None),
            Some(value) => match value.as_u64() {
                Some(size) if (1..=1 << 24).contains(&size) => Ok(Some(size as usize)),
                _ => Err(format!(
                    "{key} must be a whole number from 1 to 16777216, not {value}"
                )),
            },
        }
    }

    pub(super) fn size(&self, key: &str) -> Result<usize, String> {
        self.optional_size(key)?.ok_or(format!("has no {key}"))
    }

    pub(super) fn table(&self, key: &str) -> Result<Option<Keys<'a>>, String> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Object(table)) => Ok(Some(Keys(table))),
            Some(other) => Err(format!("{key} must be a table, not {other}")),
        }
    }

    pub(super) fn numbers(&self, key: &str) -> Result<Option<Vec<f64>>, String> {
        let wrong = |value: &Value| format!("{key} must be a list of numbers, not {value}");
        match self.get(key) {
            None => Ok(None),
            Some(Value::Array(items)) => items
                .iter()
                .map(|item| item.as_f64().ok_or(wrong(item)))
                .collect::<Result<_, _>>()
                .map(Some),
            Some(other) => Err(wrong(other)),
        }
    }
}
