//! Every kind has a shape, and the shapes know what merges how.

use super::merge::{List, MERGED};
use super::{Shape, by_name, of};
use crate::all;

#[test]
fn every_kind_has_a_shape_with_metadata() {
    for kind in all() {
        let definition = of(kind);
        let metadata = definition.field("metadata").unwrap().shape.definition().unwrap();
        assert_eq!(metadata.short_name(), "v1.ObjectMeta");
        assert!(definition.field("nothing").is_none());
    }
}

#[test]
fn every_row_of_the_merge_table_names_a_field() {
    for row in MERGED {
        // Kinds that are not served have no definition.
        let Some(definition) = by_name(row.definition) else { continue };
        let field = definition.field(row.field).unwrap_or_else(|| panic!("no field {row:?}"));
        if let List::ByKey(key) = row.merge.list {
            let item = field.shape.definition().unwrap();
            assert!(item.field(key).is_some(), "{row:?}");
        }
    }
}

#[test]
fn dagjobs_share_the_shapes_of_pods() {
    let task = by_name("dev.crest.v1alpha1.Task").unwrap();
    let env = &task.field("env").unwrap().shape;
    assert!(matches!(env, Shape::List(_)));
    assert_eq!(&*env.definition().unwrap().name, "io.k8s.api.core.v1.EnvVar");
    assert_eq!(env.type_name(), "[]v1.EnvVar");
}
