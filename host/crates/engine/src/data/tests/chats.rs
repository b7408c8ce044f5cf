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
fn the_reasoning_and_the_names_of_a_turn_reach_the_template() {
    let template = "{% for m in messages %}<|im_start|>{{ m.role }}{{ ' ' + m.name if m.name }}\n{% if m.reasoning_content %}[{{ m.reasoning_content }}]{% endif %}{{ m.content }}<|im_end|>{% endfor %}";
    let row = r#"{"conversations": [{"from": "human", "value": "q", "name": "ann"}, {"from": "gpt", "value": "a", "thinking": "hm"}]}"#;
    let data = loaded("rows.jsonl", row, |config| {
        config.chat_template = Some(template.into());
        config.train_on = TrainOn::All;
    })
    .unwrap();
    assert_eq!(
        all(&data.train[0]),
        "<|im_start|>user ann\nq<|im_end|><|im_start|>assistant\n[hm]a<|im_end|>"
    );
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

#[test]
fn a_prompt_and_a_completion_of_messages_are_a_conversation_whose_completion_is_learned() {
    let row = r#"{"prompt": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "one"}, {"role": "user", "content": "b"}], "completion": [{"role": "assistant", "content": "two"}, {"role": "user", "content": "c"}, {"role": "assistant", "content": "three"}]}"#;
    let data = rows(row, TrainOn::Completion);
    assert_eq!(data.report.format, domain::DataFormat::Completion);
    assert!(
        all(&data.train[0])
            .starts_with("<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\none<|im_end|>")
    );
    assert_eq!(learned(&data.train[0]), "two<|im_end|>three<|im_end|>");
    let every = rows(row, TrainOn::Assistant);
    assert_eq!(
        learned(&every.train[0]),
        "one<|im_end|>two<|im_end|>three<|im_end|>"
    );
    let mixed = r#"{"prompt": [{"role": "user", "content": "a"}], "completion": "text"}"#;
    let message = super::refusal(mixed, |config| config.chat_template = Some(TEMPLATE.into()));
    assert!(
        message.contains("field completion: must be a list, not text"),
        "{message}"
    );
}

#[test]
fn an_empty_system_text_of_alpaca_is_none() {
    let row = |system: &str| format!(r#"{{"instruction": "Now?", "output": "yes"{system}}}"#);
    let with = |system: &str| rows(&row(system), TrainOn::Completion).train;
    assert_eq!(with(r#", "system": """#), with(""));
    assert!(
        all(&with(r#", "system": "Be brief.""#)[0]).starts_with("Be brief.\n\n### Instruction")
    );
}

const MARKED: &str = r#"{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "one", "train": true}, {"role": "user", "content": "b", "train": false}, {"role": "assistant", "content": "two", "weight": 0}, {"role": "user", "content": "c"}, {"role": "assistant", "content": "three"}]}"#;

#[test]
fn a_turn_that_says_whether_it_is_learned_goes_before_the_rule() {
    let learns = |text: &str, train_on| learned(&rows(text, train_on).train[0]);
    let both = "one<|im_end|>three<|im_end|>";
    assert_eq!(learns(MARKED, TrainOn::Completion), both);
    assert_eq!(learns(MARKED, TrainOn::Assistant), both);
    let sharegpt = r#"{"system": "s", "conversations": [{"from": "human", "value": "a", "train": false}, {"from": "gpt", "value": "one", "train": true}, {"from": "human", "value": "b"}, {"from": "gpt", "value": "two", "train": false}]}"#;
    assert_eq!(learns(sharegpt, TrainOn::Assistant), "one<|im_end|>");
    let last = MARKED.replace("\"three\"", "\"three\", \"weight\": 0.0");
    assert_eq!(learns(&last, TrainOn::Completion), "one<|im_end|>");
    let weighted = MARKED.replace("\"train\": false", "\"train\": null");
    let all = learns(&weighted, TrainOn::All);
    assert!(all.contains("one<|im_end|>") && all.contains("user\nb<|im_end|>"));
    assert!(!all.contains("two"), "{all}");
}

#[test]
fn marks_that_cannot_be_followed_are_refused_by_name() {
    let refusal = |from: &str, to: &str, train_on| {
        let text = MARKED.replace(from, to);
        assert_ne!(text, MARKED);
        super::refusal(&text, |config| {
            config.chat_template = Some(TEMPLATE.into());
            config.train_on = train_on;
        })
    };
    let user = refusal("\"train\": false", "\"train\": true", TrainOn::Assistant);
    assert!(
        user.contains("line 1") && user.contains("message 3"),
        "{user}"
    );
    let passed = refusal("\"b\"", "\"d\"", TrainOn::All);
    assert!(passed.contains("message 3"), "{passed}");
    let half = refusal("\"weight\": 0", "\"weight\": 0.5", TrainOn::Assistant);
    assert!(
        half.contains("weight must be true or false, not 0.5"),
        "{half}"
    );
    let both = refusal(
        "\"weight\": 0",
        "\"weight\": 0, \"train\": true",
        TrainOn::Assistant,
    );
    assert!(both.contains("contradicts"), "{both}");
    let within = refusal(
        "\"weight\": 0",
        "\"train_detail\": [{\"begin_offset\": 0}]",
        TrainOn::Assistant,
    );
    assert!(within.contains("train_detail is not supported"), "{within}");
}

#[test]
fn texts_in_parts_are_one_text() {
    let one = r#"{"messages": [{"role": "user", "content": "first second"}, {"role": "assistant", "content": "yes"}]}"#;
    let parts = r#"{"messages": [{"role": "user", "content": [{"type": "text", "text": "first"}, {"type": "text", "text": " second"}]}, {"role": "assistant", "content": [{"type": "text", "text": "yes"}]}]}"#;
    let chat = r#"{"conversations": [{"from": "human", "value": [{"text": "first"}, {"value": " second"}]}, {"from": "gpt", "value": "yes"}]}"#;
    let expected = rows(one, TrainOn::Assistant).train;
    assert_eq!(rows(parts, TrainOn::Assistant).train, expected);
    assert_eq!(rows(chat, TrainOn::Assistant).train, expected);
    let mixed = parts.replace(
        "\"text\": \"first\"",
        "\"text\": \"first\", \"train\": false",
    );
    let message = super::refusal(&mixed, |config| {
        config.chat_template = Some(TEMPLATE.into())
    });
    assert!(
        message.contains("message 1") && message.contains("turns of their own"),
        "{message}"
    );
}

#[test]
fn conversations_that_a_table_holds_as_json_are_read() {
    let turns = r#"[{"from": "human", "value": "a, b"}, {"from": "gpt", "value": "yes"}]"#;
    let read = |name: &str, text: &str| {
        super::loaded(name, text, |config| {
            config.chat_template = Some(TEMPLATE.into())
        })
        .unwrap()
    };
    let table = format!("conversations\n\"{}\"\n", turns.replace('"', "\"\""));
    let lines = format!("{{\"conversations\": {turns}}}\n");
    assert_eq!(read("a.csv", &table).train, read("a.jsonl", &lines).train);
}

#[test]
fn a_run_is_told_that_only_the_last_of_several_answers_is_learned() {
    let turns = |count: usize| {
        let turn = r#"{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}"#;
        format!("{{\"conversations\": [{}]}}", vec![turn; count].join(", "))
    };
    let notes = |count, train_on| rows(&turns(count), train_on).report.notes;
    let told = notes(2, TrainOn::Completion).concat();
    assert!(told.contains("the last of each is learned"), "{told}");
    assert!(notes(1, TrainOn::Completion).is_empty());
    assert!(notes(2, TrainOn::Assistant).is_empty());
}

/// A copy of the model with further chat templates.
fn with_templates(templates: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(super::model()).unwrap() {
        let file = entry.unwrap();
        std::fs::copy(file.path(), folder.path().join(file.file_name())).unwrap();
    }
    let further = folder.path().join("additional_chat_templates");
    std::fs::create_dir(&further).unwrap();
    for (name, source) in templates {
        std::fs::write(further.join(format!("{name}.jinja")), source).unwrap();
    }
    folder
}

/// Texts of rows by a model's templates.
fn written(
    model: &std::path::Path,
    rows: &str,
    chat_template: Option<&str>,
) -> crate::Result<Vec<String>> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.jsonl");
    std::fs::write(&path, rows).unwrap();
    let config = domain::DataConfig {
        path: Some(path.display().to_string()),
        chat_template: chat_template.map(str::to_owned),
        train_on: TrainOn::All,
        ..domain::DataConfig::default()
    };
    let data = crate::data::load(&config, model, 0)?;
    Ok(data.train.iter().map(all).collect())
}

#[test]
fn rows_with_tools_go_through_the_models_template_for_tools_and_a_name_chooses_any() {
    let model = with_templates(&[
        (
            "tool_use",
            "TOOLS {{ tools[0].name }} {{ messages[-1].content }}",
        ),
        ("rag", "RAG {{ messages[-1].content }}"),
    ]);
    let turns =
        r#""messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]"#;
    let rows = format!("{{{turns}}}\n{{{turns}, \"tools\": [{{\"name\": \"add\"}}]}}\n");
    let own = written(model.path(), &rows, None).unwrap();
    assert!(own[0].starts_with("<|im_start|>user"), "{own:?}");
    assert_eq!(own[1], "TOOLS add a");
    let named = written(model.path(), &rows, Some("rag")).unwrap();
    assert_eq!(named, ["RAG a", "RAG a"]);
    let message = written(model.path(), &rows, Some("chatml"))
        .unwrap_err()
        .to_string();
    assert!(
        message.starts_with("data.chat_template: ")
            && message.contains("it has default, rag, tool_use"),
        "{message}"
    );
}

/// Writes the reasoning mode that a row asks for, as templates of reasoning models do.
const THINKING: &str = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}{% if enable_thinking is defined %}<{{ enable_thinking }}>{% endif %}{% for d in documents or [] %}({{ d.text }}){% endfor %}";

fn thinking(rows: &str, train_on: TrainOn) -> crate::Result<super::Data> {
    loaded("rows.jsonl", rows, |config| {
        config.chat_template = Some(THINKING.into());
        config.train_on = train_on;
    })
}

#[test]
fn a_rows_chat_template_kwargs_reach_the_template() {
    let turns = r#"[{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]"#;
    let row =
        |kwargs: &str| format!("{{\"messages\": {turns}, \"chat_template_kwargs\": {kwargs}}}\n");
    let rows = [
        row("{\"enable_thinking\": false}"),
        row("\"{\\\"enable_thinking\\\": true}\""),
        row("{\"enable_thinking\": null, \"documents\": [{\"text\": \"d\"}]}"),
        row("null"),
        row("\"\""),
    ];
    let data = thinking(&rows.concat(), TrainOn::All).unwrap();
    let texts: Vec<String> = data.train.iter().map(all).collect();
    let said = "[user]q[assistant]a";
    let expected = ["<False>", "<True>", "(d)", "", ""].map(|more| format!("{said}{more}"));
    assert_eq!(texts, expected);
    // The mask is of the same text.
    let data = thinking(&rows[0], TrainOn::Assistant).unwrap();
    assert_eq!(all(&data.train[0]), expected[0]);
    let lists = row("{\"enable_thinking\": 1}").replace("\"messages\"", "\"prompt\"");
    let lists = lists.replace(
        "}\n",
        ", \"completion\": [{\"role\": \"assistant\", \"content\": \"b\"}]}\n",
    );
    let data = thinking(&lists, TrainOn::All).unwrap();
    assert_eq!(all(&data.train[0]), "[user]q[assistant]a[assistant]b<1>");
    let shared = r#"{"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}], "chat_template_kwargs": {"enable_thinking": "no"}}"#;
    let data = thinking(shared, TrainOn::All).unwrap();
    assert_eq!(all(&data.train[0]), format!("{said}<no>"));
}

#[test]
fn chat_template_kwargs_that_are_not_a_rows_to_set_are_refused_with_their_row() {
    let turns = r#"[{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]"#;
    for (kwargs, told) in [
        (
            "[1]",
            "field chat_template_kwargs: must be an object, not a list",
        ),
        ("\"yes\"", "must be an object, not text"),
        (
            "{\"tools\": []}",
            "tools is an argument of apply_chat_template",
        ),
        (
            "{\"chat_template\": \"rag\"}",
            "data.chat_template names the one of all rows",
        ),
    ] {
        let row = format!("{{\"messages\": {turns}, \"chat_template_kwargs\": {kwargs}}}\n");
        let message = thinking(&row, TrainOn::All).unwrap_err().to_string();
        assert!(
            message.contains(told) && message.contains("line 1"),
            "{message}"
        );
    }
}
