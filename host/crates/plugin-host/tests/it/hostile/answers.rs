//! Answers that break the contract.

use serde_json::json;

use super::{goes_on, with};
use crate::folder::{Folder, answer, broken, failure};
use crate::wat::Component;

#[test]
fn an_answer_that_its_schema_forbids_is_refused() {
    for (answer, part) in [
        (r#"{"ok":1}"#, "ok: 1 is not of type"),
        ("[]", "is not of type"),
        ("{}", "\"ok\" is a required property"),
        ("{\"ok\":NaN}", "no JSON"),
        ("", "no JSON"),
    ] {
        let mut component = Component::new("hostile");
        component.answer = answer.to_owned();
        let (_folder, host) = with(&component, "");
        let (code, message) = failure(&host, "hostile");
        assert_eq!(code, "invalid_output", "{answer}");
        assert!(message.contains(part), "{answer}: {message}");
        goes_on(&host);
    }
}

#[test]
fn an_input_that_the_schema_forbids_does_not_reach_the_plugin() {
    let (_folder, host) = with(&Component::executing("hostile", "unreachable"), "");
    let execution = host.run("hostile", &json!([])).unwrap();
    assert_eq!(execution.fuel, 0);
    assert!(matches!(
        execution.outcome,
        domain::ExecutionOutcome::Failed { ref code, .. } if code == "invalid_input"
    ));
}

#[test]
fn an_output_flood_is_cut() {
    let mut component = Component::new("hostile");
    component.claimed_length = Some(40_000);
    let (_folder, host) = with(&component, "limits.output_bytes = 10000");
    let (code, message) = failure(&host, "hostile");
    assert_eq!(code, "output");
    assert!(message.contains("limits.output_bytes"), "{message}");
    goes_on(&host);
}

#[test]
fn an_answer_outside_the_memory_or_not_utf_8_is_a_trap() {
    let mut component = Component::new("hostile");
    component.claimed_length = Some(1 << 20);
    let (_folder, host) = with(&component, "");
    assert_eq!(failure(&host, "hostile").0, "trap");
    let component = Component::executing(
        "hostile",
        "(i32.store8 (i32.load (i32.const 2052)) (i32.const 255))",
    );
    let (_folder, host) = with(&component, "");
    let (code, message) = failure(&host, "hostile");
    assert_eq!(code, "trap");
    assert!(message.contains("utf"), "{message}");
    goes_on(&host);
}

#[test]
fn metadata_that_cannot_be_shown_is_refused() {
    type Change = fn(&mut Component);
    let cases: [(Change, &str); 3] = [
        (|c| c.version = "one".to_owned(), "metadata.version \"one\""),
        (
            |c| c.output_schema = r#"{"type":"nonsense"}"#.to_owned(),
            "metadata.output-schema is no JSON Schema",
        ),
        (
            |c| c.output_schema = "{".to_owned(),
            "metadata.output-schema is no JSON",
        ),
    ];
    for (change, part) in cases {
        let mut component = Component::new("hostile");
        change(&mut component);
        let (_folder, host) = with(&component, "");
        let message = broken(&host, "hostile");
        assert!(message.contains(part), "{message}");
        goes_on(&host);
    }
}

#[test]
fn a_schema_that_is_walked_without_an_end_is_refused_before_it_checks_anything() {
    let definitions = |times: usize, length: usize| {
        let next = |at: usize| vec![json!({ "$ref": format!("#/$defs/d{}", at + 1) }); times];
        let mut all: serde_json::Map<String, serde_json::Value> = (0..length)
            .map(|at| (format!("d{at}"), json!({ "allOf": next(at) })))
            .collect();
        all.insert(format!("d{length}"), json!({}));
        json!({ "$ref": "#/$defs/d0", "$defs": all }).to_string()
    };
    for (schema, part) in [
        (definitions(2, 40), "100000 values"),
        (definitions(1, 200), "128 deep"),
        (
            json!({ "$ref": "http://127.0.0.1/schema" }).to_string(),
            "no place in it",
        ),
    ] {
        let mut component = Component::new("hostile");
        component.output_schema = schema;
        let (_folder, host) = with(&component, "");
        let message = broken(&host, "hostile");
        assert!(
            message.contains("metadata.output-schema") && message.contains(part),
            "{message}"
        );
        goes_on(&host);
    }
}

#[test]
fn a_name_that_differs_from_the_manifest_is_refused() {
    let folder = Folder::new();
    folder.write("a/a.wasm", Component::new("b").bytes());
    folder.write("a/plugin.toml", "name = \"a\"\ncomponent = \"a.wasm\"\n");
    assert!(broken(&folder.open(), "a").contains("calls itself \"b\""));
}

#[test]
fn escape_sequences_do_not_get_out() {
    let mut component = Component::new("hostile");
    component.answer = r#"{"ok":true,"text":"\u001b[31mred\u0007"}"#.to_owned();
    let (_folder, host) = with(&component, "");
    assert_eq!(answer(&host, "hostile")["text"], "red");
}

#[test]
fn half_a_character_of_utf16_is_that_calls_fault() {
    // The answer's place and length are written over, and at the place half of a surrogate pair.
    let execute = "(i32.store16 (i32.const 60000) (i32.const 0xd800))
                   (i32.store (i32.const 2052) (i32.const 60000))
                   (i32.store (i32.const 2056) (i32.const 1))";
    let lift = r#"(canon lift (core func $i "execute") "#;
    let text = Component::executing("hostile", execute).wat();
    assert!(text.contains(lift));
    let text = text.replace(lift, &format!("{lift}string-encoding=utf16 "));
    let folder = Folder::new();
    folder.install(&Component::new("good"), "");
    folder.write("hostile.wasm", wat::parse_str(text).unwrap());
    let host = folder.open();
    let (code, message) = failure(&host, "hostile");
    assert_eq!(code, "trap", "{message}");
    goes_on(&host);
}
