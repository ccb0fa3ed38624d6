//! Who is at the other end of a session: TLS 1.3 with both sides' identity keys as raw public keys (RFC 7250).
//!
//! Offered and accepted is one of everything: key exchange over secp256r1, signatures ECDSA P-256 with SHA-256, ALPN `atoll/1`;
//! but two ways to encrypt. Processes agree on TLS_AES_256_GCM_SHA384, which processors help with. Pages cannot ask theirs for help, and
//! take TLS_CHACHA20_POLY1305_SHA256 alone, which all others take from them ([`platform::CIPHER_SUITES`]). No resumption and no
//! 0-RTT: nothing can be replayed. The dialling side demands a key whose hash is the id that it dialled, the accepting side one whose
//! hash is the id that the packets come from.

use std::sync::Arc;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{AlwaysResolvesClientRawPublicKeys, Resumption};
use rustls::crypto::ring::{cipher_suite, kx_group};
use rustls::crypto::{
    CryptoProvider, GetRandomFailed, KeyProvider, SecureRandom, WebPkiSupportedAlgorithms,
    verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::quic::Suite;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{AlwaysResolvesServerRawPublicKeys, NoServerSessionStorage};
use rustls::sign::{CertifiedKey, SigningKey};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme, SupportedCipherSuite,
};

use super::error::SessionError;
use super::signing::{HandshakeKey, SCHEME};
use crate::id::Id;
use crate::key::{Identity, PeerKey};
use crate::net::platform;

/// The protocol inside a session, as ALPN (RFC 7301) names it.
pub const ALPN: &[u8] = b"atoll/1";

/// The alert of TLS that says "your key is not the one that belongs here" (access_denied, RFC 8446, section 6.2).
pub(super) const WRONG_KEY_ALERT: u8 = 49;

/// Makes the TLS settings of a node's sessions.
#[derive(Debug)]
pub(super) struct Tls {
    provider: Arc<CryptoProvider>,
    key: Arc<CertifiedKey>,
}

impl Tls {
    pub(super) fn new(identity: &Identity) -> Result<Self, SessionError> {
        Self::with_suites(identity, platform::CIPHER_SUITES)
    }

    /// The same with these ways to encrypt, the preferred first.
    fn with_suites(identity: &Identity, suites: &[SupportedCipherSuite]) -> Result<Self, SessionError> {
        let signer = Arc::new(HandshakeKey::from_pkcs8_der(&identity.to_pkcs8_der()).map_err(broken)?);
        let public = CertificateDer::from(identity.public().to_spki_der().to_vec());
        // Not ring's default with some of it replaced: what is only named comes along, and pages would load all of it.
        let provider = CryptoProvider {
            cipher_suites: suites.to_vec(),
            kx_groups: vec![kx_group::SECP256R1],
            signature_verification_algorithms: ALGORITHMS,
            secure_random: &Ring,
            key_provider: &Ring,
        };
        Ok(Tls { provider: Arc::new(provider), key: Arc::new(CertifiedKey::new(vec![public], signer)) })
    }

    /// For dialling; the id dialled is given as the server's name: [`server_name`].
    pub(super) fn client(&self) -> Result<Arc<QuicClientConfig>, SessionError> {
        let config = QuicClientConfig::with_initial(Arc::new(self.client_config()?), initial_suite());
        config.map(Arc::new).map_err(|e| SessionError::Protocol(e.to_string()))
    }

    fn client_config(&self) -> Result<rustls::ClientConfig, SessionError> {
        let verifier = Verifier { expected: None, algorithms: self.provider.signature_verification_algorithms };
        let mut config = rustls::ClientConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(broken)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(self.key.clone())));
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.resumption = Resumption::disabled();
        config.enable_sni = false;
        config.enable_early_data = false;
        Ok(config)
    }

    /// For accepting a session from the id `from` and no other.
    pub(super) fn server(&self, from: Id) -> Result<Arc<QuicServerConfig>, SessionError> {
        let config = QuicServerConfig::with_initial(Arc::new(self.server_config(from)?), initial_suite());
        config.map(Arc::new).map_err(|e| SessionError::Protocol(e.to_string()))
    }

    fn server_config(&self, from: Id) -> Result<rustls::ServerConfig, SessionError> {
        let verifier = Verifier { expected: Some(from), algorithms: self.provider.signature_verification_algorithms };
        let mut config = rustls::ServerConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(broken)?
            .with_client_cert_verifier(Arc::new(verifier))
            .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(self.key.clone())));
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config.max_early_data_size = 0;
        Ok(config)
    }
}

/// The one kind of signature that is taken.
static ALGORITHMS: WebPkiSupportedAlgorithms = WebPkiSupportedAlgorithms {
    all: &[webpki::ring::ECDSA_P256_SHA256],
    mapping: &[(SCHEME, &[webpki::ring::ECDSA_P256_SHA256])],
};

/// The randomness and the keys of `ring`.
#[derive(Debug)]
struct Ring;

