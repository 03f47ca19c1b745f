//! `template render`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use alerts::tool::{self, Sample};
use anyhow::Context;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use model::time::SystemClock;

pub(super) fn command() -> Command {
    Command::new("template")
        .about("Render templates of notifications")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(
            Command::new("render").about("Render a text with template files").args([
                Arg::new("template.glob")
                    .long("template.glob")
                    .required(true)
                    .action(ArgAction::Append)
                    .value_name("GLOB")
                    .value_parser(value_parser!(PathBuf))
                    .help("Template files; may be repeated"),
                Arg::new("template.text")
                    .long("template.text")
                    .required(true)
                    .value_name("TEXT")
                    .help("The text that is rendered"),
                Arg::new("template.type")
                    .long("template.type")
                    .value_parser(["text", "html"])
                    .default_value("text")
                    .help("Whether values are escaped for HTML"),
                Arg::new("template.data")
                    .long("template.data")
                    .value_name("FILE")
                    .value_parser(value_parser!(PathBuf))
                    .help("The data as JSON, in the shape of a webhook's body; an example when missing"),
            ]),
        )
}

pub(super) fn render(matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let globs: Vec<PathBuf> = matches.get_many("template.glob").into_iter().flatten().cloned().collect();
    let text = matches.get_one::<String>("template.text").context("--template.text is required")?;
    let html = matches.get_one::<String>("template.type").is_some_and(|kind| kind == "html");
    let clock = Arc::new(SystemClock);
    let sample = match matches.get_one::<PathBuf>("template.data") {
        None => Sample::example(model::Clock::now(&*clock)),
        Some(path) => {
            let text =
                std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
            Sample::read(&text)?
        }
    };
    let rendered = tool::render(&globs, text, html, &sample, clock)?;
    // As amtool: not a byte more than the template makes.
    let mut out = std::io::stdout();
    drop(
        std::io::Write::write_all(&mut out, rendered.as_bytes())
            .and_then(|()| std::io::Write::flush(&mut out)),
    );
    Ok(ExitCode::SUCCESS)
}
