use std::ops::Range;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

/// JSON that was read and checked, as compact text.
///
/// An analysis of a source tree has megabytes of it, which are mostly written on as they are; a tree of values would cost more
/// than all else that is done with them. As `serde` has it, it is the JSON that it stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Details {
    text: String,
    fields: Vec<DetailsField>,
}

/// Where a field of an object stands in its text, in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DetailsField {
    /// The name with its quotes.
    pub name: Range<usize>,
    /// Its value.
    pub value: Range<usize>,
}

impl Details {
    /// What was written as compact JSON already, with the places of its fields where it is an object. The caller vouches for both.
    pub fn written(text: String, fields: Vec<DetailsField>) -> Self {
        Self { text, fields }
    }

    /// The whole text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Names, with their quotes, and values of an object's fields in their order, each as JSON; nothing of what is no object.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        self.fields.iter().map(move |field| {
            let DetailsField { name, value } = field;
            (&self.text[name.clone()], &self.text[value.clone()])
        })
    }

    /// As a tree.
    ///
    /// # Panics
    /// When who made it vouched for what is no JSON.
    pub fn value(&self) -> Value {
        serde_json::from_str(&self.text).expect("details are JSON")
    }
}

impl From<&Value> for Details {
    fn from(value: &Value) -> Self {
        let json = |value: &Value| serde_json::to_string(value).expect("JSON values serialize");
        let Value::Object(object) = value else {
            return Self::written(json(value), Vec::new());
        };
        let (mut text, mut fields) = (String::from("{"), Vec::with_capacity(object.len()));
        for (name, value) in object {
            if !fields.is_empty() {
                text.push(',');
            }
            let start = text.len();
            text.push_str(&serde_json::to_string(name).expect("names serialize"));
            let name = start..text.len();
            text.push(':');
            let start = text.len();
            text.push_str(&json(value));
            fields.push(DetailsField {
                name,
                value: start..text.len(),
            });
        }
        text.push('}');
        Self::written(text, fields)
    }
}

impl Serialize for Details {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.value().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Details {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Value::deserialize(deserializer).map(|value| Self::from(&value))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::Details;

    #[test]
    fn details_are_the_json_that_they_were_made_of() {
        for value in [
            json!({ "a\"": [1, { "b": "}," }], "": -0.5, "c": null }),
            json!({}),
            json!([1]),
            json!("text"),
        ] {
            let details = Details::from(&value);
            assert_eq!(details.text(), value.to_string());
            assert_eq!(details.value(), value);
            assert_eq!(serde_json::to_value(&details).unwrap(), value);
            assert_eq!(serde_json::from_value::<Details>(value).unwrap(), details);
        }
    }

    #[test]
    fn fields_come_in_their_order_as_text() {
        let details = Details::from(&json!({ "b\n": { "x": [] }, "a": 1.0 }));
        let fields: Vec<_> = details.fields().collect();
        assert_eq!(fields, [(r#""b\n""#, r#"{"x":[]}"#), (r#""a""#, "1.0")]);
        assert_eq!(Details::from(&json!([1, 2])).fields().count(), 0);
    }
}
