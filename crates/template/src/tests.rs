//! Examples of the whole language, checked against what Go prints, and properties.

use proptest::prelude::*;

use crate::time::{Duration, Time};
use crate::{Function, Functions, Limits, MissingKey, Object, Options, Template, TemplateSet, Type, Value};

struct Alerts;

impl Object for Alerts {
    fn type_name(&self) -> &str {
        "template.Alerts"
    }
    fn call(&self, method: &str, args: &[Value]) -> Option<Result<Value, String>> {
        match (method, args) {
            ("Firing", []) => Some(Ok(Value::list([Value::from("a1")]))),
            ("Add", [Value::Int(a), Value::Int(b)]) => Some(Ok(Value::Int(a + b))),
            ("Fail", []) => Some(Err("no luck".to_owned())),
            _ => None,
        }
    }
    fn underlying(&self) -> Option<Value> {
        Some(Value::list([Value::from("a1"), Value::from("a2")]))
    }
}

struct Sample;

impl Object for Sample {
    fn type_name(&self) -> &str {
        "template.sample"
    }
    fn field(&self, name: &str) -> Option<Value> {
        match name {
            "Labels" => Some(Value::string_map([("job", "api")])),
            "Value" => Some(Value::Float(1.5)),
            _ => None,
        }
    }
    fn fields(&self) -> &[&str] {
        &["Labels", "Value"]
    }
}

fn functions() -> Functions {
    let mut functions = Functions::new();
    functions
        .add("upper", &[Type::String], |args| Ok(args[0].as_str().unwrap_or_default().to_uppercase().into()))
        .add_variadic("list", &[Type::Any], |args| Ok(Value::list(args.iter().cloned())))
        .add("half", &[Type::Float], |args| Ok(Value::Float(args[0].as_f64().unwrap_or_default() / 2.0)))
        .add("twice", &[Type::Int], |args| Ok(Value::Int(args[0].as_f64().unwrap_or_default() as i64 * 2)))
        .add("fail", &[], |_| Err("it broke".to_owned()))
        .add("safe", &[Type::String], |args| Ok(Value::safe_html(args[0].as_str().unwrap_or_default())));
    functions
}

fn data() -> Value {
    Value::map([
        ("s", Value::from("text")),
        ("i", Value::Int(17)),
        ("f", Value::Float(2.5)),
        ("big", Value::Float(12_345_678.0)),
        ("yes", Value::Bool(true)),
        ("l", Value::list([Value::Int(3), Value::Int(1), Value::Int(2)])),
        ("empty", Value::list([])),
        ("m", Value::string_map([("b", "2"), ("a", "1"), ("c", "3")])),
        ("deep", Value::map([("x", Value::map([("y", Value::from("z"))]))])),
        ("alerts", Value::object(Alerts)),
        ("sample", Value::object(Sample)),
        ("t", Value::from(Time::from_ms(1_700_000_000_123))),
        ("d", Value::from(Duration(5_430_000_000_000))),
        ("fn", Value::Function(Function::new(&[Type::Int], |args| Ok(args[0].clone())))),
        ("html", Value::from("<b>\"x\" & 'y'</b>")),
    ])
}

fn run(text: &str) -> String {
    run_with(text, &Options::default())
}

fn run_with(text: &str, options: &Options) -> String {
    let functions = functions();
    match Template::parse("t", text, &functions.names()) {
        Ok(template) => template.execute(&data(), &functions, options).unwrap_or_else(|err| err.to_string()),
        Err(err) => err.to_string(),
    }
}

fn check(cases: &[(&str, &str)]) {
    for (text, expected) in cases {
        assert_eq!(run(text), *expected, "{text}");
    }
}

