//! Starts the program `rollcall`. Because of this file `cargo test --workspace` builds it, and the package `tests` runs it.

use std::process::Command;

#[test]
fn help_lists_the_commands() {
    let program = env!("CARGO_BIN_EXE_rollcall");
    let output = Command::new(program).arg("--help").output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{help}");
    for command in ["directory", "users", "groups", "events", "simulate"] {
        let listed = help
            .lines()
            .any(|line| line.trim_start().starts_with(command));
        assert!(listed, "{command} is not in {help}");
    }
}

#[test]
fn an_unknown_command_is_refused() {
    let program = env!("CARGO_BIN_EXE_rollcall");
    let output = Command::new(program).arg("unknown").output().unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{errors}");
    assert!(
        errors.contains("unrecognized subcommand 'unknown'"),
        "{errors}"
    );
}
