//! The tables of the state file and how older ones are brought up to date.
//!
//! A migration is never changed once released: a new one is added at the end. `user_version` counts those applied.

use std::path::Path;

use rusqlite::Connection;

use crate::error::Error;

/// `BWst`: marks the file as ours.
pub(crate) const APPLICATION_ID: i32 = 0x4257_7374;

const MIGRATIONS: &[&str] = &["CREATE TABLE entry (
        bucket   TEXT NOT NULL,
        key      TEXT NOT NULL,
        revision INTEGER NOT NULL,
        value    BLOB NOT NULL,
        PRIMARY KEY (bucket, key)
    ) WITHOUT ROWID, STRICT;
    CREATE TABLE counter (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID, STRICT;
    INSERT INTO counter VALUES ('revision', 0);"];

/// Checks that the file is ours and sound, and applies what is missing.
pub(crate) fn prepare(db: &mut Connection, path: &Path) -> Result<(), Error> {
    let sql = |source| Error::sql("read", path, source);
    let application: i32 = db.pragma_query_value(None, "application_id", |row| row.get(0)).map_err(sql)?;
    let tables: i64 =
        db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(sql)?;
    if application != APPLICATION_ID && (application != 0 || tables > 0) {
        return Err(Error::Foreign { path: path.to_owned(), found: application });
    }
    let verdict: String = db.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0)).map_err(sql)?;
    if verdict != "ok" {
        return Err(Error::Corrupt { path: path.to_owned(), detail: verdict });
    }
    let found: i32 = db.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(sql)?;
    let known = MIGRATIONS.len() as i32;
    if found > known {
        return Err(Error::Newer { path: path.to_owned(), found, known });
    }
    for (at, migration) in MIGRATIONS.iter().enumerate().skip(found.max(0) as usize) {
        let sql = |source| Error::sql("migrate", path, source);
        let tx = db.transaction().map_err(sql)?;
        tx.execute_batch(migration).map_err(sql)?;
        tx.pragma_update(None, "application_id", APPLICATION_ID).map_err(sql)?;
        tx.pragma_update(None, "user_version", at as i32 + 1).map_err(sql)?;
        tx.commit().map_err(sql)?;
    }
    Ok(())
}
