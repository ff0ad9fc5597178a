//! The image service.

use std::collections::HashMap;

use base64::Engine as _;
use tonic::{Code, Request, Response, Status};

use super::{Service, status, views};
use crate::cri;
use crate::cri::image_service_server::ImageService;
use crate::disk;
use crate::engine::sandbox::blocking;
use crate::image::{Auth, Image, StoreError};

impl Service {
    async fn resolve(&self, spec: Option<cri::ImageSpec>) -> Result<Option<Image>, Status> {
        let reference = spec.map(|spec| spec.image).unwrap_or_default();
        if reference.is_empty() {
            return Err(Status::invalid_argument("no image is named"));
        }
        let images = self.engine.inner.images.clone();
        blocking(move || images.resolve(&reference)).await.map_err(internal)
    }
}

#[tonic::async_trait]
impl ImageService for Service {
    async fn list_images(
        &self,
        request: Request<cri::ListImagesRequest>,
    ) -> Result<Response<cri::ListImagesResponse>, Status> {
        let wanted = request.into_inner().filter.and_then(|filter| filter.image);
        let images = match wanted.filter(|spec| !spec.image.is_empty()) {
            Some(spec) => self.resolve(Some(spec)).await?.into_iter().collect(),
            None => {
                let store = self.engine.inner.images.clone();
                blocking(move || store.list()).await.map_err(internal)?
            }
        };
        let images = images.into_iter().map(views::image).collect();
        Ok(Response::new(cri::ListImagesResponse { images }))
    }

    async fn image_status(
        &self,
        request: Request<cri::ImageStatusRequest>,
    ) -> Result<Response<cri::ImageStatusResponse>, Status> {
        let request = request.into_inner();
        let image = self.resolve(request.image).await?;
        let info = match (&image, request.verbose) {
            (Some(image), true) => {
                let config = serde_json::to_string(&image.config).unwrap_or_default();
                HashMap::from([("info".to_owned(), config)])
            }
            _ => HashMap::new(),
        };
        Ok(Response::new(cri::ImageStatusResponse { image: image.map(views::image), info }))
    }

    async fn pull_image(
        &self,
        request: Request<cri::PullImageRequest>,
    ) -> Result<Response<cri::PullImageResponse>, Status> {
        let request = request.into_inner();
        let reference = request.image.map(|spec| spec.image).unwrap_or_default();
        let auth = request.auth.map(auth).transpose()?.flatten();
        let pulled = self.engine.inner.images.pull(&reference, auth, &()).await;
        let image = pulled.map_err(|error| status(Code::Unknown, &error))?;
        Ok(Response::new(cri::PullImageResponse { image_ref: image.id }))
    }

    async fn remove_image(
        &self,
        request: Request<cri::RemoveImageRequest>,
    ) -> Result<Response<cri::RemoveImageResponse>, Status> {
        let reference = request.into_inner().image.map(|spec| spec.image).unwrap_or_default();
        let images = self.engine.inner.images.clone();
        blocking(move || images.remove(&reference)).await.map_err(internal)?;
        Ok(Response::new(cri::RemoveImageResponse {}))
    }

    async fn image_fs_info(
        &self,
        _request: Request<cri::ImageFsInfoRequest>,
    ) -> Result<Response<cri::ImageFsInfoResponse>, Status> {
        let root = self.engine.inner.config.root.clone();
        let usage = |directory: &str| {
            let path = root.join(directory);
            let (bytes, inodes) = size(&path);
            cri::FilesystemUsage {
                timestamp: disk::nanoseconds(kit::clock::wall()),
                fs_id: Some(cri::FilesystemIdentifier { mountpoint: path.display().to_string() }),
                used_bytes: Some(cri::UInt64Value { value: bytes }),
                inodes_used: Some(cri::UInt64Value { value: inodes }),
            }
        };
        Ok(Response::new(cri::ImageFsInfoResponse {
            image_filesystems: vec![usage("images")],
            container_filesystems: vec![usage("snapshots")],
        }))
    }
}

fn internal(error: StoreError) -> Status {
    status(Code::Internal, &error)
}

/// Who the caller wants to be at the registry: nobody, by password, or by token.
fn auth(config: cri::AuthConfig) -> Result<Option<Auth>, Status> {
    if !config.registry_token.is_empty() {
        return Ok(Some(Auth::Bearer(config.registry_token)));
    }
    if !config.username.is_empty() {
        return Ok(Some(Auth::Basic { username: config.username, password: config.password }));
    }
    if config.auth.is_empty() {
        return Ok(None);
    }
    // As in a Docker configuration file: `user:password`.
    let unreadable =
        || Status::invalid_argument("the registry credentials are not `user:password` in base64");
    let decoded =
        base64::engine::general_purpose::STANDARD.decode(config.auth.trim()).map_err(|_| unreadable())?;
    let text = String::from_utf8(decoded).map_err(|_| unreadable())?;
    let (username, password) = text.trim_end_matches('\0').split_once(':').ok_or_else(unreadable)?;
    Ok(Some(Auth::Basic { username: username.to_owned(), password: password.to_owned() }))
}

/// Bytes and inodes below a directory, mounts of other file systems left out.
fn size(directory: &std::path::Path) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt;
    let Ok(metadata) = std::fs::symlink_metadata(directory) else { return (0, 0) };
    let mut total = (metadata.blocks() * 512, 1);
    if !metadata.is_dir() {
        return total;
    }
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.metadata().is_ok_and(|inner| inner.dev() == metadata.dev()) {
            let (bytes, inodes) = size(&entry.path());
            total = (total.0 + bytes, total.1 + inodes);
        }
    }
    total
}
