//! Compiles the interface definition in pure Rust, so that building needs no protoc.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto/api.proto");
    let definition = protox::compile(["api.proto"], ["proto"])?;
    tonic_prost_build::configure()
        // Configurations are kept on disk as readable JSON; absent fields are the protocol's defaults.
        .message_attribute(".", "#[derive(serde::Serialize, serde::Deserialize)]")
        .message_attribute(".", "#[serde(default)]")
        .compile_fds(definition)?;
    Ok(())
}
