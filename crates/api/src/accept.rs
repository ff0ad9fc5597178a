//! What a client accepts: the encoding and the shape of an answer.

use kinds::status::Failure;

/// The encodings this server writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Encoding {
    #[default]
    Json,
    Yaml,
    /// For those who read nothing else: JSON is in the store already, and costs nothing.
    Protobuf,
}

impl Encoding {
    pub(crate) fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Yaml => "application/yaml",
            Self::Protobuf => kinds::decode::PROTOBUF,
        }
    }
}

/// The shape in which an object or a list is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Shape {
    #[default]
    Object,
    Table,
    Metadata,
    MetadataList,
}

/// One media range of an `Accept` header.
#[derive(Debug)]
struct Range<'a> {
    media_type: &'a str,
    parameters: Vec<(&'a str, &'a str)>,
    quality: f32,
}

/// The versions of the shapes, which are the same in all but the name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum ShapeVersion {
    #[default]
    V1,
    V1Beta1,
}

/// What the client gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Accept {
    pub(crate) encoding: Encoding,
    pub(crate) shape: Shape,
    pub(crate) version: ShapeVersion,
}

/// What can be written, in the words of refusals.
const OFFERED: [&str; 3] = ["application/json", "application/yaml", kinds::decode::PROTOBUF];

impl Accept {
    /// The best that the client names and that can be written. Without a header: JSON objects.
    pub(crate) fn parse(header: Option<&str>) -> Result<Self, Failure> {
        let Some(header) = header.filter(|header| !header.trim().is_empty()) else {
            return Ok(Self::default());
        };
        let ranges = ranges(header);
        let accepted = ranges.iter().filter_map(Self::from_range).collect();
        best(accepted, |accept| accept.encoding).ok_or_else(|| {
            let failure = Failure::not_acceptable(&OFFERED);
            // Who asks for another shape is not told that there are no details.
            let asks_for_shape = ranges.iter().any(|range| range.parameter("as").is_some());
            if asks_for_shape { failure } else { failure.detailed() }
        })
    }

    fn from_range(range: &Range<'_>) -> Option<Self> {
        let encoding = match range.media_type {
            "application/json" | "*/*" => Encoding::Json,
            "application/yaml" => Encoding::Yaml,
            kinds::decode::PROTOBUF => Encoding::Protobuf,
            _ => return None,
        };
        let parameter = |name| range.parameter(name);
        let version = match parameter("v") {
            Some("v1beta1") => ShapeVersion::V1Beta1,
            _ => ShapeVersion::V1,
        };
        let is_known =
            parameter("g") == Some("meta.k8s.io") && matches!(parameter("v"), Some("v1" | "v1beta1"));
        let shape = match parameter("as") {
            None => Shape::Object,
            Some(_) if !is_known => return None,
            Some("Table") if encoding != Encoding::Protobuf => Shape::Table,
            Some("PartialObjectMetadata") => Shape::Metadata,
            Some("PartialObjectMetadataList") => Shape::MetadataList,
            Some(_) => return None,
        };
        Some(Self { encoding, shape, version })
    }

    /// The name of the shape's version: `meta.k8s.io/v1`.
    pub(crate) fn shape_version(self) -> &'static str {
        match self.version {
            ShapeVersion::V1 => "meta.k8s.io/v1",
            ShapeVersion::V1Beta1 => "meta.k8s.io/v1beta1",
        }
    }
}

/// The first of what the client accepts, but protobuf only where it accepts nothing else.
fn best<T: Copy>(accepted: Vec<T>, encoding: impl Fn(&T) -> Encoding) -> Option<T> {
    let other = accepted.iter().find(|one| encoding(one) != Encoding::Protobuf);
    other.or(accepted.first()).copied()
}

/// How discovery is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Discovery {
    /// All groups with all their resources at once.
    Aggregated,
    /// One document after the other.
    Plain(Encoding),
}

impl Discovery {
    /// The best that the client names and that can be written.
    pub(crate) fn parse(header: Option<&str>) -> Result<Self, Failure> {
        let Some(header) = header.filter(|header| !header.trim().is_empty()) else {
            return Ok(Self::Plain(Encoding::Json));
        };
        let form = |range: &Range<'_>| match (range.parameter("as"), range.parameter("v")) {
            (Some("APIGroupDiscoveryList"), Some("v2")) if range.media_type == "application/json" => {
                Some(Self::Aggregated)
            }
            (Some(_), _) => None,
            (None, _) => Accept::from_range(range).map(|accept| Self::Plain(accept.encoding)),
        };
        let accepted = ranges(header).iter().filter_map(form).collect();
        let encoding = |form: &Self| match form {
            Self::Aggregated => Encoding::Json,
            Self::Plain(encoding) => *encoding,
        };
        best(accepted, encoding).ok_or_else(|| Failure::not_acceptable(&OFFERED))
    }
}

/// Whether the first acceptable of two media types is `wanted`.
pub(crate) fn prefers(header: Option<&str>, wanted: &str) -> bool {
    ranges(header.unwrap_or_default()).first().is_some_and(|range| range.media_type == wanted)
}

impl<'a> Range<'a> {
    fn parameter(&self, name: &str) -> Option<&'a str> {
        self.parameters.iter().find(|(key, _)| *key == name).map(|(_, value)| *value)
    }
}

/// The ranges of the header, best first; those of equal quality stay in the client's order.
fn ranges(header: &str) -> Vec<Range<'_>> {
    let mut ranges: Vec<Range<'_>> = header.split(',').map(range).collect();
    ranges.sort_by(|a, b| b.quality.total_cmp(&a.quality));
    ranges
}

fn range(text: &str) -> Range<'_> {
    let mut parts = text.split(';').map(str::trim);
    let media_type = parts.next().unwrap_or_default();
    let parameters: Vec<(&str, &str)> = parts.filter_map(|part| part.split_once('=')).collect();
    let quality = parameters.iter().find(|(key, _)| *key == "q").and_then(|(_, value)| value.parse().ok());
    Range { media_type, parameters, quality: quality.unwrap_or(1.0) }
}

#[cfg(test)]
mod tests;
