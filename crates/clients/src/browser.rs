//! User agent → browser family: one of a short list, nothing else of the string is kept.

/// Families, by their number; the value of the cohort `browser`.
pub const FAMILIES: [&str; 9] =
    ["other", "chrome", "edge", "firefox", "safari", "opera", "samsung", "headless", "bot"];

/// The number of a user agent's family.
pub fn family(user_agent: &str) -> u8 {
    // Most specific first: nearly every browser also names Chrome and Safari.
    const MARKS: [(&str, u8); 14] = [
        ("HeadlessChrome/", 7),
        ("bot", 8),
        ("Bot", 8),
        ("spider", 8),
        ("crawl", 8),
        ("Edg/", 2),
        ("EdgA/", 2),
        ("OPR/", 5),
        ("SamsungBrowser/", 6),
        ("Firefox/", 3),
        ("FxiOS/", 3),
        ("CriOS/", 1),
        ("Chrome/", 1),
        ("Safari/", 4),
    ];
    let start = user_agent.get(..user_agent.len().min(512)).unwrap_or_default();
    MARKS.iter().find(|(mark, _)| start.contains(mark)).map_or(0, |(_, number)| *number)
}

/// Whether the family is of programs rather than people.
pub fn is_automated(family: u8) -> bool {
    matches!(family, 7 | 8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families() {
        let of = |ua: &str| FAMILIES[usize::from(family(ua))];
        let chrome = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36";
        assert_eq!(of(chrome), "chrome");
        assert_eq!(of(&format!("{chrome} Edg/156.0")), "edge");
        assert_eq!(of(&chrome.replace("Chrome", "HeadlessChrome")), "headless");
        assert_eq!(of("Mozilla/5.0 (X11; rv:140.0) Gecko/20100101 Firefox/140.0"), "firefox");
        assert_eq!(
            of("Mozilla/5.0 (iPhone) AppleWebKit/605.1.15 Version/19.0 Mobile/15E148 Safari/604.1"),
            "safari"
        );
        assert_eq!(of("curl/8"), "other");
        assert_eq!(of("Examplebot/1 (+https://example.com)"), "bot");
    }
}
