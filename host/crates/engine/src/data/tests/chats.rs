//! Conversations of other tools, with tools and their answers.

use domain::{DataFormat, TrainOn};

use super::{all, learned, loaded};

pub(super) const TEMPLATE: &str = "{% if tools %}T{{ tools | length }}:{{ tools[0].name }}\n{% endif %}{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}{% for c in m.tool_calls or [] %}[{{ c.function.name }} {{ c.function.arguments | tojson }}]{% endfor %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

fn rows(text: &str, train_on: TrainOn) -> super::Data {
    loaded("rows.jsonl", text, |config| {
        config.chat_template = Some(TEMPLATE.into());
        config.train_on = train_on;
    })
    .unwrap()
}

#[test]
fn sharegpt_with_a_call_of_a_tool_is_what_llama_factory_makes_of_it() {
    let row = r#"{"conversations": [{"from": "human", "value": "2+2?"}, {"from": "function_call", "value": "{\"name\": \"add\", \"arguments\": {\"a\": 2}}"}, {"from": "observation", "value": "4"}, {"from": "gpt", "value": "four"}], "system": "be brief", "tools": "[{\"name\": \"add\"}]"}"#;
    let data = rows(row, TrainOn::Assistant);
    assert_eq!(data.report.format, DataFormat::Sharegpt);
    assert_eq!(
        all(&data.train[0]),
        "T1:add\n<|im_start|>system\nbe brief<|im_end|>\n<|im_start|>user\n2+2?<|im_end|>\n<|im_start|>assistant\n\
         [add {\"a\": 2}]<|im_end|>\n<|im_start|>tool\n4<|im_end|>\n<|im_start|>assistant\nfour<|im_end|>\n"
    );
    assert_eq!(
        learned(&data.train[0]),
        "[add {\"a\": 2}]<|im_end|>four<|im_end|>"
    );
}

#[test]
fn messages_with_tool_calls_and_nulls_of_a_table_are_the_same_conversation() {
    let plain = r#"{"messages": [{"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": {"name": "add", "arguments": {"a": 2}}}]}, {"role": "tool", "content": "4"}, {"role": "assistant", "content": "four"}], "tools": [{"name": "add"}]}"#;
    let filled = r#"{"messages": [{"role": "user", "content": "2+2?", "tool_calls": null}, {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": {"name": "add", "arguments": {"a": 2}}}]}, {"role": "tool", "content": "4", "tool_calls": null}, {"role": "assistant", "content": "four", "tool_calls": null}], "tools": "[{\"name\": \"add\"}]"}"#;
    let (one, other) = (
        rows(plain, TrainOn::Completion),
        rows(filled, TrainOn::Completion),
    );
    assert_eq!(one.train, other.train);
    assert_eq!(learned(&one.train[0]), "four<|im_end|>");
    assert!(all(&one.train[0]).contains("<|im_start|>tool\n4<|im_end|>"));
}

#[test]
fn conversations_of_axolotl_with_role_and_content_and_other_tags_are_read() {
    let row = r#"{"conversations": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "first"}]}"#;
    assert_eq!(
        learned(&rows(row, TrainOn::Completion).train[0]),
        "first<|im_end|>"
    );
    let row = r#"{"chat": [{"who": "me", "says": "q"}, {"who": "you", "says": "first"}]}"#;
    let data = loaded("rows.jsonl", row, |config| {
        config.format = DataFormat::Sharegpt;
        for (ours, theirs) in [
            ("conversations", "chat"),
            ("role_tag", "who"),
            ("content_tag", "says"),
            ("user_tag", "me"),
            ("assistant_tag", "you"),
        ] {
            config.columns.insert(ours.into(), theirs.into());
        }
    })
    .unwrap();
    assert_eq!(learned(&data.train[0]), "first<|im_end|>");
}

#[test]
fn segments_of_axolotl_stand_as_they_are() {
    let row = r#"{"segments": [{"label": false, "text": "Q: one\nA:"}, {"label": true, "text": " first\n"}, {"label": false, "text": "Q"}]}"#;
    let data = rows(row, TrainOn::Completion);
    assert_eq!(data.report.format, DataFormat::Segments);
    assert_eq!(all(&data.train[0]), "Q: one\nA: first\nQ");
    assert_eq!(learned(&data.train[0]), " first\n");
}

#[test]
fn alpaca_has_earlier_turns_before_the_instruction() {
    let row = r#"{"instruction": "Now?", "output": "second", "history": [["Before?", "first"]]}"#;
    let data = rows(row, TrainOn::Completion);
    assert!(all(&data.train[0]).ends_with(
        "### Instruction:\nBefore?\n\n### Response:\nfirst\n\n### Instruction:\nNow?\n\n### Response:\nsecond<|endoftext|>"
    ));
    assert_eq!(learned(&data.train[0]), "second<|endoftext|>");
}
