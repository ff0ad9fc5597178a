//! How much of a host batch may use beside its processors and memory, which follow from what services leave idle.

use std::ffi::OsString;

use clap::Args;
use model::Quantity;

/// Options of every command that runs a node.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct BatchBounds {
    /// The most that all batch Pods together read from the disk of this instance in a second, such as 100Mi
    #[arg(long, value_name = "BYTES", value_parser = parse_rate)]
    batch_disk_read: Option<u64>,
    /// The most that all batch Pods together write to the disk of this instance in a second, such as 50Mi
    #[arg(long, value_name = "BYTES", value_parser = parse_rate)]
    batch_disk_write: Option<u64>,
    /// The most that each batch Pod sends over the network in a second, such as 10Mi
    #[arg(long, value_name = "BYTES", value_parser = parse_rate)]
    batch_egress: Option<u64>,
    /// Keep batch to a pool of processors that grows slowly and shrinks at once
    #[arg(long)]
    batch_cpu_pool: bool,
}

impl BatchBounds {
    /// Lays what was asked for over what a host has by itself.
    pub(crate) fn apply(&self, hands: &mut agent::Hands) {
        hands.io_bound.read = self.batch_disk_read;
        hands.io_bound.write = self.batch_disk_write;
        hands.egress = self.batch_egress;
        hands.pool = self.batch_cpu_pool.then(Default::default);
    }

    pub(crate) fn has_egress(&self) -> bool {
        self.batch_egress.is_some()
    }

    /// The same options on the command line of another process.
    pub(crate) fn arguments(&self) -> Vec<OsString> {
        let rates = [
            ("--batch-disk-read", self.batch_disk_read),
            ("--batch-disk-write", self.batch_disk_write),
            ("--batch-egress", self.batch_egress),
        ];
        let rates = rates.into_iter().filter_map(|(name, rate)| Some(format!("{name}={}", rate?)));
        let pool = self.batch_cpu_pool.then(|| "--batch-cpu-pool".to_owned());
        rates.chain(pool).map(OsString::from).collect()
    }
}

fn parse_rate(text: &str) -> Result<u64, String> {
    const LEAST: u64 = 64 << 10;
    let quantity = Quantity::parse(text).map_err(|error| error.to_string())?;
    match u64::try_from(quantity.to_units()) {
        Ok(rate) if rate >= LEAST => Ok(rate),
        _ => Err(format!("batch would stand still: give it at least {LEAST} bytes in a second")),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::BatchBounds;

    #[derive(Debug, Parser)]
    struct Program {
        #[command(flatten)]
        bounds: BatchBounds,
    }

    fn parse(arguments: &[String]) -> Result<BatchBounds, String> {
        let arguments = std::iter::once("crest".to_owned()).chain(arguments.iter().cloned());
        Program::try_parse_from(arguments).map(|program| program.bounds).map_err(|error| error.to_string())
    }

    #[test]
    fn what_was_asked_for_reaches_the_hands_of_a_process_that_is_started() {
        let given = ["--batch-disk-write=50Mi", "--batch-egress", "1M", "--batch-cpu-pool"];
        let bounds = parse(&given.map(str::to_owned)).unwrap();
        let passed_on: Vec<String> =
            bounds.arguments().into_iter().map(|argument| argument.into_string().unwrap()).collect();
        for bounds in [bounds, parse(&passed_on).unwrap()] {
            let mut hands = agent::Hands::default();
            bounds.apply(&mut hands);
            assert_eq!((hands.io_bound.read, hands.io_bound.write), (None, Some(50 << 20)));
            assert_eq!((hands.egress, hands.pool.is_some()), (Some(1_000_000), true));
        }
    }

    #[test]
    fn rates_that_are_none_are_refused() {
        for (value, why) in [("fast", "`fast` is no quantity"), ("1", "stand still"), ("-5Mi", "stand still")]
        {
            let error = parse(&[format!("--batch-disk-read={value}")]).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }
}
