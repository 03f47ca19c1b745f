//! The same values and better errors than the format alone gives.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_saphyr::Spanned;

use super::*;

#[derive(Debug, Deserialize, PartialEq)]
#[serde(rename_all = "snake_case")]
enum Way {
    Plain,
    Wrapped(u8),
    Pair(u8, i8),
    Named { a: f64 },
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(untagged)]
enum Either {
    Number(i64),
    Text(String),
    List(Vec<u32>),
}

#[derive(Debug, Deserialize, PartialEq)]
struct Rest {
    first: u8,
    #[serde(flatten)]
    others: BTreeMap<String, String>,
}

#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
struct Outer {
    name: String,
    maybe: Option<bool>,
    inner: Inner,
    list: Vec<Inner>,
    ways: Vec<Way>,
    either: Vec<Either>,
    rest: Option<Rest>,
    unit: (),
    letter: Option<char>,
}

#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
struct Inner {
    size: u64,
    ratio: f32,
}

const TEXT: &str = "
name: 0123
maybe: ~
inner: {size: 7, ratio: .inf}
list: [&a {size: 1}, *a]
ways: [plain, wrapped: 3, pair: [1, -2], named: {a: 1e3}]
either: [4, 'x', [1, 2]]
rest: {first: 1, b: '2', c: three}
unit:
letter: ö
";

#[test]
fn values_are_those_of_the_format_alone() {
    let options = serde_saphyr::options! { non_finite_float_policy: NonFiniteFloatPolicy::PassThrough };
    let plain: Outer = serde_saphyr::from_str_with_options(TEXT, options).unwrap();
    assert_eq!(plain.name, "0123");
    assert_eq!(read::<Outer>(TEXT).unwrap(), plain);
}

#[test]
fn json_gives_the_same_values() {
    let tree = serde_json::json!({
        "name": "n", "maybe": true, "list": [{"size": 3}], "ways": ["plain", {"wrapped": 3}, {"pair": [1, 2]}, {"named": {"a": 1.5}}],
        "either": [1, "a", [2]], "rest": {"first": 1, "x": "y"}, "letter": "z",
    });
    let plain: Outer = serde_json::from_value(tree.clone()).unwrap();
    assert_eq!(from_json::<Outer>(tree).unwrap(), plain);
    let wrong = from_json::<Outer>(serde_json::json!({"inner": {"siez": 1}})).unwrap_err();
    assert_eq!(wrong.to_string(), "inner: unknown field `siez`, expected `size` or `ratio`");
}

#[test]
fn an_error_names_the_innermost_place_once() {
    let wrong = |text: &str| read::<Outer>(text).unwrap_err();
    let unknown = wrong("name: n\nlist:\n  - size: 1\n  - siez: 2\n");
    assert_eq!(unknown.at.unwrap().0, 4);
    assert!(unknown.message.starts_with("unknown field `siez`"), "{unknown}");
    assert!(!unknown.message.contains("line"), "{unknown}");
    let kind = wrong("inner:\n  ratio: 1\n  size: many\n");
    assert_eq!(kind.at, Some((3, 9)));
    assert!(!kind.message.contains("line"), "{kind}");
    let syntax = wrong("inner: {size: 1\nname: n\n");
    assert!(syntax.at.is_some(), "{syntax}");
    let twice = wrong("name: a\nname: b\n");
    assert_eq!(twice.at.unwrap().0, 2);
}

#[test]
fn places_of_values_are_kept() {
    #[derive(Deserialize)]
    struct Doc {
        list: Vec<Spanned<Inner>>,
    }
    let doc: Doc = read("list:\n  - size: 1\n  - size: 2\n").unwrap();
    let places: Vec<_> = doc.list.iter().map(|one| (one.referenced.line(), one.value.size)).collect();
    assert_eq!(places, [(2, 1), (3, 2)]);
    let wrong = read::<Doc>("list:\n  - size: 1\n  - size: x\n").err().unwrap();
    assert_eq!((wrong.field.as_str(), wrong.at.unwrap().0), ("list[1].size", 3));
}

#[test]
fn no_document_is_nothing() {
    assert_eq!(read::<Option<Outer>>("").unwrap(), None);
    assert_eq!(read::<Option<Outer>>("# a comment\n").unwrap(), None);
}

