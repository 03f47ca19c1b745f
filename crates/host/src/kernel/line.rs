//! A record of `/dev/kmsg`. Source: the kernel's Documentation/ABI/testing/dev-kmsg.

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line<'a> {
    /// 0 emergency … 7 debug.
    pub level: u8,
    /// 0 is the kernel itself; anything else was written by a program.
    pub facility: u32,
    pub seq: u64,
    pub text: &'a str,
}

/// `6,339,5140900,-;NET: Registered protocol family 10`, then lines ` KEY=value`.
pub(crate) fn parse(record: &str) -> Option<Line<'_>> {
    let (head, rest) = record.split_once(';')?;
    let mut fields = head.split(',');
    let prefix: u32 = fields.next()?.parse().ok()?;
    let seq = fields.next()?.parse().ok()?;
    let text = rest.split('\n').next().unwrap_or_default();
    Some(Line { level: (prefix & 7) as u8, facility: prefix >> 3, seq, text })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read() {
        let line = parse("3,339,5140900,-;Out of memory: x; y\n SUBSYSTEM=acpi\n").unwrap();
        assert_eq!((line.level, line.facility, line.seq, line.text), (3, 0, 339, "Out of memory: x; y"));
        assert_eq!(parse("12,1,2,-;said by a program").unwrap().facility, 1);
        assert_eq!(parse("nonsense"), None);
    }
}
