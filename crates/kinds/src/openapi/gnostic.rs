//! The second generation of documents in protobuf, as gnostic defines it; kubectl up to 1.27 reads nothing else.
//!
//! Only what the documents here contain is modelled; field numbers are gnostic's `openapi.v2`.

use prost::Message;
use serde_json::{Map, Value};

#[derive(Message)]
struct Document {
    #[prost(string, tag = "1")]
    swagger: String,
    #[prost(message, optional, tag = "2")]
    info: Option<Info>,
    #[prost(message, optional, tag = "8")]
    paths: Option<Paths>,
    #[prost(message, optional, tag = "9")]
    definitions: Option<Properties>,
}

#[derive(Message)]
struct Info {
    #[prost(string, tag = "1")]
    title: String,
    #[prost(string, tag = "2")]
    version: String,
}

#[derive(Message)]
struct Paths {
    #[prost(message, repeated, tag = "2")]
    path: Vec<NamedPathItem>,
}

#[derive(Message)]
struct NamedPathItem {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "2")]
    value: Option<PathItem>,
}

#[derive(Message)]
struct PathItem {
    #[prost(message, optional, tag = "2")]
    get: Option<Operation>,
    #[prost(message, optional, tag = "3")]
    put: Option<Operation>,
    #[prost(message, optional, tag = "4")]
    post: Option<Operation>,
    #[prost(message, optional, tag = "5")]
    delete: Option<Operation>,
    #[prost(message, optional, tag = "8")]
    patch: Option<Operation>,
}

#[derive(Message)]
struct Operation {
    #[prost(string, tag = "3")]
    description: String,
    #[prost(string, tag = "5")]
    operation_id: String,
    #[prost(message, repeated, tag = "8")]
    parameters: Vec<ParametersItem>,
    #[prost(message, repeated, tag = "13")]
    vendor_extension: Vec<NamedAny>,
}

#[derive(Message)]
struct ParametersItem {
    #[prost(message, optional, tag = "1")]
    parameter: Option<Parameter>,
}

#[derive(Message)]
struct Parameter {
    #[prost(message, optional, tag = "2")]
    non_body_parameter: Option<NonBodyParameter>,
}

#[derive(Message)]
struct NonBodyParameter {
    #[prost(message, optional, tag = "3")]
    query: Option<QueryParameter>,
}

#[derive(Message)]
struct QueryParameter {
    #[prost(string, tag = "2")]
    place: String,
    #[prost(string, tag = "3")]
    description: String,
    #[prost(string, tag = "4")]
    name: String,
    #[prost(string, tag = "6")]
    kind: String,
}

/// Also the form of `Definitions`: schemas by name.
#[derive(Message)]
struct Properties {
    #[prost(message, repeated, tag = "1")]
    additional_properties: Vec<NamedSchema>,
}

#[derive(Message)]
struct NamedSchema {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "2")]
    value: Option<Schema>,
}

#[derive(Message)]
struct Schema {
    #[prost(string, tag = "1")]
    reference: String,
    #[prost(string, tag = "2")]
    format: String,
    #[prost(string, tag = "4")]
    description: String,
    #[prost(string, repeated, tag = "19")]
    required: Vec<String>,
    #[prost(message, optional, boxed, tag = "21")]
    additional_properties: Option<Box<AdditionalProperties>>,
    #[prost(message, optional, tag = "22")]
    kind: Option<TypeItem>,
    #[prost(message, optional, tag = "23")]
    items: Option<Items>,
    #[prost(message, optional, tag = "25")]
    properties: Option<Properties>,
    #[prost(message, repeated, tag = "31")]
    vendor_extension: Vec<NamedAny>,
}

#[derive(Message)]
struct AdditionalProperties {
    #[prost(message, optional, boxed, tag = "1")]
    schema: Option<Box<Schema>>,
}

#[derive(Message)]
struct TypeItem {
    #[prost(string, repeated, tag = "1")]
    value: Vec<String>,
}

#[derive(Message)]
struct Items {
    #[prost(message, repeated, tag = "1")]
    schema: Vec<Schema>,
}

#[derive(Message)]
struct NamedAny {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "2")]
    value: Option<AnyValue>,
}

#[derive(Message)]
struct AnyValue {
    #[prost(string, tag = "2")]
    yaml: String,
}

/// The document in protobuf.
pub(super) fn encode(swagger: &Value) -> Vec<u8> {
    let paths = entries(&swagger["paths"]).map(|(name, item)| NamedPathItem {
        name: name.clone(),
        value: Some(PathItem {
            get: operation(&item["get"]),
            put: operation(&item["put"]),
            post: operation(&item["post"]),
            delete: operation(&item["delete"]),
            patch: operation(&item["patch"]),
        }),
    });
    let document = Document {
        swagger: text(swagger, "swagger"),
        info: Some(Info {
            title: text(&swagger["info"], "title"),
            version: text(&swagger["info"], "version"),
        }),
        paths: Some(Paths { path: paths.collect() }),
        definitions: Some(properties(&swagger["definitions"])),
    };
    document.encode_to_vec()
}

fn operation(operation: &Value) -> Option<Operation> {
    let queries = operation["parameters"].as_array().into_iter().flatten().filter(|one| one["in"] == "query");
    operation.is_object().then(|| Operation {
        description: text(operation, "description"),
        operation_id: text(operation, "operationId"),
        parameters: queries.map(query_parameter).collect(),
        vendor_extension: extensions(operation),
    })
}

fn query_parameter(parameter: &Value) -> ParametersItem {
    let query = QueryParameter {
        place: text(parameter, "in"),
        description: text(parameter, "description"),
        name: text(parameter, "name"),
        kind: text(parameter, "type"),
    };
    let non_body_parameter = Some(NonBodyParameter { query: Some(query) });
    ParametersItem { parameter: Some(Parameter { non_body_parameter }) }
}

fn properties(schemas: &Value) -> Properties {
    let named =
        |(name, value): (&String, &Value)| NamedSchema { name: name.clone(), value: Some(schema(value)) };
    Properties { additional_properties: entries(schemas).map(named).collect() }
}

fn schema(value: &Value) -> Schema {
    let values = &value["additionalProperties"];
    let required = value["required"].as_array().into_iter().flatten();
    Schema {
        reference: text(value, "$ref"),
        format: text(value, "format"),
        description: text(value, "description"),
        required: required.filter_map(Value::as_str).map(str::to_owned).collect(),
        additional_properties: values
            .is_object()
            .then(|| Box::new(AdditionalProperties { schema: Some(Box::new(schema(values))) })),
        kind: value["type"].as_str().map(|kind| TypeItem { value: vec![kind.to_owned()] }),
        items: value["items"].is_object().then(|| Items { schema: vec![schema(&value["items"])] }),
        properties: value["properties"].is_object().then(|| properties(&value["properties"])),
        vendor_extension: extensions(value),
    }
}

/// Their values travel as YAML, of which JSON is a part.
fn extensions(value: &Value) -> Vec<NamedAny> {
    entries(value)
        .filter(|(name, _)| name.starts_with("x-"))
        .map(|(name, value)| NamedAny {
            name: name.clone(),
            value: Some(AnyValue { yaml: value.to_string() }),
        })
        .collect()
}

fn entries(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flat_map(Map::iter)
}

fn text(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
pub(super) fn decoded_definition_names(bytes: &[u8]) -> Vec<String> {
    let document = Document::decode(bytes).unwrap();
    document.definitions.unwrap().additional_properties.into_iter().map(|schema| schema.name).collect()
}
