//! The formats of texts that are checked; a format that nobody knows demands nothing.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

use base64::engine::{Engine, general_purpose::STANDARD};
use jiff::Timestamp;
use jiff::civil::Date;
use regex::Regex;

/// A format with a meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Byte,
    Cidr,
    CreditCard,
    Date,
    DateTime,
    Duration,
    Email,
    HexColor,
    Hostname,
    Int32,
    Int64,
    Ipv4,
    Ipv6,
    Isbn,
    Isbn10,
    Isbn13,
    Mac,
    ObjectId,
    RgbColor,
    Ssn,
    Uri,
    Uuid,
    Uuid3,
    Uuid4,
    Uuid5,
}

const NAMES: &[(&str, Format)] = &[
    ("bsonobjectid", Format::ObjectId),
    ("byte", Format::Byte),
    ("cidr", Format::Cidr),
    ("creditcard", Format::CreditCard),
    ("date", Format::Date),
    ("date-time", Format::DateTime),
    ("datetime", Format::DateTime),
    ("duration", Format::Duration),
    ("email", Format::Email),
    ("hexcolor", Format::HexColor),
    ("hostname", Format::Hostname),
    ("int32", Format::Int32),
    ("int64", Format::Int64),
    ("ipv4", Format::Ipv4),
    ("ipv6", Format::Ipv6),
    ("isbn", Format::Isbn),
    ("isbn10", Format::Isbn10),
    ("isbn13", Format::Isbn13),
    ("mac", Format::Mac),
    ("rgbcolor", Format::RgbColor),
    ("ssn", Format::Ssn),
    ("uri", Format::Uri),
    ("uuid", Format::Uuid),
    ("uuid3", Format::Uuid3),
    ("uuid4", Format::Uuid4),
    ("uuid5", Format::Uuid5),
];

impl Format {
    pub(crate) fn parse(name: &str) -> Option<Self> {
        NAMES.iter().find(|(known, _)| *known == name).map(|(_, format)| *format)
    }

    pub(crate) fn name(self) -> &'static str {
        NAMES.iter().find(|(_, format)| *format == self).map_or("", |(name, _)| name)
    }

    /// How many bytes the shortest text of this format takes as JSON, for as much as that is long.
    pub(super) fn least_bytes(self) -> u64 {
        match self {
            Self::Date => 12,
            Self::DateTime => 34,
            Self::Duration => 32,
            _ => 2,
        }
    }

    /// Whether a text has this format.
    pub(crate) fn admits(self, text: &str) -> bool {
        match self {
            // These are about numbers.
            Self::Int32 | Self::Int64 => true,
            Self::Byte => STANDARD.decode(text).is_ok(),
            Self::Cidr => is_cidr(text),
            Self::CreditCard => is_credit_card(text),
            Self::Date => text.len() == 10 && text.parse::<Date>().is_ok(),
            Self::DateTime => text.len() >= "2006-01-02T15:04:05Z".len() && text.parse::<Timestamp>().is_ok(),
            Self::Duration => DURATION.is_match(text),
            Self::Email => EMAIL.is_match(text),
            Self::HexColor => HEX_COLOR.is_match(text),
            Self::Hostname => text.len() <= 255 && HOSTNAME.is_match(text),
            Self::Ipv4 => text.parse::<Ipv4Addr>().is_ok(),
            Self::Ipv6 => text.parse::<Ipv6Addr>().is_ok(),
            Self::Isbn => is_isbn10(text) || is_isbn13(text),
            Self::Isbn10 => is_isbn10(text),
            Self::Isbn13 => is_isbn13(text),
            Self::Mac => MAC.is_match(text),
            Self::ObjectId => text.len() == 24 && text.bytes().all(|byte| byte.is_ascii_hexdigit()),
            Self::RgbColor => RGB_COLOR.is_match(text),
            Self::Ssn => SSN.is_match(text),
            Self::Uri => URI.is_match(text),
            Self::Uuid => UUID.is_match(text),
            Self::Uuid3 => is_uuid(text, '3'),
            Self::Uuid4 => is_uuid(text, '4'),
            Self::Uuid5 => is_uuid(text, '5'),
        }
    }
}

macro_rules! pattern {
    ($name:ident, $source:expr) => {
        static $name: LazyLock<Regex> =
            LazyLock::new(|| Regex::new($source).expect("the pattern is part of the program"));
    };
}

