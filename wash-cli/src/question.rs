//! Questions to whoever runs `wash`.

use std::io::{BufRead, Write};

use crate::error::{CliError, Result};

/// Puts a question on stderr, so that stdout has nothing but the result, and reads a line; gives it
/// without the blanks around it. At the end of the input the answer is empty.
pub(crate) fn ask(question: &str) -> Result<String> {
    let io = |error| CliError::io("could not ask", &error);
    let mut stderr = std::io::stderr().lock();
    stderr
        .write_all(question.as_bytes())
        .and_then(|()| stderr.flush())
        .map_err(io)?;
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer).map_err(io)?;
    if read == 0 {
        // Nobody has ended the line of the question.
        stderr.write_all(b"\n").map_err(io)?;
    }
    Ok(answer.trim().to_owned())
}