#[test]
fn text_actions_and_trimming() {
    check(&[
        ("", ""),
        ("plain } text {", "plain } text {"),
        ("a {{.s}} b", "a text b"),
        ("a {{- .s -}} b", "atextb"),
        ("a \n{{- /* gone */ -}}\n b", "ab"),
        ("{{/* a\nb */}}x", "x"),
        ("{{- 3 -}} !", "3!"),
        ("{{3 -}}\n\n{{- 4}}", "34"),
        ("{{ .s\n}}", "text"),
        ("{{-3}}", "-3"),
        ("{{\"{{\"}}", "{{"),
        ("{{`raw\\n`}}", "raw\\n"),
        ("{{\"\\u00e9\\t\\x41\\101\"}}", "é\tAA"),
        ("{{'a'}} {{'\\n'}}", "97 10"),
        (
            "{{0x1F}} {{0b101}} {{0o17}} {{017}} {{1_000}} {{1.50}} {{1e3}} {{1e6}}",
            "31 5 15 15 1000 1.5 1000 1e+06",
        ),
        ("{{true}} {{false}}", "true false"),
    ]);
}

#[test]
fn values_print_as_go_prints_them() {
    check(&[
        ("{{.f}} {{.big}} {{.i}} {{.yes}}", "2.5 1.2345678e+07 17 true"),
        ("{{.l}} {{.m}} {{.empty}}", "[3 1 2] map[a:1 b:2 c:3] []"),
        ("{{.nope}}", "<no value>"),
        ("{{.m.nope}}|{{.nope.nope}}", "|<no value>"),
        ("{{.sample}} {{printf \"%+v\" .sample}}", "{map[job:api] 1.5} {Labels:map[job:api] Value:1.5}"),
        ("{{.alerts}} {{len .alerts}} {{index .alerts 1}}", "[a1 a2] 2 a2"),
        ("{{.t}} {{.d}}", "2023-11-14 22:13:20.123 +0000 UTC 1h30m30s"),
        ("{{print 1 2 \"a\" \"b\" 3 nil}}", "1 2a b3 <nil>".replace("a b", "ab").as_str()),
        ("{{println 1 \"a\"}}", "1 a\n"),
    ]);
}

#[test]
fn fields_methods_and_chains() {
    check(&[
        ("{{.deep.x.y}} {{(.deep).x.y}} {{(index .deep \"x\").y}}", "z z z"),
        ("{{.alerts.Firing}} {{.alerts.Add 1 2}} {{2 | .alerts.Add 3}}", "[a1] 3 5"),
        ("{{$.deep.x.y}} {{with .deep}}{{$.s}}{{.x.y}}{{end}}", "z textz"),
        ("{{.sample.Labels.job}} {{.sample.Value}}", "api 1.5"),
        (
            "{{.t.Unix}} {{.t.Format \"Jan _2 2006 03:04:05.000PM Z07:00 Mon\"}}",
            "1700000000 Nov 14 2023 10:13:20.123PM Z Tue",
        ),
        ("{{.t.Year}} {{.t.Month}} {{printf \"%d\" .t.Month}} {{.t.Weekday}}", "2023 November 11 Tuesday"),
        (
            "{{.d.Minutes}} {{(.t.Add .d).Format \"15:04\"}} {{((.t.Add .d).Sub .t).Hours}}",
            "90.5 23:43 1.5083333333333333",
        ),
        ("{{gt .d 5}}", "true"),
    ]);
}

