//! What fetching from the hub shows: notes in the log, a bar on a terminal.

use engine::hub::HubEvent;
use indicatif::{ProgressBar, ProgressStyle};

/// Shows what happens; the bar is taken down when this is dropped.
pub(crate) struct Fetching {
    bar: ProgressBar,
}

impl Fetching {
    pub(crate) fn new() -> Self {
        Self {
            bar: ProgressBar::hidden(),
        }
    }

    pub(crate) fn hear(&mut self, event: HubEvent) {
        match event {
            HubEvent::Note(note) => {
                self.bar.finish_and_clear();
                tracing::info!("{note}");
            }
            HubEvent::Progress { file, done, total } => {
                if self.bar.is_finished() || self.bar.length() != Some(total) {
                    let style = ProgressStyle::with_template(
                        "{msg} {bar:30} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta}",
                    );
                    self.bar = ProgressBar::new(total);
                    self.bar
                        .set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
                    self.bar.set_message(file);
                }
                self.bar.set_position(done);
            }
        }
    }
}

impl Drop for Fetching {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
