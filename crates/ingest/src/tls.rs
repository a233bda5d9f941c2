//! TLS of the front door: a certificate and its key out of PEM files.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ServerConfig};

/// Why TLS cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file that is none, or has nothing in it.
    #[error("{path} has no {what}: {why}")]
    File {
        /// Which.
        path: PathBuf,
        /// What it should have.
        what: &'static str,
        /// Why not.
        why: String,
    },
    /// Certificate and key do not belong together, or are of a kind that is not known.
    #[error("certificate and key cannot be used: {0}")]
    Pair(#[from] rustls::Error),
}

/// The server's certificate and key, ready for connections.
#[derive(Clone)]
pub struct Tls(pub(crate) TlsAcceptor);

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls")
    }
}

impl Tls {
    /// TLS 1.2 and 1.3 with this chain of certificates, the server's own first, and its key.
    ///
    /// # Errors
    /// If a file cannot be read, or the pair cannot be used.
    pub fn from_pem(certificates: &Path, key: &Path) -> Result<Self, TlsError> {
        let wrong = |path: &Path, what, why: String| TlsError::File { path: path.to_owned(), what, why };
        let chain = CertificateDer::pem_file_iter(certificates)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|error| wrong(certificates, "PEM certificate", error.to_string()))?;
        if chain.is_empty() {
            return Err(wrong(certificates, "PEM certificate", "none was found".to_owned()));
        }
        let key =
            PrivateKeyDer::from_pem_file(key).map_err(|error| wrong(key, "PEM private key", error.to_string()))?;
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        Ok(Self(TlsAcceptor::from(Arc::new(config))))
    }
}