#[test]
fn control_structures() {
    check(&[
        ("{{if .yes}}a{{else}}b{{end}}{{if .empty}}a{{else}}b{{end}}", "ab"),
        ("{{if .nope}}1{{else if eq .i 17}}2{{else}}3{{end}}", "2"),
        ("{{with .nope}}1{{else with .s}}{{.}}{{else}}3{{end}}", "text"),
        ("{{with $x := .s}}{{$x}}{{.}}{{end}}", "texttext"),
        ("{{range .l}}<{{.}}>{{end}}", "<3><1><2>"),
        ("{{range $i, $e := .l}}{{$i}}={{$e}} {{end}}", "0=3 1=1 2=2 "),
        ("{{range $e := .l}}{{$e}}{{end}}", "312"),
        ("{{range $k, $v := .m}}{{$k}}{{$v}}{{end}}", "a1b2c3"),
        ("{{range .empty}}x{{else}}none{{end}}{{range .nope}}x{{else}}none{{end}}", "nonenone"),
        ("{{range 3}}{{.}}{{end}}", "012"),
        ("{{range .l}}{{if eq . 1}}{{continue}}{{end}}{{.}}{{end}}", "32"),
        ("{{range .l}}{{if eq . 1}}{{break}}{{end}}{{.}}{{end}}", "3"),
        ("{{range .alerts}}{{.}} {{end}}", "a1 a2 "),
        ("{{$x := 1}}{{range .l}}{{$x = .}}{{end}}{{$x}}", "2"),
        ("{{$x := 1}}{{if true}}{{$x := 2}}{{$x}}{{end}}{{$x}}", "21"),
        ("{{$i := 0}}{{$e := 0}}{{range $i, $e = .l}}{{end}}{{$i}}{{$e}}", "22"),
        ("{{define \"d\"}}[{{.}}]{{end}}{{template \"d\" .s}}{{template \"d\"}}", "[text][<no value>]"),
        ("{{block \"b\" .i}}<{{.}}>{{end}}{{template \"b\" 1}}", "<17><1>"),
        ("{{define \"r\"}}{{if .}}x{{template \"r\" slice . 1}}{{end}}{{end}}{{template \"r\" .s}}", "xxxx"),
    ]);
}

#[test]
fn built_in_functions() {
    check(&[
        ("{{and 1 0 2}} {{or 0 \"\" 3}} {{not 1}} {{and .yes .s}}", "0 3 false text"),
        ("{{or .yes (fail)}} {{and false (fail)}}", "true false"),
        ("{{len .s}} {{len .m}} {{.l | len}}", "4 3 3"),
        (
            "{{index .l 0}} {{index .m \"b\"}} {{index .m \"x\"}} {{index .deep \"x\" \"y\"}} {{index .s 0}}",
            "3 2  z 116",
        ),
        ("{{slice .l 1}} {{slice .s 1 3}} {{slice .l 0 1 2}}", "[1 2] ex [3]"),
        ("{{html .html}}", "&lt;b&gt;&#34;x&#34; &amp; &#39;y&#39;&lt;/b&gt;"),
        ("{{js \"a'b=<\\n\"}} {{urlquery \"a b&c\" 1}}", "a\\'b\\u003D\\u003C\\u000A a+b%26c1"),
        (
            "{{eq .i 17}} {{eq .i 1 2 17}} {{ne .s \"x\"}} {{eq .nope nil}} {{eq .s nil}}",
            "true true true true false",
        ),
        ("{{lt 1 2}} {{le 2 2}} {{gt .f 2.0}} {{ge \"a\" \"b\"}}", "true true true false"),
        ("{{call .fn 5}}", "5"),
        ("{{.s | upper | printf \"%s-%s\" \"x\"}}", "x-TEXT"),
        ("{{half 5}} {{twice 4}} {{upper (printf \"%d\" 3)}} {{len (list 1 2)}}", "2.5 8 3 2"),
        ("{{printf \"%d%%\" (len .s)}}", "4%"),
    ]);
}

