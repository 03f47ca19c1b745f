//! Starting the binary, asking it questions, and sinks that take what it sends.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long anything that should happen may take. Generous: test machines are slow and shared.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The binary under test: the one of this build, or the one that `BELLWETHER_TEST_BINARY` names, so that figures can be those
/// of an optimised one.
pub(crate) fn bellwether() -> Command {
    let named = std::env::var_os("BELLWETHER_TEST_BINARY");
    let mut command = Command::new(named.unwrap_or_else(|| env!("CARGO_BIN_EXE_bellwether").into()));
    // What the developer's shell has set must not change a test.
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("BELLWETHER_"))
    {
        command.env_remove(name);
    }
    command
}

/// Runs the binary to its end.
pub(crate) fn run(args: &[&str]) -> Output {
    bellwether().args(args).stdin(Stdio::null()).output().expect("the binary starts")
}

/// What a finished run printed on standard error.
pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// What a finished run printed on standard output.
pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What servers are started with, unless a test gives the flag itself.
const DEFAULTS: [&str; 3] =
    ["--web.listen-address=127.0.0.1:0", "--sources.host.interval=1s", "--web.enable-lifecycle"];

/// What a child prints on standard error from now on.
pub(crate) fn errors_of(child: &mut Child) -> Arc<Mutex<String>> {
    let errors = BufReader::new(child.stderr.take().expect("standard error is piped"));
    let log = Arc::new(Mutex::new(String::new()));
    let kept = Arc::clone(&log);
    std::thread::spawn(move || {
        for line in errors.lines().map_while(Result::ok) {
            let mut kept = kept.lock().unwrap();
            kept.push_str(&line);
            kept.push('\n');
        }
    });
    log
}

fn name(flag: &str) -> &str {
    flag.split_once('=').map_or(flag, |(name, _)| name)
}

/// A running server. It is killed when the value is dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) url: String,
    /// Lines printed before the page was served.
    pub(crate) banner: Vec<String>,
    /// Everything printed on standard error so far.
    log: Arc<Mutex<String>>,
}

impl Server {
    /// Starts on a free port with the data in `folder`; the host is watched every second.
    pub(crate) fn start(folder: &Path, args: &[&str]) -> Self {
        let mut command = bellwether();
        command
            .arg("server")
            .arg(format!("--storage.path={}", folder.display()))
            .args(DEFAULTS.iter().filter(|flag| !args.iter().any(|arg| name(arg) == name(flag))))
            .args(args);
        Self::spawn(command)
    }

    fn spawn(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let log = errors_of(&mut child);
        let mut banner = Vec::new();
        let mut url = None;
        let mut lines = BufReader::new(child.stdout.take().expect("standard output is piped")).lines();
        for line in lines.by_ref().map_while(Result::ok) {
            let found = line.split_whitespace().find(|word| word.starts_with("http://"));
            url = found.map(|word| word.trim_end_matches('/').to_owned());
            banner.push(line);
            if url.is_some() {
                break;
            }
        }
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        let Some(url) = url else {
            let status = child.wait().expect("the process ends");
            panic!("no address was printed ({status}): {banner:?}\n{}", log.lock().unwrap());
        };
        Self { child, url, banner, log }
    }

    /// What the server has logged so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// The process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// `kill -9`, and waits until the process is gone.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("the process is ours");
        self.child.wait().expect("the process ends");
    }

    /// SIGTERM, and the exit code.
    pub(crate) fn terminate(mut self) -> Option<i32> {
        self.signal("TERM");
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("the process is ours") {
                return status.code();
            }
            assert!(Instant::now() < deadline, "the server does not end on SIGTERM\n{}", self.log());
            pause();
        }
    }

    /// Sends a signal by name.
    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill").arg(format!("-{name}")).arg(self.pid().to_string()).status();
        assert!(status.expect("kill starts").success());
    }

    /// Status and body of a GET.
    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        let answer = agent().get(format!("{}{path}", self.url)).call();
        read(answer)
    }

    /// Status and body of a POST with a body of `content_type`.
    pub(crate) fn post(&self, path: &str, content_type: &str, body: &[u8]) -> (u16, String) {
        read(agent().post(format!("{}{path}", self.url)).content_type(content_type).send(body))
    }

    /// Status and body of any request, with a JSON body or none.
    pub(crate) fn send(&self, method: &str, path: &str, body: Option<&Value>) -> (u16, String) {
        let url = format!("{}{path}", self.url);
        let request = ureq::http::Request::builder().method(method).uri(url);
        let answer = match body {
            Some(body) => {
                let request = request.header("content-type", "application/json").body(body.to_string());
                agent().run(request.expect("the request can be made"))
            }
            None => agent().run(request.body(()).expect("the request can be made")),
        };
        read(answer)
    }

    /// The `data` of a successful JSON answer.
    pub(crate) fn data(&self, path: &str) -> Value {
        let (status, body) = self.get(path);
        assert_eq!(status, 200, "{path}: {body}");
        let mut answer: Value =
            serde_json::from_str(&body).unwrap_or_else(|err| panic!("{path}: {err}: {body}"));
        assert_eq!(answer["status"], "success", "{path}: {body}");
        answer["data"].take()
    }

    /// The samples of an instant query.
    pub(crate) fn query(&self, query: &str) -> Vec<Value> {
        let data = self.data(&format!("/api/v1/query?query={}", encode(query)));
        data["result"].as_array().unwrap_or_else(|| panic!("{query}: {data}")).clone()
    }

    /// The value of a query with one result.
    pub(crate) fn value(&self, query: &str) -> Option<f64> {
        let result = self.query(query);
        // A scalar is the pair itself, a vector a list of series.
        let value = if result.first()?.is_number() { result.get(1)? } else { &result[0]["value"][1] };
        value.as_str()?.parse().ok()
    }

    /// Waits until a query has a result, and returns it.
    pub(crate) fn wait_for(&self, query: &str) -> Vec<Value> {
        wait(&format!("query {query:?} to have a result"), || {
            let result = self.query(query);
            (!result.is_empty()).then_some(result)
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        if self.child.kill().is_ok() {
            drop(self.child.wait());
        }
        if std::thread::panicking() {
            eprintln!("--- the server's log ---\n{}", self.log());
        }
    }
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(PATIENCE))
        .build()
        .new_agent()
}

