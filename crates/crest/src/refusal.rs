//! An error as a person at a terminal wants it: what was attempted and why it failed, each said once.

/// The chain of causes on one line; of the API's refusals the server's own words, without the client's rendering of
/// the whole answer around them.
pub(crate) fn explained(error: &anyhow::Error) -> String {
    let mut parts: Vec<String> = Vec::new();
    for cause in error.chain() {
        if let Some(kube::Error::Api(status)) = cause.downcast_ref() {
            parts.push(format!("{} ({})", status.message, status.reason));
            break;
        }
        parts.push(cause.to_string());
    }
    parts.join(": ")
}

#[cfg(test)]
mod tests {
    use anyhow::Context;
    use expect_test::{Expect, expect};

    use super::explained;

    fn check(error: anyhow::Error, expected: Expect) {
        expected.assert_eq(&explained(&error));
    }

    #[test]
    fn causes_are_said_once() {
        let status = kube::core::Status::failure("namespaces \"a\" not found", "NotFound");
        let refused: anyhow::Result<()> =
            Err(kube::Error::Api(status.boxed())).context("cannot read the namespace");
        check(
            refused.unwrap_err(),
            expect![[r#"cannot read the namespace: namespaces "a" not found (NotFound)"#]],
        );
        let plain: anyhow::Result<()> = Err(std::io::Error::other("no room")).context("cannot write `x`");
        check(plain.unwrap_err(), expect!["cannot write `x`: no room"]);
    }
}
