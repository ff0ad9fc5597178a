//! What a client accepts: the encoding and the shape of an answer.

use kinds::status::Failure;

/// The encodings this server writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Encoding {
    #[default]
    Json,
    Yaml,
}

impl Encoding {
    pub(crate) fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Yaml => "application/yaml",
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

/// What the client gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Accept {
    pub(crate) encoding: Encoding,
    pub(crate) shape: Shape,
}

impl Accept {
    /// The best that the client names and that can be written. Without a header: JSON objects.
    pub(crate) fn parse(header: Option<&str>) -> Result<Self, Failure> {
        let Some(header) = header.filter(|header| !header.trim().is_empty()) else {
            return Ok(Self::default());
        };
        ranges(header)
            .iter()
            .find_map(Self::from_range)
            .ok_or_else(|| Failure::not_acceptable(&["application/json", "application/yaml"]))
    }

    fn from_range(range: &Range<'_>) -> Option<Self> {
        let encoding = match range.media_type {
            "application/json" | "*/*" => Encoding::Json,
            "application/yaml" => Encoding::Yaml,
            _ => return None,
        };
        let parameter = |name| range.parameter(name);
        let shape = match parameter("as") {
            None => Shape::Object,
            Some(_) if parameter("g") != Some("meta.k8s.io") || parameter("v") != Some("v1") => return None,
            Some("Table") => Shape::Table,
            Some("PartialObjectMetadata") => Shape::Metadata,
            Some("PartialObjectMetadataList") => Shape::MetadataList,
            Some(_) => return None,
        };
        Some(Self { encoding, shape })
    }
}

/// Which form of discovery the client wants: the first it names of those that are served.
pub(crate) fn aggregated_discovery(header: Option<&str>) -> Option<kinds::discovery::Aggregated> {
    use kinds::discovery::Aggregated;
    let wanted = |range: &Range<'_>| match (range.media_type, range.parameter("as"), range.parameter("v")) {
        ("application/json", Some("APIGroupDiscoveryList"), Some("v2")) => Some(Some(Aggregated::V2)),
        ("application/json", Some("APIGroupDiscoveryList"), Some("v2beta1")) => {
            Some(Some(Aggregated::V2Beta1))
        }
        ("application/json" | "*/*", None, _) => Some(None),
        _ => None,
    };
    ranges(header.unwrap_or_default()).iter().find_map(wanted).flatten()
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