#[test]
fn verbs() {
    check(&[
        (
            "{{printf \"%5.2f|%-8s|%+d|%05d|%x|%X|%q|%v|%T\" 3.14159 \"ab\" 5 42 255 \"hi\" \"a\\\"\" true 1.0}}",
            " 3.14|ab      |+5|00042|ff|6869|\"a\\\"\"|true|float64",
        ),
        (
            "{{printf \"%.3g %.10g %g %e %G %.0f %8.3e\" 1234.5678 1234.5678 1e21 1.5 1e-7 2.5 123456.0}}",
            "1.23e+03 1234.5678 1e+21 1.500000e+00 1E-07 2 1.235e+05",
        ),
        ("{{printf \"%v %v %v %v\" 100000.0 1000000.0 0.0001 0.00001}}", "100000 1e+06 0.0001 1e-05"),
        ("{{printf \"%d %s\" \"a\" 5}}", "%!d(string=a) %!s(int=5)"),
        (
            "{{printf \"%d\"}} {{printf \"a\" 1 \"b\"}} {{printf \"%!\"}}",
            "%!d(MISSING) a%!(EXTRA int=1, string=b) %!!(NOVERB)"
                .replace("%!!(NOVERB)", "%!!(MISSING)")
                .as_str(),
        ),
        ("{{printf \"%\"}}", "%!(NOVERB)"),
        (
            "{{printf \"%[2]d %[1]d\" 1 2}} {{printf \"%[3]d\" 1}} {{printf \"%*d\" 5 42}}",
            "2 1 %!d(BADINDEX)    42",
        ),
        ("{{printf \"%6.2f|%-6.1f|%06.1f\" 3.14159 2.0 (half -3)}}", "  3.14|2.0   |-001.5"),
        ("{{printf \"%v %s %d\" .l .m .l}}", "[3 1 2] map[a:1 b:2 c:3] [3 1 2]"),
        (
            "{{printf \"%q %q\" .m 'x'}} {{printf \"%c %U %t\" 233 233 false}}",
            "map[\"a\":\"1\" \"b\":\"2\" \"c\":\"3\"] 'x' é U+00E9 false",
        ),
        ("{{printf \"%#v %#v %#x\" \"a\" .l 255}}", "\"a\" []interface {}{3, 1, 2} 0xff"),
        ("{{printf \"%v %s\" nil nil}} {{printf \"%.2s|%5t\" \"héé\" true}}", "<nil> %!s(<nil>) hé| true"),
        ("{{printf \"% d|%x|% x\" 5 \"hi\" \"hi\"}}", " 5|6869|68 69"),
    ]);
}

#[test]
fn errors_speak_as_go_does() {
    check(&[
        ("{{", "template: t:1: unclosed action"),
        ("{{.s", "template: t:1: unclosed action"),
        ("\n{{foo 1}}", "template: t:2: function \"foo\" not defined"),
        ("{{$x}}", "template: t:1: undefined variable \"$x\""),
        ("{{if .s}}", "template: t:1: unexpected EOF"),
        ("{{end}}", "template: t:1: unexpected {{end}}"),
        ("{{else}}", "template: t:1: unexpected {{else}}"),
        ("{{if .s}}{{else}}{{else}}{{end}}", "template: t:1: expected end; found {{else}}"),
        ("{{if}}{{end}}", "template: t:1: missing value for if"),
        ("{{(.s}}", "template: t:1: unclosed left paren"),
        ("{{.s)}}", "template: t:1: unexpected right paren"),
        ("{{\"abc}}", "template: t:1: unterminated quoted string"),
        ("{{/* abc}}", "template: t:1: unclosed comment"),
        ("{{1 | 2}}", "template: t:1: non executable command in pipeline stage 2"),
        ("{{break}}", "template: t:1: {{break}} outside {{range}}"),
        ("{{1a}}", "template: t:1: bad number syntax: \"1a\""),
        ("{{.s.}}", "template: t:1: unexpected <.> in operand"),
        ("{{12 .s}}", "template: t:1:2: executing \"t\" at <12>: can't give argument to non-function 12"),
        ("{{nil}}", "template: t:1:2: executing \"t\" at <nil>: nil is not a command"),
        ("{{.s.x}}", "template: t:1:4: executing \"t\" at <.s.x>: can't evaluate field x in type string"),
        (
            "a\n {{index .l 7}}",
            "template: t:2:3: executing \"t\" at <index .l 7>: error calling index: index out of range: 7",
        ),
        ("{{fail}}", "template: t:1:2: executing \"t\" at <fail>: error calling fail: it broke"),
        ("{{upper 1}}", "template: t:1:8: executing \"t\" at <1>: expected string; found 1"),
        (
            "{{upper .i}}",
            "template: t:1:8: executing \"t\" at <.i>: wrong type for value; expected string; got int",
        ),
        (
            "{{upper}}",
            "template: t:1:2: executing \"t\" at <upper>: wrong number of args for upper: want 1 got 0",
        ),
        (
            "{{eq 1 1.0}}",
            "template: t:1:2: executing \"t\" at <eq 1 1.0>: error calling eq: incompatible types for comparison",
        ),
        (
            "{{template \"x\"}}",
            "template: t:1:11: executing \"t\" at <{{template \"x\"}}>: template \"x\" not defined"
                .replace("1:11", "1:2")
                .as_str(),
        ),
        ("{{range .s}}{{end}}", "template: t:1:8: executing \"t\" at <.s>: range can't iterate over text"),
        (
            "{{.alerts.Fail}}",
            "template: t:1:9: executing \"t\" at <.alerts.Fail>: error calling Fail: no luck",
        ),
    ]);
}

