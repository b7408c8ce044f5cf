//! What became of the rows, counted in their order.

use std::collections::BTreeMap;
use std::fmt;

use domain::{Decision, Judged, Reason, Sample, Verdict};
use serde::{Deserialize, Serialize};

use crate::sample;

/// Examples that are kept of each reason.
const EXAMPLES: usize = 3;
/// Different words that one plugin's reasons, or scores, are counted by; what comes after goes under [`OTHERS`]. The report is
/// kept in memory, and written after each wave.
const MOST_WORDS: usize = 200;
const OTHERS: &str = "others";
/// Characters of an example's text.
const EXCERPT: usize = 200;

/// Everything about one curation. It holds no times, so that the same rows give the same report.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Report {
    /// Rows that were read.
    pub rows: u64,
    /// Rows that are in the output.
    pub kept: u64,
    /// Rows that are kept apart, to evaluate on.
    #[serde(default)]
    pub held_out: u64,
    /// Of both, rows that were changed.
    pub rewritten: u64,
    /// Rows that went.
    pub dropped: u64,
    /// Of these, rows whose texts are an earlier row's.
    pub exact_duplicates: u64,
    /// Of these, rows that are like an earlier row that was kept.
    pub near_duplicates: u64,
    /// Rows that do not fit, where there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub misfits: Option<Box<Misfits>>,
    /// Examples of duplicates.
    pub duplicate_examples: Vec<Example>,
    /// One for each plugin, in the order of the pipeline.
    pub steps: Vec<StepReport>,
    /// Characters that the model learns to write, by rows: of all rows, and of those that are kept.
    pub characters: BeforeAfter,
    /// Lines of the same.
    pub lines: BeforeAfter,
}

/// Rows that are not of the format that was set, which went through the steps all the same, and rows without a text, which
/// are dropped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Misfits {
    /// How many.
    pub rows: u64,
    /// Of these, rows without a text.
    #[serde(default)]
    pub without_text: u64,
    /// Number of the first, from 1.
    pub first: u64,
    /// Where that one came from.
    pub origin: String,
    /// Why it does not fit.
    pub message: String,
}

impl fmt::Display for Misfits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            rows,
            without_text,
            first,
            origin,
            message,
        } = self;
        let (row, does) = match rows {
            1 => ("row", "does"),
            _ => ("rows", "do"),
        };
        write!(
            f,
            "{rows} {row} {does} not fit: the first is row {first} ({origin}), which {message}"
        )?;
        if *without_text > 0 {
            write!(f, "; dropped for want of any text: {without_text}")?;
        }
        if rows > without_text {
            write!(
                f,
                "; kept for the plugins to judge: {}, which a run with this format refuses, so curate them under the format that \
                 they have",
                rows - without_text
            )?;
        }
        Ok(())
    }
}

/// What one plugin did.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct StepReport {
    /// Its name.
    pub plugin: String,
    /// What it calls its version.
    pub version: String,
    /// Lower-case hex SHA-256 of the component.
    pub digest: String,
    /// Lower-case hex SHA-256 of its settings.
    pub config_digest: String,
    /// Rows that it judged.
    pub seen: u64,
    /// Rows that it let through as they are.
    pub kept: u64,
    /// Rows that it dropped.
    pub dropped: u64,
    /// Rows that it changed.
    pub rewritten: u64,
    /// Rows on which it failed.
    pub failed: u64,
    /// Fuel that its verdicts took.
    pub fuel: u64,
    /// By their words; `failed` for failures.
    pub reasons: BTreeMap<String, ReasonReport>,
    /// Its scores by their names: of all rows that it judged, and of those that are kept in the end.
    pub scores: BTreeMap<String, BeforeAfter>,
}

/// How often a reason was given.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ReasonReport {
    /// Rows.
    pub rows: u64,
    /// The first rows.
    pub examples: Vec<Example>,
}

/// One row for which a reason was given.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Example {
    /// Number of the row, from 1.
    pub row: u64,
    /// Where it came from.
    pub origin: String,
    /// What the plugin said.
    pub message: String,
    /// How its texts begin, as the step left them.
    pub excerpt: String,
}

/// Two histograms.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct BeforeAfter {
    /// Of all rows.
    pub before: Histogram,
    /// Of rows that are kept.
    pub after: Histogram,
}

/// Counts of values by size: twentieths up to 1, then doubling.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Histogram {
    /// Bins with values in them, from small to large.
    pub bins: Vec<Bin>,
}

/// One bin.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Bin {
    /// The largest value that belongs here; the smallest is the bound of the bin before.
    pub up_to: f64,
    /// Rows.
    pub rows: u64,
}

impl Histogram {
    fn add(&mut self, value: f64) {
        let up_to = if value <= 0.0 {
            0.0
        } else if value <= 1.0 {
            (value * 20.0).ceil() / 20.0
        } else {
            value.log2().ceil().exp2()
        };
        let place = self
            .bins
            .binary_search_by(|bin| bin.up_to.total_cmp(&up_to));
        match place {
            Ok(index) => self.bins[index].rows += 1,
            Err(index) => self.bins.insert(index, Bin { up_to, rows: 1 }),
        }
    }
}

