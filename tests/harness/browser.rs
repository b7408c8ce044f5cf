//! A real browser, for tests that are ignored where there is no Chromium.
//!
//! It is driven over the DevTools protocol, so that a test waits for what a page shows and not for a span of time.

use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tungstenite::{Message, WebSocket};

/// How long a page may take on a machine that is busy with something else.
const PATIENCE: Duration = Duration::from_secs(120);

/// What a page looks like after its scripts have run.
pub(crate) struct Loaded {
    /// The document.
    pub dom: String,
    /// What the browser complained about: errors, refused scripts and styles.
    pub complaints: Vec<String>,
}

/// Headless Chromium with one tab; ended when dropped.
pub(crate) struct Browser {
    child: Child,
    socket: WebSocket<TcpStream>,
    tab: Option<String>,
    calls: u64,
    /// What the browser said of itself between answers.
    events: Vec<Value>,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// Starts one with a profile of its own.
    pub(crate) fn start() -> Self {
        let profile = tempfile::tempdir().unwrap();
        let mut child = Command::new("chromium")
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
                "--no-first-run",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                "--hide-scrollbars",
                "--remote-debugging-port=0",
            ])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("chromium is installed");
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let url = lines
            .by_ref()
            .map(Result::unwrap)
            .find_map(|line| Some(line.split_once("listening on ")?.1.to_owned()))
            .expect("Chromium says where it listens");
        // What it says further has to go somewhere, or it would wait for a full pipe.
        std::thread::spawn(move || lines.for_each(drop));
        let address = url
            .trim_start_matches("ws://")
            .split_once('/')
            .unwrap()
            .0
            .to_owned();
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let (socket, _) = tungstenite::client(url, stream).unwrap();
        let mut browser = Self {
            child,
            socket,
            tab: None,
            calls: 0,
            events: Vec::new(),
            _profile: profile,
        };
        let target = browser.call("Target.createTarget", json!({"url": "about:blank"}));
        let session = browser.call(
            "Target.attachToTarget",
            json!({"targetId": target["targetId"], "flatten": true}),
        );
        browser.tab = session["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Log"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        browser
    }

    /// Loads a page in a window of `(width, height)` pixels and waits until `shown`, an expression of JavaScript, is true.
    pub(crate) fn load(&mut self, url: &str, (width, height): (u32, u32), shown: &str) -> Loaded {
        let size =
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.call("Emulation.setDeviceMetricsOverride", size);
        self.events.clear();
        self.call("Page.navigate", json!({"url": url}));
        self.shown(url, shown)
    }

    /// Runs a script that leads to another page, and waits for that one as [`Self::load`] does.
    pub(crate) fn go(&mut self, script: &str, shown: &str) -> Loaded {
        self.events.clear();
        self.evaluate(script);
        self.shown(script, shown)
    }

    /// Gives the window another size, and waits until the page is as it should then be.
    pub(crate) fn resize(&mut self, (width, height): (u32, u32), shown: &str) {
        let size =
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.call("Emulation.setDeviceMetricsOverride", size);
        // Two frames later observers have told of the new size.
        self.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done, 50))))");
        assert_eq!(self.evaluate(shown), true, "{width} x {height}: {shown}");
    }

    fn shown(&mut self, what: &str, shown: &str) -> Loaded {
        while !self
            .events
            .iter()
            .any(|event| event["method"] == "Page.loadEventFired")
        {
            self.read();
        }
        // Answered by the page itself, as soon as it is so.
        let wait = format!(
            "new Promise((done) => {{
                const end = Date.now() + {};
                const look = () => ({shown}) || Date.now() > end ? done(Boolean({shown})) : setTimeout(look, 20);
                look();
            }})",
            PATIENCE.as_millis() / 2
        );
        let is_shown = self.evaluate(&wait);
        let dom = self.evaluate("document.documentElement.outerHTML");
        let complaints = self.events.iter().filter_map(complaint).collect();
        let dom = dom.as_str().unwrap().to_owned();
        assert_eq!(
            is_shown, true,
            "{what} never had {shown}; {complaints:?}: {dom}"
        );
        Loaded { dom, complaints }
    }

    fn evaluate(&mut self, expression: &str) -> Value {
        let answer = self.call(
            "Runtime.evaluate",
            json!({"expression": expression, "awaitPromise": true, "returnByValue": true}),
        );
        answer["result"]["value"].clone()
    }

    /// Calls a method and waits for its answer.
    fn call(&mut self, method: &str, params: Value) -> Value {
        self.calls += 1;
        let id = self.calls;
        let mut request = json!({"id": id, "method": method, "params": params});
        if let Some(tab) = &self.tab {
            request["sessionId"] = json!(tab);
        }
        self.socket
            .send(Message::text(request.to_string()))
            .unwrap();
        loop {
            if let Some(answer) = self.read().filter(|answer| answer["id"] == id) {
                assert!(answer["error"].is_null(), "{method}: {answer}");
                return answer["result"].clone();
            }
        }
    }

    /// Reads one message: an answer is given back, an event is kept.
    fn read(&mut self) -> Option<Value> {
        let message = self.socket.read().expect("Chromium answers");
        let value: Value = serde_json::from_str(message.to_text().unwrap()).ok()?;
        if value.get("id").is_some() {
            return Some(value);
        }
        self.events.push(value);
        None
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What an event complains about, if it does.
fn complaint(event: &Value) -> Option<String> {
    let params = &event["params"];
    let told = match event["method"].as_str()? {
        "Log.entryAdded" if params["entry"]["level"] == "error" => &params["entry"],
        "Runtime.exceptionThrown" => &params["exceptionDetails"],
        "Runtime.consoleAPICalled" if params["type"] == "error" => &params["args"],
        _ => return None,
    };
    Some(told.to_string())
}
