//! Whom the connections of a wrapper trust.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tonic::transport::ClientTlsConfig;

use crate::error::ZerobusError;

/// Largest file that is read.
const LARGEST_FILE: u64 = 16 << 20;

/// The authorities of `tls_ca_file`, as they were when the wrapper was made.
#[derive(Debug)]
pub(crate) struct Authorities {
    /// For the token endpoint, whose client reads it once more.
    pub(crate) pem: Vec<u8>,
    certificates: Vec<CertificateDer<'static>>,
}

impl Authorities {
    /// # Errors
    /// `ConfigurationError` for a file that cannot be read, and for one whose blocks are not all certificates.
    pub(crate) fn read(path: &Path) -> Result<Self, ZerobusError> {
        let refused = |why: &str| ZerobusError::configuration(format!("`tls_ca_file`: `{}` {why}", path.display()));
        let mut pem = Vec::new();
        let read = File::open(path).and_then(|file| file.take(LARGEST_FILE + 1).read_to_end(&mut pem));
        read.map_err(|failure| refused(&format!("cannot be read: {failure}")))?;
        if pem.len() as u64 > LARGEST_FILE {
            return Err(refused("is larger than 16 MiB"));
        }
        let certificates: Vec<CertificateDer<'static>> =
            CertificateDer::pem_slice_iter(&pem).collect::<Result<_, _>>().map_err(|_| refused("is not PEM"))?;
        if certificates.is_empty() {
            return Err(refused("holds no `BEGIN CERTIFICATE` block"));
        }
        if certificates.iter().any(|certificate| RootCertStore::empty().add(certificate.clone()).is_err()) {
            return Err(refused("has a block that is no certificate"));
        }
        Ok(Self { pem, certificates })
    }
}

/// Has the authorities of the system trusted, and `further` ones, which suffice where the system has none.
///
/// # Errors
/// `ConfigurationError` where there are none at all.
pub(crate) fn trusting(further: Option<&Authorities>) -> Result<ClientTlsConfig, ZerobusError> {
    let mut roots = RootCertStore::empty();
    // Not by tonic's own flag, which fails where the system has none, whatever else there is to trust.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots.add_parsable_certificates(further.iter().flat_map(|further| further.certificates.iter().cloned()));
    if roots.is_empty() {
        let text = "this system has no certificate authorities; name a file with those of the service as `tls_ca_file`";
        return Err(ZerobusError::configuration(text));
    }
    Ok(ClientTlsConfig::new().trust_anchors(roots.roots))
}
