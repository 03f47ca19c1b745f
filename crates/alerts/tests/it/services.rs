//! What each service is sent: endpoint, authentication, fields, limits. The services are stand-ins of the test; nothing
//! here proves that the true ones agree.

use std::collections::BTreeMap;
use std::sync::Arc;

use alerts::notify::Attempt;
use alerts::{Config, Dispatcher, Metrics, Parts, Settings};
use model::Labels;
use model::time::SystemClock;
use serde_json::{Value, json};
use testkit::MemoryState;

use crate::sink::{Body, HttpSink};

/// One attempt through a section whose `URL` is the sink.
pub(crate) async fn attempt(section: &str, sink: &HttpSink) -> Attempt {
    let base = sink.url.trim_end_matches("/hook");
    let yaml = format!(
        "route: {{receiver: r, group_by: [alertname]}}\nreceivers:\n- name: r\n  {}\n",
        section.replace("URL", base)
    );
    let parts = Parts {
        settings: Settings { external_url: "http://bw.example".into(), ..Settings::default() },
        config: Config::load(&yaml).unwrap(),
        state: Arc::new(MemoryState::default()),
        journal: None,
        history: None,
        clock: Arc::new(SystemClock),
        metrics: Metrics::unregistered(),
        seed: 1,
    };
    let am = Dispatcher::start(parts).await.unwrap();
    let labels = Labels::from_pairs([("alertname", "Long"), ("team", "x".repeat(6000).as_str())]);
    let mut results = am.send_test("r", labels).await.unwrap();
    assert_eq!(results.len(), 1);
    results.remove(0).1
}

async fn send(section: &str, sink: &HttpSink) -> (Result<(), String>, Option<Body>) {
    let result = attempt(section, sink).await;
    let body = sink.bodies().last().cloned();
    (result.map(|_| ()).map_err(|failure| failure.message), body)
}

fn chars(value: &Value) -> usize {
    value.as_str().unwrap().chars().count()
}

type Check = fn(&Body) -> bool;

