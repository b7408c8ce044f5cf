//! Secrets on their way out again: whatever a plugin says, of whatever kind it is, goes through [`Secrets::clean`] before it
//! leaves the host, into answers, reports, histories, pages and training sets.
//!
//! A secret is found as it is, and as texts are quoted. A plugin that means to can still disguise one.

use domain::{Decision, Details, FileAnalysis, Reason, SampleEdit, Score, Verdict};
use serde_json::Value;

use crate::outcome::Failure;
use crate::sanitize;

/// Characters of a sentence; the rest is cut, since it may quote what a stranger wrote.
const LONGEST_SENTENCE: usize = 500;
/// Bytes of a secret that say nothing of it.
const TELLS_NOTHING: usize = 3;

/// What a call was given, in the forms in which it may come back; the longest first.
#[derive(Debug, Default)]
pub(crate) struct Secrets(Vec<Form>);

#[derive(Debug, PartialEq, Eq)]
struct Form {
    text: String,
    instead: String,
}

/// A text of an answer, by what may be done to it.
pub(crate) enum Text<'a> {
    /// A key of reports: it stays as it is, or the answer is refused.
    Word(&'a str),
    /// For people: it may be cut.
    Sentence(&'a mut String),
    Whole(&'a mut String),
    Json(&'a mut Value),
    Details(&'a mut Details),
}

/// What a plugin answers, for what it says.
pub(crate) trait Said {
    /// Calls `each` for every text that the plugin wrote.
    fn texts(&mut self, each: &mut dyn FnMut(Text<'_>));
}

impl Secrets {
    pub(crate) fn add(&mut self, name: &str, value: &str) {
        let quoted = Value::from(value).to_string();
        let forms = [
            value.to_owned(),
            sanitize::text(value).into_owned(),
            value.escape_debug().to_string(),
            quoted[1..quoted.len() - 1].to_owned(),
        ];
        for text in forms {
            let instead = format!("[secret {name}]");
            let is_known = self.0.iter().any(|form| form.text == text);
            if !is_known && text.len() > TELLS_NOTHING {
                self.0.push(Form { text, instead });
            }
        }
        // One may be a part of another.
        self.0
            .sort_by_key(|form| std::cmp::Reverse(form.text.len()));
    }

    /// Whether there is nothing to hide.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes the values of secrets out of a text.
    pub(crate) fn hide(&self, text: &mut String) {
        for Form {
            text: value,
            instead,
        } in &self.0
        {
            if text.contains(value) {
                *text = text.replace(value, instead);
            }
        }
    }

    /// The same of a text that was cut off, perhaps within a secret.
    pub(crate) fn hide_to_the_end(&self, text: &mut String) {
        self.hide(text);
        let beginning = |form: &Form| {
            let most = form.text.len().min(text.len() + 1);
            let lengths = (TELLS_NOTHING + 1..most).rev();
            lengths
                .filter(|length| text.as_bytes().ends_with(&form.text.as_bytes()[..*length]))
                .find(|length| text.is_char_boundary(text.len() - length))
                .map(|length| (text.len() - length, form.instead.clone()))
        };
        if let Some((at, instead)) = self.0.iter().filter_map(beginning).min() {
            text.truncate(at);
            text.push_str(&instead);
        }
    }

    /// Takes them out of the strings of a JSON value, its keys, and numbers that are one.
    pub(crate) fn hide_in(&self, value: &mut Value) {
        if self.is_empty() {
            return;
        }
        match value {
            Value::String(text) => self.hide(text),
            Value::Array(items) => items.iter_mut().for_each(|item| self.hide_in(item)),
            Value::Object(fields) => {
                let taken = std::mem::take(fields);
                fields.extend(taken.into_iter().map(|(mut key, mut value)| {
                    self.hide(&mut key);
                    self.hide_in(&mut value);
                    (key, value)
                }));
            }
            Value::Number(number) => {
                let mut text = number.to_string();
                self.hide(&mut text);
                if text != number.to_string() {
                    *value = Value::String(text);
                }
            }
            Value::Null | Value::Bool(_) => {}
        }
    }

    fn hide_in_details(&self, details: &mut Details) {
        if !self.is_empty() {
            let mut value = details.value();
            self.hide_in(&mut value);
            *details = Details::from(&value);
        }
    }

    /// An answer or a failure as it may leave the host: without secrets, and sentences cut.
    ///
    /// # Errors
    /// The failure; or that a word is a secret, which nothing can stand for.
    pub(crate) fn clean<T: Said>(&self, result: Result<T, Failure>) -> Result<T, Failure> {
        let mut said = result.map_err(|failure| self.clean_failure(failure))?;
        let mut told = None;
        said.texts(&mut |text| match text {
            Text::Word(word) => {
                let found = self.0.iter().find(|form| word.contains(&form.text));
                told = told.take().or(found);
            }
            Text::Sentence(text) => {
                self.hide(text);
                cut(text);
            }
            Text::Whole(text) => self.hide(text),
            Text::Json(value) => self.hide_in(value),
            Text::Details(details) => self.hide_in_details(details),
        });
        match told {
            Some(Form { instead, .. }) => Err(Failure::new(
                "invalid_output",
                format!("has {instead} for a name; take the secret out of it"),
            )),
            None => Ok(said),
        }
    }

    pub(crate) fn clean_failure(&self, mut failure: Failure) -> Failure {
        self.hide(&mut failure.message);
        failure
    }
}

/// Cuts a text to what a sentence may have.
pub(crate) fn cut(text: &mut String) {
    if let Some((at, _)) = text.char_indices().nth(LONGEST_SENTENCE) {
        text.truncate(at);
        text.push('…');
    }
}

impl Said for () {
    fn texts(&mut self, _each: &mut dyn FnMut(Text<'_>)) {}
}

impl<T: Said> Said for Vec<T> {
    fn texts(&mut self, each: &mut dyn FnMut(Text<'_>)) {
        for said in self {
            said.texts(each);
        }
    }
}

impl Said for Value {
    fn texts(&mut self, each: &mut dyn FnMut(Text<'_>)) {
        each(Text::Json(self));
    }
}

impl Said for Score {
    fn texts(&mut self, each: &mut dyn FnMut(Text<'_>)) {
        each(Text::Word(&self.name));
        each(Text::Sentence(&mut self.reason));
    }
}

impl Said for Verdict {
    fn texts(&mut self, each: &mut dyn FnMut(Text<'_>)) {
        let (edits, reasons): (&mut [SampleEdit], &mut [Reason]) = match &mut self.decision {
            Decision::Keep => Default::default(),
            Decision::Drop { reason } => (&mut [], std::slice::from_mut(reason)),
            Decision::Rewrite { edits, reasons } => (&mut edits[..], &mut reasons[..]),
        };
        for edit in edits {
            each(Text::Whole(&mut edit.replacement));
        }
        for reason in reasons {
            each(Text::Word(&reason.code));
            each(Text::Sentence(&mut reason.message));
        }
        self.scores.texts(each);
        if let Some(signature) = &self.signature {
            each(Text::Word(&signature.name));
        }
    }
}

impl Said for FileAnalysis {
    fn texts(&mut self, each: &mut dyn FnMut(Text<'_>)) {
        for found in &mut self.diagnostics {
            each(Text::Whole(&mut found.code));
            each(Text::Whole(&mut found.message));
            if let Some(edit) = &mut found.suggestion {
                each(Text::Whole(&mut edit.replacement));
            }
        }
        for metric in &mut self.metrics {
            each(Text::Whole(&mut metric.name));
        }
        if let Some(details) = &mut self.details {
            each(Text::Details(details));
        }
        if let Some(why) = &mut self.unanalyzable {
            each(Text::Whole(why));
        }
    }
}

#[cfg(test)]
mod tests {
    use domain::{Decision, Reason, Score, Verdict};
    use serde_json::json;

    use super::Secrets;
    use crate::outcome::Failure;

    const VALUE: &str = "sk-\"0123456789";

    fn secrets() -> Secrets {
        let mut secrets = Secrets::default();
        secrets.add("PART", "sk-");
        secrets.add("KEY", VALUE);
        secrets.add("PIN", "12345678");
        secrets
    }

    fn hidden(text: &str) -> String {
        let mut text = text.to_owned();
        secrets().hide_to_the_end(&mut text);
        text
    }

    #[test]
    fn a_secret_is_found_as_it_is_quoted_and_cut_off() {
        assert_eq!(hidden(&format!("a {VALUE} b")), "a [secret KEY] b");
        assert_eq!(hidden(&format!("a {VALUE:?} b")), "a \"[secret KEY]\" b");
        assert_eq!(hidden("a sk-\"0123"), "a [secret KEY]");
        assert_eq!(hidden("12345678 1234567"), "[secret PIN] [secret PIN]");
        assert_eq!(hidden("nothing sk-"), "nothing sk-");
        assert_eq!(hidden(""), "");
    }

    #[test]
    fn json_has_none_in_texts_keys_and_numbers() {
        let mut value = json!({ VALUE: [VALUE, 12_345_678, 1] });
        secrets().hide_in(&mut value);
        let expected = json!({ "[secret KEY]": ["[secret KEY]", "[secret PIN]", 1] });
        assert_eq!(value, expected);
    }

    #[test]
    fn a_sentence_is_cut_after_the_secrets_are_out() {
        let message = format!("{}{VALUE}", "x".repeat(495));
        let decision = Decision::Drop {
            reason: Reason {
                code: "long".to_owned(),
                message,
            },
        };
        let verdict = Verdict {
            decision,
            scores: Vec::new(),
            signature: None,
        };
        let Decision::Drop { reason } = secrets().clean(Ok(verdict)).unwrap().decision else {
            panic!("it was to be dropped");
        };
        assert_eq!(reason.message, format!("{}[secr…", "x".repeat(495)));
    }

    #[test]
    fn a_word_that_is_a_secret_refuses_the_answer() {
        let score = |name: &str| Score {
            name: name.to_owned(),
            value: 1.0,
            reason: String::new(),
        };
        let said = vec![score("fine"), score("pin-12345678")];
        let failure: Failure = secrets().clean(Ok(said)).unwrap_err();
        assert_eq!(failure.code, "invalid_output");
        assert!(failure.message.contains("[secret PIN]"), "{failure:?}");
        assert!(secrets().clean(Ok(vec![score("fine")])).is_ok());
    }
}
