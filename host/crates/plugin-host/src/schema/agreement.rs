//! The quick way and the long one, on schemas and answers that a series of choices makes: whatever the quick way says, the long
//! one says too, and what is plain goes the quick way.

use domain::Details;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::{Schema, quick};
use crate::lent::secrets::Secrets;

/// Bytes as choices; when they are used up, the first of all.
struct Choices<'a> {
    bytes: std::slice::Iter<'a, u8>,
    /// Whether the last text has what only the validator decides, or what a tree of values has only once.
    is_odd: bool,
}

impl Choices<'_> {
    fn below(&mut self, count: usize) -> usize {
        self.bytes
            .next()
            .map_or(0, |byte| usize::from(*byte) % count)
    }

    fn of<T: Clone>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())].clone()
    }
}

const NAMES: [&str; 4] = ["a", "b\n", "c", "\u{1b}d"];

/// A schema that a shape may be made of, or (rarely) not.
fn schema(choices: &mut Choices, depth: usize) -> Value {
    match choices.below(if depth == 0 { 10 } else { 14 }) {
        0 => json!({ "type": "string", "title": "T", "minimum": 3 }),
        1 => json!({ "enum": ["x", "y"] }),
        2 => json!({ "enum": ["x", null], "type": ["string", "null", "integer"] }),
        3 => json!({ "type": "integer", "minimum": 0, "maximum": 9_007_199_254_740_992_u64 }),
        4 => json!({ "type": "number", "minimum": -0.5, "maximum": 7 }),
        5 => json!({ "type": ["boolean", "integer", "null"], "maximum": 1 }),
        6 => json!({ "type": ["string", "number"], "minimum": 1 }),
        7 => json!({ "$ref": "#/$defs/d", "description": "D" }),
        8 => choices.of(&[
            json!({ "type": "null" }),
            json!({ "enum": ["x", null], "type": "string" }),
        ]),
        9 => choices.of(&[
            json!(true),
            json!({}),
            json!({ "type": "string", "maxLength": 1 }),
            json!({ "anyOf": [{ "type": "string" }, { "const": 1 }] }),
            json!({ "type": "integer", "multipleOf": 2 }),
            json!({ "enum": ["x", 1] }),
            json!({ "minimum": 1 }),
        ]),
        10 | 11 => json!({ "type": "array", "items": schema(choices, depth - 1) }),
        _ => object(choices, depth - 1),
    }
}

fn object(choices: &mut Choices, depth: usize) -> Value {
    let mut properties = Map::new();
    for name in &NAMES[..choices.below(NAMES.len() + 1)] {
        properties.insert((*name).to_owned(), schema(choices, depth));
    }
    let mut names: Vec<String> = properties.keys().cloned().collect();
    names.truncate(choices.below(NAMES.len() + 1));
    let mut object = json!({ "type": "object", "properties": properties, "required": names });
    if choices.below(8) != 7 {
        object["additionalProperties"] = json!(false);
    }
    object
}

/// The text of a value that mostly fits the schema, with what JSON allows and plugins seldom write.
fn text(schema: &Value, root: &Value, choices: &mut Choices) -> String {
    if choices.below(16) == 15 {
        return choices
            .of(&[
                "1",
                "\"x\"",
                "[]",
                "{}",
                "null",
                "NaN",
                "[1,]",
                "",
                "\"x",
                "[[[[[[[0]]]]]]]",
            ])
            .to_owned();
    }
    if let Some(pointer) = schema["$ref"].as_str() {
        let target = root.pointer(&pointer[1..]).expect("it is there");
        return text(target, root, choices);
    }
    if let Some(all) = schema["enum"].as_array() {
        return choices.of(all).to_string();
    }
    let kind = match &schema["type"] {
        Value::Array(kinds) => choices.of(kinds),
        kind => kind.clone(),
    };
    let space = choices.of(&["", "", "", " ", "\n\t"]);
    match kind.as_str() {
        Some("null") => "null".to_owned(),
        Some("boolean") => choices.of(&["true", "false"]).to_owned(),
        Some("integer" | "number") => {
            // Floats that may be whole, and integers that a float does not hold.
            choices.is_odd |= choices.below(4) == 3;
            let plain = &["1", "0", "7", "-1", "0.5", "9007199254740992", "1E-7", "01"][..];
            let odd = &[
                "1.0",
                "1e2",
                "-0",
                "-0.0",
                "0.1e1",
                "9007199254740993",
                "-9007199254740993",
                "18446744073709551615",
                "18446744073709551616",
                "1e400",
            ][..];
            choices
                .of(if choices.is_odd { odd } else { plain })
                .to_owned()
        }
        Some("array") => {
            let items: Vec<String> = (0..choices.below(4))
                .map(|_| text(&schema["items"], root, choices))
                .collect();
            format!("[{space}{}{space}]", items.join(&format!(",{space}")))
        }
        Some("object") => {
            let mut fields = Vec::new();
            for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
                let quoted = Value::from(name.as_str()).to_string();
                let value = text(schema, root, choices);
                let value = format!("{space}:{space}{value}");
                match choices.below(24) {
                    23 => {}
                    22 => {
                        choices.is_odd = true;
                        fields.extend(vec![format!("{quoted}{value}"); 2]);
                    }
                    21 => fields.push(format!("\"e\"{value}")),
                    20 => fields.push(format!("{}{value}", quoted.replace('a', "\\u0061"))),
                    19 => fields.insert(0, format!("{quoted}{value}")),
                    _ => fields.push(format!("{quoted}{value}")),
                }
            }
            format!("{{{}{space}}}", fields.join(","))
        }
        _ => choices
            .of(&[
                r#""x""#,
                r#""y""#,
                r#""""#,
                r#""a\u0041\n\/\"""#,
                r#""\u001b[31mred\u0007""#,
                "\"\u{7f}\u{9b}é\u{a0}\"",
                r#""\ud83d\ude00\u00e9""#,
                r#""\ud800""#,
                r#""\udc00x""#,
                "\"\u{1}\"",
                r#""\x""#,
                r#""0123456789012345678901234567890123456789012345678901234567890123456789""#,
            ])
            .to_owned(),
    }
}

