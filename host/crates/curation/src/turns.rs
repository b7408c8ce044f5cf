//! The texts of conversations, in every shape that runs read: turns with `content` or `value`, texts in parts, what an assistant
//! thought, and what it called tools with. What a curator does not see is neither cleaned nor told apart.

use std::fmt::Write as _;

use serde_json::Value;

/// Where a turn says something, before the name that a dataset has for it.
const SAID: [&str; 2] = ["content", "value"];
/// Where it says what was thought before.
const THOUGHT: [&str; 3] = ["reasoning_content", "reasoning", "thinking"];
/// The text of a part.
const PART: [&str; 3] = ["text", "content", "value"];
/// Whose turns are learned.
const ASSISTANTS: [&str; 4] = ["assistant", "gpt", "model", "function_call"];

/// Something that a row says.
pub(crate) struct Said<'a> {
    /// `messages.0.content`.
    pub(crate) name: String,
    /// A JSON pointer in the row.
    pub(crate) place: String,
    pub(crate) text: &'a str,
    pub(crate) learned: bool,
}

/// A column of turns.
pub(crate) struct Column<'a> {
    /// Our name for it.
    pub(crate) name: &'a str,
    /// A JSON pointer to it.
    pub(crate) place: &'a str,
    /// Whether it holds answers, so that turns without a role are learned.
    pub(crate) is_answer: bool,
    /// What the dataset calls the text of a turn, where that is not usual.
    pub(crate) said_in: Option<&'a str>,
}

impl Column<'_> {
    /// What a list of turns says, or one turn by itself.
    pub(crate) fn texts<'a>(&self, value: &'a Value) -> Vec<Said<'a>> {
        let mut found = Vec::new();
        match value {
            Value::Array(turns) => {
                for (index, turn) in turns.iter().enumerate() {
                    let name = format!("{}.{index}", self.name);
                    let place = format!("{}/{index}", self.place);
                    self.turn(turn, &name, &place, &mut found);
                }
            }
            turn => self.turn(turn, self.name, self.place, &mut found),
        }
        found
    }

    fn turn<'a>(&self, turn: &'a Value, name: &str, place: &str, found: &mut Vec<Said<'a>>) {
        let role = turn.get("role").or_else(|| turn.get("from"));
        let learned = match role.and_then(Value::as_str) {
            Some(role) => ASSISTANTS.contains(&role),
            None => self.is_answer,
        };
        let mut path = Path {
            name: name.to_owned(),
            place: place.to_owned(),
            learned,
        };
        let own = self.said_in.filter(|key| !SAID.contains(key));
        for key in own.into_iter().chain(SAID).chain(THOUGHT) {
            match turn.get(key) {
                Some(Value::Array(parts)) => {
                    for (index, part) in parts.iter().enumerate() {
                        let key_of_text = PART.iter().find(|key| part[**key].is_string());
                        if let Some(key_of_text) = key_of_text {
                            path.within(&[key, &index.to_string(), key_of_text], |path| {
                                path.leaves(&part[*key_of_text], found);
                            });
                        }
                    }
                }
                Some(text @ Value::String(_)) => {
                    path.within(&[key], |path| path.leaves(text, found))
                }
                _ => {}
            }
        }
        let calls = turn.get("tool_calls").and_then(Value::as_array);
        for (index, call) in calls.into_iter().flatten().enumerate() {
            for steps in [&["function", "arguments"][..], &["arguments"]] {
                let given = steps.iter().try_fold(call, |value, step| value.get(step));
                let Some(given) = given else { continue };
                let index = index.to_string();
                let steps: Vec<&str> = ["tool_calls", &index]
                    .into_iter()
                    .chain(steps.iter().copied())
                    .collect();
                path.within(&steps, |path| path.leaves(given, found));
            }
        }
    }
}

/// Where in a row one is.
struct Path {
    name: String,
    place: String,
    learned: bool,
}

impl Path {
    fn within(&mut self, steps: &[&str], work: impl FnOnce(&mut Self)) {
        let (name, place) = (self.name.len(), self.place.len());
        for step in steps {
            let _ = write!(self.name, ".{step}");
            self.place += &pointer(step);
        }
        work(self);
        self.name.truncate(name);
        self.place.truncate(place);
    }

    /// Every text in a value.
    fn leaves<'a>(&mut self, value: &'a Value, found: &mut Vec<Said<'a>>) {
        match value {
            Value::String(text) => found.push(Said {
                name: self.name.clone(),
                place: self.place.clone(),
                text,
                learned: self.learned,
            }),
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.within(&[&index.to_string()], |path| path.leaves(item, found));
                }
            }
            Value::Object(fields) => {
                for (key, item) in fields {
                    self.within(&[key], |path| path.leaves(item, found));
                }
            }
            _ => {}
        }
    }
}

/// Every text in a column that is not learned, such as earlier turns as pairs.
pub(crate) fn given<'a>(value: &'a Value, name: &str, place: &str) -> Vec<Said<'a>> {
    let mut found = Vec::new();
    let mut path = Path {
        name: name.to_owned(),
        place: place.to_owned(),
        learned: false,
    };
    path.leaves(value, &mut found);
    found
}

/// One step of a JSON pointer.
pub(crate) fn pointer(step: &str) -> String {
    format!("/{}", step.replace('~', "~0").replace('/', "~1"))
}
