//! `crest store`: back up a running server, restore a backup, check a store or a backup.
//!
//! Exit codes of `check`: 0 sound, 1 not checked, 2 damaged, 3 of a newer version, 4 in use.

use std::fs::{self, File};
use std::io::{BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Subcommand;
use futures::AsyncReadExt;
use indicatif::{HumanBytes, HumanCount, ProgressBar};
use store::backup::{BackupError, Reader};
use store::embedded::{self, CheckError, OpenError, RestoreError};

use crate::settings::Settings;
use crate::status;

#[derive(Debug, Subcommand)]
pub(crate) enum StoreVerb {
    /// Write all objects of the running server to a file, while it goes on
    Backup {
        file: PathBuf,
        /// Ask the server of this kubeconfig instead of this instance's
        #[arg(long)]
        kubeconfig: Option<PathBuf>,
    },
    /// Make the embedded store anew from a backup; the one that is there is kept beside it
    Restore {
        file: PathBuf,
        /// Folder of the server's state; by default that of the instance
        #[arg(long)]
        state_dir: Option<PathBuf>,
    },
    /// Check the embedded store of a stopped server, or a backup
    Check {
        /// A backup, or a store's file; by default the instance's store
        file: Option<PathBuf>,
    },
}

pub(crate) fn execute(settings: &Settings, verb: StoreVerb) -> anyhow::Result<ExitCode> {
    match verb {
        StoreVerb::Backup { file, kubeconfig } => backup(settings, &file, kubeconfig),
        StoreVerb::Restore { file, state_dir } => restore(&settings.with_folders(state_dir, None), &file),
        StoreVerb::Check { file } => check(&file.unwrap_or_else(|| settings.store_file())),
    }
}

fn backup(settings: &Settings, file: &Path, kubeconfig: Option<PathBuf>) -> anyhow::Result<ExitCode> {
    anyhow::ensure!(!file.exists(), "`{}` is there already; choose another name", file.display());
    kit::tls::install_default_provider();
    let part = file.with_extension("part");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let kubeconfig = kubeconfig.unwrap_or_else(|| settings.kubeconfig());
    let fetched = runtime.block_on(fetch(&kubeconfig, &part));
    // What came is checked before it is called a backup.
    let checked = fetched.and_then(|()| verify(&part));
    let (revision, objects) = checked.inspect_err(|_| _ = fs::remove_file(&part))?;
    fs::rename(&part, file).with_context(|| format!("cannot put `{}` in place", file.display()))?;
    let size = HumanBytes(file.metadata()?.len());
    println!("{} objects at revision {revision}, {size}, to {}", HumanCount(objects), file.display());
    Ok(ExitCode::SUCCESS)
}

async fn fetch(kubeconfig: &Path, part: &Path) -> anyhow::Result<()> {
    let client = status::client_of(kubeconfig).await?;
    let request = http::Request::get("/crest/backup").body(Vec::new())?;
    let answer = client.request_stream(request).await.context("cannot ask the server for a backup")?;
    let mut answer = std::pin::pin!(answer);
    let mut out = File::create(part).with_context(|| format!("cannot write `{}`", part.display()))?;
    let bar = ProgressBar::new_spinner();
    let mut buffer = vec![0; 256 << 10];
    loop {
        let count = answer.read(&mut buffer).await.context("the backup broke off")?;
        if count == 0 {
            break;
        }
        out.write_all(&buffer[..count])?;
        bar.inc(count as u64);
        bar.set_message(format!("{}", HumanBytes(bar.position())));
        bar.tick();
    }
    bar.finish_and_clear();
    out.sync_all().with_context(|| format!("cannot write `{}`", part.display()))
}

/// The revision and the number of objects of a whole backup.
fn verify(file: &Path) -> anyhow::Result<(u64, u64)> {
    let mut reader = Reader::open(open(file)?)?;
    let head = reader.head();
    let bar = ProgressBar::new(head.objects);
    while reader.next_entry()?.is_some() {
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok((head.revision.0, head.objects))
}

fn open(file: &Path) -> anyhow::Result<impl Read> {
    let opened = File::open(file).with_context(|| format!("cannot read `{}`", file.display()))?;
    Ok(BufReader::with_capacity(1 << 20, opened))
}

fn restore(settings: &Settings, file: &Path) -> anyhow::Result<ExitCode> {
    let path = settings.store_file();
    let (_, objects) = verify(file)?;
    fs::create_dir_all(settings.state_dir())
        .with_context(|| format!("cannot create `{}`", settings.state_dir().display()))?;
    let kept = set_aside(&path)?;
    let bar = ProgressBar::new(objects);
    let restored = embedded::restore(&path, open(file)?, |done| bar.set_position(done));
    bar.finish_and_clear();
    let head = match restored {
        Ok(head) => head,
        Err(error) => {
            if let (Some(kept), false) = (&kept, matches!(error, RestoreError::Exists { .. })) {
                fs::rename(kept, &path).context("cannot put the store back")?;
            }
            return Err(error.into());
        }
    };
    println!("{} objects at revision {} are restored", HumanCount(head.objects), head.revision.0);
    if let Some(kept) = kept {
        println!("the store that was there before is `{}`", kept.display());
    }
    Ok(ExitCode::SUCCESS)
}

/// Moves the store out of the way, unless a server has it open.
fn set_aside(path: &Path) -> anyhow::Result<Option<PathBuf>> {
    if !path.exists() {
        return Ok(None);
    }
    if let Err(CheckError::Open(OpenError::InUse { .. })) = embedded::check(path) {
        anyhow::bail!("the store `{}` is in use; stop the server first", path.display());
    }
    let stamp = kit::clock::since_epoch().as_secs();
    let kept = path.with_extension(format!("before-restore-{stamp}"));
    fs::rename(path, &kept).with_context(|| format!("cannot move `{}` away", path.display()))?;
    Ok(Some(kept))
}

fn check(file: &Path) -> anyhow::Result<ExitCode> {
    let outcome = match verify(file) {
        Ok((revision, objects)) => {
            println!("sound backup: {} objects at revision {revision}", HumanCount(objects));
            return Ok(ExitCode::SUCCESS);
        }
        Err(error) => match error.downcast_ref::<BackupError>() {
            Some(BackupError::Foreign) => embedded::check(file),
            Some(BackupError::Damaged) => return Ok(refused(2, &error)),
            Some(BackupError::Newer { .. }) => return Ok(refused(3, &error)),
            Some(BackupError::Read { .. }) | None => return Err(error),
        },
    };
    match outcome {
        Ok(report) => {
            let (objects, changes) = (HumanCount(report.objects as u64), HumanCount(report.changes));
            let (revision, oldest) = (report.revision.0, report.compacted.0);
            println!(
                "sound store: {objects} objects at revision {revision}, history from {oldest}, {changes} changes"
            );
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            let code = match &error {
                CheckError::Open(OpenError::Corrupt { .. }) => 2,
                CheckError::Open(OpenError::Newer { .. }) => 3,
                CheckError::Open(OpenError::InUse { .. }) => 4,
                CheckError::Open(_) | CheckError::Missing { .. } => 1,
            };
            Ok(refused(code, &error.into()))
        }
    }
}

fn refused(code: u8, error: &anyhow::Error) -> ExitCode {
    eprintln!("crest: {error:#}");
    ExitCode::from(code)
}