pattern!(
    DURATION,
    r"^([+-]?(\d+(\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h))+$|^[+-]?0$|^(\d+\s*(ns|us|ms|s|sec|second|m|min|minute|h|hr|hour|d|day|w|wk|week)s?\s*)+$"
);
pattern!(EMAIL, r"^[^@\s]+@[^@\s]+$");
pattern!(HEX_COLOR, r"^#?([0-9a-fA-F]{3}|[0-9a-fA-F]{6})$");
pattern!(
    HOSTNAME,
    r"^[a-zA-Z0-9\p{S}\p{L}]([-a-zA-Z0-9\p{S}\p{L}]{0,62})?(\.[a-zA-Z0-9\p{S}\p{L}]([-a-zA-Z0-9\p{S}\p{L}]{0,62})?)*\.?$"
);
pattern!(
    MAC,
    r"^([0-9a-fA-F]{2}[:-]){5}([0-9a-fA-F]{2})$|^([0-9a-fA-F]{4}\.){2}[0-9a-fA-F]{4}$|^([0-9a-fA-F]{2}[:-]){7}([0-9a-fA-F]{2})$"
);
pattern!(
    RGB_COLOR,
    r"^rgb\(\s*(\d|[1-9]\d|1\d\d|2[0-4]\d|25[0-5])\s*,\s*(\d|[1-9]\d|1\d\d|2[0-4]\d|25[0-5])\s*,\s*(\d|[1-9]\d|1\d\d|2[0-4]\d|25[0-5])\s*\)$"
);
pattern!(SSN, r"^\d{3}[- ]?\d{2}[- ]?\d{4}$");
// A request's target: an absolute path, or a whole address.
pattern!(URI, r"^(/|[a-zA-Z][a-zA-Z0-9+.-]*:)[^\s\x00-\x1f]*$");
pattern!(UUID, r"^(?i)[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}$");

fn is_uuid(text: &str, version: char) -> bool {
    let digits: Vec<char> = text.chars().filter(|character| *character != '-').collect();
    let variant =
        |digit: &char| version == '3' || matches!(digit.to_ascii_lowercase(), '8' | '9' | 'a' | 'b');
    UUID.is_match(text) && digits.get(12) == Some(&version) && digits.get(16).is_some_and(variant)
}

fn is_cidr(text: &str) -> bool {
    let Some((address, length)) = text.split_once('/') else { return false };
    let Ok(length) = length.parse::<u8>() else { return false };
    let is_plain = address.parse::<Ipv4Addr>().is_ok() && length <= 32;
    is_plain || (address.parse::<Ipv6Addr>().is_ok() && length <= 128)
}

fn digits(text: &str) -> Vec<u32> {
    text.chars().filter_map(|character| character.to_digit(10)).collect()
}

/// The sum of the digits, every second one doubled, ends in zero.
fn is_credit_card(text: &str) -> bool {
    let is_clean = text.chars().all(|character| character.is_ascii_digit() || matches!(character, ' ' | '-'));
    let digits = digits(text);
    let doubled = |(index, digit): (usize, &u32)| match (index % 2, digit * 2) {
        (0, _) => *digit,
        (_, double) if double > 9 => double - 9,
        (_, double) => double,
    };
    let sum: u32 = digits.iter().rev().enumerate().map(doubled).sum();
    is_clean && (13..=19).contains(&digits.len()) && sum.is_multiple_of(10)
}

fn is_isbn10(text: &str) -> bool {
    let bare: String = text.chars().filter(|character| !matches!(character, ' ' | '-')).collect();
    if bare.len() != 10 || !bare.is_ascii() {
        return false;
    }
    let value = |(index, character): (u32, char)| match character {
        'X' | 'x' if index == 9 => Some(10 * (10 - index)),
        other => other.to_digit(10).map(|digit| digit * (10 - index)),
    };
    let sum: Option<u32> = (0..).zip(bare.chars()).map(value).sum();
    sum.is_some_and(|sum| sum.is_multiple_of(11))
}

fn is_isbn13(text: &str) -> bool {
    let bare: String = text.chars().filter(|character| !matches!(character, ' ' | '-')).collect();
    let digits = digits(&bare);
    let sum: u32 =
        digits.iter().enumerate().map(|(index, digit)| if index % 2 == 0 { *digit } else { 3 * digit }).sum();
    bare.len() == 13 && digits.len() == 13 && sum.is_multiple_of(10)
}
