//! When to use colour and motion, and the few styles there are.

use std::io::IsTerminal;

/// What the surroundings say about the terminal. Read once at start.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Surroundings {
    pub(crate) stdout_terminal: bool,
    pub(crate) stderr_terminal: bool,
    pub(crate) stdin_terminal: bool,
    pub(crate) no_color: bool,
    pub(crate) force_color: bool,
    pub(crate) dumb: bool,
    pub(crate) ci: bool,
}

impl Surroundings {
    pub(crate) fn detect() -> Self {
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let on = |name: &str| {
            std::env::var(name).is_ok_and(|value| !matches!(value.as_str(), "" | "0" | "false"))
        };
        Self {
            stdout_terminal: std::io::stdout().is_terminal(),
            stderr_terminal: std::io::stderr().is_terminal(),
            stdin_terminal: std::io::stdin().is_terminal(),
            no_color: set("NO_COLOR"),
            force_color: on("CLICOLOR_FORCE"),
            dumb: std::env::var("TERM").is_ok_and(|term| term == "dumb"),
            ci: on("CI"),
        }
    }

    /// Colour on a stream that is (or is not) a terminal.
    fn colour(self, terminal: bool) -> bool {
        if self.no_color {
            return false;
        }
        self.force_color || (terminal && !self.dumb && !self.ci)
    }

    pub(crate) fn stdout_style(self) -> Style {
        Style {
            colour: self.colour(self.stdout_terminal),
        }
    }

    pub(crate) fn stderr_style(self) -> Style {
        Style {
            colour: self.colour(self.stderr_terminal),
        }
    }

    /// Whether lines on stderr may be redrawn.
    pub(crate) fn motion(self) -> bool {
        self.stderr_terminal && !self.dumb && !self.ci
    }

    /// Whether somebody is there to answer a question.
    pub(crate) fn interactive(self) -> bool {
        self.stdin_terminal && self.stderr_terminal && !self.ci
    }
}

/// How sure a reader can be about a thing: shown as a colour and always as a word too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    Plain,
    Good,
    Warn,
    Bad,
    Dim,
}

/// Paints text, or leaves it alone where colour is off.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Style {
    colour: bool,
}

impl Style {
    fn wrap(self, sgr: &str, text: &str) -> String {
        if self.colour && !text.is_empty() {
            format!("\x1b[{sgr}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    pub(crate) fn bold(self, text: &str) -> String {
        self.wrap("1", text)
    }

    pub(crate) fn dim(self, text: &str) -> String {
        self.wrap("2", text)
    }

    pub(crate) fn error(self, text: &str) -> String {
        self.wrap("1;31", text)
    }

    pub(crate) fn hint(self, text: &str) -> String {
        self.wrap("36", text)
    }

    /// A word with a dot in its colour; the plain word where colour is off.
    pub(crate) fn state(self, tone: Tone, word: &str) -> String {
        let sgr = match tone {
            Tone::Plain => return word.to_owned(),
            Tone::Good => "32",
            Tone::Warn => "33",
            Tone::Bad => "31",
            Tone::Dim => return self.dim(word),
        };
        if self.colour {
            format!("{} {word}", self.wrap(sgr, "●"))
        } else {
            word.to_owned()
        }
    }

    pub(crate) fn is_coloured(self) -> bool {
        self.colour
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terminal() -> Surroundings {
        Surroundings {
            stdout_terminal: true,
            stderr_terminal: true,
            ..Surroundings::default()
        }
    }

    #[test]
    fn colour_is_for_terminals_unless_forced() {
        assert!(terminal().stdout_style().is_coloured());
        assert!(!Surroundings::default().stdout_style().is_coloured());
        let forced = Surroundings {
            force_color: true,
            ..Surroundings::default()
        };
        assert!(forced.stdout_style().is_coloured());
    }

    #[test]
    fn no_color_dumb_terminals_and_ci_turn_colour_off() {
        assert!(
            !Surroundings {
                no_color: true,
                ..terminal()
            }
            .stdout_style()
            .is_coloured()
        );
        assert!(
            !Surroundings {
                dumb: true,
                ..terminal()
            }
            .stdout_style()
            .is_coloured()
        );
        assert!(
            !Surroundings {
                ci: true,
                ..terminal()
            }
            .stdout_style()
            .is_coloured()
        );
        let both = Surroundings {
            no_color: true,
            force_color: true,
            ..terminal()
        };
        assert!(!both.stdout_style().is_coloured());
    }

    #[test]
    fn motion_needs_a_terminal_that_can_redraw() {
        assert!(terminal().motion());
        assert!(
            !Surroundings {
                ci: true,
                ..terminal()
            }
            .motion()
        );
        assert!(
            !Surroundings {
                dumb: true,
                ..terminal()
            }
            .motion()
        );
        assert!(
            !Surroundings {
                force_color: true,
                ..Surroundings::default()
            }
            .motion()
        );
    }
}
