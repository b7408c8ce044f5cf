//! A curator that does what the first word of a text tells it to.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use curation::Curator;
use domain::{Decision, Judged, Reason, Sample, SampleEdit, Score, Signature, Verdict};
use serde_json::Value;

pub(crate) struct Fake {
    name: String,
    digest: String,
    config: BTreeMap<String, Value>,
    /// Whether it asks nobody else.
    pub(crate) is_alone: bool,
    /// Samples so far.
    pub(crate) asked: AtomicUsize,
}

impl Fake {
    pub(crate) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            digest: format!("{name:0>64}"),
            config: BTreeMap::new(),
            is_alone: true,
            asked: AtomicUsize::new(0),
        }
    }
}

fn verdict(text: &str) -> Result<Verdict, String> {
    let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
    let reason = Reason {
        code: "told-to".to_owned(),
        message: format!("says {word}"),
    };
    let decision = match word {
        "trap" => return Err("trap: told to".to_owned()),
        "slow" => return Err("deadline: told to".to_owned()),
        "busy" => return Err("plugin_error: nobody answers".to_owned()),
        "drop" => Decision::Drop { reason },
        "rewrite" => Decision::Rewrite {
            edits: vec![SampleEdit {
                part: 0,
                start: 0,
                end: 7,
                replacement: "CHANGED".to_owned(),
            }],
            reasons: vec![Reason {
                code: "changed".to_owned(),
                ..reason
            }],
        },
        _ => Decision::Keep,
    };
    let seed = rest.bytes().find(u8::is_ascii_digit).unwrap_or(0);
    Ok(Verdict {
        decision,
        scores: vec![Score {
            name: "length".to_owned(),
            value: text.len() as f64 / 10.0,
            reason: String::new(),
        }],
        signature: (word == "like").then(|| Signature {
            name: "minhash".to_owned(),
            values: (0..256).map(|at| at * 1000 + u32::from(seed)).collect(),
        }),
    })
}

impl Curator for Fake {
    fn name(&self) -> &str {
        &self.name
    }

    fn digest(&self) -> &str {
        &self.digest
    }

    fn version(&self) -> &str {
        "1.0.0"
    }

    fn config(&self) -> &BTreeMap<String, Value> {
        &self.config
    }

    fn is_alone(&self) -> bool {
        self.is_alone
    }

    fn curate(&self, samples: &[Sample]) -> Vec<Judged<Verdict>> {
        self.asked.fetch_add(samples.len(), Ordering::Relaxed);
        samples
            .iter()
            .map(|sample| Judged {
                result: verdict(&sample.parts[0].text),
                fuel: sample.parts[0].text.len() as u64,
            })
            .collect()
    }
}
