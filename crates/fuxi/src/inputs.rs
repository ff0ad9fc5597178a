//! Which piece of its task's input list an instance gets.

use model::dagjob::{Input, MAX_ENTRIES, MAX_PIECE, NumberRange};

/// The most bytes of a list's names.
pub const MAX_LIST: usize = 64 << 20;

/// Room for the name of the folder that an object is fetched to.
const FOLDER: usize = 96;

/// An input list, cut into pieces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inputs {
    source: Source,
    per_instance: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Source {
    Range(NumberRange),
    Chunks { range: NumberRange, count: u32 },
    Entries(Entries),
}

/// Entries of any list, a line each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entries {
    text: String,
    /// Where each line ends, its break not included.
    ends: Vec<u32>,
}

/// Why a text is no list of entries that can be run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidEntries {
    #[error(
        "it has more than {MAX_ENTRIES} entries: let the pattern match fewer, as with one task for each folder"
    )]
    TooMany,
    #[error("its names have more than {MAX_LIST} bytes: let the pattern match fewer")]
    TooLarge,
    #[error(
        "the entries of instance {index} have {size} bytes, and an instance takes at most {MAX_PIECE}: lower \
         input.perInstance"
    )]
    PieceTooLarge { index: usize, size: usize },
}

impl Entries {
    /// Reads a text of one entry for each line.
    pub fn try_new(text: String, input: &Input) -> Result<Self, InvalidEntries> {
        if text.len() > MAX_LIST {
            return Err(InvalidEntries::TooLarge);
        }
        let ends: Vec<u32> =
            text.bytes().zip(0_u32..).filter(|(byte, _)| *byte == b'\n').map(|(_, at)| at).collect();
        if ends.len() > MAX_ENTRIES as usize {
            return Err(InvalidEntries::TooMany);
        }
        let entries = Self { text, ends };
        // An instance is told each object by its URL and by the file that it was fetched to, longer than its key.
        let more = input.objects.as_ref().map_or(0, |objects| objects.url.len().max(FOLDER));
        for (index, lines) in entries.ends.chunks(input.per_instance() as usize).enumerate() {
            let first = index * input.per_instance() as usize;
            let size = entries.lines(first, lines.len()).len() + more * lines.len();
            if size > MAX_PIECE {
                return Err(InvalidEntries::PieceTooLarge { index, size });
            }
        }
        Ok(entries)
    }

    fn of_items(items: &[String]) -> Self {
        let mut entries = Self::default();
        for item in items {
            entries.text.push_str(item);
            // A job's items are less than a job may have of bytes.
            entries.ends.push(u32::try_from(entries.text.len()).unwrap_or(u32::MAX));
            entries.text.push('\n');
        }
        entries
    }

    pub fn len(&self) -> u32 {
        u32::try_from(self.ends.len()).unwrap_or(u32::MAX)
    }

    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// So many lines from the first on, as far as there are.
    fn lines(&self, first: usize, count: usize) -> &str {
        let Some(last) = (first + count).min(self.ends.len()).checked_sub(1).filter(|last| *last >= first)
        else {
            return "";
        };
        let start = first.checked_sub(1).map_or(0, |before| self.ends[before] as usize + 1);
        &self.text[start..self.ends[last] as usize]
    }
}

impl Inputs {
    /// The list that stands in the job itself, if it does.
    pub fn known(input: &Input) -> Option<Self> {
        let source = match (&input.range, &input.items) {
            (Some(range), _) => match range.chunks {
                Some(count) => Source::Chunks { range: range.clone(), count },
                None => Source::Range(range.clone()),
            },
            (None, Some(items)) => Source::Entries(Entries::of_items(items)),
            (None, None) => return None,
        };
        Some(Self { source, per_instance: input.per_instance() })
    }

    /// A list that was taken.
    pub fn taken(entries: Entries, input: &Input) -> Self {
        Self { source: Source::Entries(entries), per_instance: input.per_instance() }
    }

    /// What instance `index` works on, line by line.
    pub fn piece(&self, index: u32) -> String {
        let first = u64::from(index) * u64::from(self.per_instance);
        match &self.source {
            Source::Chunks { range, count } => chunk(range, index, *count),
            Source::Range(range) => {
                let end = (first + u64::from(self.per_instance)).min(range.len());
                let step = i128::from(range.step.unwrap_or(1).max(1));
                let number =
                    |position: u64| (i128::from(range.from) + i128::from(position) * step).to_string();
                (first..end).map(number).collect::<Vec<_>>().join("\n")
            }
            Source::Entries(entries) => {
                let first = usize::try_from(first).unwrap_or(usize::MAX);
                entries.lines(first, self.per_instance as usize).to_owned()
            }
        }
    }
}

