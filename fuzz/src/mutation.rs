//! New input from old: bytes are flipped, cut and spliced; documents get hostile values in odd places.

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use serde_json::{Map, Value, json};

/// As long as an input gets.
const LONGEST: usize = 64 * 1024;
/// What parsers have stumbled over before.
const WORDS: [&str; 28] = [
    "null",
    "{}",
    "[]",
    "-1",
    "9223372036854775808",
    "1e999",
    "-0",
    "\"\"",
    "\\u0000",
    "\\ud800",
    "$patch",
    "$retainKeys",
    "$setElementOrder/containers",
    "$deleteFromPrimitiveList/finalizers",
    "~1",
    "~2",
    "/-",
    "%2F",
    "%00",
    "..",
    "&a [*a, *a]",
    "!!binary",
    "k8s\0",
    "metadata",
    "managedFields",
    "f:spec",
    "{{",
    "(a+)+$",
];

/// One input: a seed, changed a little or a lot.
pub(crate) fn mutate(seeds: &[Vec<u8>], random: &mut StdRng) -> Vec<u8> {
    let mut input = seeds.choose(random).cloned().unwrap_or_default();
    for _ in 0..random.random_range(0..6) {
        if let (true, Ok(mut document)) = (random.random_bool(0.6), serde_json::from_slice::<Value>(&input)) {
            twist(&mut document, random);
            input = document.to_string().into_bytes();
        } else {
            scramble(&mut input, seeds, random);
        }
        input.truncate(LONGEST);
    }
    input
}

fn scramble(input: &mut Vec<u8>, seeds: &[Vec<u8>], random: &mut StdRng) {
    let at = random.random_range(0..=input.len());
    match random.random_range(0..6) {
        0 if at < input.len() => input[at] ^= 1 << random.random_range(0..8),
        1 => input.truncate(at),
        2 => input.insert(at, random.random()),
        3 => {
            let word = WORDS.choose(random).copied().unwrap_or_default();
            input.splice(at..at, word.bytes());
        }
        4 => {
            let other = seeds.choose(random).cloned().unwrap_or_default();
            let from = random.random_range(0..=other.len());
            input.truncate(at);
            input.extend_from_slice(&other[from..]);
        }
        _ => {
            let end = (at + random.random_range(0..64)).min(input.len());
            let part = input[at..end].to_vec();
            for _ in 0..random.random_range(0..64) {
                input.splice(at..at, part.iter().copied());
            }
        }
    }
}

/// Changes one place of a document.
fn twist(document: &mut Value, random: &mut StdRng) {
    let mut place = document;
    // Down to a random depth.
    while random.random_bool(0.75) {
        let length = match &*place {
            Value::Object(fields) => fields.len(),
            Value::Array(items) => items.len(),
            _ => 0,
        };
        if length == 0 {
            break;
        }
        let at = random.random_range(0..length);
        place = match place {
            Value::Object(fields) => match fields.values_mut().nth(at) {
                Some(value) => value,
                None => return,
            },
            Value::Array(items) => &mut items[at],
            _ => return,
        };
    }
    match (random.random_range(0..4), &mut *place) {
        (0, Value::Object(fields)) => {
            let name = WORDS.choose(random).copied().unwrap_or_default().to_owned();
            fields.insert(name, hostile(random));
        }
        (1, Value::Object(fields)) => drop_one(fields, random),
        (1, Value::Array(items)) => items.clear(),
        (2, Value::Array(items)) if items.len() < 1000 => {
            let copies = items.clone();
            items.extend(copies);
        }
        (_, place) => *place = hostile(random),
    }
}

fn drop_one(fields: &mut Map<String, Value>, random: &mut StdRng) {
    let at = random.random_range(0..fields.len().max(1));
    if let Some(name) = fields.keys().nth(at).cloned() {
        fields.remove(&name);
    }
}

fn hostile(random: &mut StdRng) -> Value {
    match random.random_range(0..10) {
        0 => Value::Null,
        1 => json!(i64::MIN),
        2 => json!(u64::MAX),
        3 => json!(1.0e300),
        4 => json!("x".repeat(random.random_range(0..5000))),
        5 => json!([]),
        6 => json!({}),
        7 => deep(random.random_range(0..200)),
        8 => json!(true),
        _ => json!(WORDS.choose(random).copied().unwrap_or_default()),
    }
}

fn deep(depth: usize) -> Value {
    (0..depth).fold(
        Value::Null,
        |inner, level| {
            if level % 2 == 0 { json!([inner]) } else { json!({ "a": inner }) }
        },
    )
}