#[test]
fn an_error_names_the_field() {
    let field = |text: &str| read::<Outer>(text).unwrap_err().to_string();
    assert_eq!(
        field("list:\n  - size: 1\n  - size: many\n"),
        "line 3, column 11: list[1].size: it must be a whole number of 0 or more"
    );
    assert!(
        field("inner: {siez: 1}").contains(": inner: unknown field `siez`"),
        "{}",
        field("inner: {siez: 1}")
    );
    assert!(
        field("maybe: perhaps").ends_with("maybe: it must be true or false"),
        "{}",
        field("maybe: perhaps")
    );
    assert!(field("name: [1]").contains("name: "), "{}", field("name: [1]"));
    let twice = field("name: a\nname: b\n");
    assert!(twice.starts_with("line 2") && twice.ends_with("name is there twice"), "{twice}");
    let second = field("name: a\n---\nname: b\n");
    assert!(second.starts_with("line 3") && second.ends_with("a file holds one"), "{second}");
    let wrong = from_json::<Outer>(serde_json::json!({"list": [{}, {"size": "x"}]})).unwrap_err();
    assert!(wrong.to_string().starts_with("list[1].size: invalid type"), "{wrong}");
}

#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
struct Ours {
    inner: Inner,
    shared: Inner,
}

fn ours(path: &[&str]) -> Result<Take, String> {
    Ok(match path {
        ["shared"] => Take::Within,
        ["inner"] | ["shared", "size"] => Take::Whole,
        ["theirs"] | ["shared", _] => Take::Not,
        other => return Err(format!("nobody knows {other:?}")),
    })
}

#[test]
fn a_part_of_a_document_is_read_in_any_style() {
    let expected = Ours { inner: Inner { size: 1, ratio: 0.5 }, shared: Inner { size: 2, ratio: 0.0 } };
    for text in [
        "theirs: [a, {b: c}]\ninner:\n  size: 1\n  ratio: 0.5\nshared:\n  theirs: {x: y}\n  size: 2\n",
        "{theirs: 1, inner: {size: 1, ratio: 0.5}, shared: {theirs: 0, size: 2}}",
        "\u{feff}{\"inner\": {\"size\": 1, \"ratio\": 0.5}, \"theirs\": null, \"shared\": {\"size\": 2}}",
        "'theirs': &a 1\n'inner': !!map\n      size: *a\n      ratio: 0.5\n\"shared\":\n  \"size\": 2\n",
    ] {
        assert_eq!(read_part::<Ours>(text, &ours).unwrap(), expected, "{text}");
    }
    for text in ["", "# nothing\n", "inner:\nshared: ~\n", "theirs: 1"] {
        assert_eq!(read_part::<Ours>(text, &ours).unwrap(), Ours::default(), "{text}");
    }
    let wrong = |text: &str| read_part::<Ours>(text, &ours).unwrap_err().to_string();
    assert_eq!(wrong("theirs: 1\nweird: 2\n"), "line 2, column 1: nobody knows [\"weird\"]");
    assert!(wrong("inner:\n  sise: 2\n").starts_with("line 2, column 3: inner: unknown field"));
    assert!(
        wrong("shared: {size: x}").contains(": shared.size: it must be"),
        "{}",
        wrong("shared: {size: x}")
    );
    assert_eq!(wrong("- a\n"), "line 1, column 1: it must be a mapping");
}

#[test]
fn places_of_fields_are_found() {
    let text = "a:\n  b:\n    - x\n    - c: [1, 2]\n      d:\n";
    assert_eq!(place(text, "a.b[1].c[1]"), Some((4, 14)));
    assert_eq!(place(text, "a.b[0]"), Some((3, 7)));
    assert_eq!(place(text, "a.b[1].d").map(|at| at.0), Some(5));
    // What is not there: the place of what is around it.
    for around in ["a.b[2]", "a.b.c"] {
        assert_eq!(place(text, around).map(|at| at.0), place(text, "a.b").map(|at| at.0), "{around}");
    }
    assert_eq!(place(text, "a.x").map(|at| at.0), Some(2));
    assert_eq!(place(text, "x.a"), None);
    assert_eq!(fields::<Ours>(), ["inner", "shared"]);
}
