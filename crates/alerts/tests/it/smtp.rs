//! E-mail against a real SMTP server (aiosmtpd): STARTTLS, TLS from the first byte, logins, refusals; MIME as a mail client
//! parses it. Not run without the Python helpers.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use alerts::{Config, Dispatcher, Metrics, Parts, Settings, api};
use model::Labels;
use model::time::SystemClock;
use serde_json::{Value, json};
use testkit::MemoryState;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

struct Server {
    _child: Child,
    address: String,
    folder: tempfile::TempDir,
}

impl Server {
    /// `None` where the helpers are missing. A certificate for 127.0.0.1 is in the folder.
    async fn start(args: &[&str]) -> Option<Self> {
        let python = testkit::peer::python()?;
        let folder = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
        std::fs::write(&cert, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        let mut child = Command::new(python)
            .arg(testkit::peer::SMTP_SINK)
            .arg(folder.path())
            .arg("--cert")
            .arg(cert)
            .arg("--key")
            .arg(key)
            .args(args)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).await.unwrap();
        Some(Self { _child: child, address: line.trim().to_owned(), folder })
    }

    /// An alert manager with one way: `section` of an e-mail to this server.
    async fn dispatcher(&self, section: &str) -> Dispatcher {
        let yaml = format!(
            "global: {{smtp_smarthost: '{}', smtp_from: 'Bell Wéther <bw@example.org>', smtp_hello: here.example}}\nroute: {{receiver: mail, group_by: [alertname], group_wait: 50ms, group_interval: 30s}}\nreceivers:\n- name: mail\n  email_configs:\n  - {{to: 'a@example.org, Bee <b@example.org>', {}}}\n",
            self.address,
            section.replace("FOLDER", &self.folder.path().display().to_string())
        );
        let parts = Parts {
            settings: Settings { external_url: "http://bw.example".into(), ..Settings::default() },
            config: Config::load(&yaml).unwrap(),
            state: Arc::new(MemoryState::default()),
            journal: None,
            history: None,
            clock: Arc::new(SystemClock),
            metrics: Metrics::unregistered(),
            seed: 7,
        };
        Dispatcher::start(parts).await.unwrap()
    }

    /// One attempt: what the server answered, or why there is no answer and whether another attempt may help.
    async fn send(&self, section: &str) -> Result<String, (String, bool)> {
        let dispatcher = self.dispatcher(section).await;
        let labels = Labels::from_pairs([("alertname", "Down"), ("zone", "Zürich <1> & 2")]);
        let mut results = dispatcher.send_test("mail", labels).await.unwrap();
        results
            .remove(0)
            .1
            .map(|delivered| delivered.answer)
            .map_err(|failure| (failure.message, failure.retry))
    }

    /// What came, in order.
    fn mails(&self) -> Vec<Value> {
        let read = |path: &Path| std::fs::read(path).ok().and_then(|text| serde_json::from_slice(&text).ok());
        (1..).map_while(|n| read(&self.folder.path().join(format!("{n}.json")))).collect()
    }