/// A row's way through the steps.
pub(crate) struct Passed<'a> {
    pub(crate) row: u64,
    pub(crate) origin: &'a str,
    /// One for each step that had its turn; none where it is not for this row.
    pub(crate) judged: &'a [Option<Judged<Verdict>>],
    /// As it is behind the steps.
    pub(crate) sample: &'a Sample,
    pub(crate) is_kept: bool,
    pub(crate) is_rewritten: bool,
    pub(crate) is_held_out: bool,
}

impl Report {
    /// Counts a row before anything happened to it.
    pub(crate) fn read(&mut self, size: (usize, usize)) {
        self.rows += 1;
        self.characters.before.add(size.0 as f64);
        self.lines.before.add(size.1 as f64);
    }

    /// Counts a row that does not fit.
    pub(crate) fn misfit(&mut self, row: u64, origin: &str, message: &str, has_text: bool) {
        let misfits = self.misfits.get_or_insert_with(|| {
            Box::new(Misfits {
                rows: 0,
                without_text: 0,
                first: row,
                origin: origin.to_owned(),
                message: message.to_owned(),
            })
        });
        misfits.rows += 1;
        misfits.without_text += u64::from(!has_text);
    }

    /// Counts a duplicate's example.
    pub(crate) fn duplicate(&mut self, row: u64, origin: &str, message: &str, sample: &Sample) {
        let examples = &mut self.duplicate_examples;
        if examples.len() < 2 * EXAMPLES {
            examples.push(example(row, origin, message, sample));
        }
    }

    /// Counts a row that has had all its verdicts.
    pub(crate) fn passed(&mut self, passed: &Passed<'_>) {
        for (step, judged) in self.steps.iter_mut().zip(passed.judged) {
            if let Some(judged) = judged {
                step.count(judged, passed);
            }
        }
        if !passed.is_kept {
            self.dropped += 1;
            return;
        }
        match passed.is_held_out {
            true => self.held_out += 1,
            false => self.kept += 1,
        }
        self.rewritten += u64::from(passed.is_rewritten);
        let (characters, lines) = sample::size(passed.sample);
        self.characters.after.add(characters as f64);
        self.lines.after.add(lines as f64);
    }
}

impl StepReport {
    fn count(&mut self, judged: &Judged<Verdict>, passed: &Passed<'_>) {
        self.seen += 1;
        self.fuel += judged.fuel;
        let verdict = match &judged.result {
            Ok(verdict) => verdict,
            Err(message) => {
                self.failed += 1;
                self.reason("failed", message, passed);
                return;
            }
        };
        match &verdict.decision {
            Decision::Keep => self.kept += 1,
            Decision::Drop { reason } => {
                self.dropped += 1;
                self.reason(&reason.code, &reason.message, passed);
            }
            Decision::Rewrite { reasons, .. } => {
                self.rewritten += 1;
                for Reason { code, message } in reasons {
                    self.reason(code, message, passed);
                }
            }
        }
        for score in &verdict.scores {
            let both = entry(&mut self.scores, &score.name);
            both.before.add(score.value);
            if passed.is_kept {
                both.after.add(score.value);
            }
        }
    }

    fn reason(&mut self, code: &str, message: &str, passed: &Passed<'_>) {
        let reason = entry(&mut self.reasons, code);
        reason.rows += 1;
        if reason.examples.len() < EXAMPLES {
            let example = example(passed.row, passed.origin, message, passed.sample);
            reason.examples.push(example);
        }
    }
}

/// What is counted under a word.
fn entry<'a, T: Default>(counted: &'a mut BTreeMap<String, T>, word: &str) -> &'a mut T {
    let word = match counted.contains_key(word) || counted.len() < MOST_WORDS {
        true => word,
        false => OTHERS,
    };
    counted.entry(word.to_owned()).or_default()
}

fn example(row: u64, origin: &str, message: &str, sample: &Sample) -> Example {
    let learned = sample.parts.iter().find(|part| part.learned);
    let text = learned
        .or(sample.parts.first())
        .map_or("", |part| &part.text);
    Example {
        row,
        origin: origin.to_owned(),
        message: message.to_owned(),
        // A dataset's text reaches terminals too.
        excerpt: text
            .chars()
            .filter(|c| !c.is_control() || matches!(c, '\n' | '\t'))
            .take(EXCERPT)
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{Bin, Histogram, MOST_WORDS, OTHERS, entry};

    #[test]
    fn a_plugin_that_has_another_word_for_each_row_does_not_grow_the_report() {
        let mut counted = BTreeMap::new();
        for row in 0..10_000 {
            *entry(&mut counted, &format!("reason-{row}")) += 1;
        }
        *entry(&mut counted, "reason-0") += 1;
        assert_eq!(counted.len(), MOST_WORDS + 1);
        assert_eq!((counted["reason-0"], counted[OTHERS]), (2, 9_800));
    }

    #[test]
    fn bins_are_twentieths_and_then_double() {
        let mut histogram = Histogram::default();
        for value in [-1.0, 0.0, 0.05, 0.06, 1.0, 1.5, 2.0, 3.0, 1000.0, 1024.0] {
            histogram.add(value);
        }
        let bins = [
            (0.0, 2),
            (0.05, 1),
            (0.1, 1),
            (1.0, 1),
            (2.0, 2),
            (4.0, 1),
            (1024.0, 2),
        ];
        assert_eq!(
            histogram.bins,
            bins.map(|(up_to, rows)| Bin { up_to, rows })
        );
    }
}
