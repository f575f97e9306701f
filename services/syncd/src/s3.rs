//! An S3-compatible store, written to without another program. A file is read from one descriptor that was opened once, so that it can't
//! arrive torn; every request is signed over its content; what is there afterwards is compared by size and tag.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dccd_config::{Remote, Secret};
use dccd_service::Shutdown;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::client::{HttpClient, HttpConnector};
use object_store::path::Path as Key;
use object_store::{
    Attribute, Attributes, BackoffConfig, ClientOptions, GetOptions, MultipartUpload, ObjectStore as _, ObjectStoreExt as _,
    PutMultipartOptions, PutOptions, RetryConfig,
};

use crate::claim::{Likeness, tops};
use crate::error::SyncError;
use crate::record::Need;
use crate::redact::redact;
use crate::tree::{Identity, StoreFile};

/// Files above this are sent in parts of at least this size, bytes.
const PART_BYTES: u64 = 8 << 20;
/// Parts that an upload may have, by S3's rules.
const PARTS_MAX: u64 = 10_000;
/// Parts of one file under way at the same time.
const PARTS_AT_ONCE: usize = 2;
/// The longest that one request may take: a part at 15 kB/s.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(600);
/// Attempts after the first one of a request that may be repeated.
const RETRIES: usize = 3;
/// How long a request is tried again.
const RETRY_TIMEOUT: Duration = Duration::from_secs(180);
/// How long taking back an upload may take that was broken off.
const ABORT_DEADLINE: Duration = Duration::from_secs(5);
/// Variables of which one says where a key comes from.
const KEYS_OF_THE_ENVIRONMENT: [&str; 5] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_SKIP_SIGNATURE",
];
/// Files that are read as a whole have no more, bytes.
const SMALL_BYTES: u64 = 1 << 10;
/// Objects that are asked for their times, one by one, where a place is looked at; so many tell whose it is.
const COMPARED_MAX: usize = 50;
/// Metadata of an object: when its file had last changed, ns since the epoch.
const MTIME: &str = "dccd-mtime-ns";

/// Where to, and with which key.
#[derive(Clone, Debug)]
pub(crate) struct Bucket {
    label: String,
    bucket: String,
    prefix: String,
    endpoint: Option<String>,
    region: Option<String>,
    key: Option<(Secret, Secret)>,
}

impl Bucket {
    pub(crate) fn of(remote: &Remote) -> Self {
        Self {
            label: remote.label(),
            bucket: remote.bucket.clone().unwrap_or_default(),
            prefix: remote.prefix.trim_matches('/').to_owned(),
            endpoint: remote.endpoint.clone(),
            region: remote.region.clone(),
            key: remote.access_key_id.clone().zip(remote.secret_access_key.clone()),
        }
    }

    /// The text without what we know to be secret.
    fn redact(&self, text: &str) -> String {
        let (id, secret) = self.key.as_ref().map_or(("", ""), |(id, secret)| (id.reveal(), secret.reveal()));
        redact(text, &[id, secret])
    }
}

/// A client of such a store.
#[derive(Debug)]
pub(crate) struct S3 {
    bucket: Bucket,
    store: AmazonS3,
}

/// Hands the client out that trusts what all of ours trust.
#[derive(Debug)]
struct Connector(reqwest::Client);

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.0.clone()))
    }
}

