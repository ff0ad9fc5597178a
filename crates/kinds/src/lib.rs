//! What a Kubernetes object means: the table of kinds, schema, defaults, validation, patches, tables, protobuf. Pure: never IO.
