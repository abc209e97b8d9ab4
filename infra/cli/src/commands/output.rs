//! Standard output and standard error.

use std::io::{self, Write};

use super::Failure;

/// Where a subcommand writes what it was asked for.
pub(super) struct Output(Box<dyn Write + Send>);

impl Output {
    pub(super) fn stdout() -> Self {
        Output(Box::new(io::stdout()))
    }

    #[cfg(test)]
    pub(super) fn to(writer: impl Write + Send + 'static) -> Self {
        Output(Box::new(writer))
    }

    /// Writes a line at once, so that a reader who waits for it has it.
    pub(super) fn line(&mut self, line: &str) -> Result<(), Failure> {
        let written = writeln!(self.0, "{line}").and_then(|()| self.0.flush());
        written.map_err(|error| match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::Closed,
            _ => Failure::Refused(format!("cannot write the output: {error}")),
        })
    }
}

/// One line on standard error. If nobody reads it there is nobody to tell.
pub(super) fn error(reason: &str) {
    let _ = writeln!(io::stderr(), "rollcall: {}", plain(reason));
}

/// A word to whoever looks at the terminal, which is not part of the output.
pub(super) fn note(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// Text from elsewhere as one line: a name in a directory must not move the cursor of whoever looks at it.
pub(super) fn plain(text: &str) -> String {
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
    fn text_from_elsewhere_cannot_command_the_terminal() {
        assert_eq!(
            plain("Ann\u{1b}[2J\nArcher\u{9b}"),
            "Ann\u{fffd}[2J Archer\u{fffd}"
        );
    }

    #[test]
    fn a_reader_who_has_gone_is_no_error() {
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