impl S3 {
    /// A client; asks nobody yet.
    pub(crate) fn new(bucket: &Bucket) -> Result<Self, SyncError> {
        // Our own words hold no secret, but speak of such.
        let failed = |reason: String| SyncError::Setup { remote: bucket.label.clone(), reason };
        let client = dccd_net::client_builder().timeout(REQUEST_TIMEOUT);
        let client = client.build().map_err(|error| failed(bucket.redact(&error.without_url().to_string())))?;
        // Keys, region and endpoint of the environment first; what is configured goes before them.
        let mut builder = AmazonS3Builder::from_env()
            .with_bucket_name(&bucket.bucket)
            .with_http_connector(Connector(client))
            .with_retry(RetryConfig {
                backoff: BackoffConfig::default(),
                max_retries: RETRIES,
                retry_timeout: RETRY_TIMEOUT,
            })
            // In the clear only where the configuration says so.
            .with_allow_http(bucket.endpoint.as_ref().is_some_and(|endpoint| endpoint.starts_with("http://")));
        if let Some(endpoint) = &bucket.endpoint {
            builder = builder.with_endpoint(endpoint);
        }
        if let Some(region) = &bucket.region {
            builder = builder.with_region(region);
        }
        if let Some((id, secret)) = &bucket.key {
            builder = builder.with_access_key_id(id.reveal()).with_secret_access_key(secret.reveal());
        }
        let has_key = KEYS_OF_THE_ENVIRONMENT.iter().any(|name| std::env::var_os(name).is_some());
        if bucket.key.is_none() && bucket.endpoint.is_some() && !has_key {
            // Without an address of its own it may be a host of Amazon's, which is given keys by asking for them.
            let reason = "no key: set access_key_id and secret_access_key, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY";
            return Err(failed(reason.to_owned()));
        }
        let store = builder.build().map_err(|error| failed(bucket.redact(&dccd_service::chain(&error))))?;
        Ok(Self { bucket: bucket.clone(), store })
    }