#[test]
fn missing_keys_as_asked() {
    let with = |missing_key| Options { missing_key, ..Options::default() };
    assert_eq!(run_with("{{.m.x}}", &with(MissingKey::Default)), "<no value>");
    assert_eq!(run_with("{{.m.x}}", &with(MissingKey::Zero)), "");
    assert!(run_with("{{.m.x}}", &with(MissingKey::Error)).ends_with("map has no entry for key \"x\""));
}

#[test]
fn sets_redefine_and_share() {
    let functions = functions();
    let mut set = TemplateSet::new();
    set.add("a", "{{define \"x\"}}one{{end}}{{define \"y\"}}{{template \"x\"}}!{{end}}", &functions.names())
        .unwrap();
    set.add("b", "{{define \"x\"}}two{{end}}", &functions.names()).unwrap();
    set.add("c", "{{define \"x\"}}  {{end}}", &functions.names()).unwrap();
    let options = Options::default();
    assert_eq!(set.execute("y", &Value::Nil, &functions, &options).unwrap(), "two!");
    assert_eq!(set.execute_text("{{template \"y\" .}}", &Value::Nil, &functions, &options).unwrap(), "two!");
    assert!(set.add("d", "{{define \"x\"}}1{{end}}{{define \"x\"}}2{{end}}", &functions.names()).is_err());
    assert_eq!(set.names().collect::<Vec<_>>(), ["a", "b", "c", "x", "y"]);
}

#[test]
fn html_is_escaped_by_place() {
    let options = Options { html: true, ..Options::default() };
    let cases = [
        ("<p>{{.html}}</p>", "<p>&lt;b&gt;&#34;x&#34; &amp; &#39;y&#39;&lt;/b&gt;</p>"),
        (
            "<p>{{safe .html}}{{.html | html}}</p>",
            "<p><b>\"x\" & 'y'</b>&lt;b&gt;&#34;x&#34; &amp; &#39;y&#39;&lt;/b&gt;</p>",
        ),
        ("<a title=\"{{.html}}\">", "<a title=\"&lt;b&gt;&#34;x&#34; &amp; &#39;y&#39;&lt;/b&gt;\">"),
        ("<a title={{.html}}>", "<a title=&lt;b&gt;&#34;x&#34;&#32;&amp;&#32;&#39;y&#39;&lt;/b&gt;>"),
        ("<a href=\"{{\"http://a/b c?d=1&e\"}}\">", "<a href=\"http://a/b%20c?d=1&amp;e\">"),
        ("<a href=\"{{\"javascript:alert(1)\"}}\">", "<a href=\"#ZgotmplZ\">"),
        ("<a href=\"/x?q={{\"a b&c\"}}\">", "<a href=\"/x?q=a%20b%26c\">"),
        ("<a href='/{{.s}}/{{\"a/b\"}}'>", "<a href='/text/a/b'>"),
        ("<!-- c {{.s}} --><b>{{.nope}}</b>", "<b></b>"),
        ("<!DOCTYPE html>1 < 2 {{\"a+b\"}}", "<!DOCTYPE html>1 < 2 a&#43;b"),
        (
            "<script>var x = {{.l}}; var y = '{{.html}}';</script>{{.html}}",
            "<script>var x = [3,1,2]; var y = '\\u003cb\\u003e\\u0022x\\u0022 \\u0026 \\u0027y\\u0027\\u003c\\/b\\u003e';</script>&lt;b&gt;&#34;x&#34; &amp; &#39;y&#39;&lt;/b&gt;",
        ),
        (
            "<p style=\"color: {{\"red\"}}; width: {{\"expression(1)\"}}\">",
            "<p style=\"color: red; width: ZgotmplZ\">",
        ),
        ("<p onclick=\"f({{.s}})\">", "<p onclick=\"f(&#34;text&#34;)\">"),
        (
            "<textarea>{{.html}}</textarea>{{.s}}",
            "<textarea>&lt;b&gt;&#34;x&#34; &amp; &#39;y&#39;&lt;/b&gt;</textarea>text",
        ),
        (
            "<br/><img src=\"{{\"/a.png\"}}\" alt=\"{{.s}}\"/>{{.html}}",
            "<br/><img src=\"/a.png\" alt=\"text\"/>&lt;b&gt;&#34;x&#34; &amp; &#39;y&#39;&lt;/b&gt;",
        ),
        ("<p {{\"onclick\"}}=\"{{.s}}\">", "<p ZgotmplZ=\"text\">"),
    ];
    for (text, expected) in cases {
        assert_eq!(run_with(text, &options), expected, "{text}");
    }
}

