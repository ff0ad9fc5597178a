//! `crest store`: back up a running server, restore a backup, check a store or a backup.
//!
//! What is backed up is everything that a cluster knows, so files of it are their owner's alone.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{BufReader, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Subcommand;
use futures::AsyncReadExt;
use indicatif::{HumanBytes, HumanCount, ProgressBar};
use serde_json::{Value, json};
use store::backup::{BackupError, Reader};
use store::embedded::{self, CheckError, OpenError, RestoreError};

use crate::cli::Output;
use crate::settings::Settings;
use crate::status;

const EXIT_CODES: &str = "Exit codes: 0 done, or sound; 1 could not be done; 2 damaged; 3 written by a newer version; \
    4 in use by a running server";
const DAMAGED: u8 = 2;
const NEWER: u8 = 3;
const IN_USE: u8 = 4;

#[derive(Debug, Subcommand)]
pub(crate) enum StoreVerb {
    /// Write all objects of the running server to a file, while it goes on
    ///
    /// Secrets are in it as they are stored: keep the key that encrypts them, pki/encryption.key in the state folder,
    /// as well, in another place.
    #[command(after_help = EXIT_CODES)]
    Backup {
        /// Where to write it; what is there already is never written over
        file: PathBuf,
        /// Ask the server of this kubeconfig instead of this instance's
        #[arg(long)]
        kubeconfig: Option<PathBuf>,
        #[arg(long, short, value_enum, default_value_t = Output::Text)]
        output: Output,
    },
    /// Make the embedded store anew from a backup; the one that is there is kept beside it
    ///
    /// The server must be stopped. The backup is read to its end before anything is touched.
    #[command(after_help = EXIT_CODES)]
    Restore {
        /// The backup
        file: PathBuf,
        /// Folder of the server's state; by default that of the instance
        #[arg(long)]
        state_dir: Option<PathBuf>,
        #[arg(long, short, value_enum, default_value_t = Output::Text)]
        output: Output,
    },
    /// Check the embedded store of a stopped server, or a backup
    ///
    /// Every page and every record is read; nothing is changed.
    #[command(after_help = EXIT_CODES)]
    Check {
        /// A backup, or a store's file; by default the instance's store
        file: Option<PathBuf>,
        /// Folder of the server's state whose store to check; by default that of the instance
        #[arg(long, conflicts_with = "file")]
        state_dir: Option<PathBuf>,
        #[arg(long, short, value_enum, default_value_t = Output::Text)]
        output: Output,
    },
}

/// What came of a verb, for people and for programs.
struct Told {
    lines: Vec<String>,
    value: Value,
}

