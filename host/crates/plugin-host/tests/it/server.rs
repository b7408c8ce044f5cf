//! Web servers of a test's own, on the loopback: each answers as it was told and keeps what it was asked.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::thread;

pub(crate) struct Server {
    pub(crate) port: u16,
    /// Heads and bodies of the requests.
    asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Answers with this, as it is.
    pub(crate) fn answering(answer: impl Into<Vec<u8>>) -> Self {
        Self::answering_in_turn(vec![answer.into()])
    }

    /// Answers with these one by one, and with the last from then on.
    pub(crate) fn answering_in_turn(answers: Vec<Vec<u8>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&asked);
        // It ends with the test's process.
        thread::spawn(move || {
            for (turn, stream) in listener.incoming().enumerate() {
                let answer = &answers[turn.min(answers.len() - 1)];
                let Ok(mut stream) = stream else { return };
                let request = read(&mut BufReader::new(&stream));
                kept.lock().unwrap().push(request);
                // A client that has enough hangs up.
                let _ = stream.write_all(answer);
            }
        });
        Self { port, asked }
    }

    /// A status line, headers and a text.
    pub(crate) fn text(head: &str, text: &str) -> Self {
        let length = text.len();
        Self::answering(format!(
            "HTTP/1.1 {head}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{text}"
        ))
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

fn read(stream: &mut impl BufRead) -> String {
    let mut request = String::new();
    let mut length = 0;
    while stream.read_line(&mut request).is_ok_and(|read| read > 0) {
        let line = request
            .lines()
            .last()
            .unwrap_or_default()
            .to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
        if line.is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    if stream.read_exact(&mut body).is_ok() {
        request.push_str(&String::from_utf8_lossy(&body));
    }
    request
}