    async fn wait(&self, count: usize) -> Vec<Value> {
        for _ in 0..600 {
            let mails = self.mails();
            if mails.len() >= count {
                return mails;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{} of {count} mails came", self.mails().len());
    }
}

const LOGIN: &str = "auth_username: ada, auth_password: secret";

#[tokio::test]
async fn mail_goes_through_starttls_with_a_login_and_parses() {
    let Some(server) = Server::start(&["--tls=starttls", "--login=ada:secret"]).await else { return };
    let section = format!(
        "{LOGIN}, tls_config: {{ca_file: FOLDER/cert.pem}}, text: '{{{{ .CommonLabels.zone }}}}', headers: {{Subject: 'Störung {{{{ .CommonLabels.alertname }}}}', X-Team: net}}"
    );
    let answer = server.send(&section).await.unwrap();
    assert!(answer.starts_with("250"), "{answer}");
    let mail = &server.mails()[0];
    assert_eq!(mail["tls"], true);
    assert_eq!(mail["auth"], "ada");
    assert_eq!(mail["hello"], "here.example");
    assert_eq!(mail["from"], "bw@example.org");
    assert_eq!(mail["to"], json!(["a@example.org", "b@example.org"]));
    let mime = &mail["mime"];
    assert_eq!((&mime["type"], &mime["defects"]), (&json!("multipart/alternative"), &json!([])));
    let headers = &mime["headers"];
    assert_eq!(headers["Subject"], "Störung Down");
    assert_eq!(headers["X-Team"], "net");
    assert_eq!(headers["From"], "Bell Wéther <bw@example.org>");
    assert_eq!(headers["To"], "a@example.org, Bee <b@example.org>");
    assert_eq!(headers["MIME-Version"], "1.0");
    for name in ["Date", "Message-ID"] {
        assert!(headers[name].is_string(), "{name}: {headers}");
    }
    let parts = mime["parts"].as_array().unwrap();
    let types: Vec<&str> = parts.iter().map(|part| part["type"].as_str().unwrap()).collect();
    assert_eq!(types, ["text/plain", "text/html"]);
    assert_eq!(parts[0]["text"].as_str().unwrap().trim(), "Zürich <1> & 2");
    let html = parts[1]["text"].as_str().unwrap();
    assert!(html.contains("Zürich &lt;1&gt; &amp; 2") && !html.contains("<1>"), "{html}");
}

#[tokio::test]
async fn mail_goes_through_tls_from_the_first_byte() {
    let Some(server) = Server::start(&["--tls=implicit"]).await else { return };
    let section = "force_implicit_tls: true, tls_config: {ca_file: FOLDER/cert.pem}";
    assert!(server.send(section).await.is_ok());
    assert_eq!(server.mails()[0]["tls"], true);
}

#[tokio::test]
async fn nothing_is_said_to_a_server_that_is_not_who_it_should_be() {
    let Some(server) = Server::start(&["--tls=starttls", "--login=ada:secret"]).await else { return };
    // Unknown issuer, another name, a wrong password: each says so.
    let (message, _) = server.send(LOGIN).await.unwrap_err();
    assert!(message.to_lowercase().contains("certificate"), "{message}");
    let other = format!("{LOGIN}, tls_config: {{ca_file: FOLDER/cert.pem, server_name: mail.example.org}}");
    let (message, _) = server.send(&other).await.unwrap_err();
    assert!(message.to_lowercase().contains("certificate"), "{message}");
    let wrong =
        "auth_username: ada, auth_password: hush-hush, tls_config: {ca_file: FOLDER/cert.pem}".to_owned();
    let (message, retry) = server.send(&wrong).await.unwrap_err();
    assert!(message.contains("535") && !retry && !message.contains("hush"), "{message}");
    assert!(server.mails().is_empty());
    // A server without STARTTLS gets neither mail nor password.
    let Some(plain) = Server::start(&[]).await else { return };
    let (message, _) = plain.send(LOGIN).await.unwrap_err();
    assert!(message.to_uppercase().contains("STARTTLS"), "{message}");
    assert!(plain.mails().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_passing_refusal_is_tried_again_and_a_final_one_is_not() {
    let Some(server) =
        Server::start(&["--answer=451 4.7.1 later", "--answer=250 OK", "--answer=550 5.7.1 never"]).await
    else {
        return;
    };
    let dispatcher = server.dispatcher("require_tls: false").await;
    let alert = |name: &str| {
        let posted = json!([{ "labels": { "alertname": name } }]);
        serde_json::from_value::<Vec<api::PostableAlert>>(posted).unwrap()
    };
    api::post_alerts(&dispatcher, alert("Later")).await.unwrap();
    let mails = server.wait(2).await;
    assert_eq!((&mails[0]["answer"], &mails[1]["answer"]), (&json!("451 4.7.1 later"), &json!("250 OK")));
    let id = |mail: &Value| mail["mime"]["headers"]["Message-ID"].clone();
    assert_eq!(id(&mails[0]), id(&mails[1]), "the same mail, so that a mailbox keeps one");
    api::post_alerts(&dispatcher, alert("Never")).await.unwrap();
    server.wait(3).await;
    let label = alerts::metrics::IntegrationLabel { integration: "email".into() };
    for _ in 0..600 {
        if dispatcher.metrics().notifications_failed.get_or_create(&label).get() > 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(dispatcher.metrics().notifications_failed.get_or_create(&label).get(), 1, "given up");
    assert_eq!(dispatcher.metrics().attempts.get_or_create(&label).get(), 3, "after one attempt");
    assert_eq!(server.mails().len(), 3);
    dispatcher.stop(Duration::from_secs(1)).await;
}