    /// Sends a file, unless `need` says to compare and the store has it; `moved` is told of bytes as they arrive. Gives the version that
    /// the store has then; `None` where the file is gone.
    pub(crate) async fn put(
        &self,
        data_path: &Path,
        file: &StoreFile,
        need: Need,
        stop: &Shutdown,
        moved: &dyn Fn(u64),
    ) -> Result<Option<Identity>, SyncError> {
        let (name, key) = self.named(&file.path)?;
        let path = data_path.join(&file.path);
        let opened = blocking(move || match File::open(&path) {
            Ok(opened) => opened.metadata().map(|metadata| Some((opened, Identity::from(&metadata)))).map_err(|e| (path, e)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err((path, error)),
        });
        let opened = opened.await?.map_err(|(path, source)| SyncError::File { doing: "read", path, source })?;
        let Some((opened, identity)) = opened else { return Ok(None) };
        if need == Need::Compare && self.has(&key, &identity).await? {
            return Ok(Some(identity));
        }
        let opened = Arc::new(opened);
        let mtime = identity.mtime_ns.to_string();
        let attributes = Attributes::from_iter([(Attribute::Metadata(MTIME.into()), mtime)]);
        let tag = tokio::select! {
            tag = async {
                if identity.size <= PART_BYTES {
                    self.put_whole(&key, &opened, &path_of(data_path, file), identity.size, attributes, moved).await
                } else {
                    self.put_parts(&key, &opened, &path_of(data_path, file), identity.size, attributes, stop, moved).await
                }
            } => tag?,
            _ = stop.wait(), if identity.size <= PART_BYTES => return Err(SyncError::Stopped),
        };
        // A program other than ours may have written into it while it was read.
        let now =
            opened.metadata().map_err(|source| SyncError::File { doing: "read", path: path_of(data_path, file), source })?;
        let head = self.store.head(&key).await.map_err(|error| self.failed("look at", &name, &error))?;
        let is_other = head.e_tag.zip(tag).is_some_and(|(has, sent)| has != sent);
        if head.size != identity.size || is_other || Identity::from(&now) != identity {
            return Err(SyncError::Torn { key: name, has: head.size, size: now.len() });
        }
        Ok(Some(identity))
    }

    /// The name of a file in the store.
    fn named(&self, path: &str) -> Result<(String, Key), SyncError> {
        let name = match self.bucket.prefix.as_str() {
            "" => path.to_owned(),
            prefix => format!("{prefix}/{path}"),
        };
        let key = Key::parse(&name).map_err(|error| self.failed("name", &name, &error))?;
        Ok((name, key))
    }

    /// The content of a file of a few bytes; `None` where there is none, empty where it is larger.
    pub(crate) async fn small(&self, path: &str) -> Result<Option<Vec<u8>>, SyncError> {
        let (name, key) = self.named(path)?;
        let found = match self.store.get(&key).await {
            Ok(found) => found,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(self.failed("read", &name, &error)),
        };
        if found.meta.size > SMALL_BYTES {
            return Ok(Some(Vec::new()));
        }
        let content = found.bytes().await.map_err(|error| self.failed("read", &name, &error))?;
        Ok(Some(content.to_vec()))
    }

    /// Writes such a file.
    pub(crate) async fn put_small(&self, path: &str, content: Vec<u8>) -> Result<(), SyncError> {
        let (name, key) = self.named(path)?;
        self.store.put(&key, content.into()).await.map(drop).map_err(|error| self.failed("write", &name, &error))
    }

    /// Compares files with those of the same names in the store.
    pub(crate) async fn compare(&self, files: &HashMap<&str, &StoreFile>, stop: &Shutdown) -> Result<Likeness, SyncError> {
        let (mut likeness, mut asked) = (Likeness::default(), 0);
        for top in tops(files) {
            let (name, below) = self.named(&top)?;
            let mut listing = self.store.list(Some(&below));
            while asked < COMPARED_MAX {
                let object = tokio::select! {
                    object = listing.next() => object,
                    _ = stop.wait() => return Err(SyncError::Stopped),
                };
                let Some(object) = object else { break };
                let object = object.map_err(|error| self.failed("list", &name, &error))?;
                let path = object.location.as_ref().strip_prefix(&self.bucket.prefix).unwrap_or_default();
                let Some(file) = files.get(path.trim_start_matches('/')) else { continue };
                let is_same = object.size == file.identity.size && {
                    // Its time is told by itself alone.
                    asked += 1;
                    self.has(&object.location, &file.identity).await?
                };
                likeness.note(&file.path, is_same);
            }
        }
        Ok(likeness)
    }

    /// Whether the store has a file that looks like this one.
    async fn has(&self, key: &Key, identity: &Identity) -> Result<bool, SyncError> {
        match self.store.get_opts(key, GetOptions { head: true, ..GetOptions::default() }).await {
            Ok(found) => {
                let mtime = found.attributes.get(&Attribute::Metadata(MTIME.into()));
                let is_like = mtime.is_some_and(|mtime| mtime.as_ref() == identity.mtime_ns.to_string());
                Ok(is_like && found.meta.size == identity.size)
            }
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(self.failed("look at", key.as_ref(), &error)),
        }
    }

    async fn put_whole(
        &self,
        key: &Key,
        file: &Arc<File>,
        path: &Path,
        size: u64,
        attributes: Attributes,
        moved: &dyn Fn(u64),
    ) -> Result<Option<String>, SyncError> {
        let content = read(file, path, 0, size).await?;
        let options = PutOptions { attributes, ..PutOptions::default() };
        let put = self.store.put_opts(key, content.into(), options).await;
        let put = put.map_err(|error| self.failed("write", key.as_ref(), &error))?;
        moved(size);
        Ok(put.e_tag)
    }

    /// In parts; broken off, it takes back those that have arrived, which would be kept and charged for.
    #[allow(clippy::too_many_arguments, reason = "one call, of one place")]
    async fn put_parts(
        &self,
        key: &Key,
        file: &Arc<File>,
        path: &Path,
        size: u64,
        attributes: Attributes,
        stop: &Shutdown,
        moved: &dyn Fn(u64),
    ) -> Result<Option<String>, SyncError> {
        let options = PutMultipartOptions { attributes, ..PutMultipartOptions::default() };
        let begun = self.store.put_multipart_opts(key, options).await;
        let mut upload = begun.map_err(|error| self.failed("begin to write", key.as_ref(), &error))?;
        let sent = tokio::select! {
            sent = self.send_parts(upload.as_mut(), key, file, path, size, moved) => sent,
            _ = stop.wait() => Err(SyncError::Stopped),
        };
        let sent = match sent {
            Ok(()) => upload.complete().await.map_err(|error| self.failed("end writing", key.as_ref(), &error)),
            Err(error) => Err(error),
        };
        if sent.is_err() && !matches!(tokio::time::timeout(ABORT_DEADLINE, upload.abort()).await, Ok(Ok(()))) {
            tracing::warn!(key = key.as_ref(), "parts of an upload that was broken off are left in the store");
        }
        sent.map(|put| put.e_tag)
    }

    async fn send_parts(
        &self,
        upload: &mut dyn MultipartUpload,
        key: &Key,
        file: &Arc<File>,
        path: &Path,
        size: u64,
        moved: &dyn Fn(u64),
    ) -> Result<(), SyncError> {
        let part = part_bytes(size);
        let mut under_way = FuturesUnordered::new();
        let mut at = 0;
        while at < size || !under_way.is_empty() {
            if at < size && under_way.len() < PARTS_AT_ONCE {
                let length = part.min(size - at);
                let sending = upload.put_part(read(file, path, at, length).await?.into());
                under_way.push(async move { sending.await.map(|()| length) });
                at += length;
            } else if let Some(sent) = under_way.next().await {
                moved(sent.map_err(|error| self.failed("write", key.as_ref(), &error))?);
            }
        }
        Ok(())
    }

    fn failed(&self, doing: &'static str, key: &str, error: &(dyn std::error::Error + 'static)) -> SyncError {
        let key = format!("s3://{}/{key}", self.bucket.bucket);
        SyncError::Store { doing, key, reason: self.bucket.redact(&dccd_service::chain(error)) }
    }
}

