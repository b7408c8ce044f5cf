//! Pairs in the shapes that sets of the hub have them in, held to what TRL makes of them.

use domain::DataConfig;
use serde_json::{Value, json};

use super::{all, chats::TEMPLATE, learned, model};
use crate::{
    Error,
    data::{Pair, load_pairs},
};

fn told(rows: &[Value], max_seq_length: u32) -> Result<(Vec<Pair>, Vec<String>), Error> {
    told_by(TEMPLATE, rows, max_seq_length)
}

fn told_by(
    template: &str,
    rows: &[Value],
    max_seq_length: u32,
) -> Result<(Vec<Pair>, Vec<String>), Error> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.jsonl");
    let lines: Vec<String> = rows.iter().map(Value::to_string).collect();
    std::fs::write(&path, lines.join("\n")).unwrap();
    let config = DataConfig {
        path: Some(path.display().to_string()),
        chat_template: Some(template.into()),
        max_seq_length,
        ..DataConfig::default()
    };
    let mut lines = Vec::new();
    let (pairs, _) = load_pairs(&config, model(), 7, &mut |line| lines.push(line))?;
    Ok((pairs, lines))
}

fn read(row: &Value) -> Result<Pair, Error> {
    let (mut pairs, lines) = told(std::slice::from_ref(row), 1024)?;
    assert!(lines.is_empty(), "{lines:?}");
    Ok(pairs.remove(0))
}

fn turn(role: &str, content: &str) -> Value {
    json!({"role": role, "content": content})
}

/// The shape of `ultrafeedback_binarized`: the prompt stands once as a text, and once more in both conversations.
#[test]
fn a_prompt_beside_conversations_that_hold_it_is_not_asked_twice() {
    let [asked, good, bad] = [
        ("user", "Add."),
        ("assistant", "a + b"),
        ("assistant", "no"),
    ]
    .map(|(role, text)| turn(role, text));
    let plain = read(&json!({"prompt": [asked], "chosen": [good], "rejected": [bad]})).unwrap();
    for prompt in [json!("Add."), Value::Null] {
        let chosen = json!([asked, good]);
        let row = json!({"prompt": prompt, "chosen": chosen, "rejected": [asked, bad]});
        assert_eq!(read(&row).unwrap(), plain, "{row}");
    }
    // Beside a conversation of its own, which is the better one once more.
    let row = json!({
        "prompt": "Add.", "messages": [asked, good], "chosen": [asked, good], "rejected": [asked, bad],
    });
    assert_eq!(read(&row).unwrap(), plain);
    let answers = json!({"prompt": "Add.", "chosen": [good], "rejected": [bad]});
    assert_eq!(read(&answers).unwrap(), plain);
}

/// The shape of `hh-rlhf`: two texts, and the prompt is what they begin with.
#[test]
fn texts_without_a_prompt_are_parted_where_they_begin_to_differ() {
    for (chosen, rejected, prompt) in [
        ("user: add. yes", "user: add. no", "user: add."),
        ("user: first second", "user: first", "user: firs"),
        ("é: äx", "é: äy", "é: ä"),
    ] {
        let pair = read(&json!({"chosen": chosen, "rejected": rejected})).unwrap();
        for (sample, text) in [(&pair.chosen, chosen), (&pair.rejected, rejected)] {
            assert_eq!(all(sample), format!("{text}<|endoftext|>"));
            let answer = &text[prompt.len()..];
            assert_eq!(
                learned(sample),
                format!("{answer}<|endoftext|>"),
                "{text:?}"
            );
        }
    }
    let message = read(&json!({"chosen": "yes", "rejected": "no"})).unwrap_err();
    let message = message.to_string();
    assert!(
        message.contains("field prompt: is missing") && message.contains("the same text"),
        "{message}"
    );
}

#[test]
fn pairs_that_are_cut_or_left_out_are_told_of() {
    let row =
        |prompt: &str| json!({"prompt": prompt, "chosen": "first first first", "rejected": "no"});
    let rows = [
        row("a"),
        row("user asks user asks"),
        row(&"user asks ".repeat(40)),
    ];
    let (pairs, lines) = told(&rows, 16).unwrap();
    assert_eq!(pairs.len(), 2);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(
        lines[0].starts_with("of 3 pairs 2 were cut at data.max_seq_length = 16; 1 were left out"),
        "{lines:?}"
    );
}

#[test]
fn a_rows_chat_template_kwargs_reach_both_answers() {
    let template = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}{{ '!' if enable_thinking }}";
    let row = |kwargs: Value| {
        json!({
            "prompt": [turn("user", "q")], "chosen": [turn("assistant", "yes")],
            "rejected": [turn("assistant", "no")], "chat_template_kwargs": kwargs,
        })
    };
    let rows = [row(json!({"enable_thinking": true})), row(Value::Null)];
    let (pairs, _) = told_by(template, &rows, 64).unwrap();
    let texts = |pair: &Pair| [all(&pair.chosen), all(&pair.rejected)];
    assert_eq!(
        texts(&pairs[0]),
        ["[user]q[assistant]yes!", "[user]q[assistant]no!"]
    );
    assert_eq!(
        texts(&pairs[1]),
        ["[user]q[assistant]yes", "[user]q[assistant]no"]
    );
    let wrong = told_by(template, &[row(json!([]))], 64)
        .unwrap_err()
        .to_string();
    assert!(
        wrong.contains("field chat_template_kwargs: must be an object"),
        "{wrong}"
    );
}
