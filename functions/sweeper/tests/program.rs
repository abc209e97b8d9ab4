//! Starts the program of the sweeper. Because of this file `cargo test --workspace` builds the program, which the package
//! `tests` runs under a Lambda Runtime API.

use std::process::Command;

#[test]
fn a_start_without_configuration_names_the_missing_variable() {
    let program = env!("CARGO_BIN_EXE_sweeper");
    let output = Command::new(program).env_clear().output().unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(errors.contains("TABLE_NAME is not set"), "{errors}");
}
