//! The curator `curator-rules`: the published filters of StarCoder2, bigcode and OpenCoder, every bound a setting.
//!
//! `pack` holds the bounds, `measure`, `repetition` and `encoded` the numbers, `rules` puts them together. Rules look at
//! what the model learns to write, all its texts together.

mod encoded;
mod measure;
mod pack;
mod repetition;
mod rules;

use codetune_plugin::{About, Curator, Sample, Settings, Verdict};

use pack::Bounds;

/// The plugin.
pub struct CuratorRules {
    bounds: Bounds,
}

impl Curator for CuratorRules {
    const ABOUT: About = About {
        name: "curator-rules",
        version: env!("CARGO_PKG_VERSION"),
        description: "The published filters of StarCoder2, bigcode and OpenCoder: line lengths, letters, generated, minified \
                      and encoded files, comments, repetition.",
        author: "CodeTune Studio",
        tags: &[
            "curator",
            "starcoder2",
            "opencoder",
            "bigcode",
            "repetition",
        ],
        config_schema: include_str!("config.json"),
    };

    fn new(settings: &Settings) -> Result<Self, String> {
        Ok(Self {
            bounds: Bounds::from_settings(settings)?,
        })
    }

    fn curate(&self, sample: &Sample) -> Result<Verdict, String> {
        let mut learned = sample.parts.iter().filter(|part| part.learned);
        let joined;
        let text = match (learned.next(), learned.next()) {
            (None, _) => "",
            (Some(part), None) => &part.text,
            _ => {
                let parts = sample.parts.iter().filter(|part| part.learned);
                let texts: Vec<&str> = parts.map(|part| part.text.as_str()).collect();
                joined = texts.join("\n");
                &joined
            }
        };
        let found = rules::judge(
            text,
            sample.path.as_deref(),
            sample.language.as_deref(),
            &self.bounds,
        );
        let verdict = match found.broken {
            Some((code, message)) => Verdict::drop(code, message),
            None => Verdict::keep(),
        };
        Ok(Verdict {
            scores: found.scores,
            ..verdict
        })
    }
}

codetune_plugin::curator!(CuratorRules);

#[cfg(test)]
mod tests {
    use super::pack::NAMES;

    #[test]
    fn the_schema_names_every_bound() {
        let schema: codetune_plugin::serde_json::Value =
            codetune_plugin::serde_json::from_str(include_str!("config.json")).unwrap();
        let properties = schema["properties"].as_object().unwrap();
        for name in NAMES {
            assert!(properties.contains_key(name), "{name}");
        }
        assert_eq!(properties.len(), NAMES.len() + 4);
    }
}