/// Each service's section, and what its request must be: the path, the header `Authorization`, the body.
pub(crate) const CASES: &[(&str, &str, &str, Check)] = &[
    ("slack_configs: [{api_url: 'URL/s', channel: '#c'}]", "/s", "", |b| {
        let attachment = &b.json["attachments"][0];
        b.json["channel"] == "#c"
            && chars(&attachment["title"]) == 1024
            && attachment["color"] == "danger"
            && attachment["mrkdwn_in"] == json!(["fallback", "pretext", "text"])
    }),
    ("pagerduty_configs: [{url: 'URL/pd', routing_key: k}]", "/pd", "", |b| {
        b.json["event_action"] == "trigger"
            && b.json["routing_key"] == "k"
            && chars(&b.json["dedup_key"]) == 64
            && chars(&b.json["payload"]["summary"]) == 1024
            && b.json["payload"]["severity"] == "error"
            && b.json["payload"]["custom_details"]["num_firing"] == "1"
    }),
    ("pagerduty_configs: [{url: 'URL/v1', service_key: k}]", "/v1", "", |b| {
        b.json["event_type"] == "trigger"
            && b.json["service_key"] == "k"
            && b.json["incident_key"].is_string()
    }),
    (
        "opsgenie_configs: [{api_url: 'URL/', api_key: k, tags: 'a, b', responders: [{type: teams, name: 'x,y'}]}]",
        "/v2/alerts",
        "GenieKey k",
        |b| {
            chars(&b.json["message"]) == 130
                && b.json["tags"] == json!(["a", "b"])
                && b.json["responders"][1]["name"] == "y"
        },
    ),
    (
        "victorops_configs: [{api_url: 'URL/vo/', api_key: k, routing_key: t, custom_fields: {z: '{{.Status}}'}}]",
        "/vo/k/t",
        "",
        |b| {
            b.json["message_type"] == "CRITICAL"
                && b.json["z"] == "firing"
                && chars(&b.json["entity_id"]) == 64
        },
    ),
    ("telegram_configs: [{api_url: 'URL', bot_token: k, chat_id: -5}]", "/botk/sendMessage", "", |b| {
        b.json["chat_id"] == -5 && chars(&b.json["text"]) == 4096 && b.json["parse_mode"] == "HTML"
    }),
    ("discord_configs: [{webhook_url: 'URL/d'}]", "/d", "", |b| {
        let embed = &b.json["embeds"][0];
        chars(&embed["title"]) == 256 && chars(&embed["description"]) == 4096 && embed["color"].is_u64()
    }),
    ("msteams_configs: [{webhook_url: 'URL/t'}]", "/t", "", |b| b.json["type"] == "MessageCard"),
    ("msteamsv2_configs: [{webhook_url: 'URL/t2'}]", "/t2", "", |b| {
        b.json["attachments"][0]["content"]["type"] == "AdaptiveCard"
    }),
    (
        "webex_configs: [{api_url: 'URL/w', room_id: r, http_config: {authorization: {credentials: k}}}]",
        "/w",
        "Bearer k",
        |b| b.json["roomId"] == "r" && b.json["markdown"].as_str().unwrap().len() <= 7439,
    ),
    (
        "mattermost_configs: [{webhook_url: 'URL/m', priority: {priority: urgent, requested_ack: true}}]",
        "/m",
        "",
        |b| b.json["attachments"][0]["title"].is_string() && b.json["priority"]["requested_ack"] == true,
    ),
    (
        "rocketchat_configs: [{api_url: 'URL/', token: t, token_id: i, channel: '#c'}]",
        "/api/v1/chat.postMessage",
        "",
        |b| b.header("x-auth-token") == "t" && b.header("x-user-id") == "i" && b.json["channel"] == "#c",
    ),
    (
        "incidentio_configs: [{url: 'URL/i', alert_source_token: k, metadata: {team: '{{.Status}}'}}]",
        "/i",
        "Bearer k",
        |b| b.json["version"] == "4" && b.json["metadata"]["team"] == "firing",
    ),
    (
        "twilio_configs: [{api_url: 'URL', account_sid: AC, auth_token: k, from: '+1', to: ['+2']}]",
        "/2010-04-01/Accounts/AC/Messages.json",
        "Basic QUM6aw==",
        |b| b.text.starts_with("From=%2B1&To=%2B2&Body=FIRING"),
    ),
    (
        "twilio_configs: [{api_url: 'URL', account_sid: AC, auth_token: k, from: '+1', to: ['+2'], voice: true}]",
        "/2010-04-01/Accounts/AC/Calls.json",
        "Basic QUM6aw==",
        |b| b.text.contains("Twiml=%3CResponse%3E"),
    ),
    ("ntfy_configs: [{url: 'URL', topic: t, tags: 'a,b'}]", "/", "", |b| {
        b.json["topic"] == "t" && b.json["priority"] == 4 && b.json["tags"] == json!(["a", "b"])
    }),
    (
        "googlechat_configs: [{webhook_url: 'URL/g?key=k'}]",
        "/g?key=k&messageReplyOption=REPLY_MESSAGE_FALLBACK_TO_NEW_THREAD",
        "",
        |b| b.json["text"].as_str().unwrap().len() <= 4096 && b.json["thread"]["threadKey"].is_string(),
    ),
    (
        "sns_configs: [{api_url: 'URL/', topic_arn: 'arn:x.fifo', sigv4: {region: r, access_key: a, secret_key: s}}]",
        "/",
        "",
        |b| {
            b.header("authorization").starts_with("AWS4-HMAC-SHA256 Credential=a/")
                && b.text.contains("MessageGroupId=")
        },
    ),
];

#[tokio::test]
async fn requests_are_what_the_services_document() {
    for (section, path, authorization, check) in CASES {
        let sink = HttpSink::start(vec![]).await;
        let (result, body) = send(section, &sink).await;
        assert_eq!(result, Ok(()), "{section}");
        let body = body.unwrap();
        assert_eq!(body.path, *path, "{section}");
        if !authorization.is_empty() {
            assert_eq!(body.header("authorization"), *authorization, "{section}");
        }
        assert!(check(&body), "{section}\n{}", body.text.chars().take(1500).collect::<String>());
    }
}