fn read(answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> (u16, String) {
    let mut answer = answer.expect("the server answers");
    let status = answer.status().as_u16();
    let body = answer.body_mut().with_config().limit(1 << 30).read_to_string();
    (status, body.expect("the body is text"))
}

/// Percent-encodes a parameter.
pub(crate) fn encode(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

/// Tries again and again until `attempt` gives something.
pub(crate) fn wait<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = attempt() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        pause();
    }
}

/// Between two looks at something that another process changes; never what a test relies on.
#[expect(clippy::disallowed_methods, reason = "another process cannot be awaited, only looked at")]
fn pause() {
    std::thread::sleep(Duration::from_millis(50));
}

/// Writes a file in a folder and returns its path.
pub(crate) fn file(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, text).expect("the folder is writable");
    path
}

/// A port that nobody listens on.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// An HTTP server that answers 200 to everything and keeps the bodies.
pub(crate) struct WebhookSink {
    pub(crate) url: String,
    bodies: Arc<(Mutex<Vec<Arrived>>, Condvar)>,
}

/// A body, and when it was complete.
pub(crate) type Arrived = (Instant, Value);

impl WebhookSink {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let bodies: Arc<(Mutex<Vec<Arrived>>, Condvar)> = Arc::default();
        let kept = Arc::clone(&bodies);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if let Some(body) = answer(stream).and_then(|body| serde_json::from_slice(&body).ok()) {
                    kept.0.lock().unwrap().push((Instant::now(), body));
                    kept.1.notify_all();
                }
            }
        });
        Self { url, bodies }
    }

    /// Waits for a body that `accept` takes.
    pub(crate) fn wait(&self, what: &str, accept: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        let mut bodies = self.bodies.0.lock().unwrap();
        loop {
            if let Some((_, body)) = bodies.iter().find(|(_, body)| accept(body)) {
                return body.clone();
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "no webhook with {what} came; these did: {bodies:#?}");
            bodies = self.bodies.1.wait_timeout(bodies, left).unwrap().0;
        }
    }

    /// Everything that has come so far.
    pub(crate) fn arrived(&self) -> Vec<Arrived> {
        self.bodies.0.lock().unwrap().clone()
    }

    /// How many have come that `accept` takes.
    pub(crate) fn count(&self, accept: impl Fn(&Value) -> bool) -> usize {
        self.bodies.0.lock().unwrap().iter().filter(|(_, body)| accept(body)).count()
    }
}

/// Reads one request with a content length, answers 200, returns the body.
fn answer(stream: TcpStream) -> Option<Vec<u8>> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let line = line.trim();
        if line.is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let mut stream = stream;
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").ok()?;
    Some(body)
}

/// A target whose exposition a test changes.
pub(crate) struct Exporter {
    pub(crate) address: String,
    body: Arc<Mutex<String>>,
}

impl Exporter {
    pub(crate) fn start(body: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let body = Arc::new(Mutex::new(body.to_owned()));
        let kept = Arc::clone(&body);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let text = kept.lock().unwrap().clone();
                // A scraper that hangs up is its own business.
                drop(expose(stream, &text));
            }
        });
        Self { address, body }
    }

    /// What scrapes get from now on.
    pub(crate) fn set(&self, body: &str) {
        body.clone_into(&mut self.body.lock().unwrap());
    }
}

fn expose(stream: TcpStream, text: &str) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    while reader.read_line(&mut line)? > 0 && !line.trim().is_empty() {
        line.clear();
    }
    let mut stream = stream;
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}",
        text.len()
    )
}

/// A real SMTP server (aiosmtpd) that writes each message to a folder. `None`, with a word on standard error, where the
/// Python helpers are not installed.
pub(crate) struct SmtpSink {
    child: Child,
    pub(crate) address: String,
    folder: tempfile::TempDir,
}

impl SmtpSink {
    pub(crate) fn start() -> Option<Self> {
        let python = testkit::peer::python()?;
        let folder = tempfile::tempdir().unwrap();
        let mut child = Command::new(python)
            .arg(testkit::peer::SMTP_SINK)
            .arg(folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .expect("Python starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Some(Self { child, address: line.trim().to_owned(), folder })
    }

    /// Waits for a message that contains `text`.
    pub(crate) fn wait(&self, text: &str) -> String {
        wait(&format!("a mail with {text:?}"), || {
            let files = std::fs::read_dir(self.folder.path()).unwrap();
            let mails = files
                .map(|entry| entry.unwrap().path())
                .filter(|path| path.extension().is_some_and(|extension| extension == "eml"));
            let messages = mails.filter_map(|path| std::fs::read_to_string(path).ok());
            messages.into_iter().find(|message| message.contains(text))
        })
    }
}

impl Drop for SmtpSink {
    fn drop(&mut self) {
        if self.child.kill().is_ok() {
            drop(self.child.wait());
        }
    }
}
