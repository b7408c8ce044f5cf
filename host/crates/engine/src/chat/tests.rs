use std::path::{Path, PathBuf};

use chrono::NaiveDateTime;
use serde_json::{Value as Json, json};

use super::{ChatTemplate, Conversation, Ending, clock};
use crate::tokenizer::{Piece, SpecialTokens, Tokenizer};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../tests/fixtures/templates")
}

fn rendered() -> Json {
    let text = std::fs::read_to_string(folder().join("rendered.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn now(fixture: &Json) -> NaiveDateTime {
    fixture["clock"]["now"].as_str().unwrap().parse().unwrap()
}

fn template(name: &str, fixture: &Json) -> ChatTemplate {
    let token = |name: &str| fixture["special_tokens"][name].as_str().map(str::to_owned);
    let special = SpecialTokens {
        bos: token("bos_token"),
        eos: token("eos_token"),
        ..Default::default()
    };
    let source = std::fs::read_to_string(folder().join(name)).unwrap();
    let mut template = ChatTemplate::new(&source, &special).unwrap();
    template.now = Some(now(fixture));
    template
}

fn conversation(case: &Json) -> Conversation<'_> {
    Conversation {
        messages: case["messages"].as_array().unwrap(),
        tools: case.get("tools"),
        documents: case.get("documents"),
        variables: case.get("kwargs").and_then(Json::as_object),
    }
}

/// A folder with these templates, in `tokenizer_config.json` or in files of their own.
fn with_templates(folder: &Path, templates: &Json, in_files: bool) -> Tokenizer {
    let words = json!({
        "version": "1.0", "added_tokens": [], "normalizer": null, "pre_tokenizer": null, "post_processor": null, "decoder": null,
        "model": { "type": "WordLevel", "vocab": { "a": 0 }, "unk_token": "a" },
    });
    std::fs::write(folder.join("tokenizer.json"), words.to_string()).unwrap();
    if !in_files {
        let config = json!({ "chat_template": templates }).to_string();
        std::fs::write(folder.join("tokenizer_config.json"), config).unwrap();
        return Tokenizer::load(folder).unwrap();
    }
    let further = folder.join("additional_chat_templates");
    std::fs::create_dir(&further).unwrap();
    for template in templates.as_array().unwrap() {
        let path = match template["name"].as_str().unwrap() {
            "default" => folder.join("chat_template.jinja"),
            name => further.join(format!("{name}.jinja")),
        };
        std::fs::write(path, template["template"].as_str().unwrap()).unwrap();
    }
    Tokenizer::load(folder).unwrap()
}

#[test]
fn of_several_templates_the_one_is_taken_that_transformers_takes() {
    let text = std::fs::read_to_string(folder().join("named.json")).unwrap();
    let cases: Vec<Json> = serde_json::from_str(&text).unwrap();
    assert!(cases.len() > 30);
    for (case, in_files) in cases.iter().flat_map(|case| [(case, false), (case, true)]) {
        let folder = tempfile::tempdir().unwrap();
        let tokenizer = with_templates(folder.path(), &case["templates"], in_files);
        let messages = [json!({ "role": "user", "content": "c" })];
        let conversation = Conversation {
            messages: &messages,
            tools: (!case["tools"].is_null()).then_some(&case["tools"]),
            documents: Some(&case["documents"]),
            variables: None,
        };
        let asked = case["chat_template"].as_str();
        let template = ChatTemplate::asked(&tokenizer, asked);
        let written = template.and_then(|template| template.render(conversation, false));
        match (written, case["text"].as_str()) {
            (Ok(written), Some(text)) => assert_eq!(written, text, "{case}"),
            (Err(error), None) => {
                assert!(error.to_string().contains("none that is called default"))
            }
            (written, _) => panic!("{written:?}: {case}"),
        }
    }
}

#[test]
fn a_text_with_percent_is_refused_with_its_line_and_the_way_to_write_it() {
    let template = |source: &str| ChatTemplate::new(source, &SpecialTokens::default()).unwrap();
    let messages = [json!({ "role": "user", "content": "c" })];
    let conversation = Conversation {
        messages: &messages,
        ..Conversation::default()
    };
    for operands in ["(messages[0].role, 3)", "messages[0].role", "3"] {
        let source = format!("{{# one #}}\n{{{{ '%s: %d' % {operands} }}}}");
        let error = template(&source).render(conversation, false).unwrap_err();
        let error = error.to_string();
        assert!(
            error.contains("| format(a, b)") && error.contains("line 2"),
            "{error}"
        );
    }
    let filter = template("{{ '%s: %d' | format(messages[0].role, 3) }} {{ 7 % 4 }}");
    assert_eq!(filter.render(conversation, false).unwrap(), "user: 3 3");
}

#[test]
fn a_word_that_names_no_template_is_refused_with_those_that_are_there() {
    let folder = tempfile::tempdir().unwrap();
    let templates = json!([{ "name": "default", "template": "{{ 1 }}" }, { "name": "rag", "template": "{{ 2 }}" }]);
    let tokenizer = with_templates(folder.path(), &templates, false);
    let error = ChatTemplate::asked(&tokenizer, Some("tool_use"))
        .err()
        .unwrap()
        .to_string();
    assert!(
        error.contains("\"tool_use\"") && error.contains("it has default, rag"),
        "{error}"
    );
}

#[test]
fn templates_render_every_conversation_as_transformers_does() {
    let fixture = rendered();
    let mut compared = 0;
    let mut faults = Vec::new();
    for (name, results) in fixture["templates"].as_object().unwrap() {
        let template = template(name, &fixture);
        for (case_name, expected) in results.as_object().unwrap() {
            let case = &fixture["cases"][case_name];
            let continues = case["continue_final_message"] == true;
            let opens = case["add_generation_prompt"] == true;
            if continues && opens {
                // An Ending is one of the two: what Transformers refuses cannot be said here.
                assert!(expected.get("error").is_some());
                continue;
            }
            let ending = match (continues, opens) {
                (true, _) => Ending::Continue("content"),
                (_, true) => Ending::Prompt,
                _ => Ending::Closed,
            };
            let got = template.render_ending(conversation(case), ending);
            compared += 1;
            match (got, expected["text"].as_str(), expected["error"].as_str()) {
                (Ok(got), Some(text), _) if got == text => {}
                // Errors of Python's own have its own words; those of the template must be handed on.
                (Err(_), None, Some("UndefinedError" | "TypeError")) => {}
                (Err(error), None, Some(message)) if error.to_string().contains(message) => {}
                (got, text, error) => faults.push(format!(
                    "{name}, {case_name}:\n  got      {got:?}\n  expected {text:?}{error:?}"
                )),
            }
        }
    }
    assert!(
        faults.is_empty(),
        "{} of {compared}:\n{}",
        faults.len(),
        faults.join("\n")
    );
    assert!(compared > 380, "{compared}");
}

#[test]
fn generation_blocks_mark_what_transformers_masks() {
    let fixture = rendered();
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../sample/model");
    let tokenizer = Tokenizer::load(&model).unwrap();
    let (mut marked, mut cut) = (0, Vec::new());
    for (name, results) in fixture["templates"].as_object().unwrap() {
        let template = template(name, &fixture);
        for (case_name, expected) in results.as_object().unwrap() {
            let Some(spans) = expected.get("spans") else {
                continue;
            };
            let case = &fixture["cases"][case_name];
            if case["add_generation_prompt"] == true {
                continue;
            }
            let turns = template.turns(conversation(case)).unwrap();
            let characters = |byte: usize| turns.text[..byte].chars().count();
            let got: Vec<[usize; 2]> = turns
                .assistant
                .iter()
                .map(|turn| [characters(turn.start), characters(turn.end)])
                .collect();
            assert_eq!(json!(got), *spans, "{name}, {case_name}");
            let mut pieces = Vec::new();
            let mut cursor = 0;
            for turn in &turns.assistant {
                pieces.push(Piece::given(&turns.text[cursor..turn.start]));
                pieces.push(Piece::trained(&turns.text[turn.clone()]));
                cursor = turn.end;
            }
            pieces.push(Piece::given(&turns.text[cursor..]));
            let (ids, mask) = tokenizer.encode_pieces(&pieces).unwrap();
            let mask: Vec<u8> = mask.into_iter().map(u8::from).collect();
            if json!(ids) != expected["input_ids"] {
                // A token reaches over the edge of a turn: here it is cut there, so that the prompt has the tokens
                // that it has alone; Transformers counts it to the turn.
                cut.push(format!("{name}, {case_name}"));
                continue;
            }
            assert_eq!(json!(mask), expected["mask"], "{name}, {case_name}");
            marked += mask.iter().filter(|&&on| on == 1).count();
        }
    }
    assert!(marked > 100, "{marked}");
    assert_eq!(cut, ["chatml.jinja, odd_whitespace"]);
}

#[test]
fn dates_are_written_as_python_writes_them() {
    let fixture = rendered();
    for (format, expected) in fixture["clock"]["formats"].as_object().unwrap() {
        assert_eq!(
            clock::strftime(now(&fixture), format).unwrap(),
            *expected,
            "{format}"
        );
    }
}

fn refused(source: &str) -> String {
    let messages = [json!({"role": "user", "content": "x"})];
    let conversation = Conversation {
        messages: &messages,
        ..Default::default()
    };
    match ChatTemplate::new(source, &SpecialTokens::default()) {
        Ok(template) => template
            .render(conversation, false)
            .unwrap_err()
            .to_string(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_template_that_never_ends_or_writes_too_much_is_refused() {
    let endless =
        "{% macro m(n) %}{% for i in range(9999) %}{{ m(n) }}{% endfor %}{% endmacro %}{{ m(1) }}";
    let message = refused(endless);
    assert!(
        message.contains("steps") || message.contains("recursion"),
        "{message}"
    );
    let nested = "{% for a in range(9999) %}{% for b in range(9999) %}{% for c in range(9999) %}{% endfor %}{% endfor %}{% endfor %}";
    assert!(refused(nested).contains("more steps than a template may"));
    let wide = "{% for a in range(9999) %}{{ 'x' * 1000 }}{% endfor %}";
    assert!(
        refused(wide).contains("writes more than a template may"),
        "{}",
        refused(wide)
    );
    let doubled = "{% set ns = namespace(s='x') %}{% for a in range(64) %}{% set ns.s = ns.s + ns.s %}{% endfor %}{{ ns.s }}";
    assert!(
        refused(doubled).contains("template"),
        "{}",
        refused(doubled)
    );
    assert!(refused("{{ 'x'.center(10000000000) }}{% for").contains("line 1"));
    assert!(refused("{{ 'x'.zfill(10000000000) }}").contains("65536"));
    assert!(
        refused("a\n{{ raise_exception('no ' ~ messages[0].role) }}").contains("no user (line 2")
    );
    assert!(refused("{{ open('/etc/passwd') }}").contains("open"));
    assert!(refused("{% include 'other' %}").contains("other"));
}

#[test]
fn a_generation_block_assigns_to_the_namespaces_around_it() {
    let source = "{% set ns = namespace(n=0) %}{% for m in messages %}{% if m.role == 'assistant' %}\n  {%- generation %}\n{% set ns.n = ns.n + 1 %}{{ m.content }}{% set ns.last = m.role %}\n{%- endgeneration %}{% endif %}{% endfor %}[{{ ns.n }}{{ ns.last }}]";
    let messages =
        ["user", "assistant", "assistant"].map(|role| json!({"role": role, "content": "x"}));
    let template = ChatTemplate::new(source, &SpecialTokens::default()).unwrap();
    let conversation = Conversation {
        messages: &messages,
        ..Default::default()
    };
    let turns = template.turns(conversation).unwrap();
    assert_eq!(turns.text, "xx[2assistant]");
    assert_eq!(turns.assistant, [0..1, 1..2]);
    // One that it only assigns to.
    let source = "{% set ns = namespace(a='no') %}{% generation %}{% set ns.a = 'yes' %}{% endgeneration %}{{ ns.a }}";
    let template = ChatTemplate::new(source, &SpecialTokens::default()).unwrap();
    assert_eq!(template.render(conversation, false).unwrap(), "yes");
}

/// What the assistant writes, by a template that writes earlier turns without their reasoning.
fn learned(messages: Json) -> Result<Vec<String>, crate::Error> {
    let template = template("qwen3.jinja", &rendered());
    let turns = template.turns(Conversation {
        messages: messages.as_array().unwrap(),
        ..Default::default()
    })?;
    let learned = turns.assistant.iter();
    Ok(learned
        .map(|turn| turns.text[turn.clone()].to_owned())
        .collect())
}

#[test]
fn a_turn_whose_text_was_said_before_is_found_where_the_assistant_says_it() {
    let messages = json!([
        { "role": "user", "content": "Is x = 1 right?" },
        { "role": "assistant", "content": "x = 1" },
        { "role": "user", "content": "x = 1? And then?" },
        { "role": "assistant", "content": "x = 1\n" },
        { "role": "user", "content": "Once more: x = 1." },
        { "role": "assistant", "content": "x = 1" },
    ]);
    assert_eq!(
        learned(messages).unwrap(),
        [
            "x = 1<|im_end|>\n",
            "x = 1\n<|im_end|>\n",
            "<think>\n\n</think>\n\nx = 1<|im_end|>\n"
        ]
    );
}

/// Templates that open no turn, write roles around or behind texts, change letters, or write earlier turns otherwise; and
/// texts that stand in other places too: in roles, in each other, in what the template writes.
#[test]
fn a_turn_is_found_by_its_place_however_short_its_text() {
    let plain = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}";
    let behind = "{% for m in messages %}{{ m.content }} <- {{ m.role }}\n{% endfor %}";
    let changed =
        "{% for m in messages %}{{ m.role | upper }} {{ m.content | capitalize }};{% endfor %}";
    let numbered = "{% for m in messages %}{{ loop.revindex }} assistant/{{ m.role }} [{{ m.content | trim }}]{% endfor %}";
    let closed = "{% for m in messages %}{{ m.role }}={{ m.content }}{% if not loop.last %}|{% endif %}{% endfor %}";
    let texts = [
        "a",
        "s",
        "assistant",
        "n",
        "hello",
        "user: hello",
        "1",
        "]",
        "|",
    ];
    for (source, written) in [
        (
            plain,
            &(|text: &str| format!("{text}\n")) as &dyn Fn(&str) -> String,
        ),
        (behind, &|text| format!("{text} <- assistant\n")),
        (changed, &|text| {
            let first = text[..1].to_uppercase();
            format!("{first}{};", &text[1..])
        }),
        (numbered, &|text| format!("{text}]")),
        (closed, &|text| text.to_owned()),
    ] {
        let template = ChatTemplate::new(source, &SpecialTokens::default()).unwrap();
        for (one, two) in texts.iter().zip(texts.iter().rev()) {
            let said = |role: &str, text: &str| json!({ "role": role, "content": text });
            let messages = [
                said("user", "assistant: hello"),
                said("assistant", one),
                said("user", two),
                said("assistant", two),
            ];
            let turns = template.turns(Conversation {
                messages: &messages,
                ..Conversation::default()
            });
            let turns = turns.unwrap();
            let learned: Vec<&str> = turns
                .assistant
                .iter()
                .map(|turn| &turns.text[turn.clone()])
                .collect();
            assert_eq!(
                learned,
                [written(one), written(two)],
                "{source}: {}",
                turns.text
            );
        }
    }
    // What a template makes of a text cannot be told apart from what it writes itself.
    let lost = ChatTemplate::new(
        "{% for m in messages %}{{ m.role }}: {{ m.content | length }} a\n{% endfor %}",
        &SpecialTokens::default(),
    );
    let error = lost.unwrap().turns(Conversation {
        messages: &[json!({ "role": "assistant", "content": "a" })],
        ..Conversation::default()
    });
    let message = error.unwrap_err().to_string();
    assert!(message.contains("message 1"), "{message}");
}

#[test]
fn turns_that_call_tools_or_lose_their_reasoning_are_found() {
    let call = |name: &str| json!({ "type": "function", "function": { "name": name, "arguments": { "path": "a" } } });
    let messages = json!([
        { "role": "user", "content": "Why?" },
        { "role": "assistant", "content": "<think>\nHm, so?\n</think>\n\nSo." },
        { "role": "user", "content": "read" },
        { "role": "assistant", "content": "", "tool_calls": [call("read"), call("read")] },
        { "role": "tool", "content": "read" },
        { "role": "assistant", "content": null, "tool_calls": [call("read")] },
        { "role": "tool", "content": "b" },
        { "role": "assistant", "content": "Done." },
    ]);
    let one = "<tool_call>\n{\"name\": \"read\", \"arguments\": {\"path\": \"a\"}}\n</tool_call>";
    assert_eq!(
        learned(messages).unwrap(),
        [
            "So.<|im_end|>\n".to_owned(),
            format!("{one}\n{one}<|im_end|>\n"),
            format!("{one}<|im_end|>\n"),
            "<think>\n\n</think>\n\nDone.<|im_end|>\n".to_owned(),
        ]
    );
}

#[test]
fn methods_and_filters_take_their_settings_by_name() {
    for (source, expected) in [
        ("{{ 'a,b,c'.split(sep=',') }}", "['a', 'b', 'c']"),
        ("{{ 'a,b,c'.split(',', maxsplit=1) }}", "['a', 'b,c']"),
        ("{{ 'a,b,c'.rsplit(',', maxsplit=1) }}", "['a,b', 'c']"),
        ("{{ 'a\nb'.splitlines(keepends=true) }}", "['a\\n', 'b']"),
        ("{{ '' | d('c', boolean=True) }}", "c"),
        (
            "{{ x | default(default_value='c') }}{{ none | default('c') }}",
            "cNone",
        ),
        ("{{ 'x' | int(7) }}{{ '0x1a' | int(0, 16) }}", "726"),
        ("a {% raw %}\n {{ x }}{% endraw %}\nb", "a \n {{ x }}b"),
        ("{{ debug is defined }}", "False"),
    ] {
        let template = ChatTemplate::new(source, &SpecialTokens::default()).unwrap();
        let got = template.render(Conversation::default(), false).unwrap();
        assert_eq!(got, expected, "{source}");
    }
}

#[test]
fn a_template_for_tools_is_used_where_there_are_tools() {
    let mut template = ChatTemplate::new("plain", &SpecialTokens::default()).unwrap();
    template.add(super::TOOL_USE, "with tools").unwrap();
    let tools = json!([]);
    let render = |tools| {
        let conversation = Conversation {
            tools,
            ..Default::default()
        };
        template.render(conversation, false).unwrap()
    };
    assert_eq!(render(None), "plain");
    assert_eq!(render(Some(&tools)), "with tools");
}
