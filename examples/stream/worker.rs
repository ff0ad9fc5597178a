//! A program for tasks with `mode: Stream`: a line in for each instance, a line out for each. See docs/workers.md.

use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};

use serde_json::{Value, json};

/// Takes instances from `input` until it ends, and answers each on `output`.
pub(crate) fn serve(
    input: impl Read,
    output: impl Write,
    mut work: impl FnMut(&Value) -> Result<(), String>,
) -> io::Result<()> {
    let (mut input, mut output) = (BufReader::new(input), BufWriter::new(output));
    writeln!(output, "{}", json!({"ready": true}))?;
    output.flush()?;
    let mut line = String::new();
    while input.read_line(&mut line)? > 0 {
        let instance: Value = serde_json::from_str(&line)?;
        match work(&instance) {
            Ok(()) => writeln!(output, "{}", json!({"index": instance["index"]}))?,
            Err(error) => writeln!(output, "{}", json!({"index": instance["index"], "error": error}))?,
        }
        // Answers go together as long as more instances are there already: nobody waits for them.
        if input.buffer().is_empty() {
            output.flush()?;
        }
        line.clear();
    }
    output.flush()
}

pub(crate) fn main() -> io::Result<()> {
    serve(io::stdin().lock(), io::stdout().lock(), |instance| match instance["index"].as_u64() {
        // Standard output belongs to the protocol; standard error stands in the worker's log.
        Some(index) if index != 13 => {
            eprintln!("{} squared is {}", index, index * index);
            Ok(())
        }
        Some(index) => Err(format!("{index} brings bad luck")),
        None => Err("an instance without an index".to_owned()),
    })
}
