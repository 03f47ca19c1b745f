//! `edac`: memory errors that the hardware corrected, and those that it could not.

use crate::files::Files;
use crate::output::Output;
use crate::{Collector, Error};

const ROOT: &str = "devices/system/edac/mc";

pub(crate) struct Edac;

impl Collector for Edac {
    fn name(&self) -> &'static str {
        "edac"
    }

    fn collect(&mut self, files: &Files, out: &mut Output) -> Result<(), Error> {
        // Machines without a driver have no folder; that is no failure.
        for controller in files.sys_list(ROOT).unwrap_or_default() {
            let Some(number) = numbered(&controller, "mc") else { continue };
            let folder = format!("{ROOT}/{controller}");
            errors(files, out, "", &folder, "", &[("controller", number)]);
            // Errors that belong to no row are counted apart.
            let unknown = [("controller", number), ("csrow", "unknown")];
            errors(files, out, "csrow_", &folder, "noinfo_", &unknown);
            for entry in files.sys_list(&folder)? {
                let path = format!("{folder}/{entry}");
                if let Some(row) = numbered(&entry, "csrow") {
                    let labels = [("controller", number), ("csrow", row)];
                    errors(files, out, "csrow_", &path, "", &labels);
                } else if numbered(&entry, "dimm").or(numbered(&entry, "rank")).is_some() {
                    module(files, out, number, &entry, &path);
                }
            }
        }
        Ok(())
    }
}

/// Both kinds of error of a folder, as far as it has them.
fn errors(files: &Files, out: &mut Output, of: &str, folder: &str, infix: &str, labels: &[(&str, &str)]) {
    for (file, kind, help) in [
        ("ce", "correctable", "Memory errors that the hardware has corrected since the driver was loaded."),
        ("ue", "uncorrectable", "Memory errors that could not be corrected since the driver was loaded."),
    ] {
        if let Some(count) = files.sys_number(&format!("{folder}/{file}_{infix}count")) {
            out.counter(&format!("node_edac_{of}{kind}_errors_total"), help, labels, count);
        }
    }
}

/// A memory module, by the label on the board, so that a person knows which to take out.
fn module(files: &Files, out: &mut Output, controller: &str, module: &str, folder: &str) {
    let text = |file: &str| files.sys(&format!("{folder}/{file}")).unwrap_or_default();
    let (label, location) = (text("dimm_label"), text("dimm_location"));
    let labels = [
        ("controller", controller),
        ("dimm", module),
        ("label", label.trim()),
        ("location", location.trim()),
    ];
    for (file, kind, help) in [
        ("dimm_ce_count", "correctable", "Corrected errors of a memory module since the driver was loaded."),
        ("dimm_ue_count", "uncorrectable", "Errors of a memory module that could not be corrected."),
    ] {
        if let Some(count) = files.sys_number(&format!("{folder}/{file}")) {
            out.counter(&format!("bellwether_edac_dimm_{kind}_errors_total"), help, &labels, count);
        }
    }
}

/// The number in a name such as `mc0`.
fn numbered<'a>(name: &'a str, prefix: &str) -> Option<&'a str> {
    name.strip_prefix(prefix).filter(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit()))
}
