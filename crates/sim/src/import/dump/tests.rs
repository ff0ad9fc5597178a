use std::error::Error;

use expect_test::{Expect, expect};

use super::*;

fn check(text: &str, expected: Expect) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    let named = |object: Object| -> Result<String, DumpError> {
        let kind = object.kind.clone();
        let name: Named = object.typed()?;
        Ok(format!("{kind} {}", name.metadata.name))
    };
    let shown = objects(file.path())
        .and_then(|objects| objects.into_iter().map(named).collect::<Result<Vec<_>, _>>());
    let shown = match shown {
        Ok(names) => names.join(", "),
        Err(error) => {
            let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
            format!("{error}{cause}").replace(&file.path().display().to_string(), "FILE")
        }
    };
    expected.assert_eq(&shown);
}

#[derive(Deserialize)]
struct Named {
    metadata: Metadata,
}

#[derive(Deserialize)]
struct Metadata {
    name: String,
}

#[test]
fn lists_and_documents_are_opened() {
    check(
        r#"{"kind":"List","items":[{"kind":"Node","metadata":{"name":"n"}},{"kind":"Pod","metadata":{"name":"p"}}]}"#,
        expect!["Node n, Pod p"],
    );
    check(r#"{"kind":"PodList","items":[{"metadata":{"name":"p"}}]}"#, expect!["Pod p"]);
    check(
        "---\nkind: Node\nmetadata: {name: n}\n---\n---\nkind: NodeList\nitems:\n- metadata: {name: m}\n",
        expect!["Node n, Node m"],
    );
    check(r#"{"kind":"List","items":[]}"#, expect![""]);
}

#[test]
fn what_is_not_understood_is_named() {
    check(
        "{",
        expect![
            "`FILE` is not JSON; write it with `kubectl get nodes,pods,namespaces -A -o json`: EOF while parsing an object at line 1 column 1"
        ],
    );
    check("a: b\n", expect!["`FILE`: document 1 has no kind: is it a Kubernetes object?"]);
    check(
        r#"{"kind":"List","items":[{"kind":"Node","metadata":{"name":3}}]}"#,
        expect!["`FILE`: item 1 is not a valid Node: invalid type: integer `3`, expected a string"],
    );
}