/// Size of a part: as few as the store takes, and no larger than it must be.
fn part_bytes(size: u64) -> u64 {
    PART_BYTES.max(size.div_ceil(PARTS_MAX - 1))
}

fn path_of(data_path: &Path, file: &StoreFile) -> std::path::PathBuf {
    data_path.join(&file.path)
}

/// So many bytes of a file from there on.
async fn read(file: &Arc<File>, path: &Path, at: u64, length: u64) -> Result<Bytes, SyncError> {
    let file = Arc::clone(file);
    let content = blocking(move || {
        let mut content = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
        file.read_exact_at(&mut content, at).map(|()| content)
    });
    let failed = |source| SyncError::File { doing: "read", path: path.to_owned(), source };
    Ok(content.await?.map_err(failed)?.into())
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, SyncError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| SyncError::Task)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_files_fit_into_the_parts_that_a_store_takes() {
        for size in [PART_BYTES + 1, 1 << 30, 200 << 30, 5 << 40] {
            assert!(size.div_ceil(part_bytes(size)) <= PARTS_MAX, "{size}");
        }
        assert_eq!(part_bytes(1 << 30), PART_BYTES);
    }

    #[test]
    fn an_address_in_the_clear_is_taken_from_the_configuration_alone() {
        let of = |endpoint: Option<&str>| Bucket {
            label: "s3://b".to_owned(),
            bucket: "b".to_owned(),
            prefix: String::new(),
            endpoint: endpoint.map(str::to_owned),
            region: None,
            key: Some((Secret::new("AKIA"), Secret::new("hunter2"))),
        };
        assert!(S3::new(&of(Some("http://127.0.0.1:1"))).is_ok());
        let shown = format!("{:?}", S3::new(&of(None)).unwrap().bucket);
        assert!(!shown.contains("hunter2"), "{shown}");
        assert_eq!(of(None).redact("AKIA said hunter2"), "*** said ***");
    }
}