impl SecureRandom for Ring {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), GetRandomFailed> {
        ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), bytes).map_err(|_| GetRandomFailed)
    }
}

impl KeyProvider for Ring {
    fn load_private_key(&self, key: PrivateKeyDer<'static>) -> Result<Arc<dyn SigningKey>, Error> {
        Ok(Arc::new(HandshakeKey::from_pkcs8_der(key.secret_der())?))
    }
}

/// The name under which a dial carries the id to its verifier. It is not sent.
pub(super) fn server_name(id: Id) -> String {
    format!("{id}.{SERVER_NAME_SUFFIX}")
}

/// The peer's key, once the handshake is done.
pub(super) fn peer_key(connection: &quinn::Connection) -> Option<PeerKey> {
    let chain = connection.peer_identity()?.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    PeerKey::from_spki_der(chain.first()?).ok()
}

/// A name that is a number only would be taken for an IP address.
const SERVER_NAME_SUFFIX: &str = "atoll";

/// RFC 9001, section 5.2: the first packets of every connection are sealed with this, under keys that are no secret.
fn initial_suite() -> Suite {
    cipher_suite::TLS13_AES_128_GCM_SHA256
        .tls13()
        .and_then(|suite| suite.quic_suite())
        .expect("rustls' AES-128 suite is one of TLS 1.3 and serves QUIC")
}

fn broken(error: Error) -> SessionError {
    SessionError::Protocol(error.to_string())
}

/// Accepts one id's key, in the raw.
#[derive(Debug)]
struct Verifier {
    /// `None`: the id is in the server's name.
    expected: Option<Id>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Verifier {
    fn check_key(&self, key: &[u8], others: &[CertificateDer<'_>], expected: Option<Id>) -> Result<(), Error> {
        let key = PeerKey::from_spki_der(key).map_err(|_| Error::from(CertificateError::BadEncoding))?;
        if !others.is_empty() {
            return Err(CertificateError::BadEncoding.into());
        }
        if Some(key.id()) != expected {
            return Err(CertificateError::ApplicationVerificationFailure.into());
        }
        Ok(())
    }

    fn check_signature(
        &self,
        message: &[u8],
        key: &[u8],
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        if signature.scheme != SCHEME {
            return Err(CertificateError::BadSignature.into());
        }
        verify_tls13_signature_with_raw_key(message, &SubjectPublicKeyInfoDer::from(key), signature, &self.algorithms)
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        key: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let name = server_name.to_str();
        let dialled = name.split('.').next().and_then(|id| id.parse().ok());
        self.check_key(key, others, dialled).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _key: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(only_tls13())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check_signature(message, key, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SCHEME]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        key: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.check_key(key, others, self.expected).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _key: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(only_tls13())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check_signature(message, key, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SCHEME]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

fn only_tls13() -> Error {
    rustls::PeerIncompatible::Tls13RequiredForQuic.into()
}

#[cfg(test)]
mod tests {
    use rustls::{CipherSuite, ClientConnection, ServerConnection};

    use super::*;

    /// What pages take.
    const PAGE: [SupportedCipherSuite; 1] = [cipher_suite::TLS13_CHACHA20_POLY1305_SHA256];

    /// The way to encrypt on which two ends agree.
    fn agreed(dials: &[SupportedCipherSuite], accepts: &[SupportedCipherSuite]) -> CipherSuite {
        let (near, far) = (Identity::generate(), Identity::generate());
        let client = Tls::with_suites(&near, dials).unwrap().client_config().unwrap();
        let server = Tls::with_suites(&far, accepts).unwrap().server_config(near.id()).unwrap();
        let name = server_name(far.id()).try_into().unwrap();
        let mut client = ClientConnection::new(Arc::new(client), name).unwrap();
        let mut server = ServerConnection::new(Arc::new(server)).unwrap();
        while client.is_handshaking() || server.is_handshaking() {
            let (mut there, mut back) = (Vec::new(), Vec::new());
            client.write_tls(&mut there).unwrap();
            server.read_tls(&mut &there[..]).unwrap();
            server.process_new_packets().unwrap();
            server.write_tls(&mut back).unwrap();
            client.read_tls(&mut &back[..]).unwrap();
            client.process_new_packets().unwrap();
        }
        server.negotiated_cipher_suite().unwrap().suite()
    }

    #[test]
    fn processes_agree_on_what_processors_help_with() {
        let own = platform::CIPHER_SUITES;
        assert_eq!(agreed(own, own), CipherSuite::TLS13_AES_256_GCM_SHA384);
    }

    #[test]
    fn pages_have_their_way_whoever_dials() {
        let own = platform::CIPHER_SUITES;
        assert_eq!(agreed(&PAGE, own), CipherSuite::TLS13_CHACHA20_POLY1305_SHA256);
        assert_eq!(agreed(own, &PAGE), CipherSuite::TLS13_CHACHA20_POLY1305_SHA256);
    }
}
