use crate::Result;
use crate::tokenizer::Tokenizer;

/// Turns tokens into text as it becomes certain: whole characters only, and nothing that may turn out to be the
/// beginning of a stop text.
pub(super) struct TextStream<'a> {
    tokenizer: &'a Tokenizer,
    stops: &'a [String],
    /// Tokens that are decoded together with the next one.
    tokens: Vec<u32>,
    /// Bytes of the text of `tokens` that are in `text` already.
    decoded: usize,
    text: String,
    /// Bytes of `text` that were given out.
    given: usize,
    stopped: bool,
}

/// Tokens after which decoding begins anew at a clean border, so that a long text costs no more per token.
const WINDOW: usize = 64;

impl<'a> TextStream<'a> {
    pub(super) fn new(tokenizer: &'a Tokenizer, stops: &'a [String]) -> Self {
        Self {
            tokenizer,
            stops,
            tokens: Vec::new(),
            decoded: 0,
            text: String::new(),
            given: 0,
            stopped: false,
        }
    }

    /// Takes a token and returns what can be given out.
    pub(super) fn push(&mut self, token: u32) -> Result<String> {
        self.tokens.push(token);
        let decoded = self.tokenizer.decode(&self.tokens, true)?;
        // A character whose bytes are not all there shows as U+FFFD; the next tokens may complete it.
        if decoded.ends_with('\u{fffd}') && self.tokens.len() < WINDOW {
            return Ok(String::new());
        }
        self.take(&decoded);
        if self.tokens.len() >= WINDOW {
            // Keep a few: some tokenizers decode a token otherwise at the beginning of a text.
            self.tokens.drain(..WINDOW / 2);
            self.decoded = self.tokenizer.decode(&self.tokens, true)?.len();
        }
        Ok(self.give(self.certain()))
    }

    /// What was held back, once nothing more comes.
    pub(super) fn finish(&mut self, cancelled: bool) -> Result<String> {
        if !self.stopped && !cancelled {
            let decoded = self.tokenizer.decode(&self.tokens, true)?;
            self.take(&decoded);
        }
        Ok(self.give(self.text.len()))
    }

    fn take(&mut self, decoded: &str) {
        if let Some(fresh) = decoded.get(self.decoded..) {
            self.text.push_str(fresh);
            self.decoded = decoded.len();
        }
        let found = self
            .stops
            .iter()
            .filter_map(|stop| self.text.find(stop.as_str()))
            .min();
        if let Some(at) = found {
            self.text.truncate(at.max(self.given));
            self.stopped = true;
        }
    }

    /// Bytes of the text that no stop text can take back any more.
    fn certain(&self) -> usize {
        if self.stopped {
            return self.text.len();
        }
        let held = self.stops.iter().map(|stop| {
            let starts = stop.char_indices().map(|(at, _)| at).skip(1);
            starts
                .filter(|&at| self.text.ends_with(&stop[..at]))
                .max()
                .unwrap_or(0)
        });
        self.text.len() - held.max().unwrap_or(0)
    }

    fn give(&mut self, upto: usize) -> String {
        let upto = upto.max(self.given);
        let piece = self.text[self.given..upto].to_owned();
        self.given = upto;
        piece
    }

    pub(super) fn stopped(&self) -> bool {
        self.stopped
    }

    pub(super) fn into_text(self) -> String {
        self.text
    }
}
