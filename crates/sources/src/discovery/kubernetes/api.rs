//! Listing and watching one collection. Source: the Kubernetes API concepts, "Efficient detection of changes".
//!
//! A list gives the state and its version; a watch from that version gives every change after it. Bookmarks move the version
//! forward without a change; `410 Gone` means that the version is too old, and the collection is listed anew.

use std::time::Duration;

use httpc::{Client, Request, StatusCode};
use serde_json::Value;
use tokio::sync::mpsc;

use super::objects::{Kind, Object};
use crate::discovery::poll;

/// Objects in one page of a list.
const PAGE: usize = 500;
/// How long the server is asked to keep a watch open.
const WATCH: Duration = Duration::from_secs(300);
/// A longer event is refused.
const MAX_EVENT_BYTES: usize = 16 << 20;
/// The first and the longest wait after a failure.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// Failures of a watch in a row after which the collection is listed anew.
const MAX_FAILURES: u32 = 5;

/// What a reflector tells.
#[derive(Debug)]
pub(super) enum Change {
    /// The whole collection.
    Replaced { reflector: usize, objects: Vec<Object> },
    /// One object is so now.
    Set(Box<Object>),
    /// One object is gone.
    Gone(Kind, String),
    /// The collection cannot be seen at the moment.
    Failed(String),
}

/// One collection.
#[derive(Clone, Debug)]
pub(super) struct Reflector {
    /// Its number in the mechanism.
    pub(super) id: usize,
    pub(super) kind: Kind,
    /// `""` for all namespaces.
    pub(super) namespace: String,
    /// Label and field selectors.
    pub(super) label: String,
    pub(super) field: String,
    pub(super) server: String,
}

/// How a watch ended.
enum Ended {
    /// The server closed it, as it does after a while.
    Closed,
    /// The version is too old.
    Expired,
}

impl Reflector {
    /// Lists and watches until the mechanism ends.
    pub(super) async fn run(self, client: Client, tx: mpsc::Sender<Change>) {
        let mut wait = BACK_OFF.0;
        loop {
            let mut version = match self.list(&client).await {
                Ok((objects, version)) => {
                    wait = BACK_OFF.0;
                    if tx.send(Change::Replaced { reflector: self.id, objects }).await.is_err() {
                        return;
                    }
                    version
                }
                Err(reason) => {
                    if tx.send(Change::Failed(reason)).await.is_err() {
                        return;
                    }
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(BACK_OFF.1);
                    continue;
                }
            };
            let mut failures = 0;
            while failures < MAX_FAILURES {
                match self.watch(&client, &mut version, &tx).await {
                    Ok(Ended::Closed) => failures = 0,
                    Ok(Ended::Expired) => break,
                    Err(reason) => {
                        failures += 1;
                        if tx.send(Change::Failed(reason)).await.is_err() {
                            return;
                        }
                        tokio::time::sleep(wait).await;
                        wait = (wait * 2).min(BACK_OFF.1);
                    }
                }
                if tx.is_closed() {
                    return;
                }
            }
        }
    }

    fn url(&self, more: &[(&str, &str)]) -> Result<String, String> {
        let url = format!("{}{}", self.server.trim_end_matches('/'), self.kind.path(&self.namespace));
        let mut pairs = vec![("labelSelector", self.label.as_str()), ("fieldSelector", self.field.as_str())];
        pairs.extend_from_slice(more);
        poll::with_query(&url, &pairs)
    }

    /// All objects, page by page, and the version of the collection.
    async fn list(&self, client: &Client) -> Result<(Vec<Object>, String), String> {
        let (mut objects, mut page) = (Vec::new(), String::new());
        let limit = PAGE.to_string();
        for _ in 0..poll::MAX_PAGES {
            let url = self.url(&[("limit", &limit), ("continue", &page)])?;
            let mut list = match self.page(client, &url).await? {
                Some(list) => list,
                // The list took longer than the server keeps its pages: from the start.
                None if !page.is_empty() => {
                    objects.clear();
                    page.clear();
                    continue;
                }
                None => return Err(format!("{} is gone", self.kind.path(&self.namespace))),
            };
            if let Value::Array(items) = list["items"].take() {
                for item in items {
                    objects.push(self.read(item)?);
                }
            }
            page = poll::text(&list["metadata"]["continue"]);
            if page.is_empty() {
                return Ok((objects, poll::text(&list["metadata"]["resourceVersion"])));
            }
        }
        Err(format!("the list of {} does not end", self.kind.path(&self.namespace)))
    }

