//! Looks at the lengths in an Arrow file before its reader believes them: it allocates what they say.

use std::fs::File;

use memmap2::Mmap;

/// Bytes that one column of one batch may unpack to.
const MOST_BUFFER: i64 = 1 << 30;
/// Stands before the length of a message.
const MARKER: u32 = u32::MAX;

/// Goes through the messages from byte `start` on, as the stream's reader does.
///
/// # Errors
/// A sentence about a message that reaches over the end of the file, or a packed column that would be too large.
pub(super) fn check(file: &File, start: usize) -> Result<(), String> {
    // SAFETY: a file that another process cuts short while it is mapped can end this one; every bit pattern is valid.
    let bytes = unsafe { Mmap::map(file) }.map_err(|error| error.to_string())?;
    let mut at = start;
    while let Some(word) = number(&bytes, at) {
        at += 4;
        let len = match word {
            MARKER => {
                let Some(len) = number(&bytes, at) else {
                    return Ok(());
                };
                at += 4;
                len as usize
            }
            // Before version 0.15 there was no marker.
            len => len as usize,
        };
        if len == 0 {
            return Ok(());
        }
        let cut = |what: &str| {
            format!(
                "{what} of a message reaches over the end of the file (byte {at}); it may be cut off"
            )
        };
        let head = at.checked_add(len).and_then(|end| bytes.get(at..end));
        let head = head.ok_or_else(|| cut("the head"))?;
        let message = arrow_ipc::root_as_message(head)
            .map_err(|error| format!("a message at byte {at} is damaged: {error}"))?;
        let body = usize::try_from(message.bodyLength())
            .ok()
            .and_then(|body| bytes.get(at + len..)?.get(..body))
            .ok_or_else(|| cut("the body"))?;
        let batch = message
            .header_as_record_batch()
            .or_else(|| message.header_as_dictionary_batch()?.data());
        if let Some(batch) = batch
            && batch.compression().is_some()
        {
            for buffer in batch.buffers().into_iter().flatten() {
                let from = usize::try_from(buffer.offset()).unwrap_or(usize::MAX);
                let packed = body.get(from..).and_then(|rest| rest.first_chunk::<8>());
                let unpacked = packed.map_or(0, |first| i64::from_le_bytes(*first));
                // A buffer of no bytes has no length before it; -1 stands for one that is not packed.
                if buffer.length() >= 8 && !(-1..=MOST_BUFFER).contains(&unpacked) {
                    return Err(format!(
                        "a column of the message at byte {at} would unpack to {unpacked} bytes; {MOST_BUFFER} may be: write smaller batches"
                    ));
                }
            }
        }
        at += len + body.len();
    }
    Ok(())
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    let word = bytes.get(at..)?.first_chunk::<4>()?;
    Some(u32::from_le_bytes(*word))
}
