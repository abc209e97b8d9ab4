//! Standard output and standard error.

use std::io::{self, Write};

use super::Failure;

/// The output of a subcommand.
pub(super) struct Output(Box<dyn Write + Send>);

impl Output {
    pub(super) fn stdout() -> Self {
        Output(Box::new(io::stdout()))
    }

    #[cfg(test)]
    pub(super) fn to(writer: impl Write + Send + 'static) -> Self {
        Output(Box::new(writer))
    }

    /// Writes a line and flushes it.
    pub(super) fn line(&mut self, line: &str) -> Result<(), Failure> {
        let written = writeln!(self.0, "{line}").and_then(|()| self.0.flush());
        written.map_err(|error| match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::Closed,
            _ => Failure::Refused(format!("cannot write the output: {error}")),
        })
    }
}

/// Writes a line to standard error. A failure is ignored.
pub(super) fn error(reason: &str) {
    let _ = writeln!(io::stderr(), "rollcall: {}", sanitize(reason));
}

/// Writes a message to standard error that is not part of the output.
pub(super) fn note(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// Returns a text of a directory as one line without control characters, so that it cannot control the terminal.
pub(super) fn sanitize(text: &str) -> String {
    text.chars()
        .map(|char| match char {
            '\n' | '\t' => ' ',
            char if char.is_control() => '\u{fffd}',
            char => char,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_replaced() {
        assert_eq!(
            sanitize("Ann\u{1b}[2J\nArcher\u{9b}"),
            "Ann\u{fffd}[2J Archer\u{fffd}"
        );
    }

    #[test]
    fn a_closed_pipe_is_not_an_error() {
        struct Gone;
        impl Write for Gone {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        assert_eq!(Output::to(Gone).line("a"), Err(Failure::Closed));
    }
}
