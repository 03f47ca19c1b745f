//! The state store against the memory store, a killed process, damaged files and backups.

#![expect(clippy::unwrap_used, reason = "a failed step ends the test")]

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use model::seam::{Expect, StateStore};
use proptest::prelude::*;
use state::{Config, Error, Metrics, Store};
use tempfile::TempDir;

fn open(path: &Path) -> Result<Store, Error> {
    Store::open(path, Config::default(), Metrics::unregistered())
}

fn folder() -> (TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    (folder, path)
}

#[derive(Clone, Debug)]
enum Step {
    Put(u8, u8, Expect),
    PutAll(Vec<(u8, Option<u8>)>),
    Delete(u8),
    List,
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let expect = prop_oneof![Just(Expect::Any), Just(Expect::Absent), (1u64..20).prop_map(Expect::Revision)];
    prop_oneof![
        6 => (0u8..6, any::<u8>(), expect).prop_map(|(key, value, expect)| Step::Put(key, value, expect)),
        2 => prop::collection::vec((0u8..6, any::<Option<u8>>()), 0..5).prop_map(Step::PutAll),
        2 => (0u8..6).prop_map(Step::Delete),
        2 => Just(Step::List),
        1 => Just(Step::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn behaves_as_the_memory_store(steps in prop::collection::vec(step(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (_folder, path) = folder();
        let memory = testkit::MemoryState::default();
        let mut store = Some(open(&path).unwrap());
        for step in steps {
            let file = store.as_ref().unwrap();
            match step {
                Step::Put(key, value, expect) => {
                    let key = format!("k{key}");
                    let got = runtime.block_on(file.put("b", &key, &[value], expect)).unwrap();
                    let want = runtime.block_on(memory.put("b", &key, &[value], expect)).unwrap();
                    prop_assert_eq!(got, want);
                }
                Step::PutAll(entries) => {
                    let entries: Vec<_> =
                        entries.into_iter().map(|(k, v)| (format!("k{k}"), v.map(|v| vec![v]))).collect();
                    runtime.block_on(file.put_all("b", &entries)).unwrap();
                    runtime.block_on(memory.put_all("b", &entries)).unwrap();
                }
                Step::Delete(key) => {
                    let key = format!("k{key}");
                    let got = runtime.block_on(file.delete("b", &key)).unwrap();
                    prop_assert_eq!(got, runtime.block_on(memory.delete("b", &key)).unwrap());
                }
                Step::List => {
                    for prefix in ["", "k", "k1", "z"] {
                        let got = runtime.block_on(file.list("b", prefix)).unwrap();
                        prop_assert_eq!(got, runtime.block_on(memory.list("b", prefix)).unwrap());
                    }
                }
                Step::Reopen => {
                    drop(store.take());
                    store = Some(open(&path).unwrap());
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_many_claims_wins_and_commits_are_shared() {
    let (_folder, path) = folder();
    let metrics = Metrics::unregistered();
    let store = Arc::new(Store::open(&path, Config::default(), metrics.clone()).unwrap());
    let claims: Vec<_> = (0..200u8)
        .map(|n| {
            let store = store.clone();
            tokio::spawn(async move { store.put("claims", "one", &[n], Expect::Absent).await.unwrap() })
        })
        .collect();
    let mut won = 0;
    for claim in claims {
        won += usize::from(claim.await.unwrap().is_some());
    }
    assert_eq!(won, 1);
    let writes: Vec<_> = (0..500u32)
        .map(|n| {
            let store = store.clone();
            tokio::spawn(async move { store.put("b", &n.to_string(), b"x", Expect::Any).await.unwrap() })
        })
        .collect();
    for write in writes {
        write.await.unwrap();
    }
    assert!(metrics.commits.get() < 501, "{} commits for 501 writes", metrics.commits.get());
    assert_eq!(store.list("b", "").await.unwrap().len(), 500);
}

#[test]
fn the_file_is_private_and_belongs_to_one_process() {
    let (_folder, path) = folder();
    std::fs::write(&path, b"").unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
    let store = open(&path).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(matches!(open(&path), Err(Error::InUse { .. })));
    drop(store);
    open(&path).unwrap();
}

#[tokio::test]
async fn damage_is_named() {
    let (_folder, path) = folder();
    std::fs::write(&path, "this is no database, but it is long enough to look at".repeat(40)).unwrap();
    assert!(matches!(open(&path), Err(Error::Corrupt { .. })));

    let (_folder, path) = folder();
    let store = open(&path).unwrap();
    for n in 0..400 {
        store.put("b", &format!("key-{n}"), &[7; 300], Expect::Any).await.unwrap();
    }
    drop(store);
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2 / 4096 * 4096;
    bytes[middle..middle + 4096].fill(0xa5);
    std::fs::write(&path, bytes).unwrap();
    let err = open(&path).unwrap_err();
    assert!(matches!(err, Error::Corrupt { .. }), "{err}");
}

#[test]
fn foreign_and_newer_files_are_refused() {
    let (_folder, path) = folder();
    let db = rusqlite::Connection::open(&path).unwrap();
    db.execute_batch("CREATE TABLE theirs (x)").unwrap();
    drop(db);
    assert!(matches!(open(&path), Err(Error::Foreign { .. })));

    let (_folder, path) = folder();
    drop(open(&path).unwrap());
    let db = rusqlite::Connection::open(&path).unwrap();
    db.pragma_update(None, "user_version", 999).unwrap();
    drop(db);
    assert!(matches!(open(&path), Err(Error::Newer { found: 999, .. })));
}

#[tokio::test]
async fn a_backup_opens_and_holds_everything() {
    let (folder, path) = folder();
    let store = open(&path).unwrap();
    store.put("b", "k", b"v", Expect::Any).await.unwrap();
    let copy = folder.path().join("copy.db");
    store.backup_to(&copy).unwrap();
    assert!(matches!(store.backup_to(&copy), Err(Error::Io { .. })));
    store.put("b", "later", b"v", Expect::Any).await.unwrap();
    assert_eq!(std::fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o600);
    let copy = open(&copy).unwrap();
    assert_eq!(copy.get("b", "k").await.unwrap().unwrap().value, b"v");
    assert_eq!(copy.get("b", "later").await.unwrap(), None);
}

#[tokio::test]
async fn large_values_are_refused_and_leave_nothing() {
    let (_folder, path) = folder();
    let config = Config { max_value_bytes: 10, ..Config::default() };
    let store = Store::open(&path, config, Metrics::unregistered()).unwrap();
    let entries = vec![("a".to_owned(), Some(vec![0; 5])), ("b".to_owned(), Some(vec![0; 11]))];
    let err = store.put_all("x", &entries).await.unwrap_err();
    assert_eq!(err.kind(), model::ErrorKind::Limit);
    assert!(store.list("x", "").await.unwrap().is_empty());
}

/// Acknowledged writes survive a process that is killed: the test runs itself as a child, which prints each revision it
/// was promised, and kills it.
#[test]
fn acknowledged_survives_kill() {
    const CHILD: &str = "STATE_TEST_CHILD";
    if let Ok(path) = std::env::var(CHILD) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let store = open(Path::new(&path)).unwrap();
        for n in 0..1_000_000u32 {
            runtime.block_on(store.put("b", &format!("{n:07}"), b"v", Expect::Any)).unwrap();
            use std::io::Write;
            let mut out = std::io::stdout().lock();
            writeln!(out, "acknowledged {n}").unwrap();
            out.flush().unwrap();
        }
        return;
    }
    let (_folder, path) = folder();
    let mut child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "acknowledged_survives_kill", "--nocapture"])
        .env(CHILD, &path)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let out = std::io::BufReader::new(child.stdout.take().unwrap());
    let mut last = None;
    for line in std::io::BufRead::lines(out) {
        let line = line.unwrap();
        let Some((_, n)) = line.split_once("acknowledged ") else { continue };
        last = Some(n.parse::<usize>().unwrap());
        if last == Some(150) {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let store = open(&path).unwrap();
    let found = runtime.block_on(store.list("b", "")).unwrap().len();
    assert!(found > last.unwrap() && last.unwrap() >= 150, "{found} of {last:?}");
}
