//! `nfs` and `nfsd`: calls of this host's NFS client and server, from `/proc/net/rpc`.

use crate::files::{Files, number};
use crate::output::Output;
use crate::{Collector, Error};

const V2: [&str; 18] = [
    "Null", "GetAttr", "SetAttr", "Root", "Lookup", "ReadLink", "Read", "WrCache", "Write", "Create",
    "Remove", "Rename", "Link", "SymLink", "MkDir", "RmDir", "ReadDir", "FsStat",
];
const V3: [&str; 22] = [
    "Null",
    "GetAttr",
    "SetAttr",
    "Lookup",
    "Access",
    "ReadLink",
    "Read",
    "Write",
    "Create",
    "MkDir",
    "SymLink",
    "MkNod",
    "Remove",
    "RmDir",
    "Rename",
    "Link",
    "ReadDir",
    "ReadDirPlus",
    "FsStat",
    "FsInfo",
    "PathConf",
    "Commit",
];
/// The client's calls of version 4, as node_exporter names the kernel's columns.
const V4: [&str; 59] = [
    "Null",
    "Read",
    "Write",
    "Commit",
    "Open",
    "OpenConfirm",
    "OpenNoattr",
    "OpenDowngrade",
    "Close",
    "Setattr",
    "FsInfo",
    "Renew",
    "SetClientID",
    "SetClientIDConfirm",
    "Lock",
    "Lockt",
    "Locku",
    "Access",
    "Getattr",
    "Lookup",
    "LookupRoot",
    "Remove",
    "Rename",
    "Link",
    "Symlink",
    "Create",
    "Pathconf",
    "StatFs",
    "ReadLink",
    "ReadDir",
    "ServerCaps",
    "DelegReturn",
    "GetACL",
    "SetACL",
    "FsLocations",
    "ReleaseLockowner",
    "Secinfo",
    "FsidPresent",
    "ExchangeID",
    "CreateSession",
    "DestroySession",
    "Sequence",
    "GetLeaseTime",
    "ReclaimComplete",
    "GetDeviceInfo",
    "LayoutGet",
    "LayoutCommit",
    "LayoutReturn",
    "SecinfoNoName",
    "TestStateID",
    "FreeStateID",
    "GetDeviceList",
    "BindConnToSession",
    "DestroyClientID",
    "Seek",
    "Allocate",
    "DeAllocate",
    "LayoutStats",
    "Clone",
];
/// The server's operations of version 4 and their columns.
const V4_SERVER: [(usize, &str); 35] = [
    (3, "Access"),
    (4, "Close"),
    (5, "Commit"),
    (6, "Create"),
    (7, "DelegPurge"),
    (8, "DelegReturn"),
    (9, "GetAttr"),
    (10, "GetFH"),
    (11, "Link"),
    (12, "Lock"),
    (13, "Lockt"),
    (14, "Locku"),
    (15, "Lookup"),
    (16, "LookupRoot"),
    (17, "Nverify"),
    (18, "Open"),
    (19, "OpenAttr"),
    (20, "OpenConfirm"),
    (21, "OpenDgrd"),
    (22, "PutFH"),
    (25, "Read"),
    (26, "ReadDir"),
    (27, "ReadLink"),
    (28, "Remove"),
    (29, "Rename"),
    (30, "Renew"),
    (31, "RestoreFH"),
    (32, "SaveFH"),
    (33, "SecInfo"),
    (34, "SetAttr"),
    (35, "SetClientID"),
    (36, "SetClientIDConfirm"),
    (37, "Verify"),
    (38, "Write"),
    (39, "RelLockOwner"),
];

pub(crate) struct Nfs;

impl Collector for Nfs {
    fn name(&self) -> &'static str {
        "nfs"
    }

    fn collect(&mut self, files: &Files, out: &mut Output) -> Result<(), Error> {
        const FILE: &str = "net/rpc/nfs";
        let mut calls = [vec![0.0; V2.len()], vec![0.0; V3.len()], vec![0.0; V4.len()]];
        for line in files.proc(FILE)?.lines() {
            let (key, values) = values(FILE, line)?;
            let at = |index: usize| values.get(index).copied().unwrap_or(0.0);
            match key {
                "net" => {
                    let help = "Packets of the NFS client by protocol.";
                    out.counter("node_nfs_packets_total", help, &[("protocol", "udp")], at(1));
                    out.counter("node_nfs_packets_total", help, &[("protocol", "tcp")], at(2));
                    let help = "Connections that the NFS client has made.";
                    out.counter("node_nfs_connections_total", help, &[], at(3));
                }
                "rpc" => {
                    out.counter("node_nfs_rpcs_total", "Calls of the NFS client.", &[], at(0));
                    let help = "Calls that the NFS client sent again.";
                    out.counter("node_nfs_rpc_retransmissions_total", help, &[], at(1));
                    let help = "Times that the NFS client has renewed its credentials.";
                    out.counter("node_nfs_rpc_authentication_refreshes_total", help, &[], at(2));
                }
                // The first value says how many follow.
                "proc2" => fill(&mut calls[0], &values),
                "proc3" => fill(&mut calls[1], &values),
                "proc4" => fill(&mut calls[2], &values),
                _ => {}
            }
        }
        let names: [&[&str]; 3] = [&V2, &V3, &V4];
        for ((names, counts), proto) in names.into_iter().zip(&calls).zip(["2", "3", "4"]) {
            for (method, count) in names.iter().zip(counts) {
                let labels = [("method", *method), ("proto", proto)];
                let help = "Calls of the NFS client by procedure.";
                out.counter("node_nfs_requests_total", help, &labels, *count);
            }
        }
        Ok(())
    }
}

