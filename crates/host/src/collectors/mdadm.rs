//! `mdadm`: software RAID arrays, from `/proc/mdstat`.

use crate::files::Files;
use crate::output::Output;
use crate::{Collector, Error};

const STATES: [&str; 5] = ["active", "inactive", "recovering", "resync", "check"];

pub(crate) struct MdAdm;

/// One array.
#[derive(Debug, Default, PartialEq)]
struct Array {
    device: String,
    state: &'static str,
    active: u32,
    required: u32,
    failed: u32,
    spare: u32,
    blocks: u64,
    synced: u64,
}

impl Collector for MdAdm {
    fn name(&self) -> &'static str {
        "mdadm"
    }

    fn collect(&mut self, files: &Files, out: &mut Output) -> Result<(), Error> {
        for device in files.sys_list("block").unwrap_or_default() {
            for (file, metric, help) in [
                ("raid_disks", "node_md_raid_disks", "Disks that an array is made of."),
                ("degraded", "node_md_degraded", "Disks that an array lacks."),
            ] {
                if let Some(count) = files.sys_number(&format!("block/{device}/md/{file}")) {
                    out.gauge(metric, help, &[("device", &device)], count);
                }
            }
        }
        for array in parse(&files.proc("mdstat")?) {
            let device = [("device", array.device.as_str())];
            for state in STATES {
                let labels = [("device", array.device.as_str()), ("state", state)];
                let on = f64::from(u8::from(state == array.state));
                out.gauge("node_md_state", "What an array is doing: 1 for the state it is in.", &labels, on);
            }
            for (state, count) in [("active", array.active), ("failed", array.failed), ("spare", array.spare)]
            {
                let labels = [("device", array.device.as_str()), ("state", state)];
                out.gauge("node_md_disks", "Disks of an array by state.", &labels, f64::from(count));
            }
            let help = "Disks that an array needs to be whole.";
            out.gauge("node_md_disks_required", help, &device, f64::from(array.required));
            out.gauge("node_md_blocks", "Size of an array in blocks of 1 KiB.", &device, array.blocks as f64);
            let help = "Blocks that are in step on all disks, in blocks of 1 KiB.";
            out.gauge("node_md_blocks_synced", help, &device, array.synced as f64);
        }
        Ok(())
    }
}

/// Arrays of `/proc/mdstat`: a line `md0 : active raid1 sdb1[1](F) sda1[0]`, and below it, indented, size and progress.
fn parse(text: &str) -> Vec<Array> {
    let mut arrays: Vec<Array> = Vec::new();
    let mut open = false;
    for line in text.lines() {
        if line.trim().is_empty() {
            open = false;
        } else if line.starts_with(char::is_whitespace) {
            if let Some(array) = arrays.last_mut().filter(|_| open) {
                detail(array, line.trim());
            }
        } else if let Some((name, rest)) = line.split_once(" : ")
            && name != "Personalities"
        {
            open = true;
            arrays.push(heading(name, rest));
        }
    }
    for array in &mut arrays {
        if array.synced == 0 && ["active", "inactive"].contains(&array.state) {
            array.synced = array.blocks;
        }
    }
    arrays
}

fn heading(name: &str, rest: &str) -> Array {
    let mut words = rest.split_ascii_whitespace();
    let state = if words.next() == Some("active") { "active" } else { "inactive" };
    let mut array = Array { device: name.to_owned(), state, ..Array::default() };
    for member in words.filter(|word| word.contains('[')) {
        if member.contains("(F)") {
            array.failed += 1;
        } else if member.contains("(S)") {
            array.spare += 1;
        } else {
            array.active += 1;
        }
    }
    // Without redundancy (raid0, linear) no line says how many there must be.
    if state == "active" {
        array.required = array.active;
    }
    array
}

fn detail(array: &mut Array, line: &str) {
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    if words.get(1) == Some(&"blocks") {
        array.blocks = words[0].parse().unwrap_or(0);
        // `[2/1]`: two wanted, one there.
        let pair = words.iter().find_map(|word| {
            let (wanted, there) = word.strip_prefix('[')?.strip_suffix(']')?.split_once('/')?;
            Some((wanted.parse().ok()?, there.parse().ok()?))
        });
        if let Some((wanted, there)) = pair {
            (array.required, array.active) = (wanted, there);
        }
    }
    for (word, state) in
        [("recovery", "recovering"), ("resync", "resync"), ("reshape", "resync"), ("check", "check")]
    {
        if line.contains(&format!("{word} =")) || line.contains(&format!("{word}=")) {
            array.state = state;
            // `(123456789/976630272)`
            let done = words.iter().find_map(|word| word.strip_prefix('(')?.split_once('/')?.0.parse().ok());
            array.synced = done.unwrap_or(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_without_redundancy_and_with_delays_are_read() {
        let text = "Personalities : [raid0]\nmd3 : active raid0 sdb[1] sda[0]\n      100 blocks super 1.2 512k chunks\n\n\
                    md4 : active raid1 sdd[2] sdc[0]\n      200 blocks [2/1] [U_]\n        resync=DELAYED\n\nunused devices: <none>\n";
        let arrays = parse(text);
        assert_eq!((arrays[0].required, arrays[0].active, arrays[0].synced), (2, 2, 100));
        assert_eq!((arrays[1].state, arrays[1].required, arrays[1].active), ("resync", 2, 1));
    }
}
