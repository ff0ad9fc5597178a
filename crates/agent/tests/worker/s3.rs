//! A real S3 server of one bucket, `data`, on a folder.

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;

use hyper_util::rt::{TokioExecutor, TokioIo};
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use tempfile::TempDir;

pub(crate) const KEY: &str = "AKIDWORKER";
pub(crate) const SECRET: &str = "not/for+anyone";

pub(crate) struct S3 {
    folder: TempDir,
    pub(crate) port: u16,
}

impl S3 {
    /// Serves at an address of this host until the test ends.
    pub(crate) fn start(address: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("data")).unwrap();
        let listener = TcpListener::bind((address, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        listener.set_nonblocking(true).unwrap();
        let mut service = S3ServiceBuilder::new(s3s_fs::FileSystem::new(folder.path()).unwrap());
        service.set_auth(SimpleAuth::from_single(KEY, SECRET));
        let service = service.build();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                while let Ok((stream, _)) = listener.accept().await {
                    let connection =
                        server.serve_connection(TokioIo::new(stream), service.clone()).into_owned();
                    kit::task::spawn("s3", async move { drop(connection.await) });
                }
            });
        });
        Self { folder, port }
    }

    pub(crate) fn path(&self, key: &str) -> PathBuf {
        self.folder.path().join("data").join(key)
    }

    /// An object that somebody else has put.
    pub(crate) fn write(&self, key: &str, text: &str) {
        fs::create_dir_all(self.path(key).parent().unwrap()).unwrap();
        fs::write(self.path(key), text).unwrap();
    }

    pub(crate) fn read(&self, key: &str) -> String {
        fs::read_to_string(self.path(key)).unwrap()
    }
}
