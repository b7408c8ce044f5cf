//! A folder as one tar file, made while it is sent. Weights do not compress, so nothing tries to.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::ExportFile;

/// Bytes that are sent at a time.
const PIECE: usize = 256 << 10;
/// Pieces that may wait for a slow reader.
const WAITING: usize = 4;
/// Tar's unit.
const BLOCK: u64 = 512;

/// Bytes of the archive: a head before each file, files in whole blocks, two blocks at the end.
pub fn size(files: &[ExportFile]) -> u64 {
    let file = |file: &ExportFile| BLOCK + file.bytes.next_multiple_of(BLOCK);
    files.iter().map(file).sum::<u64>() + 2 * BLOCK
}

/// Files that are open: whoever has them can read them to their end, though the export is deleted meanwhile.
#[derive(Debug)]
pub struct Opened(Vec<(ExportFile, File)>);

/// Opens the files of a folder.
///
/// # Errors
/// One is not there, or has not the size that was noted.
pub fn open(folder: &Path, files: Vec<ExportFile>) -> io::Result<Opened> {
    let opened = files.into_iter().map(|file| {
        let source = File::open(folder.join(&file.name))
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", file.name)))?;
        if source.metadata()?.len() != file.bytes {
            return Err(io::Error::other(format!("{} has changed", file.name)));
        }
        Ok((file, source))
    });
    opened.collect::<io::Result<_>>().map(Opened)
}

/// The archive of these files, under `top`, piece by piece; `modified` in seconds since 1970.
pub fn stream(files: Opened, top: &str, modified: u64) -> Receiver<io::Result<Vec<u8>>> {
    let (sender, receiver) = channel(WAITING);
    let top = top.to_owned();
    tokio::task::spawn_blocking(move || {
        let mut pipe = Pipe {
            sender: sender.clone(),
            piece: Vec::new(),
        };
        let written = write(files, &top, modified, &mut pipe);
        if let Err(error) = written.and_then(|()| pipe.flush()) {
            drop(sender.blocking_send(Err(error)));
        }
    });
    receiver
}

fn write(files: Opened, top: &str, modified: u64, out: &mut dyn Write) -> io::Result<()> {
    let mut archive = tar::Builder::new(out);
    for (file, mut source) in files.0 {
        let mut header = tar::Header::new_ustar();
        header.set_size(file.bytes);
        header.set_mode(0o644);
        header.set_mtime(modified);
        let path = format!("{top}/{}", file.name);
        archive.append_data(&mut header, path, (&mut source).take(file.bytes))?;
    }
    archive.finish()
}

/// Sends what is written to it.
struct Pipe {
    sender: Sender<io::Result<Vec<u8>>>,
    piece: Vec<u8>,
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.piece.extend_from_slice(bytes);
        if self.piece.len() >= PIECE {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let piece = std::mem::take(&mut self.piece);
        if piece.is_empty() {
            return Ok(());
        }
        self.sender
            .blocking_send(Ok(piece))
            .map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_archive_has_the_size_that_was_told_and_every_file_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let mut files = Vec::new();
        for (name, len) in [
            ("a.txt", 0usize),
            ("b.bin", 512),
            ("model.safetensors", 700_001),
        ] {
            let bytes: Vec<u8> = (0..len).map(|i| (i % 251) as u8).collect();
            std::fs::write(folder.path().join(name), &bytes).unwrap();
            files.push(ExportFile {
                name: name.into(),
                bytes: len as u64,
            });
        }
        let mut archive = Vec::new();
        let opened = open(folder.path(), files.clone()).unwrap();
        write(opened, "my-model", 1_700_000_000, &mut archive).unwrap();
        assert_eq!(archive.len() as u64, size(&files));
        let mut seen = Vec::new();
        for entry in tar::Archive::new(&archive[..]).entries().unwrap() {
            let mut entry = entry.unwrap();
            let path = entry.path().unwrap().display().to_string();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            let name = path.strip_prefix("my-model/").unwrap().to_owned();
            assert_eq!(bytes, std::fs::read(folder.path().join(&name)).unwrap());
            seen.push(name);
        }
        assert_eq!(seen, ["a.txt", "b.bin", "model.safetensors"]);

        std::fs::write(folder.path().join("b.bin"), b"shorter").unwrap();
        let error = open(folder.path(), files.clone()).unwrap_err();
        assert!(error.to_string().contains("b.bin"), "{error}");
        std::fs::remove_file(folder.path().join("b.bin")).unwrap();
        let error = open(folder.path(), files).unwrap_err();
        assert!(error.to_string().contains("b.bin"), "{error}");
    }
}