/// What was said before there was a quick way.
fn the_long_way(schema: &Schema, text: &str) -> Result<Value, String> {
    let mut value: Value =
        serde_json::from_str(text).map_err(|error| format!("the answer is no JSON: {error}"))?;
    crate::sanitize::value(&mut value);
    let checked = schema.checks()?.check(&value);
    checked.map_err(|faults| format!("the answer does not fit the plugin's schema: {faults}"))?;
    Ok(value)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]

    #[test]
    fn the_quick_way_says_what_the_long_one_says(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut choices = Choices { bytes: bytes.iter(), is_odd: false };
        let mut root = match choices.below(4) {
            3 => json!({ "type": "array", "items": schema(&mut choices, 2) }),
            _ => object(&mut choices, 3),
        };
        root["$defs"] = json!({ "d": schema(&mut choices, 0) });
        // Where it would refer to itself it has another.
        if root["$defs"]["d"].get("$ref").is_some() {
            root["$defs"]["d"] = json!({ "type": "integer" });
        }
        let schema = Schema::checked(root.clone()).unwrap();
        let checks = schema.checks().unwrap();
        for _ in 0..4 {
            choices.is_odd = false;
            let text = text(&root, &root, &mut choices);
            let long = the_long_way(&schema, &text);
            let told = schema.details(&text, &Secrets::default());
            prop_assert_eq!(&told, &long.as_ref().map(Details::from).map_err(Clone::clone), "{} {}", root, text);
            prop_assert_eq!(&schema.parse(&text, &Secrets::default()), &long);
            let quick = checks.shape.as_ref().map(|shape| quick::read(&text, shape, checks.most()));
            if let (Some(quick), Ok(_)) = (quick, &long) {
                prop_assert!(quick.is_some() || choices.is_odd, "{root} takes the long way for {text}");
            }
        }
    }
}

#[test]
fn what_plugins_write_goes_the_quick_way() {
    let root: Value = serde_json::from_str(include_str!(
        "../../../../../plugins-src/complexity/src/schema/output.json"
    ))
    .unwrap();
    let schema = Schema::checked(root).unwrap();
    let checks = schema.checks().unwrap();
    let shape = checks.shape.as_ref().expect("the schema is a usual one");
    let halstead = r#"{"unique_operators": 1, "total_operators": 2, "unique_operands": 3, "total_operands": 4,
        "volume": 1.50, "difficulty": 0, "effort": 1e3}"#;
    let numbers = format!(
        r#"{{"cyclomatic":1,"cognitive":0,"halstead":{halstead},"maintainability":null,"code_lines":9}}"#
    );
    let text = format!(
        r#"{{"language":"py\u0007thon","parses":true,"file":{numbers},"functions":[],"diagnostics":[]}}"#
    );
    let details = quick::read(&text, shape, checks.most()).expect("it is of the shape");
    assert_eq!(details.value(), the_long_way(&schema, &text).unwrap());
    let fields: Vec<&str> = details.fields().map(|(name, _)| name).collect();
    assert_eq!(
        fields,
        [
            r#""language""#,
            r#""parses""#,
            r#""file""#,
            r#""functions""#,
            r#""diagnostics""#
        ]
    );
    assert!(
        details
            .text()
            .starts_with(r#"{"language":"python","parses":true,"#)
    );
    // As many values as are too many, and one fewer.
    let count = super::weight::values(&details.value(), u64::MAX);
    assert!(quick::read(&text, shape, count).is_none());
    assert!(quick::read(&text, shape, count + 1).is_some());
    assert!(quick::read(&format!("{text} x"), shape, checks.most()).is_none());
}

#[test]
fn what_a_shape_does_not_know_is_left_to_the_validator() {
    for schema in [
        json!({ "type": "object", "properties": { "a": { "type": "string" } } }),
        json!({ "type": "object", "properties": {}, "required": ["a"], "additionalProperties": false }),
        json!({ "type": "string", "pattern": "a" }),
        json!({ "type": "array" }),
        json!({ "type": "integer", "minimum": 9_007_199_254_740_993_u64 }),
        json!({ "$schema": "http://json-schema.org/draft-04/schema#", "type": "integer" }),
        json!({ "$defs": { "a%b": { "type": "null" } }, "$ref": "#/$defs/a%25b" }),
        json!({ "type": "array", "items": { "$ref": "#" } }),
        json!({ "type": "string", "format": "date" }),
        json!({ "type": "string", "const": "a" }),
    ] {
        let schema = Schema::checked(schema).unwrap();
        assert!(
            schema.checks().unwrap().shape.is_none(),
            "{}",
            schema.value()
        );
    }
}