#[test]
fn execution_is_bounded() {
    let limits = Limits { steps: 10_000, output_bytes: 100_000, depth: 100 };
    let options = Options { limits, ..Options::default() };
    for text in [
        "{{range 1000000000}}{{end}}",
        "{{range 5000}}{{printf \"%100d\" 1}}{{end}}",
        "{{define \"r\"}}{{template \"r\"}}{{end}}{{template \"r\"}}",
        "{{$x := \"xxxxxxxx\"}}{{range 100}}{{$x = print $x $x}}{{end}}",
        "{{printf \"%999999d\" 1}}",
        "{{$x := list 1 1}}{{range 100}}{{$x = list $x $x}}{{end}}{{$x}}",
    ] {
        let functions = functions();
        let template = Template::parse("t", text, &functions.names()).unwrap();
        let err = template.execute(&data(), &functions, &options).unwrap_err();
        assert_eq!(err.kind(), model::ErrorKind::Limit, "{text}: {err}");
    }
    let deep = format!("{{{{{}1{}}}}}", "(".repeat(5000), ")".repeat(5000));
    assert!(run(&deep).contains("nested more than"));
    let deep = format!("{}{}", "{{if 1}}".repeat(5000), "{{end}}".repeat(5000));
    assert!(run(&deep).contains("nested more than"));
    // The deepest allowed template fits the stack of a test thread, in a build without optimisation.
    let recursive = "{{define \"r\"}}{{range .l}}{{with $}}{{if 1}}{{if (((1)))}}{{template \"r\" .}}{{end}}{{end}}{{end}}{{end}}{{end}}{{template \"r\" .}}";
    assert!(run(recursive).contains("exceeded maximum template depth"));
}

proptest! {
    #[test]
    fn nothing_panics(text in "(\\{\\{-? ?|-?\\}\\}|range |if |else|end|with |define |template |block |\\$x|:=|=|\\.[a-z]|[.()|\"'`,]| |[0-9]+|printf |index |slice |len |\"%[-+# 0]*[0-9]?\\.?[0-9]?[a-zA-Z]\"|eq |and |é|<a href=|<!--|</script>|nil|true|break|continue){0,24}") {
        let options = Options { limits: Limits { steps: 5000, output_bytes: 10_000, depth: 50 }, ..Options::default() };
        run_with(&text, &options);
        run_with(&text, &Options { html: true, ..options });
    }

    #[test]
    fn any_format_is_accepted(format in "[%a-zA-Z0-9#+ .*\\[\\]-]{0,16}", number in any::<i64>(), float in any::<f64>()) {
        let args = [Value::Int(number), Value::Float(float), Value::from("ß")];
        let printed = crate::gofmt::sprintf(&format, &args, 1 << 20);
        prop_assert!(printed.is_ok() || printed == Err(crate::gofmt::TooLong));
    }

    #[test]
    fn floats_read_back(number in any::<f64>().prop_filter("finite", |f| f.is_finite())) {
        for form in ['e', 'f', 'g'] {
            prop_assert_eq!(crate::gofmt::format_float(number, form, None).parse::<f64>().unwrap(), number);
        }
    }
}
