//! Address → country and autonomous system, by databases in MaxMind's format. The address goes no further.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use maxminddb::Reader;
use parking_lot::RwLock;

use crate::config::GeoConfig;

/// A larger database file is refused.
const MAX_FILE_BYTES: u64 = 1 << 30;

/// Where a client is, as coarsely as it is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Place {
    /// ISO 3166 alpha-2 in capitals; zeros when it is not known.
    pub country: [u8; 2],
    /// Number of the autonomous system; 0 when it is not known.
    pub asn: u32,
}

struct Database {
    path: PathBuf,
    modified: Option<SystemTime>,
    reader: Option<Arc<Reader<Vec<u8>>>>,
}

impl Database {
    fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), modified: None, reader: None }
    }

    /// Reads the file when it has changed.
    fn refresh(&mut self) -> Result<bool, String> {
        if self.path.as_os_str().is_empty() {
            return Ok(false);
        }
        let fail =
            |err: &dyn std::fmt::Display| format!("cannot use the database {}: {err}", self.path.display());
        let meta = std::fs::metadata(&self.path).map_err(|err| fail(&err))?;
        let modified = meta.modified().ok();
        if self.reader.is_some() && modified == self.modified {
            return Ok(false);
        }
        if meta.len() > MAX_FILE_BYTES {
            return Err(fail(&format!("it has {} bytes, more than {MAX_FILE_BYTES}", meta.len())));
        }
        let bytes = std::fs::read(&self.path).map_err(|err| fail(&err))?;
        let reader = Reader::from_source(bytes).map_err(|err| fail(&err))?;
        self.reader = Some(Arc::new(reader));
        self.modified = modified;
        Ok(true)
    }
}

/// Both databases.
pub struct Geo {
    country: RwLock<Database>,
    asn: RwLock<Database>,
}

impl std::fmt::Debug for Geo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Geo").finish_non_exhaustive()
    }
}

impl Geo {
    /// Opens the databases that are named.
    ///
    /// # Errors
    /// One cannot be read: which, and why.
    pub fn open(config: &GeoConfig) -> Result<Self, String> {
        let this = Self {
            country: RwLock::new(Database::new(&config.country_file)),
            asn: RwLock::new(Database::new(&config.asn_file)),
        };
        this.refresh()?;
        Ok(this)
    }

    /// Reads databases again that have changed; an unreadable one leaves the old one in use. Blocks.
    ///
    /// # Errors
    /// One cannot be read: which, and why.
    pub fn refresh(&self) -> Result<bool, String> {
        let country = self.country.write().refresh();
        let asn = self.asn.write().refresh();
        Ok(country? | asn?)
    }

    /// What the databases say of an address.
    pub fn place(&self, address: IpAddr) -> Place {
        let mut place = Place::default();
        if let Some(reader) = &self.country.read().reader
            && let Ok(found) = reader.lookup(address)
        {
            for path in [["country", "iso_code"], ["registered_country", "iso_code"]] {
                let path = path.map(maxminddb::PathElement::Key);
                if let Ok(Some(code)) = found.decode_path::<&str>(&path)
                    && let [a, b] = *code.as_bytes()
                    && a.is_ascii_uppercase()
                    && b.is_ascii_uppercase()
                {
                    place.country = [a, b];
                    break;
                }
            }
        }
        if let Some(reader) = &self.asn.read().reader
            && let Ok(found) = reader.lookup(address)
        {
            let path = [maxminddb::PathElement::Key("autonomous_system_number")];
            if let Ok(Some(asn)) = found.decode_path::<u32>(&path) {
                place.asn = asn;
            }
        }
        place
    }
}

/// The network that stands for a client: /24 or /48.
pub fn prefix(address: IpAddr) -> u64 {
    match address.to_canonical() {
        IpAddr::V4(v4) => u64::from(u32::from(v4) >> 8),
        IpAddr::V6(v6) => (u128::from(v6) >> 80) as u64 | 1 << 63,
    }
}

/// The network of a server as text, or what kind of address it is when it is not a public one.
pub fn server_network(address: IpAddr) -> String {
    let address = address.to_canonical();
    let (public, bits) = match address {
        IpAddr::V4(v4) => {
            let shared = v4.octets()[0] == 100 && v4.octets()[1] & 0xc0 == 64;
            let special = v4.is_private()
                || v4.is_loopback()
                || v4.is_link_local()
                || v4.is_unspecified()
                || v4.is_broadcast()
                || shared;
            (!special, 24)
        }
        IpAddr::V6(v6) => {
            let local = v6.is_unique_local() || v6.is_unicast_link_local();
            (!(v6.is_loopback() || v6.is_unspecified() || local), 48)
        }
    };
    if !public {
        return "private".to_owned();
    }
    match ipnet::IpNet::new(address, bits) {
        Ok(network) => network.trunc().to_string(),
        Err(_) => "private".to_owned(),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::mmdb_test as mmdb;

    #[test]
    fn places_are_read_and_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let config = GeoConfig {
            country_file: folder.path().join("country.mmdb"),
            asn_file: folder.path().join("asn.mmdb"),
        };
        assert!(Geo::open(&config).unwrap_err().contains("country.mmdb"));
        mmdb::write(&config.country_file, &[("10.1.0.0/16", mmdb::country("DE"))]);
        mmdb::write(
            &config.asn_file,
            &[("10.1.0.0/16", mmdb::asn(64500)), ("2001:db8::/32", mmdb::asn(64501))],
        );
        let geo = Geo::open(&config).unwrap();
        assert_eq!(geo.place("10.1.2.3".parse().unwrap()), Place { country: *b"DE", asn: 64500 });
        assert_eq!(geo.place("10.2.2.3".parse().unwrap()), Place::default());
        assert_eq!(geo.place("2001:db8::5".parse().unwrap()).asn, 64501);
        assert_eq!(geo.refresh(), Ok(false));
        mmdb::write(&config.country_file, &[("10.2.0.0/16", mmdb::country("FR"))]);
        let later = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(4_000_000_000);
        std::fs::File::options().write(true).open(&config.country_file).unwrap().set_modified(later).unwrap();
        assert_eq!(geo.refresh(), Ok(true));
        assert_eq!(geo.place("10.2.2.3".parse().unwrap()).country, *b"FR");
        std::fs::write(&config.asn_file, b"broken").unwrap();
        std::fs::File::options().write(true).open(&config.asn_file).unwrap().set_modified(later).unwrap();
        assert!(geo.refresh().unwrap_err().contains("asn.mmdb"));
        assert_eq!(geo.place("10.1.2.3".parse().unwrap()).asn, 64500);
    }

    #[test]
    fn networks() {
        let of = |text: &str| server_network(text.parse().unwrap());
        assert_eq!(of("198.41.5.7"), "198.41.5.0/24");
        assert_eq!(of("2a00:1450:4001:82b::200e"), "2a00:1450:4001::/48");
        for private in [
            "127.0.0.1",
            "192.168.1.1",
            "10.0.0.1",
            "100.64.0.1",
            "fe80::1",
            "fd00::1",
            "::1",
            "::ffff:10.0.0.1",
        ] {
            assert_eq!(of(private), "private", "{private}");
        }
        assert_eq!(prefix("10.1.2.3".parse().unwrap()), prefix("10.1.2.200".parse().unwrap()));
        assert_ne!(prefix("10.1.2.3".parse().unwrap()), prefix("10.1.3.3".parse().unwrap()));
        assert_eq!(prefix("2001:db8:1:2::1".parse().unwrap()), prefix("2001:db8:1:3::1".parse().unwrap()));
    }
}
