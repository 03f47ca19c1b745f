//! The object store that `storage.bucket.url` names.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};
use model::InvalidField;
use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::local::LocalFileSystem;
use object_store::{ObjectStore, path};
use tsdb::bucket::Location;
use tsdb::config::BucketConfig;

/// Whether the store could be opened; nothing is asked of it, and nothing made.
pub(crate) fn check(config: &BucketConfig) -> Result<(), InvalidField> {
    if config.url.is_empty() {
        return Ok(());
    }
    let options = options(&config.options_file)
        .map_err(|err| InvalidField::new("storage.bucket.options_file", format!("{err:#}")))?;
    let wrong =
        |err: anyhow::Error| InvalidField::new("storage.bucket.url", format!("{:?}: {err:#}", config.url));
    match config.url.strip_prefix("file://") {
        Some(folder) => whole(folder).map_err(wrong),
        None => location(&config.url, &options).map(drop).map_err(wrong),
    }
}

fn whole(folder: &str) -> anyhow::Result<()> {
    anyhow::ensure!(folder.starts_with('/'), "name the folder by its whole path, as in file:///srv/blocks");
    Ok(())
}

/// Opens the store; `None` when none is named. Nothing is asked of it yet.
pub(crate) fn open(config: &BucketConfig) -> anyhow::Result<Option<Location>> {
    if config.url.is_empty() {
        return Ok(None);
    }
    let options = options(&config.options_file).context("storage.bucket.options_file")?;
    location(&config.url, &options).with_context(|| format!("storage.bucket.url {:?}", config.url)).map(Some)
}

fn location(url: &str, options: &BTreeMap<String, String>) -> anyhow::Result<Location> {
    let Some((scheme, rest)) = url.split_once("://") else {
        bail!(
            "it has no scheme; use s3://bucket/folder, gs://bucket/folder, az://container/folder or file:///folder"
        );
    };
    if scheme == "file" {
        whole(rest)?;
        std::fs::create_dir_all(rest).with_context(|| format!("cannot create {rest}"))?;
        let store = LocalFileSystem::new_with_prefix(rest)?.with_fsync(true);
        return Ok(Location { store: Arc::new(store), prefix: path::Path::default() });
    }
    // What was set up before stays; the store's client takes the process-wide provider.
    drop(rustls::crypto::ring::default_provider().install_default());
    let (bucket, folder) = rest.split_once('/').unwrap_or((rest, ""));
    if bucket.is_empty() {
        bail!("it names no bucket");
    }
    let prefix = path::Path::parse(folder.trim_matches('/'))?;
    let unknown = |key: &str| format!("storage.bucket.options_file: the store knows no option {key:?}");
    // The environment first, so that the file has the last word; a name in the file that the store does not know is an error.
    let store: Arc<dyn ObjectStore> = match scheme {
        "s3" => {
            let mut builder = AmazonS3Builder::from_env().with_bucket_name(bucket);
            for (key, value) in options {
                builder = builder.with_config(key.parse().with_context(|| unknown(key))?, value);
            }
            Arc::new(builder.build()?)
        }
        "gs" => {
            let mut builder = GoogleCloudStorageBuilder::from_env().with_bucket_name(bucket);
            for (key, value) in options {
                builder = builder.with_config(key.parse().with_context(|| unknown(key))?, value);
            }
            Arc::new(builder.build()?)
        }
        "az" => {
            let mut builder = MicrosoftAzureBuilder::from_env().with_container_name(bucket);
            for (key, value) in options {
                builder = builder.with_config(key.parse().with_context(|| unknown(key))?, value);
            }
            Arc::new(builder.build()?)
        }
        other => bail!("the scheme {other:?} is not known; use s3, gs, az or file"),
    };
    Ok(Location { store, prefix })
}

fn options(path: &Path) -> anyhow::Result<BTreeMap<String, String>> {
    if path.as_os_str().is_empty() {
        return Ok(BTreeMap::new());
    }
    let of_file = || path.display().to_string();
    let text = std::fs::read_to_string(path).with_context(of_file)?;
    // Not the parser's words, which may have a key in them.
    let options: BTreeMap<String, serde_json::Value> = yaml::read(&text)
        .map_err(|err| {
            anyhow::anyhow!("line {}: it is no list of name: value", err.at.map_or(1, |(line, _)| line))
        })
        .with_context(of_file)?;
    let plain = |(key, value): (String, serde_json::Value)| match value {
        serde_json::Value::String(text) => Ok((key, text)),
        serde_json::Value::Bool(_) | serde_json::Value::Number(_) => Ok((key, value.to_string())),
        _ => bail!("{}: the value of {key} is no text", of_file()),
    };
    options.into_iter().map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_understood_or_refused_with_a_reason() {
        let none = BTreeMap::new();
        let refused = |url: &str| format!("{:#}", location(url, &none).unwrap_err());
        assert!(refused("bucket/folder").contains("no scheme"));
        assert!(refused("ftp://a/b").contains("\"ftp\" is not known"));
        assert!(refused("file://folder").contains("whole path"));
        assert!(refused("s3:///folder").contains("no bucket"));
        let options = |key: &str| BTreeMap::from([(key.to_owned(), "http://127.0.0.1:1".to_owned())]);
        let wrong = format!("{:#}", location("s3://b/f", &options("endpiont")).unwrap_err());
        assert!(wrong.contains("no option \"endpiont\""), "{wrong}");
        let right = location("s3://b/some/folder/", &options("endpoint")).unwrap();
        assert_eq!(right.prefix.as_ref(), "some/folder");
        let folder = tempfile::tempdir().unwrap();
        let url = format!("file://{}/new", folder.path().display());
        assert_eq!(location(&url, &none).unwrap().prefix.as_ref(), "");
        assert!(folder.path().join("new").is_dir());
    }
}
