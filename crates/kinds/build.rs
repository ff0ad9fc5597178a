//! Gathers the descriptors of Kubernetes' protobuf messages into one set for `decode::protobuf`.
//!
//! `engenho-kube-proto` brings those of most groups; the groups that it lacks, or knows as
//! they were, are described in `proto/`.
//! It is used here only: its run-time half knows too few of the messages' JSON forms (times, quantities).

use std::error::Error;
use std::path::Path;

use engenho_kube_proto::{Gvk, message_for_gvk};
use prost::Message;
use prost_types::{FileDescriptorProto, FileDescriptorSet};
use protox::Compiler;
use protox::file::{ChainFileResolver, DescriptorSetFileResolver, IncludeFileResolver};

const OURS: &[&str] = &[
    "k8s.io/api/admissionregistration/v1/generated.proto",
    "k8s.io/api/apiextensions/v1/generated.proto",
    "k8s.io/api/apiregistration/v1/generated.proto",
    "k8s.io/api/authorization/v1/generated.proto",
    "k8s.io/api/autoscaling/v1/generated.proto",
    "k8s.io/api/autoscaling/v2/generated.proto",
    "k8s.io/api/batch/v1/generated.proto",
    "k8s.io/api/certificates/v1/generated.proto",
    "k8s.io/api/discovery/v1/generated.proto",
    "k8s.io/api/events/v1/generated.proto",
    "k8s.io/api/flowcontrol/v1/generated.proto",
    "k8s.io/api/networking/v1/generated.proto",
    "k8s.io/api/node/v1/generated.proto",
    "k8s.io/api/policy/v1/generated.proto",
    "k8s.io/api/resource/v1/generated.proto",
    "k8s.io/api/scheduling/v1/generated.proto",
    "k8s.io/api/storage/v1/generated.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    println!("cargo:rerun-if-changed=build.rs");
    let known = known_files()?;
    let mut resolver = ChainFileResolver::new();
    resolver.add(IncludeFileResolver::new("proto".into()));
    resolver.add(DescriptorSetFileResolver::new(FileDescriptorSet { file: known.clone() }));
    let mut compiler = Compiler::with_file_resolver(resolver);
    compiler.include_imports(false).include_source_info(false).open_files(OURS)?;
    let mut file = known;
    file.extend(compiler.file_descriptor_set().file);
    let set = FileDescriptorSet { file };
    let out = std::env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR for build scripts")?;
    std::fs::write(Path::new(&out).join("kubernetes.bin"), set.encode_to_vec())?;
    Ok(())
}

/// The files behind the pool of `engenho-kube-proto`, without their comments, which are most of the bytes.
fn known_files() -> Result<Vec<FileDescriptorProto>, Box<dyn Error>> {
    let pod = message_for_gvk(&Gvk::new("v1", "Pod"))?;
    let mut files = Vec::new();
    for file in pod.parent_pool().file_descriptor_protos() {
        // Through bytes: the pool's messages may be of another prost-types version than ours.
        let mut file = FileDescriptorProto::decode(file.encode_to_vec().as_slice())?;
        file.source_code_info = None;
        // Where ours is the newer one, it takes the place of the other.
        if !OURS.iter().any(|ours| file.name.as_deref().is_some_and(|name| name.ends_with(ours))) {
            files.push(file);
        }
    }
    Ok(files)
}
