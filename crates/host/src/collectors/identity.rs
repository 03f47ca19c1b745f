//! `uname` and `os`: what this host is.

use std::collections::BTreeMap;

use crate::files::{self, Files};
use crate::output::Output;
use crate::{Collector, Error};

pub(crate) struct Uname;

impl Collector for Uname {
    fn name(&self) -> &'static str {
        "uname"
    }

    fn collect(&mut self, _files: &Files, out: &mut Output) -> Result<(), Error> {
        let uname = rustix::system::uname();
        let text = |value: &std::ffi::CStr| value.to_string_lossy().into_owned();
        let labels = [
            ("domainname", text(uname.domainname())),
            ("machine", text(uname.machine())),
            ("nodename", text(uname.nodename())),
            ("release", text(uname.release())),
            ("sysname", text(uname.sysname())),
            ("version", text(uname.version())),
        ];
        let labels: Vec<(&str, &str)> = labels.iter().map(|(name, value)| (*name, value.as_str())).collect();
        out.gauge(
            "node_uname_info",
            "Always 1; the labels are what uname(2) says of the host.",
            &labels,
            1.0,
        );
        Ok(())
    }
}

pub(crate) struct Os;

/// The labels of `node_os_info` and the fields of os-release(5) that fill them.
const INFO: [(&str, &str); 11] = [
    ("build_id", "BUILD_ID"),
    ("id", "ID"),
    ("id_like", "ID_LIKE"),
    ("image_id", "IMAGE_ID"),
    ("image_version", "IMAGE_VERSION"),
    ("name", "NAME"),
    ("pretty_name", "PRETTY_NAME"),
    ("variant", "VARIANT"),
    ("variant_id", "VARIANT_ID"),
    ("version", "VERSION"),
    ("version_codename", "VERSION_CODENAME"),
];

impl Collector for Os {
    fn name(&self) -> &'static str {
        "os"
    }

    fn collect(&mut self, files: &Files, out: &mut Output) -> Result<(), Error> {
        let read = |path: &str| files::read(&files.root_path(path));
        let text = read("/etc/os-release").or_else(|_| read("/usr/lib/os-release"))?;
        let fields = parse(&text);
        let field = |name: &str| fields.get(name).map_or("", String::as_str);
        let mut labels: Vec<(&str, &str)> = INFO.iter().map(|(label, name)| (*label, field(name))).collect();
        labels.push(("version_id", field("VERSION_ID")));
        let help = "Always 1; the labels are the fields of os-release.";
        out.gauge("node_os_info", help, &labels, 1.0);
        // 12, 22.04: the major and minor version as a number.
        let version: String = field("VERSION_ID").split('.').take(2).collect::<Vec<_>>().join(".");
        if let Ok(version) = version.parse::<f64>() {
            let labels = [("id", field("ID")), ("id_like", field("ID_LIKE")), ("name", field("NAME"))];
            out.gauge(
                "node_os_version",
                "Major and minor version of the distribution as a number.",
                &labels,
                version,
            );
        }
        Ok(())
    }
}

/// `NAME="value"` lines. Source: os-release(5).
fn parse(text: &str) -> BTreeMap<String, String> {
    let mut fields = BTreeMap::new();
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
        let Some((name, value)) = line.split_once('=') else { continue };
        let quoted = ['"', '\''].iter().find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote));
        let mut plain = String::new();
        let mut chars = quoted.unwrap_or(value).chars();
        while let Some(c) = chars.next() {
            plain.extend(if c == '\\' { chars.next() } else { Some(c) });
        }
        fields.insert(name.to_owned(), plain);
    }
    fields
}

#[cfg(test)]
mod tests {
    #[test]
    fn os_release_is_read() {
        let fields = super::parse("# c\nNAME=\"A \\\"B\\\" C\"\nID=abc\nVARIANT='x y'\nbroken\n");
        assert_eq!(fields["NAME"], "A \"B\" C");
        assert_eq!((fields["ID"].as_str(), fields["VARIANT"].as_str()), ("abc", "x y"));
        assert_eq!(fields.len(), 3);
    }
}
