//! A small server that speaks the hub's protocol on loopback: `api/models/…/revision/…` and `resolve`, with the
//! headers by which the client knows a file, redirects of large files, ranges and refusals.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
};

use serde_json::json;
use sha2::{Digest, Sha256};

use crate::files::hex;

/// The commit of every repository of the server.
pub(super) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// What the server has and what it was asked.
#[derive(Default)]
pub(super) struct Shelf {
    /// `api path prefix/repo`, such as `models/org/name`, to its files.
    pub(super) repos: BTreeMap<String, BTreeMap<String, Vec<u8>>>,
    /// Files of this size on are large: they lie elsewhere, under their checksum.
    pub(super) large: usize,
    /// The token that must be sent, where one must.
    pub(super) token: Option<String>,
    /// Serve these bytes in place of a large file's.
    pub(super) damage: bool,
    /// Ends the next answer with a large file's bytes after so many.
    pub(super) break_after: Option<usize>,
    /// Takes requests and says nothing.
    pub(super) silent: bool,
    /// Sends all of a file whatever part is asked for.
    pub(super) no_ranges: bool,
    /// Path of every request.
    pub(super) asked: Vec<String>,
    /// Where the parts of large files began that were asked for.
    pub(super) starts: Vec<usize>,
    /// Whether a token came with a large file's bytes, which lie on another host.
    pub(super) token_sent_elsewhere: bool,
}

pub(super) struct Server {
    pub(super) address: SocketAddr,
    pub(super) shelf: Arc<Mutex<Shelf>>,
}

impl Server {
    pub(super) fn start(shelf: Shelf) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shelf = Arc::new(Mutex::new(shelf));
        let shared = shelf.clone();
        // Ends with the test's process.
        std::thread::spawn(move || {
            let mut silenced = Vec::new();
            for stream in listener.incoming().map_while(Result::ok) {
                if shared.lock().unwrap().silent {
                    silenced.push(stream);
                } else {
                    let _ = answer(stream, &shared, address);
                }
            }
        });
        Self { address, shelf }
    }

    pub(super) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(super) fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.shelf.lock().unwrap().asked)
    }
}

struct Request {
    path: String,
    range: Option<usize>,
    only_first: bool,
    token: Option<String>,
}

fn read(stream: &TcpStream) -> std::io::Result<Request> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let path = line.split(' ').nth(1).unwrap_or("/").to_owned();
    let mut request = Request {
        path,
        range: None,
        only_first: false,
        token: None,
    };
    loop {
        let mut header = String::new();
        if reader.read_line(&mut header)? == 0 || header.trim().is_empty() {
            return Ok(request);
        }
        let (name, value) = header.trim().split_once(": ").unwrap_or_default();
        match name.to_ascii_lowercase().as_str() {
            "range" => {
                let (from, to) = value
                    .strip_prefix("bytes=")
                    .unwrap()
                    .split_once('-')
                    .unwrap();
                request.range = from.parse().ok();
                request.only_first = to == "0";
            }
            "authorization" => request.token = value.strip_prefix("Bearer ").map(str::to_owned),
            _ => {}
        }
    }
}

fn answer(mut stream: TcpStream, shelf: &Mutex<Shelf>, address: SocketAddr) -> std::io::Result<()> {
    let request = read(&stream)?;
    let mut shelf = shelf.lock().unwrap();
    shelf.asked.push(request.path.clone());
    let (status, headers, mut body) = respond(&request, &mut shelf, address);
    let full = body.len();
    if request.path.starts_with("/elsewhere/")
        && !request.only_first
        && let Some(most) = shelf.break_after.take()
    {
        body.truncate(most);
    }
    let mut head =
        format!("HTTP/1.1 {status} x\r\nConnection: close\r\nContent-Length: {full}\r\n");
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    stream.write_all(head.as_bytes())?;
    stream.write_all(b"\r\n")?;
    stream.write_all(&body)
}

type Response = (u16, Vec<(&'static str, String)>, Vec<u8>);

fn respond(request: &Request, shelf: &mut Shelf, address: SocketAddr) -> Response {
    let path = request.path.trim_start_matches('/');
    if let Some(digest) = path.strip_prefix("elsewhere/") {
        shelf.token_sent_elsewhere |= request.token.is_some();
        if let Some(start) = request.range.filter(|_| !request.only_first) {
            shelf.starts.push(start);
        }
        let ranged = Request {
            range: request.range.filter(|_| !shelf.no_ranges),
            path: String::new(),
            only_first: request.only_first,
            token: None,
        };
        let files = shelf.repos.values().flat_map(BTreeMap::values);
        let mut bytes = files
            .into_iter()
            .find(|bytes| checksum(bytes) == digest)
            .cloned()
            .unwrap();
        if shelf.damage {
            bytes[0] ^= 1;
        }
        return part(&bytes, &ranged, Vec::new());
    }
    if shelf.token.is_some() && request.token != shelf.token {
        return (401, Vec::new(), Vec::new());
    }
    if let Some((repo, revision)) = path
        .strip_prefix("api/")
        .and_then(|path| path.split_once("/revision/"))
    {
        let Some(files) = shelf
            .repos
            .get(repo)
            .filter(|_| ["main", "v1", COMMIT].contains(&revision))
        else {
            return (404, Vec::new(), Vec::new());
        };
        let siblings: Vec<_> = files
            .keys()
            .map(|name| json!({"rfilename": name}))
            .collect();
        let body = json!({"sha": COMMIT, "siblings": siblings}).to_string();
        return (
            200,
            vec![("Content-Type", "application/json".into())],
            body.into(),
        );
    }
    let Some((repo, rest)) = path.split_once("/resolve/") else {
        return (404, Vec::new(), Vec::new());
    };
    let repo = match repo.strip_prefix("datasets/") {
        Some(_) => repo.to_owned(),
        None => format!("models/{repo}"),
    };
    let name = rest.split_once('/').map_or("", |(_, name)| name);
    let Some(bytes) = shelf.repos.get(&repo).and_then(|files| files.get(name)) else {
        return (404, Vec::new(), Vec::new());
    };
    let commit = ("X-Repo-Commit", COMMIT.to_owned());
    if bytes.len() >= shelf.large {
        let digest = checksum(bytes);
        // `localhost` is another host than the address, as the real store's is.
        let location = format!("http://localhost:{}/elsewhere/{digest}", address.port());
        let headers = vec![
            commit,
            ("Location", location),
            ("X-Linked-Etag", format!("\"{digest}\"")),
            ("X-Linked-Size", bytes.len().to_string()),
            ("ETag", "\"pointer\"".to_owned()),
        ];
        return (302, headers, Vec::new());
    }
    let etag = ("ETag", format!("\"{}\"", &checksum(bytes)[..40]));
    part(bytes, request, vec![commit, etag])
}

fn part(bytes: &[u8], request: &Request, mut headers: Vec<(&'static str, String)>) -> Response {
    let Some(from) = request.range else {
        return (200, headers, bytes.to_vec());
    };
    let to = if request.only_first {
        from + 1
    } else {
        bytes.len()
    };
    headers.push((
        "Content-Range",
        format!("bytes {from}-{}/{}", to - 1, bytes.len()),
    ));
    (206, headers, bytes[from..to].to_vec())
}

fn checksum(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}
