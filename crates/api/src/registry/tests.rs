use serde_json::json;
use store::embedded::{Embedded, Options};

use super::*;
use crate::catalog::DEFINITIONS;

/// Two servers on one store. What the one answered by, its next request knows, whoever wrote it.
#[tokio::test]
async fn what_was_read_is_in_memory_from_then_on() {
    let folder = tempfile::tempdir().unwrap();
    let store: Arc<dyn Store> = Embedded::open(&folder.path().join("store"), Options::default()).unwrap();
    let registry = || Registry::new(Arc::clone(&store), CancellationToken::new());
    let (ours, another) = (registry(), registry());
    let (group, plural) = DEFINITIONS;
    let kind = kinds::find(group, "v1", plural).unwrap();
    ours.lister_of(kind).await.unwrap();
    for number in 0..50 {
        let name = format!("kind-{number}");
        let object = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": name}});
        let path = ObjectPath::of(kind, &object);
        another.create(kind, object).await.unwrap();
        let unchanged = |current: &Value| Ok(Next::Keep(current.clone()));
        ours.modify(&path, false, unchanged).await.unwrap();
        assert!(ours.lister_of(kind).await.unwrap().get("", &name).is_some(), "{name}");
    }
}
