use serde_json::json;

use super::*;

fn parts(row: Value) -> Vec<(String, String, bool)> {
    let read = read(row.as_object().unwrap(), &BTreeMap::new());
    let parts = read.map(|read| read.sample.parts).unwrap_or_default();
    let parts = parts.into_iter();
    parts
        .map(|part| (part.name, part.text, part.learned))
        .collect()
}

#[test]
fn every_shape_of_row_has_its_texts() {
    let part = |name: &str, text: &str, learned| (name.to_owned(), text.to_owned(), learned);
    assert_eq!(
        parts(json!({"text": "a", "n": 1})),
        [part("text", "a", true)]
    );
    assert_eq!(
        parts(json!({"prompt": "a", "completion": "b"})),
        [part("prompt", "a", false), part("completion", "b", true)]
    );
    assert_eq!(
        parts(
            json!({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]})
        ),
        [
            part("messages.0.content", "a", false),
            part("messages.1.content", "b", true)
        ]
    );
    assert_eq!(
        parts(json!({"conversations": [{"from": "gpt", "value": "b"}]})),
        [part("conversations.0.value", "b", true)]
    );
    assert_eq!(
        parts(json!({"files": [{"path": "a", "text": "b"}]})),
        [part("files.0.text", "b", true)]
    );
    assert!(parts(json!({"n": 1})).is_empty());
}

#[test]
fn whatever_a_run_learns_from_is_seen() {
    let part = |name: &str, text: &str, learned| (name.to_owned(), text.to_owned(), learned);
    assert_eq!(
        parts(json!({"messages": [
            {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
            {"role": "assistant", "content": null, "reasoning_content": "c", "tool_calls": [
                {"function": {"name": "f", "arguments": "{\"k\": 1}"}},
                {"function": {"name": "g", "arguments": {"k/l": ["d"], "n": 1}}},
            ]},
        ]})),
        [
            part("messages.0.content.0.text", "a", false),
            part("messages.0.content.1.text", "b", false),
            part("messages.1.reasoning_content", "c", true),
            part(
                "messages.1.tool_calls.0.function.arguments",
                "{\"k\": 1}",
                true
            ),
            part(
                "messages.1.tool_calls.1.function.arguments.k/l.0",
                "d",
                true
            ),
        ]
    );
    assert_eq!(
        parts(json!({
            "conversations": [{"from": "human", "value": "a"}],
            "chosen": {"from": "gpt", "value": "b"}, "rejected": {"value": "c"},
        })),
        [
            part("conversations.0.value", "a", false),
            part("chosen.value", "b", true),
            part("rejected.value", "c", true)
        ]
    );
    assert_eq!(
        parts(json!({
            "prompt": [{"role": "user", "content": "a"}], "completion": [{"role": "assistant", "content": "b"}],
        })),
        [
            part("prompt.0.content", "a", false),
            part("completion.0.content", "b", true)
        ]
    );
    assert_eq!(
        parts(json!({"instruction": "c", "output": "d", "history": [["a", "b"]]})),
        [
            part("history.0.0", "a", false),
            part("history.0.1", "b", false),
            part("instruction", "c", false),
            part("output", "d", true)
        ]
    );
    assert_eq!(
        parts(json!({"segments": [{"label": false, "text": "a"}, {"label": true, "text": "b"}]})),
        [
            part("segments.0.text", "a", false),
            part("segments.1.text", "b", true)
        ]
    );
    assert_eq!(
        parts(json!({"messages": "[{\"role\": \"user\"}]"})),
        [part("messages", "[{\"role\": \"user\"}]", true)]
    );
}

#[test]
fn edits_go_back_into_the_row_and_nothing_else_changes() {
    let row = json!({"id": 7, "a/b": "héllo wörld", "path": "x.py"});
    let columns = BTreeMap::from([("text".to_owned(), "a/b".to_owned())]);
    let mut read = read(row.as_object().unwrap(), &columns).unwrap();
    assert_eq!(read.sample.path.as_deref(), Some("x.py"));
    let edit = |start, end, replacement: &str| SampleEdit {
        part: 0,
        start,
        end,
        replacement: replacement.to_owned(),
    };
    apply(
        &mut read.sample,
        &[edit(0, 6, "bye"), edit(7, 7, "my "), edit(13, 13, "!")],
    );
    let written = write(row.as_object().unwrap().clone(), &read.sample, &read.places);
    assert_eq!(
        written,
        json!({"id": 7, "a/b": "bye my wörld!", "path": "x.py"})
    );
}

#[test]
fn edits_reach_what_tools_are_called_with() {
    let row = json!({"messages": [{"role": "assistant", "content": "", "tool_calls": [
        {"function": {"name": "f", "arguments": {"a/b": "secret"}}},
    ]}]});
    let mut read = read(row.as_object().unwrap(), &BTreeMap::new()).unwrap();
    let edit = SampleEdit {
        part: 1,
        start: 0,
        end: 6,
        replacement: "<KEY>".to_owned(),
    };
    apply(&mut read.sample, &[edit]);
    let written = write(row.as_object().unwrap().clone(), &read.sample, &read.places);
    let call = &written["messages"][0]["tool_calls"][0];
    assert_eq!(call["function"]["arguments"]["a/b"], "<KEY>");
}

#[test]
fn digests_tell_texts_apart_and_the_path_only_for_curators() {
    let sample = |row: Value| {
        read(row.as_object().unwrap(), &BTreeMap::new())
            .unwrap()
            .sample
    };
    let texts = |row: Value| {
        let fields = row.as_object().unwrap();
        texts_digest(&sample(row.clone()), fields, &BTreeMap::new())
    };
    let (a, b) = (
        json!({"text": "x", "path": "a.py"}),
        json!({"text": "x", "path": "b.py"}),
    );
    assert_ne!(digest(&sample(a.clone())), digest(&sample(b.clone())));
    assert_eq!(texts(a.clone()), texts(b));
    assert_ne!(texts(a), texts(json!({"text": "y"})));
    let calling = |arguments: &str, tools: &str| {
        json!({ "messages": [{ "role": "user", "content": "Do it." }, { "role": "assistant", "content": null,
            "tool_calls": [{ "function": { "name": "do", "arguments": arguments } }] }], "tools": [tools] })
    };
    assert_ne!(texts(calling("1", "a")), texts(calling("2", "a")));
    assert_ne!(texts(calling("1", "a")), texts(calling("1", "b")));
}