pub(crate) struct Nfsd;

impl Collector for Nfsd {
    fn name(&self) -> &'static str {
        "nfsd"
    }

    fn collect(&mut self, files: &Files, out: &mut Output) -> Result<(), Error> {
        const FILE: &str = "net/rpc/nfsd";
        let mut count = |name: &str, help: &str, labels: &[(&str, &str)], value: f64| {
            out.counter(&format!("node_nfsd_{name}"), help, labels, value);
        };
        let mut gauges = Vec::new();
        // Older kernels do not have it.
        let mut delegations = 0.0;
        for line in files.proc(FILE)?.lines() {
            let (key, values) = values(FILE, line)?;
            let at = |index: usize| values.get(index).copied().unwrap_or(0.0);
            match key {
                "rc" => {
                    count("reply_cache_hits_total", "Calls answered from the reply cache.", &[], at(0));
                    count("reply_cache_misses_total", "Calls that the reply cache did not know.", &[], at(1));
                    count("reply_cache_nocache_total", "Calls that are never cached.", &[], at(2));
                }
                "fh" => count("file_handles_stale_total", "Calls with a stale file handle.", &[], at(0)),
                "io" => {
                    count("disk_bytes_read_total", "Bytes that clients have read.", &[], at(0));
                    count("disk_bytes_written_total", "Bytes that clients have written.", &[], at(1));
                }
                "th" => gauges.push(("server_threads", "Threads of the NFS server.", at(0))),
                "ra" => {
                    let help = "Size of the read-ahead cache in blocks.";
                    gauges.push(("read_ahead_cache_size_blocks", help, at(0)));
                    let help = "Reads that the read-ahead cache did not know.";
                    count(
                        "read_ahead_cache_not_found_total",
                        help,
                        &[],
                        values.last().copied().unwrap_or(0.0),
                    );
                }
                "net" => {
                    let help = "Packets to the NFS server by protocol.";
                    count("packets_total", help, &[("proto", "udp")], at(1));
                    count("packets_total", help, &[("proto", "tcp")], at(2));
                    count("connections_total", "Connections to the NFS server.", &[], at(3));
                }
                "rpc" => {
                    count("server_rpcs_total", "Calls to the NFS server.", &[], at(0));
                    for (error, index) in [("fmt", 2), ("auth", 3), ("cInt", 4)] {
                        let help = "Calls that the NFS server refused, by why.";
                        count("rpc_errors_total", help, &[("error", error)], at(index));
                    }
                }
                "proc2" | "proc3" => {
                    let names: &[&str] = if key == "proc2" { &V2 } else { &V3 };
                    let proto = if key == "proc2" { "2" } else { "3" };
                    // Null is not shown, as in node_exporter.
                    for (method, value) in names.iter().zip(values.iter().skip(1)).skip(1) {
                        requests(&mut count, method, proto, *value);
                    }
                }
                "proc4ops" => {
                    for (column, method) in V4_SERVER {
                        requests(&mut count, method, "4", at(column + 1));
                    }
                }
                "wdeleg_getattr" => delegations = at(0),
                _ => {}
            }
        }
        requests(&mut count, "WdelegGetattr", "4", delegations);
        for (name, help, value) in gauges {
            out.gauge(&format!("node_nfsd_{name}"), help, &[], value);
        }
        Ok(())
    }
}

fn requests(count: &mut impl FnMut(&str, &str, &[(&str, &str)], f64), method: &str, proto: &str, value: f64) {
    let help = "Calls to the NFS server by procedure.";
    count("requests_total", help, &[("method", method), ("proto", proto)], value);
}

fn fill(counts: &mut [f64], values: &[f64]) {
    for (count, value) in counts.iter_mut().zip(values.iter().skip(1)) {
        *count = *value;
    }
}

/// A line's first word and the numbers after it.
fn values<'a>(file: &str, line: &'a str) -> Result<(&'a str, Vec<f64>), Error> {
    let mut words = line.split_ascii_whitespace();
    let key = words.next().unwrap_or_default();
    Ok((key, words.map(|word| number(file, word)).collect::<Result<_, _>>()?))
}
