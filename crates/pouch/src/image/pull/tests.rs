//! Against Debian's docker-registry on loopback.

use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use oci_client::client::{ClientConfig, ClientProtocol};
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, Reference, RegistryOperation};

use crate::image::ImageStore;
use crate::image::digest::Digest;
use crate::image::samples::{Layout, Tar, layout};

/// A registry of its own on a free port, gone with this.
struct Registry {
    process: Child,
    _data: tempfile::TempDir,
    address: String,
}

impl Registry {
    /// `None`, with a word why, where the package is not installed.
    fn start() -> Option<Self> {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let data = tempfile::tempdir().unwrap();
        let config = data.path().join("config.yml");
        let address = format!("127.0.0.1:{port}");
        let text = format!(
            "version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: {address}\n",
            data.path().display()
        );
        fs::write(&config, text).unwrap();
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(&config).stdout(Stdio::null()).stderr(Stdio::null());
        let Ok(process) = command.spawn() else {
            println!("skipped: docker-registry is not installed (Debian package docker-registry)");
            return None;
        };
        // It tells by listening that it is ready.
        while TcpStream::connect(&address).is_err() {
            std::thread::yield_now();
        }
        Some(Self { process, _data: data, address })
    }

    async fn push(&self, name: &str, sample: &Layout) {
        let config = ClientConfig { protocol: ClientProtocol::Http, ..ClientConfig::default() };
        let client = Client::new(config);
        let reference: Reference = format!("{}/{name}", self.address).parse().unwrap();
        client.auth(&reference, &RegistryAuth::Anonymous, RegistryOperation::Push).await.unwrap();
        for (file, content) in &sample.files[1..] {
            let digest = file.rsplit('/').next().unwrap();
            if digest == sample.manifest.hex() {
                continue;
            }
            client.push_blob(&reference, content.clone(), &format!("sha256:{digest}")).await.unwrap();
        }
        let manifest = sample.files.iter().find(|(file, _)| file.ends_with(sample.manifest.hex())).unwrap();
        let kind = "application/vnd.oci.image.manifest.v1+json".parse().unwrap();
        client.push_manifest_raw(&reference, manifest.1.clone(), kind).await.unwrap();
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

#[tokio::test]
async fn an_image_comes_from_a_registry_and_a_broken_download_goes_on() {
    drop(rustls::crypto::ring::default_provider().install_default());
    let Some(registry) = Registry::start() else { return };
    // Does not compress, so that half of it is half of it.
    let noise: Vec<u8> =
        (0..200_000u32).flat_map(|i| Digest::of(&i.to_le_bytes()).hex().as_bytes()[..4].to_vec()).collect();
    let sample = layout(None, &[Tar::default().file("noise", &noise).finish()]);
    registry.push("team/app:1", &sample).await;

    let state = tempfile::tempdir().unwrap();
    let store = ImageStore::open(state.path()).unwrap();
    let (name, blob) = &sample.files[1];
    let partial = state.path().join(format!("images/staging/{}.partial", name.rsplit('/').next().unwrap()));
    fs::write(&partial, &blob[..blob.len() / 2]).unwrap();
    let reference = format!("{}/team/app:1", registry.address);
    let image = store.pull(&reference, None, &()).await.unwrap();
    assert_eq!(image.id, sample.config.to_string());
    assert_eq!(image.references, std::slice::from_ref(&reference));
    let by_digest = format!("{}/team/app@{}", registry.address, sample.manifest);
    assert_eq!(image.repo_digests, std::slice::from_ref(&by_digest));
    assert_eq!(store.resolve(&by_digest).unwrap().unwrap().id, image.id);
    assert!(!partial.exists());

    // Rubbish from an earlier attempt is noticed and the next pull starts afresh.
    store.remove(&reference).unwrap().unwrap();
    fs::write(&partial, vec![0; blob.len() / 2]).unwrap();
    let error = store.pull(&reference, None, &()).await.unwrap_err();
    assert!(kit::Chain(&error).to_string().contains("its content was changed or damaged"), "{error:?}");
    assert!(store.list().unwrap().is_empty());
    assert_eq!(store.pull(&by_digest, None, &()).await.unwrap().references, [""; 0]);

    // A mirror that is away, one that has the image, and the name stays what it was.
    let dead = format!(
        "127.0.0.1:{}",
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
    );
    let mirrors = [format!("*={dead}"), format!("docker.io={}", registry.address)];
    let mirrored = store.clone().with_mirrors(mirrors.iter().map(|text| text.parse().unwrap()).collect());
    let image = mirrored.pull("team/app:1", None, &()).await.unwrap();
    assert_eq!(image.references, ["docker.io/team/app:1"]);
    assert_eq!(image.repo_digests[0], format!("{}/team/app@{}", registry.address, sample.manifest));
    assert_eq!(image.repo_digests.last().unwrap(), &format!("docker.io/team/app@{}", sample.manifest));

    for missing in ["team/app:2", "team/none:1"] {
        let error = store.pull(&format!("{}/{missing}", registry.address), None, &()).await.unwrap_err();
        assert!(error.to_string().starts_with("cannot get the manifest of"), "{error}");
    }
    assert!(store.pull(&image.id, None, &()).await.is_err());
}
