//! The curator `fim-splits`: makes fill-in-the-middle samples of some samples of code, each with a middle that a person would
//! ask for: a function's body, a block, a statement, an expression, a call's arguments, whole lines. For rows to train on
//! alone: name it with `only = "train"`, as the last of a pipeline.
//!
//! The method is that of Bavarian et al. (arXiv 2207.14255); middles from the syntax tree are those of AST-FIM (arXiv
//! 2506.00204), which serve real completions better than two random places. What is drawn hangs on the seed and on the
//! sample's text and on nothing else, as the contract wants it.
//!
//! It touches rows that are one whole text. A sample that holds a token already, because it was split before or because it is
//! code about such samples, would be read wrongly: it stays. The contract has no reasons for what is kept, so that a score
//! says why a drawn sample was left alone.

mod middle;
mod tokens;

use codetune_plugin::{About, Curator, Decision, Reason, Sample, Settings, Verdict};
use draws::Random;
use source_text::detect;

use middle::{Middle, Source, Span};
use tokens::{Mode, Tokens};

/// Columns that hold a text that is learned as a whole; an answer without its prompt is none.
const WHOLE_TEXTS: [&str; 3] = ["text", "content", "code"];
/// Languages of the table that are no code.
const PROSE: [&str; 4] = ["markdown", "text", "restructuredtext", "tex"];

/// The plugin.
#[derive(Debug, Clone)]
pub struct FimSplits {
    seed: u64,
    rate: f64,
    mode: Mode,
    tokens: Tokens,
    longest_middle: usize,
    spans: Vec<Span>,
}

impl Curator for FimSplits {
    const ABOUT: About = About {
        name: "fim-splits",
        version: env!("CARGO_PKG_VERSION"),
        description: "Makes fill-in-the-middle samples of some samples of code, with whole pieces of syntax as middles, drawn by a seed; for rows to train on alone.",
        author: "CodeTune Studio",
        tags: &["curator", "transform", "fill-in-the-middle"],
        config_schema: include_str!("config.json"),
    };

    fn new(settings: &Settings) -> Result<Self, String> {
        let mut spans: Vec<Span> = settings.get("spans", Span::ALL.to_vec())?;
        // In whichever order they are named, the same is drawn.
        spans.sort_unstable();
        spans.dedup();
        Ok(Self {
            seed: settings.get("seed", 0)?,
            rate: settings.get("rate", 0.5)?,
            mode: settings.get("mode", Mode::Both)?,
            tokens: Tokens::of(settings)?,
            longest_middle: settings.get("longest_middle", 1000)?,
            spans,
        })
    }

    fn curate(&self, sample: &Sample) -> Result<Verdict, String> {
        let [part] = sample.parts.as_slice() else {
            return Ok(Verdict::keep());
        };
        if !part.learned || !WHOLE_TEXTS.contains(&part.name.as_str()) {
            return Ok(Verdict::keep());
        }
        let text = part.text.as_str();
        let language = detect(sample.language.as_deref(), sample.path.as_deref(), text);
        let Some(language) = language.filter(|language| !PROSE.contains(&language.name)) else {
            return Ok(Verdict::keep());
        };
        let mut random = Random::new(self.seed, text);
        if random.share() >= self.rate {
            return Ok(Verdict::keep());
        }
        let is_spm = match self.mode {
            Mode::Psm => false,
            Mode::Spm => true,
            Mode::Both => random.below(2) == 1,
        };
        if self.tokens.held_by(text).is_some() {
            return Ok(left_alone("left_for_its_tokens"));
        }
        let source = Source {
            text,
            language: language.name,
            path: sample.path.as_deref().unwrap_or_default(),
            longest: self.longest_middle,
        };
        let Some(middle) = source.draw(&mut random, &self.spans) else {
            return Ok(left_alone("left_without_a_middle"));
        };
        Ok(self.split(text, &middle, is_spm))
    }
}

impl FimSplits {
    fn split(&self, text: &str, middle: &Middle, is_spm: bool) -> Verdict {
        let Middle { span, start, end } = *middle;
        let (code, name) = span.names();
        let characters = text[start..end].chars().count();
        let line = text[..start].matches('\n').count() + 1;
        let order = self.tokens.order(is_spm);
        let reason = Reason {
            code,
            message: format!(
                "the middle is {name} of {characters} characters from line {line}; {order}, drawn with seed {}",
                self.seed
            ),
        };
        let edits = self.tokens.split(text, start, end, is_spm);
        Verdict {
            decision: Decision::Rewrite(edits, vec![reason]),
            scores: vec![("middle_characters", characters as f64)],
            ..Verdict::keep()
        }
    }
}

fn left_alone(why: &'static str) -> Verdict {
    Verdict {
        scores: vec![(why, 1.0)],
        ..Verdict::keep()
    }
}

codetune_plugin::curator!(FimSplits);

#[cfg(test)]
mod tests;
