//! `crest image`: the image store on disk, with or without a running engine.

use std::io::Read;
use std::path::Path;
use std::sync::Mutex;

use anyhow::Context;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use pouch::image::{Auth, Image, ImageStore, Progress, Stage};
use serde_json::json;

use crate::cli::{BuildOptions, ImageVerb, Output};
use crate::settings::Settings;

pub(crate) fn open(settings: &Settings) -> anyhow::Result<ImageStore> {
    let root = settings.pouch_dir();
    std::fs::create_dir_all(&root)
        .with_context(|| format!("cannot create `{}`; run this as root", root.display()))?;
    Ok(ImageStore::open(&root)?.with_mirrors(settings.registry_mirrors.clone()))
}

pub(crate) fn execute(settings: &Settings, verb: ImageVerb) -> anyhow::Result<()> {
    let images = open(settings)?;
    match verb {
        ImageVerb::Load { archive } => {
            let loaded = images.load(&archive, &Bars::default())?;
            loaded.iter().for_each(announce);
            Ok(())
        }
        ImageVerb::Pull { reference, username } => pull(&images, &reference, username),
        ImageVerb::Ls { output } => list(&images, output),
        ImageVerb::Rm { reference } => {
            let removed = images.remove(&reference)?;
            let removed =
                removed.with_context(|| format!("no image `{reference}`; `crest image ls` lists them"))?;
            println!("removed {}", name(&removed));
            Ok(())
        }
        ImageVerb::BuildRootfs(options) => build(&images, &options),
    }
}

fn pull(images: &ImageStore, reference: &str, username: Option<String>) -> anyhow::Result<()> {
    let auth = username.map(read_password).transpose()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let image = runtime.block_on(images.pull(reference, auth, &Bars::default()))?;
    announce(&image);
    Ok(())
}

/// From standard input, so that it stands in no process list and no shell history.
fn read_password(username: String) -> anyhow::Result<Auth> {
    let mut password = String::new();
    std::io::stdin().read_to_string(&mut password).context("cannot read the password from standard input")?;
    Ok(Auth::Basic { username, password: password.trim_end_matches(['\r', '\n']).to_owned() })
}

fn list(images: &ImageStore, output: Output) -> anyhow::Result<()> {
    let images = images.list()?;
    if output == Output::Json {
        let documents: Vec<_> = images
            .iter()
            .map(|image| json!({"id": image.id, "names": image.references, "digests": image.repo_digests, "bytes": image.size}))
            .collect();
        println!("{}", serde_json::to_string_pretty(&documents)?);
        return Ok(());
    }
    println!("{:<50} {:<14} {:>10}", "NAME", "ID", "SIZE");
    for image in &images {
        println!(
            "{:<50} {:<14} {:>10}",
            name(image),
            short(&image.id),
            indicatif::HumanBytes(image.size).to_string()
        );
    }
    Ok(())
}

fn build(images: &ImageStore, options: &BuildOptions) -> anyhow::Result<()> {
    let recipe = pouch::image::build::Recipe {
        tag: options.tag.clone(),
        entrypoint: options.entrypoint.clone(),
        cmd: options.cmd.clone(),
        env: options.env.clone(),
        ..pouch::image::build::Recipe::default()
    };
    announce(&images.build(&options.folder, &recipe, &())?);
    Ok(())
}

/// An image of one layer from `folder`, with nothing to start by itself.
pub(crate) fn build_from(images: &ImageStore, folder: &Path, tag: &str) -> anyhow::Result<()> {
    let recipe =
        pouch::image::build::Recipe { tag: tag.to_owned(), ..pouch::image::build::Recipe::default() };
    images.build(folder, &recipe, &())?;
    Ok(())
}

fn announce(image: &Image) {
    println!("{}  {}", name(image), image.id);
}

fn name(image: &Image) -> &str {
    image.references.first().or(image.repo_digests.first()).map_or("<none>", String::as_str)
}

fn short(id: &str) -> &str {
    let digits = id.strip_prefix("sha256:").unwrap_or(id);
    digits.get(..12).unwrap_or(digits)
}

/// A bar per blob, on standard error, only if that is a terminal.
#[derive(Default)]
struct Bars {
    all: MultiProgress,
    open: Mutex<Vec<(String, ProgressBar)>>,
}

impl Bars {
    fn with(&self, item: &str, act: impl FnOnce(&ProgressBar)) {
        // Poisoned only if a progress bar panicked, and then there is nothing to show.
        if let Ok(open) = self.open.lock()
            && let Some((_, bar)) = open.iter().find(|(name, _)| name == item)
        {
            act(bar);
        }
    }
}

impl Progress for Bars {
    fn begin(&self, stage: Stage, item: &str, total: Option<u64>) {
        let verb = match stage {
            Stage::Fetch => "fetching",
            Stage::Unpack => "unpacking",
        };
        let bar = self.all.add(ProgressBar::new(total.unwrap_or(0)));
        if let Ok(style) = ProgressStyle::with_template("{msg} [{bar:30}] {bytes}/{total_bytes}") {
            bar.set_style(style);
        }
        bar.set_message(format!("{verb} {}", short(item)));
        if let Ok(mut open) = self.open.lock() {
            open.push((item.to_owned(), bar));
        }
    }

    fn advance(&self, _stage: Stage, item: &str, bytes: u64) {
        self.with(item, |bar| bar.inc(bytes));
    }

    fn finish(&self, _stage: Stage, item: &str) {
        self.with(item, ProgressBar::finish_and_clear);
        if let Ok(mut open) = self.open.lock() {
            open.retain(|(name, _)| name != item);
        }
    }
}
