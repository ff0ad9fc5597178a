//! The demo's image: built once from Debian's packages and kept.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context;

use crate::settings::Settings;

/// Everything that the recipe needs, carried in the binary.
const RECIPE: [(&str, &str); 4] = [
    ("image.sh", include_str!("../../../../examples/demo/image.sh")),
    ("nginx.conf", include_str!("../../../../examples/demo/nginx.conf")),
    ("measure.sh", include_str!("../../../../examples/demo/measure.sh")),
    ("merge.sh", include_str!("../../../../examples/demo/merge.sh")),
];
const TAG: &str = "crest-demo:latest";

/// Makes sure that the image is in the store; returns the folder of its root filesystem, from which the plain
/// batch runs.
pub(super) fn ensure(settings: &Settings) -> anyhow::Result<PathBuf> {
    let folder = settings.state_dir().join("demo");
    let recipe = folder.join("recipe");
    fs::create_dir_all(&recipe).with_context(|| format!("cannot create `{}`", recipe.display()))?;
    for (name, text) in RECIPE {
        fs::write(recipe.join(name), text).with_context(|| format!("cannot write the demo's {name}"))?;
    }
    let rootfs = folder.join("rootfs");
    let built = Command::new("sh")
        .arg(recipe.join("image.sh"))
        .arg(&rootfs)
        .output()
        .context("cannot run the demo's image recipe")?;
    anyhow::ensure!(
        built.status.success(),
        "the demo's image could not be built (it needs mmdebstrap and a Debian mirror): {}",
        String::from_utf8_lossy(&built.stderr).trim()
    );
    let images = crate::image::open(settings)?;
    let is_new = String::from_utf8_lossy(&built.stdout).contains("built");
    if is_new || images.resolve(TAG)?.is_none() {
        crate::image::build_from(&images, &rootfs, TAG)?;
    }
    Ok(rootfs)
}
