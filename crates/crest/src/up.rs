//! `crest up`: start the cluster in the background and wait until it can take work.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::Context;
use indicatif::ProgressBar;

use crate::cli::{LogFormat, RunOptions, UpOptions};
use crate::settings::Settings;
use crate::status::{self, Health};
use crate::{daemon, preflight};

pub(crate) fn up(settings: &Settings, options: &UpOptions) -> anyhow::Result<()> {
    anyhow::ensure!(rustix::process::geteuid().is_root(), "{}", preflight::NEEDS_ROOT);
    // One that was killed a moment ago is still there until it is taken apart; then it never gets ready.
    if daemon::running(&settings.run_dir()).is_some()
        && wait_until_ready(settings, options, None)? == Waited::Ready
    {
        println!("Crest runs already.\n");
        print_next_steps(settings);
        return Ok(());
    }
    let obstacles = preflight::obstacles(settings);
    if !obstacles.is_empty() {
        let list: Vec<String> = obstacles.iter().map(|obstacle| format!("  - {obstacle}")).collect();
        anyhow::bail!("this host is not ready:\n{}", list.join("\n"));
    }
    let child = start(settings, &options.run)?;
    wait_until_ready(settings, options, Some(child))?;
    println!("Crest is up.\n");
    print_next_steps(settings);
    Ok(())
}

fn start(settings: &Settings, options: &RunOptions) -> anyhow::Result<Child> {
    fs::create_dir_all(settings.state_dir())
        .with_context(|| format!("cannot create `{}`", settings.state_dir().display()))?;
    let log_path = settings.log_file();
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&log_path)
        .with_context(|| format!("cannot open the log `{}`", log_path.display()))?;
    let program = std::env::current_exe().context("cannot find this program's own file")?;
    Command::new(program)
        .args(arguments(settings, options))
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .current_dir("/")
        .spawn()
        .context("cannot start the background process")
}

/// The command line of the background process: the same place, told in full.
fn arguments(settings: &Settings, options: &RunOptions) -> Vec<OsString> {
    let format = match options.logging.log_format {
        LogFormat::Text => "text",
        LogFormat::Json => "json",
    };
    let mut arguments: Vec<OsString> =
        ["run", "--detached", "--log-format", format].map(OsString::from).to_vec();
    let named: [(&str, OsString); 9] = [
        ("--log", options.logging.log.clone().into()),
        ("--instance", settings.instance.clone().into()),
        ("--address", settings.address.to_string().into()),
        ("--api-port", settings.api_port.to_string().into()),
        ("--kubelet-port", settings.kubelet_port.to_string().into()),
        ("--pod-cidr", settings.pod_cidr.clone().into()),
        ("--service-cidr", settings.service_cidr.clone().into()),
        ("--state-parent", settings.state_parent.clone().into()),
        ("--run-parent", settings.run_parent.clone().into()),
    ];
    arguments.extend(named.into_iter().flat_map(|(name, value)| [OsString::from(name), value]));
    let mirrors = settings.registry_mirrors.iter();
    arguments.extend(mirrors.map(|mirror| format!("--registry-mirror={mirror}").into()));
    arguments.extend(options.security.arguments());
    arguments.extend(options.bounds.arguments());
    arguments
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waited {
    Ready,
    /// Who ran already does so no more.
    Gone,
}

/// Waits for `child`, or for who runs already.
fn wait_until_ready(
    settings: &Settings,
    options: &UpOptions,
    mut child: Option<Child>,
) -> anyhow::Result<Waited> {
    let spinner = ProgressBar::new_spinner().with_message("starting");
    spinner.enable_steady_tick(Duration::from_millis(120));
    let started = kit::clock::monotonic();
    let patience = Duration::from_secs(options.timeout_seconds);
    let log_start = fs::metadata(settings.log_file()).map_or(0, |metadata| metadata.len());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    loop {
        match runtime.block_on(status::health(settings)) {
            Health::Ready => break,
            Health::NotYet(why) if started.elapsed() > patience => {
                let log = settings.log_file();
                anyhow::bail!(
                    "not ready after {} s: {why}; the log is `{}`",
                    patience.as_secs(),
                    log.display()
                );
            }
            Health::NotYet(why) => spinner.set_message(why),
        }
        if let Some(status) = ended(&mut child)? {
            let said = last_lines(&settings.log_file(), log_start);
            anyhow::bail!("the background process ended ({status}); it said:\n{said}");
        }
        if child.is_none() && daemon::running(&settings.run_dir()).is_none() {
            return Ok(Waited::Gone);
        }
        std::thread::sleep(Duration::from_millis(25));
    }
    spinner.finish_and_clear();
    Ok(Waited::Ready)
}

fn ended(child: &mut Option<Child>) -> anyhow::Result<Option<ExitStatus>> {
    child.as_mut().map_or(Ok(None), Child::try_wait).context("cannot ask after the background process")
}

/// What was logged since `start`, at most 4 KiB of it.
fn last_lines(path: &Path, start: u64) -> String {
    let mut text = String::new();
    if let Ok(mut file) = fs::File::open(path) {
        let length = file.metadata().map_or(0, |metadata| metadata.len());
        let from = start.min(length).max(length.saturating_sub(4096));
        // What cannot be read is not shown; the error that led here is reported all the same.
        let _position = file.seek(SeekFrom::Start(from));
        let _read = file.read_to_string(&mut text);
    }
    text
}

fn print_next_steps(settings: &Settings) {
    let kubeconfig = settings.kubeconfig();
    println!(
        "    export KUBECONFIG={}\n\n\
         Try next:\n    \
         kubectl get nodes -o wide\n    \
         crest status\n    \
         crest demo            # a service and a batch job share this machine, measured\n    \
         crest down            # stop everything",
        kubeconfig.display()
    );
}
