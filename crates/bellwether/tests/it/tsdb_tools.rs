//! `bellwether tsdb` on real folders: in, looked at, out, verified, restored.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::harness::{Server, file, run, stderr, stdout};

/// Runs a command that must succeed; what it printed.
fn ok(args: &[&str]) -> String {
    let output = run(args);
    assert!(output.status.success(), "{args:?}: {}", stderr(&output));
    stdout(&output)
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// OpenMetrics text: three days of a counter and a gauge, every 10 minutes.
fn open_metrics() -> String {
    let mut out = String::from("# TYPE c counter\n");
    let times = || (0..432).map(|i| 1_700_000_000 + i * 600);
    for time in times() {
        out.push_str(&format!("c_total{{job=\"a\",path=\"x\\\"y\"}} {} {time}.5\n", time - 1_700_000_000));
    }
    out.push_str("# TYPE g gauge\n");
    for time in times() {
        out.push_str(&format!("g{{job=\"a\"}} {}.25 {time}\n", time % 7));
    }
    out + "# EOF\n"
}

/// The number before `word` in `text`.
fn number_before(text: &str, word: &str) -> u64 {
    let before = text.split(word).next().unwrap_or_default();
    before
        .split_whitespace()
        .next_back()
        .and_then(|number| number.parse().ok())
        .unwrap_or_else(|| panic!("{text}"))
}

#[test]
fn what_only_the_log_holds_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[]);
    server.wait_for("node_load1");
    server.kill();
    let listed = ok(&["tsdb", "ls", text(folder.path())]);
    let (samples, series) = (number_before(&listed, " samples of"), number_before(&listed, " series"));
    assert!(samples >= series && series > 100, "{listed}");
    let verified = ok(&["tsdb", "verify", text(folder.path())]);
    assert_eq!(number_before(&verified, " in write-ahead logs"), samples, "{verified}");
}

#[test]
fn samples_go_in_and_come_out_again() {
    let folder = tempfile::tempdir().unwrap();
    let source = file(folder.path(), "in.om", &open_metrics());
    let data = folder.path().join("data");
    std::fs::create_dir(&data).unwrap();
    let said = ok(&["tsdb", "import", "openmetrics", text(&source), text(&data)]);
    assert!(said.contains("2 series, 864 samples"), "{said}");
    let listed = ok(&["tsdb", "ls", text(&data)]);
    assert!(listed.contains("tenant ") && listed.contains("import0001-000000"), "{listed}");
    assert!(ok(&["tsdb", "verify", text(&data)]).contains(" 0 damaged"));
    let analyzed = ok(&["tsdb", "analyze", text(&data), "--limit=3"]);
    assert!(analyzed.contains("c_total") && analyzed.contains("dictionary"), "{analyzed}");
    let dumped =
        ok(&["tsdb", "dump", text(&data), "--match", "g", "--start=1700000000000", "--end=1700000600000"]);
    assert_eq!(dumped, "g{job=\"a\"} 6.25 1700000000000\ng{job=\"a\"} 4.25 1700000600000\n");

    // Out and in again is the same.
    let out = folder.path().join("out.om");
    let said = ok(&["tsdb", "export", text(&data), "-o", text(&out)]);
    assert!(said.contains("2 series, 864 samples"), "{said}");
    let again = folder.path().join("again");
    std::fs::create_dir(&again).unwrap();
    ok(&["tsdb", "import", "openmetrics", text(&out), text(&again)]);
    assert_eq!(ok(&["tsdb", "dump", text(&again)]), ok(&["tsdb", "dump", text(&data)]));
    let existing = run(&["tsdb", "export", text(&data), "-o", text(&out)]);
    assert!(!existing.status.success() && stderr(&existing).contains("out.om"));

    // A snapshot, restored, is the same too.
    let snapshot = folder.path().join("snapshot");
    ok(&["tsdb", "snapshot", text(&data), text(&snapshot)]);
    let restored = folder.path().join("restored");
    ok(&["tsdb", "restore", text(&snapshot), text(&restored)]);
    assert_eq!(ok(&["tsdb", "dump", text(&restored)]), ok(&["tsdb", "dump", text(&data)]));

    // One flipped byte is found, named, and not restored.
    let blocks = std::fs::read_dir(snapshot.join("default/blocks")).unwrap();
    let block = blocks.map(|e| e.unwrap().path()).min().unwrap().join("data");
    let mut bytes = std::fs::read(&block).unwrap();
    bytes[40] ^= 1;
    std::fs::remove_file(&block).unwrap();
    std::fs::write(&block, bytes).unwrap();
    let verified = run(&["tsdb", "verify", text(&snapshot)]);
    assert_eq!(verified.status.code(), Some(1));
    assert!(stderr(&verified).contains(text(&block)), "{}", stderr(&verified));
    let refused = run(&["tsdb", "restore", text(&snapshot), text(&folder.path().join("no"))]);
    assert!(!refused.status.success() && !folder.path().join("no").exists());

    let bad = file(folder.path(), "bad.om", "g 1 1\ng 2\n# EOF\n");
    let refused = run(&["tsdb", "import", "openmetrics", text(&bad), text(&again)]);
    assert!(!refused.status.success() && stderr(&refused).contains("line 2"), "{}", stderr(&refused));
}

#[test]
fn parquet_is_read_by_others() {
    let Some(python) = std::env::var_os("BELLWETHER_TEST_PYTHON") else {
        eprintln!("not run: BELLWETHER_TEST_PYTHON is not set (cargo xtask test sets it)");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let source = file(folder.path(), "in.om", &open_metrics());
    let data = folder.path().join("data");
    std::fs::create_dir(&data).unwrap();
    ok(&["tsdb", "import", "openmetrics", text(&source), text(&data)]);
    let out = folder.path().join("out.parquet");
    let said = ok(&["tsdb", "export", text(&data), "--format=parquet", "-o", text(&out)]);
    assert!(said.contains("2 series, 864 samples"), "{said}");
    let script = r#"
import sys
try:
    import duckdb
except ImportError:
    print("not run: duckdb is not installed")
    sys.exit(0)
rows = duckdb.sql(f"""
    SELECT metric, labels->>'path', count(*), min(epoch_ms(timestamp)), max(epoch_ms(timestamp)), sum(value)
    FROM '{sys.argv[1]}' GROUP BY ALL ORDER BY 1""").fetchall()
print(rows)
few = duckdb.sql(f"SELECT count(*) FROM '{sys.argv[1]}' WHERE timestamp < TIMESTAMP '2023-11-14 22:33:20'").fetchall()
print(few)
"#;
    let output = Command::new(python).args(["-c", script, text(&out)]).stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    if said.starts_with("not run") {
        eprintln!("{said}");
        return;
    }
    let sum: i64 = (0..432).map(|i| i * 600).sum();
    let gauges: f64 = (0..432).map(|i| ((1_700_000_000 + i * 600) % 7) as f64 + 0.25).sum();
    let expected = format!(
        "[('c_total', 'x\"y', 432, 1700000000500, 1700258600500, {sum}.0), ('g', None, 432, 1700000000000, 1700258600000, {gauges:?})]\n[(4,)]\n"
    );
    assert_eq!(said, expected);
}