/// Sections whose texts are longer than the service takes, and what must hold of the request. A label of the alert has 6000
/// characters.
const LONG: &[(&str, Check)] = &[
    ("msteams_configs: [{webhook_url: 'URL/t', text: 'QUOTED'}]", |b| {
        b.text.len() <= 28_000 && b.json["text"].as_str().unwrap().ends_with('…')
    }),
    ("msteamsv2_configs: [{webhook_url: 'URL/t', title: 'QUOTED', text: 'QUOTED'}]", |b| {
        let blocks = &b.json["attachments"][0]["content"]["body"];
        b.text.len() <= 28_000 && [0, 1].iter().all(|at| blocks[at]["text"].as_str().unwrap().ends_with('…'))
    }),
    ("telegram_configs: [{api_url: 'URL', bot_token: k, chat_id: 1, message: '<b>MANY</b>'}]", |b| {
        chars(&b.json["text"]) <= 4096 && b.json["text"].as_str().unwrap().ends_with("…</b>")
    }),
    (
        "telegram_configs: [{api_url: 'URL', bot_token: k, chat_id: 1, parse_mode: MarkdownV2, message: '*MANY*'}]",
        |b| chars(&b.json["text"]) <= 4096 && b.json["parse_mode"].is_null(),
    ),
    (
        "telegram_configs: [{api_url: 'URL', bot_token: k, chat_id: 1, parse_mode: MarkdownV2, message: '*short*'}]",
        |b| b.json["parse_mode"] == "MarkdownV2",
    ),
    (
        "opsgenie_configs: [{api_url: 'URL/', api_key: k, source: MANY, note: MANY, entity: MANY, details: {a: MANY, b: MANY}, tags: 'MANY,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20', actions: '1,2,3,4,5,6,7,8,9,10,11'}]",
        |b| {
            let details = b.json["details"].as_object().unwrap();
            let all: usize = details.iter().map(|(name, text)| name.len() + chars(text)).sum();
            let (tags, actions) = (b.json["tags"].as_array().unwrap(), b.json["actions"].as_array().unwrap());
            all <= 8000
                && details["alertname"] == "Long"
                && (chars(&b.json["source"]), chars(&b.json["note"])) == (100, 25_000)
                && chars(&b.json["entity"]) == 512
                && (tags.len(), chars(&tags[0]), actions.len()) == (20, 50, 10)
        },
    ),
    ("pagerduty_configs: [{url: 'URL/pd', routing_key: k, details: {big: 'HUGE'}}]", |b| {
        let details = &b.json["payload"]["custom_details"];
        b.text.len() <= 512_000 && chars(&details["big"]) > 100_000 && details["num_firing"] == "1"
    }),
    ("pagerduty_configs: [{url: 'URL/pd', service_key: k, details: {big: 'HUGE'}}]", |b| {
        b.text.len() <= 512_000 && b.json["details"]["num_firing"] == "1"
    }),
    ("slack_configs: [{api_url: 'URL/s', channel: c, text: 'MANY', pretext: 'MANY'}]", |b| {
        let attachment = &b.json["attachments"][0];
        (chars(&attachment["text"]), chars(&attachment["pretext"])) == (40_000, 40_000)
    }),
    ("discord_configs: [{webhook_url: 'URL/d', content: MANY, username: MANY}]", |b| {
        (chars(&b.json["content"]), chars(&b.json["username"])) == (2000, 80)
    }),
    ("victorops_configs: [{api_url: 'URL/', api_key: k, routing_key: t, state_message: MANY}]", |b| {
        chars(&b.json["state_message"]) == 20_480
    }),
    ("ntfy_configs: [{url: 'URL', topic: t, message: MANY}]", |b| {
        b.json["message"].as_str().unwrap().len() <= 4096
    }),
    ("mattermost_configs: [{webhook_url: 'URL/m', text: MANY}]", |b| {
        chars(&b.json["attachments"][0]["text"]) == 16_383
    }),
    (
        "twilio_configs: [{api_url: 'URL', account_sid: AC, auth_token: k, from: '1', to: ['2'], message: MANY}]",
        |b| b.text.ends_with("%E2%80%A6") && b.text.len() < 1650,
    ),
    (
        "sns_configs: [{api_url: 'URL/', topic_arn: 'arn:x', subject: MANY, message: HUGE, sigv4: {region: r, access_key: a, secret_key: s}}]",
        |b| {
            let field = |name: &str| {
                let pair = b.text.split('&').find_map(|pair| pair.strip_prefix(name)).unwrap();
                pair.len()
            };
            field("Subject=") == 99 && field("Message=") <= (256 << 10) + 6 && b.text.contains("truncated")
        },
    ),
];

