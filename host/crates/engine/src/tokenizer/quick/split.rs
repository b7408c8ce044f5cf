//! Text to words, as the `pre_tokenizer` of a `tokenizer.json` says.

use regex_automata::{
    Anchored, Input,
    meta::{Cache, Regex},
};
use serde_json::Value;

/// What `ByteLevel` splits by (GPT-2's encoder).
const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

/// How nearly every pattern ends: blanks up to the last before a word. It is the one place where they look ahead, which
/// an automaton cannot.
const BLANKS: &str = r"|\s+(?!\S)|\s+";

/// Steps, each of which splits further what the ones before it made.
pub(super) struct Splitter {
    steps: Vec<Step>,
}

enum Step {
    /// Matches and what lies between them. The second pattern, where there is one, stands for [`BLANKS`].
    Pattern(Regex),
    /// Numeric characters: alone, or as many as follow each other.
    Digits { alone: bool },
}

/// What splitting needs and keeps between texts.
pub(super) struct Memory {
    caches: Vec<Option<Cache>>,
    before: Vec<(usize, usize)>,
    after: Vec<(usize, usize)>,
}

impl Splitter {
    /// `None` for a pre-tokenizer of another kind.
    pub(super) fn new(pre_tokenizer: &Value) -> Option<Self> {
        let all = match pre_tokenizer["type"].as_str()? {
            "Sequence" => &pre_tokenizer["pretokenizers"].as_array()?[..],
            _ => std::slice::from_ref(pre_tokenizer),
        };
        // The step that turns text into bytes comes last, once.
        let (bytes, others) = all.split_last()?;
        if bytes["type"] != "ByteLevel" || bytes["add_prefix_space"] != false {
            return None;
        }
        let mut steps = others.iter().map(Step::new).collect::<Option<Vec<_>>>()?;
        if bytes["use_regex"].as_bool().unwrap_or(true) {
            steps.push(Step::pattern(GPT2)?);
        }
        Some(Self { steps })
    }

    pub(super) fn memory(&self) -> Memory {
        let caches = self.steps.iter().map(|step| match step {
            Step::Pattern(regex) => Some(regex.create_cache()),
            Step::Digits { .. } => None,
        });
        Memory {
            caches: caches.collect(),
            before: Vec::new(),
            after: Vec::new(),
        }
    }

    /// The words of `text`: bytes from and to.
    pub(super) fn split<'a>(&self, text: &str, memory: &'a mut Memory) -> &'a [(usize, usize)] {
        let Memory {
            caches,
            before,
            after,
        } = memory;
        after.clear();
        if !text.is_empty() {
            after.push((0, text.len()));
        }
        for (step, cache) in self.steps.iter().zip(caches) {
            std::mem::swap(before, after);
            after.clear();
            for &(from, to) in before.iter() {
                match (step, &mut *cache) {
                    (Step::Pattern(regex), Some(cache)) => {
                        by_pattern(regex, cache, text, (from, to), after)
                    }
                    (Step::Digits { alone }, _) => by_digits(*alone, text, (from, to), after),
                    (Step::Pattern(_), None) => unreachable!("every pattern has a cache"),
                }
            }
        }
        after
    }
}

