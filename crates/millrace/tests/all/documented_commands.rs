//! Every command that the documentation and the advice of an error name can be typed as it stands there.

use std::path::Path;

use clap::Parser as _;
use clap::error::ErrorKind;
use millrace::Cli;
use millrace_events::Code;

/// The commands of a text: in back-ticks, or on lines of a shell block.
fn commands(text: &str) -> Vec<String> {
    let spans = text.split('`').skip(1).step_by(2);
    let found = spans.chain(text.lines()).map(str::trim).filter(|command| command.starts_with("millrace "));
    // Of several commands in one, and of words that stand for more, nothing can be typed.
    let whole =
        found.filter(|command| !command.contains(['|', '…', '<', '\\']) && !command.contains("COMMAND"));
    whole.map(str::to_owned).collect()
}

/// As somebody would type it: without comment and redirection, with something for each placeholder.
fn words(command: &str) -> Vec<String> {
    let command = command.split(" #").next().unwrap().split(" > ").next().unwrap();
    let typed = |word: &str| match word {
        "TASK" => "VTID-00001".to_owned(),
        "SERVICE" => "worker".to_owned(),
        "SHELL" => "bash".to_owned(),
        word => word.trim_matches(['"', ',', ';', ':']).to_owned(),
    };
    command.split_whitespace().map(typed).collect()
}

fn assert_known(text: &str, place: &str) -> usize {
    let commands = commands(text);
    for command in &commands {
        match Cli::try_parse_from(words(command)) {
            Ok(_) => {}
            // `millrace task` alone names a group, and a mention may leave out what a command needs.
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::DisplayHelp
                        | ErrorKind::DisplayVersion
                        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
                        | ErrorKind::MissingRequiredArgument
                ) => {}
            Err(error) => panic!("{place}: `{command}`: {error}"),
        }
    }
    commands.len()
}

#[test]
fn the_commands_of_the_documentation_exist() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    let mut found = 0;
    for folder in [docs.clone(), docs.join("errors")] {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "md") {
                found += assert_known(&std::fs::read_to_string(&path).unwrap(), &path.display().to_string());
            }
        }
    }
    assert!(found > 100, "{found}");
}

#[test]
fn the_commands_of_the_advice_exist() {
    assert!(Code::ALL.iter().map(|code| assert_known(code.advice(), code.name())).sum::<usize>() > 5);
}