/// The first and the last number of a piece; the larger pieces come first.
fn chunk(range: &NumberRange, index: u32, count: u32) -> String {
    let (all, count, index) = (i128::from(range.len()), i128::from(count.max(1)), i128::from(index));
    let (size, larger) = (all / count, all % count);
    let first = i128::from(range.from) + index * size + index.min(larger);
    let last = first + size - i128::from(index >= larger);
    format!("{first} {last}")
}

#[cfg(test)]
mod tests {
    use model::dagjob::{Input, NumberRange, Objects};
    use proptest::prelude::*;

    use super::{Entries, Inputs, InvalidEntries};

    fn range(from: i64, to: i64) -> NumberRange {
        NumberRange { from, to, ..NumberRange::default() }
    }

    fn pieces(input: &Input) -> Vec<String> {
        let inputs = Inputs::known(input).unwrap();
        let task = model::dagjob::Task { input: Some(input.clone()), ..Default::default() };
        (0..task.count().unwrap()).map(|index| inputs.piece(index)).collect()
    }

    #[test]
    fn numbers_are_given_one_by_one_or_several_at_a_time() {
        let of = |range: NumberRange, per_instance: Option<u32>| {
            pieces(&Input { range: Some(range), per_instance, ..Input::default() })
        };
        assert_eq!(of(range(-1, 2), None), ["-1", "0", "1", "2"]);
        assert_eq!(of(NumberRange { step: Some(10), ..range(0, 25) }, None), ["0", "10", "20"]);
        assert_eq!(of(range(1, 5), Some(2)), ["1\n2", "3\n4", "5"]);
        assert_eq!(of(range(7, 7), None), ["7"]);
        assert_eq!(of(NumberRange { chunks: Some(3), ..range(0, 9) }, None), ["0 3", "4 6", "7 9"]);
        assert_eq!(
            of(NumberRange { chunks: Some(2), ..range(i64::MIN, i64::MAX - 1) }, None),
            ["-9223372036854775808 -1", "0 9223372036854775806"]
        );
    }

    #[test]
    fn items_are_given_as_they_stand() {
        let items = |items: &[&str], per_instance: Option<u32>| {
            let items = Some(items.iter().map(|item| (*item).to_owned()).collect());
            pieces(&Input { items, per_instance, ..Input::default() })
        };
        assert_eq!(items(&["a b", "", "ü"], None), ["a b", "", "ü"]);
        assert_eq!(items(&["a", "b", "c"], Some(2)), ["a\nb", "c"]);
        assert_eq!(items(&[], None), [""; 0]);
    }

    #[test]
    fn a_list_beyond_its_bounds_is_refused() {
        let one = Input::default();
        let many = Input { per_instance: Some(1000), ..Input::default() };
        assert_eq!(Entries::try_new("/a\n".repeat(1_000_000), &one).map(|list| list.len()), Ok(1_000_000));
        assert_eq!(Entries::try_new("/a\n".repeat(1_000_001), &one), Err(InvalidEntries::TooMany));
        let long = format!("/{}\n", "x".repeat(99));
        assert_eq!(Entries::try_new(long.repeat(700_000), &one), Err(InvalidEntries::TooLarge));
        let error = InvalidEntries::PieceTooLarge { index: 0, size: 1000 * 101 - 1 };
        assert_eq!(Entries::try_new(long.repeat(2000), &many), Err(error));
    }

    #[test]
    fn an_object_takes_more_room_than_its_key() {
        let objects = Objects { url: "s3://logs/".to_owned(), ..Objects::default() };
        let of = |objects| Input { objects, per_instance: Some(1000), ..Input::default() };
        let keys = "- a\n".repeat(1000);
        assert_eq!(Entries::try_new(keys.clone(), &of(None)).map(|list| list.len()), Ok(1000));
        let size = 1000 * (4 + 96) - 1;
        let error = InvalidEntries::PieceTooLarge { index: 0, size };
        assert_eq!(Entries::try_new(keys, &of(Some(objects))), Err(error));
    }

    proptest! {
        #[test]
        fn chunks_cover_a_range_without_a_gap(from in -1000_i64..1000, len in 1_i64..500, count in 1_u32..500) {
            let count = count.min(u32::try_from(len).unwrap());
            let range = NumberRange { chunks: Some(count), ..range(from, from + len - 1) };
            let mut next = from;
            for piece in pieces(&Input { range: Some(range), ..Input::default() }) {
                let (first, last) = piece.split_once(' ').unwrap();
                let (first, last): (i64, i64) = (first.parse().unwrap(), last.parse().unwrap());
                prop_assert_eq!(first, next);
                prop_assert!((len / i64::from(count)..=len / i64::from(count) + 1).contains(&(last - first + 1)));
                next = last + 1;
            }
            prop_assert_eq!(next, from + len);
        }
    }
}
