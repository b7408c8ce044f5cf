use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::{Error, Result};

/// How long a process may say nothing: as long as PyTorch's gloo waits. One that ends is noticed at once; this is for
/// machines that vanish.
pub(crate) const SILENCE: Duration = Duration::from_secs(1800);

/// What a frame carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// All processes are there.
    Welcome = 1,
    /// Numbers to add up, f64.
    Sum = 2,
    /// Numbers to add up, f32.
    SumAll = 3,
    /// Bytes from process 0.
    Broadcast = 4,
    /// Somebody failed: a sentence.
    Fault = 5,
}

/// Bytes of a fault's sentence at most.
const SENTENCE: u64 = 64 << 10;

/// The connection to another process.
#[derive(Debug)]
pub(super) struct Link {
    /// The other's number.
    pub(super) rank: usize,
    size: usize,
    stream: TcpStream,
}

impl Link {
    /// Over a connection that blocks.
    pub(super) fn new(stream: TcpStream, rank: usize, size: usize) -> Result<Self> {
        let link = Self { rank, size, stream };
        link.wait_at_most(SILENCE)?;
        // Small frames must not wait for more to be sent with them.
        let set = link.stream.set_nodelay(true);
        set.map_err(|error| link.lost(&error))?;
        Ok(link)
    }

    /// Sends bytes outside of any frame.
    pub(super) fn present(&self, hello: &[u8]) -> Result<()> {
        let sent = (&self.stream).write_all(hello);
        sent.map_err(|error| self.lost(&error))
    }

    /// Bounds each wait for the other.
    pub(super) fn wait_at_most(&self, time: Duration) -> Result<()> {
        let set = self.stream.set_read_timeout(Some(time));
        set.and_then(|()| self.stream.set_write_timeout(Some(time)))
            .map_err(|error| self.lost(&error))
    }

    /// Sends one frame.
    pub(super) fn send(&self, kind: Kind, payload: &[u8]) -> Result<()> {
        let mut head = vec![kind as u8];
        head.extend((payload.len() as u64).to_le_bytes());
        let mut stream = &self.stream;
        let sent = stream
            .write_all(&head)
            .and_then(|()| stream.write_all(payload));
        // Who closes a connection has often said why.
        sent.map_err(|error| match self.head() {
            Ok((kind, len)) if kind == Kind::Fault as u8 => self.fault(len),
            _ => self.lost(&error),
        })
    }

    /// The payload of the next frame, which must be of a kind and, where it is given, of a length.
    pub(super) fn receive(&self, kind: Kind, len: Option<usize>) -> Result<Vec<u8>> {
        let (found, found_len) = self.head()?;
        if found == Kind::Fault as u8 {
            return Err(self.fault(found_len));
        }
        if found != kind as u8
            || found_len > u64::from(u32::MAX) * 4
            || len.is_some_and(|len| len as u64 != found_len)
        {
            return Err(Error::Peer(format!(
                "process rank {} of {} is at another place of the run than this one: all need the same release, RUN.toml, \
                 model and data",
                self.rank, self.size
            )));
        }
        self.payload(found_len)
    }

    /// Fails where the other has ended or tells of a fault; does not wait for what it may say, nor take it.
    #[cfg(any(test, feature = "cuda"))]
    pub(super) fn look(&self) -> Result<()> {
        let mut head = [0u8; 9];
        let peeked = self.stream.set_nonblocking(true).and_then(|()| {
            let peeked = self.stream.peek(&mut head);
            self.stream.set_nonblocking(false)?;
            peeked
        });
        match peeked {
            Ok(0) => Err(self.lost(&ErrorKind::UnexpectedEof.into())),
            Ok(_) if head[0] == Kind::Fault as u8 => {
                let (_, len) = self.head()?;
                Err(self.fault(len))
            }
            Ok(_) => Ok(()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(self.lost(&error)),
        }
    }

    fn head(&self) -> Result<(u8, u64)> {
        let mut head = [0u8; 9];
        let read = (&self.stream).read_exact(&mut head);
        read.map_err(|error| self.lost(&error))?;
        let [kind, len @ ..] = head;
        Ok((kind, u64::from_le_bytes(len)))
    }

    fn payload(&self, len: u64) -> Result<Vec<u8>> {
        // Grows with what comes, so that a wrong length alone takes no memory.
        let mut payload = Vec::new();
        let read = (&self.stream).take(len).read_to_end(&mut payload);
        read.map_err(|error| self.lost(&error))?;
        if payload.len() as u64 != len {
            return Err(self.lost(&ErrorKind::UnexpectedEof.into()));
        }
        Ok(payload)
    }

    fn fault(&self, len: u64) -> Error {
        match self.payload(len.min(SENTENCE)) {
            Ok(sentence) => Error::Peer(String::from_utf8_lossy(&sentence).into_owned()),
            Err(error) => error,
        }
    }

    /// What it means that a connection fails.
    fn lost(&self, error: &std::io::Error) -> Error {
        let (rank, size) = (self.rank, self.size);
        Error::Peer(match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => format!(
                "process rank {rank} of {size} has said nothing for too long; look whether its machine is up, and start all \
                 processes again with --resume"
            ),
            ErrorKind::UnexpectedEof
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::BrokenPipe => format!(
                "process rank {rank} of {size} has ended, and a run needs all of them: see what it wrote last, and start all \
                 processes again with --resume"
            ),
            _ => format!("the connection to process rank {rank} of {size} failed: {error}"),
        })
    }
}
