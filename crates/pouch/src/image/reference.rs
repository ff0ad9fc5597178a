//! What people call an image: normalising names, and telling names from digests and ids.

use std::fmt;

use super::digest::Digest;

/// A request for an image, as a person or a Pod writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference {
    /// `docker.io/library/nginx:latest`
    Tagged(String),
    /// `docker.io/library/nginx@sha256:...`; a tag beside the digest says nothing more.
    Digested(String),
    /// `sha256:...`
    Id(Digest),
}

#[derive(Debug, thiserror::Error)]
#[error("`{text}` is not an image reference: expected [registry/]name[:tag][@sha256:digest] in lower case")]
pub struct ReferenceError {
    pub text: String,
    source: Option<oci_client::ParseError>,
}

impl Reference {
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        if text.starts_with("sha256:") {
            return match Digest::parse(text) {
                Ok(id) => Ok(Self::Id(id)),
                Err(_) => Err(ReferenceError { text: text.to_owned(), source: None }),
            };
        }
        let name = remote(text)?;
        match name.digest() {
            Some(digest) => {
                if Digest::parse(digest).is_err() {
                    return Err(ReferenceError { text: text.to_owned(), source: None });
                }
                Ok(Self::Digested(format!("{}@{digest}", repository(&name))))
            }
            None => Ok(Self::Tagged(format!("{}:{}", repository(&name), name.tag().unwrap_or("latest")))),
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tagged(name) | Self::Digested(name) => f.write_str(name),
            Self::Id(id) => id.fmt(f),
        }
    }
}

/// The reference as the distribution protocol needs it.
pub(crate) fn remote(text: &str) -> Result<oci_client::Reference, ReferenceError> {
    text.parse().map_err(|source| ReferenceError { text: text.to_owned(), source: Some(source) })
}

/// `docker.io/library/nginx`: the name without tag and digest.
pub(crate) fn repository(name: &oci_client::Reference) -> String {
    format!("{}/{}", name.registry(), name.repository())
}

/// The name as people write it: `nginx:latest` for `docker.io/library/nginx:latest`.
pub fn familiar(name: &str) -> &str {
    let short = name.strip_prefix("docker.io/").unwrap_or(name);
    short.strip_prefix("library/").unwrap_or(short)
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use proptest::prelude::*;

    use super::{Reference, familiar};

    fn check(texts: &[&str], expected: Expect) {
        let lines: Vec<String> = texts
            .iter()
            .map(|text| match Reference::parse(text) {
                Ok(reference) => format!("{text} -> {reference}\n"),
                Err(error) => format!("{text} -> refused: {error}\n"),
            })
            .collect();
        expected.assert_eq(&lines.concat());
    }

    #[test]
    fn names_are_normalised() {
        check(
            &["nginx", "nginx:1.22", "team/app", "localhost:5000/x:tag", "quay.io/a/b/c", "localhost/x"],
            expect![[r#"
                nginx -> docker.io/library/nginx:latest
                nginx:1.22 -> docker.io/library/nginx:1.22
                team/app -> docker.io/team/app:latest
                localhost:5000/x:tag -> localhost:5000/x:tag
                quay.io/a/b/c -> quay.io/a/b/c:latest
                localhost/x -> localhost/x:latest
            "#]],
        );
    }

    #[test]
    fn digests_and_ids_are_told_apart() {
        let hex = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        check(
            &[&format!("sha256:{hex}"), &format!("nginx@sha256:{hex}"), &format!("nginx:1@sha256:{hex}")],
            expect![[r#"
                sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 -> sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
                nginx@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 -> docker.io/library/nginx@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
                nginx:1@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 -> docker.io/library/nginx@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
            "#]],
        );
    }

    #[test]
    fn what_is_no_name_is_refused() {
        check(
            &["", "Nginx", "a b", "nginx:", "../etc", "sha256:12", "nginx@sha256:12"],
            expect![[r#"
                 -> refused: `` is not an image reference: expected [registry/]name[:tag][@sha256:digest] in lower case
                Nginx -> refused: `Nginx` is not an image reference: expected [registry/]name[:tag][@sha256:digest] in lower case
                a b -> refused: `a b` is not an image reference: expected [registry/]name[:tag][@sha256:digest] in lower case
                nginx: -> refused: `nginx:` is not an image reference: expected [registry/]name[:tag][@sha256:digest] in lower case
                ../etc -> refused: `../etc` is not an image reference: expected [registry/]name[:tag][@sha256:digest] in lower case
                sha256:12 -> refused: `sha256:12` is not an image reference: expected [registry/]name[:tag][@sha256:digest] in lower case
                nginx@sha256:12 -> refused: `nginx@sha256:12` is not an image reference: expected [registry/]name[:tag][@sha256:digest] in lower case
            "#]],
        );
    }

    proptest! {
        #[test]
        fn normalising_again_changes_nothing(text in "[a-z0-9./:@_-]{1,40}") {
            if let Ok(reference) = Reference::parse(&text) {
                let normal = reference.to_string();
                prop_assert_eq!(Reference::parse(&normal).unwrap(), reference.clone());
                prop_assert_eq!(Reference::parse(familiar(&normal)).unwrap(), reference);
            }
        }
    }
}