impl Step {
    fn new(described: &Value) -> Option<Self> {
        match described["type"].as_str()? {
            "Digits" => Some(Self::Digits {
                alone: described["individual_digits"].as_bool()?,
            }),
            "Split" if described["behavior"] == "Isolated" && described["invert"] == false => {
                let pattern = &described["pattern"];
                match (pattern["Regex"].as_str(), pattern["String"].as_str()) {
                    (Some(pattern), None) => Self::pattern(pattern),
                    (None, Some(text)) => Regex::new(&regex::escape(text)).ok().map(Self::Pattern),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    /// `None` for a pattern that may mean something else to the two engines.
    fn pattern(pattern: &str) -> Option<Self> {
        let (head, blanks) = match pattern.strip_suffix(BLANKS) {
            Some(head) => (head, true),
            None => (pattern, false),
        };
        if !means_the_same(head) {
            return None;
        }
        let regex = match blanks {
            true => Regex::new_many(&[head, r"\s+"]),
            false => Regex::new(head),
        };
        let regex = regex.ok()?;
        // An empty match would have to be stepped over.
        (!regex.is_match("")).then_some(Self::Pattern(regex))
    }
}

/// The pattern holds only what Oniguruma, which `tokenizers` uses, and an automaton read alike: classes, groups,
/// alternatives and greedy repetition.
fn means_the_same(pattern: &str) -> bool {
    let mut rest = pattern;
    while let Some(next) = rest.chars().next() {
        let taken = match next {
            '\\' => {
                let escapes = [
                    r"\s", r"\S", r"\r", r"\n", r"\t", r"\p{", r"\P{", r"\.", r"\-", r"\/", r"\'",
                ];
                match escapes.iter().find(|escape| rest.starts_with(*escape)) {
                    Some(escape) => escape.len(),
                    None => return false,
                }
            }
            '(' if rest.starts_with("(?") => {
                match ["(?:", "(?i:"]
                    .iter()
                    .find(|group| rest.starts_with(*group))
                {
                    Some(group) => group.len(),
                    None => return false,
                }
            }
            '[' => {
                // Brackets and ampersands within a class are operators of both, each in its own way.
                let Some(end) = rest.find(']') else {
                    return false;
                };
                let inside = &rest[1..end];
                if inside.is_empty()
                    || inside == "^"
                    || inside.contains('[')
                    || inside.contains("&&")
                    || inside.contains("--")
                    || inside.contains("~~")
                {
                    return false;
                }
                1
            }
            // Anchors are of lines to one and of the text to the other; so is what a dot matches.
            '^' if !pattern[..pattern.len() - rest.len()].ends_with('[') => return false,
            '$' | '.' => return false,
            // Possessive and lazy repetition.
            '+' | '?' | '*' | '}' if rest[1..].starts_with(['+', '?', '*', '{']) => {
                // `\p{L}+` ends a name, no count.
                let name = next == '}' && is_property(&pattern[..pattern.len() - rest.len()]);
                if !name {
                    return false;
                }
                1
            }
            _ => next.len_utf8(),
        };
        rest = &rest[taken..];
    }
    true
}

fn is_property(before: &str) -> bool {
    before
        .rfind('{')
        .is_some_and(|at| before[..at].ends_with(r"\p") || before[..at].ends_with(r"\P"))
}

fn by_pattern(
    regex: &Regex,
    cache: &mut Cache,
    text: &str,
    (from, to): (usize, usize),
    words: &mut Vec<(usize, usize)>,
) {
    // The step sees this stretch and nothing around it.
    let text = &text[from..to];
    let mut at = 0;
    while at < text.len() {
        let input = Input::new(text).range(at..);
        // Most patterns match everywhere, and then only the end has to be found.
        let found = regex
            .search_with(cache, &input.clone().anchored(Anchored::Yes))
            .or_else(|| regex.search_with(cache, &input));
        let Some(found) = found else { break };
        let mut end = found.end();
        if found.pattern().as_usize() == 1 && end < text.len() {
            let last = text[..end].chars().next_back().map_or(0, char::len_utf8);
            if end - last > found.start() {
                end -= last;
            }
        }
        if at < found.start() {
            words.push((from + at, from + found.start()));
        }
        words.push((from + found.start(), from + end));
        at = end;
    }
    if at < text.len() {
        words.push((from + at, to));
    }
}

fn by_digits(alone: bool, text: &str, (from, to): (usize, usize), words: &mut Vec<(usize, usize)>) {
    let mut begun = from;
    let mut numeric = false;
    for (at, character) in text[from..to].char_indices() {
        let at = from + at;
        let digit = character.is_numeric();
        if at > begun && (digit != numeric || (digit && alone)) {
            words.push((begun, at));
            begun = at;
        }
        numeric = digit;
    }
    if begun < to {
        words.push((begun, to));
    }
}