pub(crate) fn execute(settings: &Settings, verb: StoreVerb) -> anyhow::Result<ExitCode> {
    let (outcome, output) = match verb {
        StoreVerb::Backup { file, kubeconfig, output } => (backup(settings, &file, kubeconfig), output),
        StoreVerb::Restore { file, state_dir, output } => {
            (restore(&settings.with_folders(state_dir, None), &file), output)
        }
        StoreVerb::Check { file, state_dir, output } => {
            let of_folder = || settings.with_folders(state_dir, None).store_file();
            (check(&file.unwrap_or_else(of_folder)), output)
        }
    };
    match (outcome, output) {
        (Ok(told), Output::Text) => told.lines.iter().for_each(|line| println!("{line}")),
        (Ok(told), Output::Json) => println!("{}", told.value),
        (Err(error), output) => {
            // Those that say nothing of the file itself are told as any other failure is.
            let Some(code) = code_of(&error) else { return Err(error) };
            match output {
                Output::Text => eprintln!("crest: {error:#}"),
                Output::Json => println!("{}", json!({"error": format!("{error:#}"), "code": code})),
            }
            return Ok(ExitCode::from(code));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The exit code of what is wrong with a file.
fn code_of(error: &anyhow::Error) -> Option<u8> {
    let of_open = |error: &OpenError| match error {
        OpenError::Corrupt { .. } => Some(DAMAGED),
        OpenError::Newer { .. } => Some(NEWER),
        OpenError::InUse { .. } => Some(IN_USE),
        _ => None,
    };
    match (error.downcast_ref(), error.downcast_ref()) {
        (Some(BackupError::Damaged | BackupError::Foreign), _) => Some(DAMAGED),
        (Some(BackupError::Newer { .. }), _) => Some(NEWER),
        (_, Some(CheckError::Open(error))) => of_open(error),
        _ => error.downcast_ref().and_then(of_open),
    }
}

fn backup(settings: &Settings, file: &Path, kubeconfig: Option<PathBuf>) -> anyhow::Result<Told> {
    anyhow::ensure!(!file.exists(), "`{}` is there already; choose another name", file.display());
    kit::tls::install_default_provider();
    let mut part = file.as_os_str().to_owned();
    part.push(".part");
    let part = PathBuf::from(part);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let kubeconfig = kubeconfig.unwrap_or_else(|| settings.kubeconfig());
    let fetched = runtime.block_on(fetch(&kubeconfig, &part));
    // What came is checked before it is called a backup.
    let checked = fetched.and_then(|()| verify(&part));
    let (revision, objects) = checked.inspect_err(|_| _ = fs::remove_file(&part))?;
    fs::rename(&part, file).with_context(|| format!("cannot put `{}` in place", file.display()))?;
    let bytes = file.metadata()?.len();
    let line = format!(
        "{} objects at revision {revision}, {}, to {}",
        HumanCount(objects),
        HumanBytes(bytes),
        file.display()
    );
    let value = json!({"file": file, "objects": objects, "revision": revision, "bytes": bytes});
    Ok(Told { lines: vec![line], value })
}

async fn fetch(kubeconfig: &Path, part: &Path) -> anyhow::Result<()> {
    anyhow::ensure!(kubeconfig.exists(), "there is no kubeconfig `{}`", kubeconfig.display());
    let client = status::client_of(kubeconfig).await?;
    let request = http::Request::get("/crest/backup").body(Vec::new())?;
    let answer = client.request_stream(request).await.with_context(|| {
        format!("cannot ask the server of `{}` for a backup; does it run?", kubeconfig.display())
    })?;
    let mut answer = std::pin::pin!(answer);
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut out = options.open(part).with_context(|| format!("cannot write `{}`", part.display()))?;
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

fn restore(settings: &Settings, file: &Path) -> anyhow::Result<Told> {
    let path = settings.store_file();
    let (_, objects) = verify(file)?;
    let made = DirBuilder::new().recursive(true).mode(0o700).create(settings.state_dir());
    made.with_context(|| format!("cannot create `{}`", settings.state_dir().display()))?;
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
    let mut lines =
        vec![format!("{} objects at revision {} are restored", HumanCount(head.objects), head.revision.0)];
    if let Some(kept) = &kept {
        lines.push(format!("the store that was there before is `{}`", kept.display()));
    }
    let value = json!({"store": path, "objects": head.objects, "revision": head.revision.0, "before": kept});
    Ok(Told { lines, value })
}

/// Moves the store out of the way, unless a server has it open.
fn set_aside(path: &Path) -> anyhow::Result<Option<PathBuf>> {
    if !path.exists() {
        return Ok(None);
    }
    if let Err(error @ CheckError::Open(OpenError::InUse { .. })) = embedded::check(path) {
        return Err(anyhow::Error::from(error).context("stop the server first"));
    }
    let stamp = kit::clock::since_epoch().as_secs();
    let kept = path.with_extension(format!("before-restore-{stamp}"));
    fs::rename(path, &kept).with_context(|| format!("cannot move `{}` away", path.display()))?;
    Ok(Some(kept))
}

fn check(file: &Path) -> anyhow::Result<Told> {
    match verify(file) {
        Ok((revision, objects)) => {
            let line = format!("sound backup: {} objects at revision {revision}", HumanCount(objects));
            let value = json!({"what": "backup", "file": file, "objects": objects, "revision": revision});
            return Ok(Told { lines: vec![line], value });
        }
        Err(error) if !matches!(error.downcast_ref(), Some(BackupError::Foreign)) => return Err(error),
        Err(_no_backup) => {}
    }
    let report = embedded::check(file)?;
    let (objects, changes) = (HumanCount(report.objects as u64), HumanCount(report.changes));
    let (revision, oldest) = (report.revision.0, report.compacted.0);
    let line = format!(
        "sound store: {objects} objects at revision {revision}, history from {oldest}, {changes} changes"
    );
    let value = json!({"what": "store", "file": file, "objects": report.objects, "revision": revision,
        "historyFrom": oldest, "changes": report.changes});
    Ok(Told { lines: vec![line], value })
}
