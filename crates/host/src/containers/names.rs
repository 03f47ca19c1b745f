//! What a container is called: from the files that Docker and containerd keep, as far as they may be read. They are read once.

use std::collections::HashMap;

use serde_json::Value;

use super::Identity;
use crate::files::{self, Files};
use crate::process::files::container;

/// Names by path of the control group.
#[derive(Default)]
pub(super) struct Names {
    known: HashMap<String, Identity>,
}

impl Names {
    pub(super) fn of(&mut self, files: &Files, path: &str) -> Identity {
        if let Some(known) = self.known.get(path) {
            return known.clone();
        }
        let id = full_id(path);
        let found = if id.is_empty() { None } else { docker(files, id).or_else(|| containerd(files, id)) };
        let named = found.is_some();
        let identity =
            found.unwrap_or_else(|| Identity { name: container(path).to_owned(), ..Identity::default() });
        // One that is not named yet is asked for again: its files may come a moment later.
        if named || id.is_empty() {
            self.known.insert(path.to_owned(), identity.clone());
        }
        identity
    }

    /// Drops those that are gone.
    pub(super) fn forget(&mut self, present: &[String]) {
        self.known.retain(|path, _| present.binary_search(path).is_ok());
    }
}

/// The whole id in a path.
fn full_id(path: &str) -> &str {
    let parts = path.rsplit('/').map(|part| part.strip_suffix(".scope").unwrap_or(part));
    let ids = parts.map(|part| part.rsplit(['-', ':']).next().unwrap_or(part));
    ids.into_iter().find(|id| id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit())).unwrap_or("")
}

fn json(files: &Files, path: &str) -> Option<Value> {
    serde_json::from_str(&files::read(&files.root_path(path)).ok()?).ok()
}

fn docker(files: &Files, id: &str) -> Option<Identity> {
    let config = json(files, &format!("/var/lib/docker/containers/{id}/config.v2.json"))?;
    let label = |name: &str| config["Config"]["Labels"][name].as_str().unwrap_or_default().to_owned();
    Some(Identity {
        name: config["Name"].as_str()?.trim_start_matches('/').to_owned(),
        image: config["Config"]["Image"].as_str().unwrap_or_default().to_owned(),
        container: label("io.kubernetes.container.name"),
        pod: label("io.kubernetes.pod.name"),
        namespace: label("io.kubernetes.pod.namespace"),
    })
}

fn containerd(files: &Files, id: &str) -> Option<Identity> {
    let root = "/run/containerd/io.containerd.runtime.v2.task";
    let spaces = files::list(&files.root_path(root)).ok()?;
    let config = spaces.iter().find_map(|space| json(files, &format!("{root}/{space}/{id}/config.json")))?;
    let note = |name: &str| config["annotations"][name].as_str().unwrap_or_default().to_owned();
    let container = note("io.kubernetes.cri.container-name");
    Some(Identity {
        name: if container.is_empty() { id.get(..12)?.to_owned() } else { container.clone() },
        image: note("io.kubernetes.cri.image-name"),
        container,
        pod: note("io.kubernetes.cri.sandbox-name"),
        namespace: note("io.kubernetes.cri.sandbox-namespace"),
    })
}
