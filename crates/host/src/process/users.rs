//! Who is logged in: sessions of systemd-logind, else utmp. Sources: sd-login(3), utmp(5).

use crate::files::{self, Files};

/// Size of a record and place of the type, by architecture: 64-bit ARM has wider times.
#[cfg(target_arch = "aarch64")]
const RECORD: usize = 400;
#[cfg(not(target_arch = "aarch64"))]
const RECORD: usize = 384;
/// A record of a session.
const USER_PROCESS: u16 = 7;

/// Sessions of people; `None` when neither source exists.
pub(super) fn logged_in(files: &Files) -> Option<usize> {
    let sessions = files.root_path("/run/systemd/sessions");
    if let Ok(names) = files::list(&sessions) {
        let is_user = |name: &String| {
            let text = files::read(&sessions.join(name)).unwrap_or_default();
            text.lines().any(|line| line == "CLASS=user")
        };
        return Some(names.iter().filter(|name| !name.contains('.')).filter(|name| is_user(name)).count());
    }
    let bytes = std::fs::read(files.root_path("/run/utmp")).ok()?;
    Some(utmp(&bytes))
}

fn utmp(bytes: &[u8]) -> usize {
    let records = bytes.chunks_exact(RECORD);
    records.filter(|record| u16::from_ne_bytes([record[0], record[1]]) == USER_PROCESS).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_sessions_are_counted() {
        let mut bytes = vec![0u8; 3 * RECORD + 5];
        bytes[0] = 7;
        bytes[RECORD] = 8;
        bytes[2 * RECORD] = 7;
        assert_eq!(utmp(&bytes), 2);
    }
}
