//! TLS: the lab's own certificate authority, and a listener that axum can serve on.

use std::{
    fs,
    io::{self, Write},
    net::IpAddr,
    os::unix::fs::OpenOptionsExt,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, SanType,
};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use tokio::{
    net::{TcpListener, TcpStream},
    time,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use crate::listen::Queue;

/// Life of the lab's certificates: a lab runs for minutes.
const LIFE: Duration = Duration::from_secs(7 * 24 * 3600);
/// How far a clock may be behind ours.
const CLOCK_SKEW: Duration = Duration::from_secs(3600);
/// How long a client may take to say hello.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Makes an authority and a server certificate for `host` and `ip`: `ca.pem`,
/// `cert.pem` and `key.pem` in `dir`. The authority's key is thrown away.
pub fn make_ca(dir: &Path, host: &str, ip: IpAddr) -> Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let mut ca = params(Vec::new(), "Lingyun lab authority")?;
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate()?)?;

    let key = KeyPair::generate()?;
    let mut server = params(vec![host.to_owned()], host)?;
    server.subject_alt_names.push(SanType::IpAddress(ip));
    server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    server.use_authority_key_identifier_extension = true;
    let server = server.signed_by(&key, &ca)?;

    write(&dir.join("ca.pem"), &ca.pem(), 0o644)?;
    write(&dir.join("cert.pem"), &server.pem(), 0o644)?;
    write(&dir.join("key.pem"), &key.serialize_pem(), 0o600)
}

fn params(names: Vec<String>, common_name: &str) -> Result<CertificateParams> {
    let mut params = CertificateParams::new(names)
        .with_context(|| format!("`{common_name}` is not a host name"))?;
    params
        .distinguished_name
        .push(DnType::CommonName, common_name);
    let now = SystemTime::now();
    params.not_before = (now - CLOCK_SKEW).into();
    params.not_after = (now + LIFE).into();
    Ok(params)
}

fn write(path: &Path, text: &str, mode: u32) -> Result<()> {
    let write = || {
        // A file of an earlier run keeps its mode when it is opened again.
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut options = fs::OpenOptions::new();
        options
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(path)?
            .write_all(text.as_bytes())
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

/// The server's TLS settings from `cert.pem` and `key.pem` in `dir`.
pub fn server_config(dir: &Path) -> Result<Arc<ServerConfig>> {
    let (cert, key) = (dir.join("cert.pem"), dir.join("key.pem"));
    let hint = |path: &Path| {
        format!(
            "cannot use {}: `order-service make-ca --dir {}` makes one",
            path.display(),
            dir.display()
        )
    };
    let chain = CertificateDer::pem_file_iter(&cert)
        .and_then(Iterator::collect)
        .with_context(|| hint(&cert))?;
    let private = PrivateKeyDer::from_pem_file(&key).with_context(|| hint(&key))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .with_context(|| {
            format!(
                "{} and {} do not fit together",
                cert.display(),
                key.display()
            )
        })?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // Nobody resumes a session here, and without tickets the first bytes that follow
    // a request are its answer: the journey is easier to read.
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// Accepts connections on `listener` and finishes their handshakes side by side, so
/// that a client that says nothing holds up nobody.
pub fn listen(
    listener: TcpListener,
    config: Arc<ServerConfig>,
) -> Result<Queue<TlsStream<TcpStream>>> {
    let acceptor = TlsAcceptor::from(config);
    Queue::new(listener, move |stream, peer| {
        let handshake = time::timeout(HANDSHAKE, acceptor.accept(stream));
        async move {
            match handshake.await {
                Ok(Ok(stream)) => Some(stream),
                // Health checks connect and leave; that is no event.
                Ok(Err(error)) => {
                    log::debug!("{peer}: no TLS handshake: {error}");
                    None
                }
                Err(_) => {
                    log::debug!("{peer}: no TLS handshake within {HANDSHAKE:?}");
                    None
                }
            }
        }
    })
}