    async fn page(&self, client: &Client, url: &str) -> Result<Option<Value>, String> {
        let request = Request::get(url)
            .and_then(|request| request.header("accept", "application/json"))
            .map_err(|err| err.chain())?;
        let response = client.send(request).await.map_err(|err| err.chain())?;
        if response.status() == StatusCode::GONE {
            return Ok(None);
        }
        let status = response.status();
        let body = response.bytes(poll::MAX_BYTES).await.map_err(|err| err.chain())?;
        if status != StatusCode::OK {
            return Err(refused(&self.kind.path(&self.namespace), status, &body));
        }
        poll::parse(url, &body).map(Some)
    }

    fn read(&self, value: Value) -> Result<Object, String> {
        self.kind
            .read(value)
            .map_err(|err| format!("an object of {} cannot be read: {err}", self.kind.path(&self.namespace)))
    }

    /// One watch, from `version` on, which moves with every event.
    async fn watch(
        &self,
        client: &Client,
        version: &mut String,
        tx: &mpsc::Sender<Change>,
    ) -> Result<Ended, String> {
        let seconds = WATCH.as_secs().to_string();
        let url = self.url(&[
            ("watch", "true"),
            ("allowWatchBookmarks", "true"),
            ("resourceVersion", version),
            ("timeoutSeconds", &seconds),
        ])?;
        let request = Request::get(&url)
            .and_then(|request| request.header("accept", "application/json"))
            .map_err(|err| err.chain())?
            .timeout(WATCH + Duration::from_secs(30));
        let mut response = client.send(request).await.map_err(|err| err.chain())?;
        let status = response.status();
        if status == StatusCode::GONE {
            return Ok(Ended::Expired);
        }
        if status != StatusCode::OK {
            let body = response.bytes(1 << 20).await.map_err(|err| err.chain())?;
            return Err(refused(&self.kind.path(&self.namespace), status, &body));
        }
        let mut buffer: Vec<u8> = Vec::new();
        while let Some(part) = response.chunk().await.map_err(|err| err.chain())? {
            let mut searched = buffer.len();
            buffer.extend_from_slice(&part);
            let mut done = 0;
            while let Some(end) = buffer[searched..].iter().position(|b| *b == b'\n') {
                let line = &buffer[done..searched + end];
                if let Some(ended) = self.event(line, version, tx).await? {
                    return Ok(ended);
                }
                done = searched + end + 1;
                searched = done;
            }
            buffer.drain(..done);
            if buffer.len() > MAX_EVENT_BYTES {
                return Err(format!("an event is longer than {MAX_EVENT_BYTES} bytes"));
            }
        }
        Ok(Ended::Closed)
    }

    async fn event(
        &self,
        line: &[u8],
        version: &mut String,
        tx: &mpsc::Sender<Change>,
    ) -> Result<Option<Ended>, String> {
        if line.iter().all(u8::is_ascii_whitespace) {
            return Ok(None);
        }
        let mut event = poll::parse("a watch", line)?;
        let mut object = event["object"].take();
        let kind = event["type"].as_str().unwrap_or_default();
        if kind == "ERROR" {
            // Too old: the list starts over. Anything else too, after a pause.
            return match object["code"].as_i64() {
                Some(410) => Ok(Some(Ended::Expired)),
                _ => Err(format!("the server ended the watch: {}", poll::text(&object["message"].take()))),
            };
        }
        let at = poll::text(&object["metadata"]["resourceVersion"]);
        let change = match kind {
            "BOOKMARK" => None,
            "ADDED" | "MODIFIED" => Some(Change::Set(Box::new(self.read(object)?))),
            "DELETED" => Some(Change::Gone(self.kind, self.read(object)?.key())),
            other => return Err(format!("the watch has an event of the unknown type {other:?}")),
        };
        if !at.is_empty() {
            *version = at;
        }
        if let Some(change) = change
            && tx.send(change).await.is_err()
        {
            return Ok(Some(Ended::Closed));
        }
        Ok(None)
    }
}

fn refused(path: &str, status: StatusCode, body: &[u8]) -> String {
    let said: Value = serde_json::from_slice(body).unwrap_or_default();
    let said = match said["message"].as_str() {
        Some(message) => message.to_owned(),
        None => String::from_utf8_lossy(body).chars().take(300).collect(),
    };
    format!("{path} returned HTTP status {status}: {}", said.trim())
}
