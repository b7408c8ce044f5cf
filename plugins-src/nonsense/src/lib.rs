//! The curator `nonsense`: writes functions that mean nothing behind some samples of code, so that a model meets valid code
//! that is there for no reason. For rows to train on alone: name it with `only = "train"`, as the last of a pipeline.
//!
//! What it writes hangs on its seed and on the sample's text and on nothing else, as the contract wants it: another seed is
//! another setting. It touches rows that are one text of code. In a prompt and its answer, nonsense would be learned as an
//! answer.

mod function;
mod syntax;

use codetune_plugin::{About, Curator, Decision, Edit, Reason, Sample, Settings, Verdict};
use draws::Random;
use source_text::detect;

use function::Function;
use syntax::Syntax;

/// The plugin.
#[derive(Debug, Clone)]
pub struct Nonsense {
    seed: u64,
    rate: f64,
    most: u64,
}

impl Curator for Nonsense {
    const ABOUT: About = About {
        name: "nonsense",
        version: env!("CARGO_PKG_VERSION"),
        description: "Writes functions that mean nothing behind some samples of code, drawn by a seed; for rows to train on alone.",
        author: "CodeTune Studio",
        tags: &["curator", "transform", "augmentation", "robustness"],
        config_schema: include_str!("config.json"),
    };

    fn new(settings: &Settings) -> Result<Self, String> {
        Ok(Self {
            seed: settings.get("seed", 0)?,
            rate: settings.get("rate", 0.1)?,
            most: settings.get("most", 2)?,
        })
    }

    fn curate(&self, sample: &Sample) -> Result<Verdict, String> {
        let [part] = sample.parts.as_slice() else {
            return Ok(Verdict::keep());
        };
        let text = part.text.as_str();
        if !part.learned || text.trim().is_empty() {
            return Ok(Verdict::keep());
        }
        let language = detect(sample.language.as_deref(), sample.path.as_deref(), text);
        let Some(syntax) = language.and_then(|language| Syntax::of(language.name)) else {
            return Ok(Verdict::keep());
        };
        let mut random = Random::new(self.seed, text);
        if random.share() >= self.rate {
            return Ok(Verdict::keep());
        }
        let functions = 1 + random.below(self.most);
        let mut written = String::new();
        for _ in 0..functions {
            let is_taken = |name: &str| text.contains(name) || written.contains(name);
            let function = Function::draw(&mut random, syntax.names(), is_taken);
            written += syntax.gap();
            written += &syntax.write(&function);
        }
        if !text.ends_with('\n') {
            written.insert(0, '\n');
        }
        if text.contains("\r\n") {
            written = written.replace('\n', "\r\n");
        }
        let edit = Edit {
            part: 0,
            start: text.len(),
            end: text.len(),
            replacement: written,
        };
        let reason = Reason {
            code: "nonsense",
            message: format!(
                "{functions} functions of nonsense, drawn with seed {}",
                self.seed
            ),
        };
        Ok(Verdict {
            decision: Decision::Rewrite(vec![edit], vec![reason]),
            ..Verdict::keep()
        })
    }
}

codetune_plugin::curator!(Nonsense);

#[cfg(test)]
mod tests;