#[tokio::test]
async fn what_is_too_long_is_cut_to_what_the_service_takes() {
    let many = "{{ reReplaceAll \"x\" \"xxxxxxxxxx\" .CommonLabels.team }}";
    let quoted = "{{ reReplaceAll \"x\" \"\\\"\\n\" .CommonLabels.team }}{{ reReplaceAll \"x\" \"\\\"\\n\" .CommonLabels.team }}";
    let huge = format!("{{{{ reReplaceAll \"x\" \"{}\" .CommonLabels.team }}}}", "x".repeat(100));
    for (section, check) in LONG {
        let sink = HttpSink::start(vec![]).await;
        let texts = [("MANY", many), ("QUOTED", quoted), ("HUGE", huge.as_str())];
        let section = texts.iter().fold((*section).to_owned(), |section, (name, text)| {
            let section = section.replace(&format!(": {name}"), &format!(": '{name}'"));
            section.replace(name, text)
        });
        let (result, body) = send(&section, &sink).await;
        assert_eq!(result, Ok(()), "{section}");
        let body = body.unwrap();
        assert!(check(&body), "{section}\n{}", body.text.chars().take(1500).collect::<String>());
    }
}

#[tokio::test]
async fn refusals_are_told_without_secrets() {
    let sink = HttpSink::start(vec![]).await;
    *sink.reply.lock().unwrap() = r#"{"ok":false,"error":"channel_not_found"}"#.into();
    let (result, _) = send("slack_configs: [{api_url: 'URL/hush', channel: c}]", &sink).await;
    assert!(result.unwrap_err().contains("channel_not_found"));
    let section = "slack_configs: [{api_url: 'http://127.0.0.1:1/hush', channel: c}]";
    let (result, _) = send(section, &sink).await;
    let message = result.unwrap_err();
    assert!(message.contains("127.0.0.1:1") && !message.contains("hush"), "{message}");
}

#[tokio::test]
async fn wechat_renews_its_token_and_jira_finds_its_issue() {
    let sink = HttpSink::start(vec![]).await;
    *sink.reply.lock().unwrap() = r#"{"errcode":0,"access_token":"tok"}"#.into();
    let (result, body) =
        send("wechat_configs: [{api_url: 'URL/', api_secret: s, corp_id: c, agent_id: '7'}]", &sink).await;
    assert_eq!(result, Ok(()));
    let body = body.unwrap();
    assert_eq!(body.path, "/message/send?access_token=tok");
    assert!(body.json["text"]["content"].as_str().unwrap().len() <= 2048);
    assert_eq!(sink.bodies()[0].path, "/gettoken?corpid=c&corpsecret=s");

    // Busy, for the message and for the token, is no refusal; a wrong key is.
    for (reply, retry) in [
        (r#"{"errcode":45009,"errmsg":"freq out of limit","access_token":"tok"}"#, true),
        (r#"{"errcode":-1,"errmsg":"system busy"}"#, true),
        (r#"{"errcode":40001,"errmsg":"invalid secret"}"#, false),
    ] {
        *sink.reply.lock().unwrap() = reply.into();
        let section = "wechat_configs: [{api_url: 'URL/', api_secret: s, corp_id: c, agent_id: '7'}]";
        assert_eq!(attempt(section, &sink).await.unwrap_err().retry, retry, "{reply}");
    }

    let sink = HttpSink::start(vec![]).await;
    *sink.reply.lock().unwrap() = r#"{"issues":[],"key":"P-1"}"#.into();
    let (result, body) =
        send("jira_configs: [{api_url: 'URL/rest/api/2', project: P, issue_type: Bug, labels: [l]}]", &sink)
            .await;
    assert_eq!(result, Ok(()));
    assert_eq!(sink.bodies()[0].path, "/rest/api/2/search");
    let body = body.unwrap();
    assert_eq!(body.path, "/rest/api/2/issue");
    let fields: BTreeMap<String, Value> = serde_json::from_value(body.json["fields"].clone()).unwrap();
    assert_eq!(fields["project"], json!({ "key": "P" }));
    assert!(chars(&fields["summary"]) == 255 && fields["labels"][0].as_str().unwrap().starts_with("ALERT{"));
}

#[tokio::test]
async fn traps_are_sent() {
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let target = socket.local_addr().unwrap();
    let sink = HttpSink::start(vec![]).await;
    let (result, _) =
        send(&format!("snmptrap_configs: [{{target: '{target}', community: c0m}}]"), &sink).await;
    assert_eq!(result, Ok(()));
    let mut packet = vec![0; 65536];
    let len = socket.recv(&mut packet).await.unwrap();
    let packet = &packet[..len];
    // SEQUENCE, version 1 (v2c), community, SNMPv2-Trap-PDU.
    assert_eq!((packet[0], packet.windows(3).any(|w| w == b"c0m")), (0x30, true));
    assert!(packet.contains(&0xa7) && packet.windows(6).any(|w| w == b"firing"));
}
