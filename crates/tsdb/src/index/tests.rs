//! Matchers against brute force.

use bytes::Bytes;
use model::matcher::MatchOp;
use model::{Labels, Matcher};
use proptest::prelude::*;

use super::build::IndexBuilder;
use super::*;

struct Fixture {
    index: Index,
    series: Vec<Labels>,
    pairs: Vec<Vec<u32>>,
}

fn fixture(mut series: Vec<Labels>) -> Fixture {
    series.sort();
    series.dedup();
    let mut builder = IndexBuilder::default();
    let mut pairs: Vec<Vec<u32>> = Vec::new();
    for labels in &series {
        let mut of = Vec::new();
        builder.add(labels, &mut of);
        pairs.push(of);
    }
    let sections = builder.finish().unwrap();
    pairs.iter_mut().flatten().for_each(|p| *p = sections.ids[*p as usize]);
    let index = Index::new(
        &sections.names,
        Bytes::from(sections.dictionary),
        Bytes::from(sections.restarts),
        Bytes::from(sections.postings),
        series.len() as u32,
    )
    .unwrap();
    Fixture { index, series, pairs }
}

impl Fixture {
    fn select(&self, matchers: &[Matcher]) -> Vec<u32> {
        let of = |id: u32, out: &mut Vec<u32>| {
            out.extend_from_slice(&self.pairs[id as usize]);
            Ok(())
        };
        self.index.select(matchers, &of).unwrap().into_iter().collect()
    }

    fn check(&self, matchers: &[Matcher]) {
        let expected: Vec<u32> = (0..self.series.len() as u32)
            .filter(|&id| matchers.iter().all(|m| m.matches_labels(&self.series[id as usize])))
            .collect();
        assert_eq!(self.select(matchers), expected, "{matchers:?}");
        // And once more, now that patterns are remembered.
        assert_eq!(self.select(matchers), expected, "{matchers:?}");
        let of = |id: u32, out: &mut Vec<u32>| {
            out.extend_from_slice(&self.pairs[id as usize]);
            Ok(())
        };
        let within = self.index.select(matchers, &of).unwrap();
        let mut names: Vec<&str> =
            expected.iter().flat_map(|&id| self.series[id as usize].iter().map(|(n, _)| n)).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(self.index.label_names(Some(&within)).unwrap(), names);
        for name in ["a", "b", "__name__", "none"] {
            let mut values: Vec<&str> =
                expected.iter().filter_map(|&id| self.series[id as usize].get(name)).collect();
            values.sort_unstable();
            values.dedup();
            assert_eq!(self.index.label_values(name, Some(&within), &of).unwrap(), values);
        }
    }
}

fn matcher(name: &str, op: MatchOp, value: &str) -> Matcher {
    Matcher::new(name, op, value).unwrap()
}

#[test]
fn many_values_are_found_by_every_kind_of_matcher() {
    let fixture = fixture(
        (0..3000)
            .map(|i| {
                let mut pairs = vec![("__name__", format!("m{}", i % 3)), ("a", format!("host-{i:04}"))];
                if i % 2 == 0 {
                    pairs.push(("b", format!("{}", i % 7)));
                }
                Labels::from_pairs(pairs)
            })
            .collect(),
    );
    use MatchOp::{Equal, NotEqual, NotRegex, Regex};
    for (name, op, value) in [
        ("a", Equal, "host-0017"),
        ("a", Equal, "host-9"),
        ("a", Equal, ""),
        ("b", Equal, ""),
        ("b", NotEqual, ""),
        ("b", NotEqual, "3"),
        ("none", Equal, ""),
        ("none", NotEqual, ""),
        ("none", NotEqual, "x"),
        ("a", Regex, "host-00.*"),
        ("a", Regex, "host-0017|host-0018|nope"),
        ("a", Regex, ".*99"),
        ("b", Regex, "3|"),
        ("b", Regex, ".*"),
        ("b", Regex, ".+"),
        ("b", NotRegex, ".*"),
        ("b", NotRegex, ".+"),
        ("b", NotRegex, "3|4"),
        ("b", NotRegex, "3|"),
        ("b", Regex, "[0-4]?"),
        ("a", NotRegex, ".*[13579]"),
    ] {
        fixture.check(&[matcher(name, op, value)]);
        fixture.check(&[Matcher::equal("__name__", "m1"), matcher(name, op, value)]);
        fixture.check(&[
            matcher("a", Regex, "host-00[12].*"),
            matcher(name, op, value),
            matcher("b", NotEqual, "5"),
        ]);
    }
    fixture.check(&[]);
    assert_eq!(
        fixture.index.name_stats(),
        [
            NameStats { name: "__name__".into(), values: 3, series: 3000 },
            NameStats { name: "a".into(), values: 3000, series: 3000 },
            NameStats { name: "b".into(), values: 7, series: 1500 },
        ]
    );
    let top = fixture.index.top_pairs(None, 2).unwrap();
    assert_eq!(
        top.iter().map(|t| (t.value.as_str(), t.series)).collect::<Vec<_>>(),
        [("m0", 1000), ("m1", 1000)]
    );
    fixture.index.verify().unwrap();
}

#[test]
fn a_block_without_series_answers() {
    let fixture = fixture(Vec::new());
    fixture.check(&[Matcher::equal("a", "b")]);
    fixture.check(&[]);
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[ab]{0,3}", "[a-c]x[0-9]{1,2}", "é|ü"]
}

fn any_matcher() -> impl Strategy<Value = Matcher> {
    let name = prop_oneof![Just("a"), Just("b"), Just("__name__"), Just("none")];
    let op = prop_oneof![
        Just(MatchOp::Equal),
        Just(MatchOp::NotEqual),
        Just(MatchOp::Regex),
        Just(MatchOp::NotRegex)
    ];
    let value = prop_oneof![
        text(),
        Just(".*".to_owned()),
        Just(".+".to_owned()),
        "[ab]{1,2}\\.[*+]",
        "\\.\\*[ab]",
        "[ab]\\|[ab]x1\\|",
        "\\[ab\\]\\+x?[0-9]?",
    ];
    (name, op, value).prop_map(|(name, op, value)| matcher(name, op, &value))
}

proptest! {
    #[test]
    fn matchers_against_brute_force(
        series in prop::collection::vec((text(), text(), text()), 0..60),
        matchers in prop::collection::vec(any_matcher(), 0..4),
    ) {
        let series = series
            .into_iter()
            .map(|(name, a, b)| Labels::from_pairs([("__name__", name), ("a", a), ("b", b)]))
            .collect();
        fixture(series).check(&matchers);
    }

    #[test]
    fn hostile_sections(
        names in prop::collection::vec(any::<u8>(), 0..60),
        dictionary in prop::collection::vec(any::<u8>(), 0..200),
        restarts in prop::collection::vec(0u8..3, 0..5),
        postings in prop::collection::vec(any::<u8>(), 0..100),
    ) {
        let restarts: Vec<u8> = restarts.iter().flat_map(|&r| [r, 0, 0, 0, 0, 0, 0, 0]).collect();
        if let Ok(index) = Index::new(&names, dictionary.into(), restarts.into(), postings.into(), 50) {
            if index.verify().is_ok() {
                prop_assert!(index.label_names(None).is_ok());
            }
            for name in index.label_names(None).unwrap_or_default() {
                if let Ok(ids) = index.select(&[Matcher::equal(name, "x")], &|_, _| Ok(())) {
                    prop_assert!(ids.max().is_none_or(|max| max < 50));
                }
            }
        }
    }
}
