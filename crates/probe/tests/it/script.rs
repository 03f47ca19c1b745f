//! A script against a web site.

use std::sync::Arc;
use std::time::Duration;

use probe::{Modules, Outcome, Reach};

use crate::targets::Targets;

const SCRIPT: &str = r#"
modules:
  shop:
    prober: script
    script:
      preferred_ip_protocol: ip4
      variables: {user: USER}
      steps:
        - name: login
          url: ${target}/login
          method: POST
          headers: {Content-Type: application/json}
          body: '{"user": "${user}"}'
          expect: {json: [{pointer: /ok, equals: true}, {pointer: /items/0/id, matches: '^7$'}]}
          extract:
            - {name: token, json: /token}
            - {name: next, header: location}
        - name: item
          url: ${next}
          headers: {Authorization: 'Bearer ${token}'}
          expect: {body_matches: [csrf]}
          extract: [{name: csrf, regexp: 'name="csrf" value="([^"]+)"'}]
        - name: finish
          url: /done
          headers: {X-Csrf: '${csrf}'}
          expect: {status: [200], body_matches: ['^done$'], max_duration: 10s}
"#;

async fn run(text: &str, targets: &Targets) -> Outcome {
    let modules = Modules::parse(text).unwrap();
    let limit = Duration::from_secs(20);
    probe::run(&modules.modules["shop"], &targets.http.to_string(), None, limit, &Arc::new(Reach::default()))
        .await
}

#[tokio::test]
async fn each_step_uses_what_the_ones_before_it_brought() {
    let targets = Targets::start().await;
    let outcome = run(&SCRIPT.replace("USER", "probe"), &targets).await;
    assert!(outcome.success, "{:?}", outcome.failure);
    for step in ["login", "item", "finish"] {
        assert_eq!(outcome.value("probe_script_step_success", &[("step", step)]), Some(1.0));
        assert_eq!(outcome.value("probe_script_step_status_code", &[("step", step)]), Some(200.0));
        let labels = [("step", step), ("phase", "processing")];
        assert!(outcome.value("probe_script_step_duration_seconds", &labels).unwrap() > 0.0);
    }
    assert_eq!(outcome.value("probe_script_steps_succeeded", &[]), Some(3.0));
}

#[tokio::test]
async fn the_first_step_that_fails_ends_the_script() {
    let targets = Targets::start().await;
    let outcome = run(&SCRIPT.replace("USER", "nobody"), &targets).await;
    assert_eq!(outcome.failure.as_deref(), Some("step login: status 403 is not expected"));
    assert_eq!(outcome.value("probe_script_step_success", &[("step", "login")]), Some(0.0));
    assert_eq!(outcome.value("probe_script_step_success", &[("step", "finish")]), Some(0.0));
    assert_eq!(outcome.value("probe_script_step_status_code", &[("step", "item")]), None);
    let outcome = run(&SCRIPT.replace("USER", "probe").replace("^done$", "^gone$"), &targets).await;
    assert_eq!(outcome.failure.as_deref(), Some("step finish: the body does not match \"^gone$\""));
    assert_eq!(outcome.value("probe_script_steps_succeeded", &[]), Some(2.0));
}
