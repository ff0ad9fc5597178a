//! An error with its causes on one line, for logs and for people.

use std::error::Error;
use std::fmt;

/// Displays `error: cause: cause of the cause`. Errors keep their cause out of their own text, so nothing repeats.
#[derive(Debug)]
pub struct Chain<'a>(pub &'a (dyn Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}
