//! What a person sees of a run: a bar on a terminal, a line now and then elsewhere.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use domain::{FinishReason, RunEvent};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;

use super::Listener;

/// Lines that a whole run prints about its steps where no bar can be drawn.
const STEP_LINES: u64 = 20;

pub(super) struct Progress {
    bar: Option<ProgressBar>,
    on_terminal: bool,
    total_steps: u64,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self {
            bar: None,
            on_terminal: io::stderr().is_terminal(),
            total_steps: 0,
        }
    }

    fn line(&self, text: &str) -> io::Result<()> {
        match &self.bar {
            Some(bar) => bar.suspend(|| writeln!(io::stdout(), "{text}")),
            None => writeln!(io::stdout(), "{text}"),
        }
    }

    fn begin(&mut self, total_steps: u64) {
        self.total_steps = total_steps;
        if !self.on_terminal {
            return;
        }
        let style = ProgressStyle::with_template(
            "{wide_bar:.cyan/dim} {pos}/{len}  {msg}  {elapsed_precise} (ETA {eta_precise})",
        )
        .expect("the template is valid");
        let bar = ProgressBar::with_draw_target(Some(total_steps), ProgressDrawTarget::stderr());
        bar.set_style(style);
        bar.enable_steady_tick(Duration::from_millis(500));
        self.bar = Some(bar);
    }
}

impl Listener for Progress {
    fn hear(&mut self, event: &RunEvent) -> io::Result<()> {
        match event {
            RunEvent::Curating {
                rows,
                kept,
                seconds,
                seconds_left,
            } => {
                let left =
                    seconds_left.map_or_else(String::new, |left| format!(", {left:.0} s left"));
                self.line(&format!(
                    "curating: {rows} rows, {kept} kept, {seconds:.0} s{left}"
                ))
            }
            RunEvent::Curated { path, summary } => self.line(&format!(
                "curated: {} of {} rows kept, {} of them rewritten, {} dropped; {}",
                summary.kept,
                summary.rows,
                summary.rewritten,
                summary.dropped,
                path.display()
            )),
            RunEvent::Started {
                trainable_parameters,
                all_parameters,
                supervised_tokens_per_epoch,
                total_steps,
                ..
            } => {
                self.line(&format!(
                    "{trainable_parameters} of {all_parameters} parameters train on {supervised_tokens_per_epoch} \
                     tokens an epoch, in {total_steps} steps"
                ))?;
                self.begin(*total_steps);
                Ok(())
            }
            RunEvent::Step {
                step,
                loss,
                tokens_per_second,
                ..
            } => {
                let message = format!("loss {loss:.4}  {tokens_per_second:.0} tokens/s");
                if let Some(bar) = &self.bar {
                    if bar.position() == 0 && *step > 1 {
                        // A resumed run: the steps before are no part of its speed.
                        bar.set_position(step - 1);
                        bar.reset_eta();
                    }
                    bar.set_position(*step);
                    bar.set_message(message);
                    return Ok(());
                }
                let every = (self.total_steps / STEP_LINES).max(1);
                if *step == 1 || step % every == 0 || *step == self.total_steps {
                    self.line(&format!("step {step}/{}  {message}", self.total_steps))?;
                }
                Ok(())
            }
            RunEvent::Eval {
                step,
                eval_loss,
                scores,
            } => {
                let scores: String = scores.iter().map(figure).collect();
                self.line(&format!(
                    "step {step}  held-out loss {eval_loss:.4}{scores}"
                ))
            }
            RunEvent::Checkpoint { step, path } => {
                self.line(&format!("step {step}  saved {}", path.display()))
            }
            RunEvent::Log { message } => self.line(message),
            // The caller prints it on standard error.
            RunEvent::Error { .. } => Ok(()),
            RunEvent::Finished {
                reason,
                steps,
                adapter,
                model,
            } => {
                self.clear();
                let reason = match reason {
                    FinishReason::Completed | FinishReason::MaxSteps => "finished",
                    FinishReason::EarlyStop => "ended early, the held-out loss falls no more,",
                    FinishReason::Stopped => "stopped",
                };
                let result = adapter.as_ref().or(model.as_ref());
                let result = result.map_or(String::new(), |path| format!("; {}", path.display()));
                self.line(&format!("{reason} after {steps} steps{result}"))
            }
        }
    }

    fn clear(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

/// A figure of an evaluation with four digits behind the point.
fn figure((name, value): (&String, &Value)) -> String {
    // A JSON value itself takes no number of digits.
    match value.as_f64() {
        Some(value) => format!("  {name} {value:.4}"),
        None => format!("  {name} {value}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::figure;

    #[test]
    fn figures_have_four_digits() {
        let name = "perplexity".to_owned();
        let shown = figure((&name, &json!(5.436_091_587_196_994)));
        assert_eq!(shown, "  perplexity 5.4361");
    }
}
