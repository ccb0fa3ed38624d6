//! Key files: where a node keeps its identity between runs.
//!
//! A key file is PEM (RFC 7468) around PKCS#8 (RFC 5958), so that `openssl pkey` and other tools read it too. With a
//! passphrase it is encrypted by PBES2 (RFC 8018): PBKDF2 with HMAC-SHA-256, then AES-256-CBC.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use p256::ecdsa::SigningKey;
use p256::elliptic_curve::zeroize::Zeroizing;
use p256::pkcs8::der::Decode;
use p256::pkcs8::{EncodePrivateKey, LineEnding, PrivateKeyInfoRef, SecretDocument};
use pkcs8::der::asn1::OctetStringRef;
use pkcs8::pkcs5::{self, EncryptionScheme, pbes2};
use pkcs8::{EncryptedPrivateKeyInfo, EncryptedPrivateKeyInfoRef};
use rand::TryRng;
use rand::rngs::SysRng;

use super::Identity;

/// Rounds of PBKDF2 in the files that [`Identity::save`] writes: what OWASP's "Password Storage Cheat Sheet" asks for
/// HMAC-SHA-256.
pub const KDF_ROUNDS: u32 = 600_000;

/// Rounds of PBKDF2 that [`Identity::load`] is ready to do: some seconds of work. More is taken for a mistake.
pub const MAX_KDF_ROUNDS: u32 = 10_000_000;

/// Bytes read of a key file at most. A true one has about 250 to 500.
pub const MAX_KEY_FILE_BYTES: u64 = 16 * 1024;

const SALT_BYTES: usize = 16;
const AES_BLOCK_BYTES: usize = 16;
const PLAIN_LABEL: &str = "PRIVATE KEY";
const ENCRYPTED_LABEL: &str = "ENCRYPTED PRIVATE KEY";

impl Identity {
    /// Reads the key file at `path`.
    ///
    /// A file that was saved without a passphrase is read with any or none. On Unix a file that the group or others may
    /// read is refused, as `ssh` does. Reading an encrypted file takes some tenths of a second of work, on purpose: in
    /// async code call this in `spawn_blocking`.
    pub fn load(path: impl AsRef<Path>, passphrase: Option<&[u8]>) -> Result<Self, KeyFileError> {
        let path = path.as_ref();
        let pem = read(path)?;
        decode(&pem, passphrase).map_err(|problem| problem.at(path))
    }

    /// Writes this identity to a new key file at `path`, encrypted when a passphrase is given.
    ///
    /// On Unix only the owner may read it (mode 0600). A file that exists is never overwritten: a lost key is a lost
    /// identity. Encrypting takes as long as in [`Identity::load`].
    pub fn save(&self, path: impl AsRef<Path>, passphrase: Option<&[u8]>) -> Result<(), KeyFileError> {
        let path = path.as_ref();
        // Asked again when the file is created; asked here so that nobody waits for the encryption in vain.
        if path.symlink_metadata().is_ok() {
            return Err(KeyFileError::Exists { path: path.into() });
        }
        let pem = self.encode(passphrase).map_err(|error| KeyFileError::Io { path: path.into(), error })?;
        write_new(path, pem.as_bytes()).map_err(|error| match error.kind() {
            ErrorKind::AlreadyExists => KeyFileError::Exists { path: path.into() },
            _ => KeyFileError::Io { path: path.into(), error },
        })
    }

    fn encode(&self, passphrase: Option<&[u8]>) -> io::Result<Zeroizing<String>> {
        let plain = self.secret.to_pkcs8_der().expect("a P-256 key always encodes");
        let (label, document) = match passphrase {
            None => (PLAIN_LABEL, plain),
            Some(passphrase) => (ENCRYPTED_LABEL, encrypt(&plain, passphrase)?),
        };
        Ok(document.to_pem(label, LineEnding::LF).expect("a key is far below the limit of PEM"))
    }
}

/// A key file that could not be read or written. Nothing on disk was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFileError {
    /// There is no such file.
    #[error("there is no key file {}: create it first", path.display())]
    NotFound {
        /// The file.
        path: PathBuf,
    },
    /// The file that was to be created is there already.
    #[error("{} exists already and is not overwritten: choose another name, or move it away", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// Others than the owner may read the file.
    #[error("others can read the key file {0} (mode {mode:04o}): run chmod 600 {0}", path.display())]
    Permissions {
        /// The file.
        path: PathBuf,
        /// Its mode, such as 0o644.
        mode: u32,
    },
    /// The file is encrypted and no passphrase was given.
    #[error("the key file {} is encrypted: give its passphrase", path.display())]
    NeedsPassphrase {
        /// The file.
        path: PathBuf,
    },
    /// The passphrase does not open the file, or the file is damaged: the two cannot be told apart.
    #[error("wrong passphrase for the key file {}", path.display())]
    WrongPassphrase {
        /// The file.
        path: PathBuf,
    },
    /// The file is encrypted by something else than PBKDF2 with SHA-2 and AES, or with more than [`MAX_KDF_ROUNDS`].
    #[error("the key file {0} is encrypted in a way that is not read here: convert it with openssl pkcs8 -topk8 -v2 aes-256-cbc -v2prf hmacWithSHA256 -in {0}", path.display())]
    UnsupportedEncryption {
        /// The file.
        path: PathBuf,
    },
    /// The file is not a P-256 key in PKCS#8 PEM.
    #[error("{} is not a key file: it must hold a P-256 key in PKCS#8 PEM, which begins with -----BEGIN PRIVATE KEY-----", path.display())]
    NotAKeyFile {
        /// The file.
        path: PathBuf,
    },
    /// The system refused to read or write the file.
    #[error("the key file {}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        error: io::Error,
    },
}

/// What is wrong with the content of a key file, before its path is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Problem {
    NeedsPassphrase,
    WrongPassphrase,
    UnsupportedEncryption,
    NotAKey,
}

impl Problem {
    fn at(self, path: &Path) -> KeyFileError {
        let path = path.into();
        match self {
            Problem::NeedsPassphrase => KeyFileError::NeedsPassphrase { path },
            Problem::WrongPassphrase => KeyFileError::WrongPassphrase { path },
            Problem::UnsupportedEncryption => KeyFileError::UnsupportedEncryption { path },
            Problem::NotAKey => KeyFileError::NotAKeyFile { path },
        }
    }
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, KeyFileError> {
    let failed = |error: io::Error| match error.kind() {
        ErrorKind::NotFound => KeyFileError::NotFound { path: path.into() },
        _ => KeyFileError::Io { path: path.into(), error },
    };
    // Looked at before it is opened: opening a named pipe would wait for its writer for ever.
    if !fs::metadata(path).map_err(failed)?.is_file() {
        return Err(KeyFileError::NotAKeyFile { path: path.into() });
    }
    let file = File::open(path).map_err(failed)?;
    refuse_if_others_can_read(&file, path).map_err(failed)??;
    let mut pem = Zeroizing::new(Vec::new());
    file.take(MAX_KEY_FILE_BYTES + 1).read_to_end(&mut pem).map_err(failed)?;
    if pem.len() as u64 > MAX_KEY_FILE_BYTES {
        return Err(KeyFileError::NotAKeyFile { path: path.into() });
    }
    Ok(pem)
}

#[cfg(unix)]
fn refuse_if_others_can_read(file: &File, path: &Path) -> io::Result<Result<(), KeyFileError>> {
    use std::os::unix::fs::PermissionsExt;
    let mode = file.metadata()?.permissions().mode() & 0o7777;
    Ok(if mode & 0o077 == 0 { Ok(()) } else { Err(KeyFileError::Permissions { path: path.into(), mode }) })
}

#[cfg(not(unix))]
fn refuse_if_others_can_read(_file: &File, _path: &Path) -> io::Result<Result<(), KeyFileError>> {
    Ok(Ok(()))
}

/// Creates the file and fills it, or leaves none behind.
fn write_new(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(content).and_then(|()| file.sync_all()).inspect_err(|_| {
        // The first error is the one to report.
        let _ = fs::remove_file(path);
    })
}

fn decode(pem: &[u8], passphrase: Option<&[u8]>) -> Result<Identity, Problem> {
    let pem = str::from_utf8(pem).map_err(|_| Problem::NotAKey)?;
    let (label, document) = SecretDocument::from_pem(pem).map_err(|_| Problem::NotAKey)?;
    let secret = match label {
        PLAIN_LABEL => SigningKey::try_from(private_key_info(document.as_bytes()).ok_or(Problem::NotAKey)?),
        ENCRYPTED_LABEL => {
            let plain = decrypt(document.as_bytes(), passphrase.ok_or(Problem::NeedsPassphrase)?)?;
            // The padding of a wrong decryption is right by chance once in 256 times.
            SigningKey::try_from(private_key_info(&plain).ok_or(Problem::WrongPassphrase)?)
        }
        _ => return Err(Problem::NotAKey),
    };
    secret.map(Identity::new).map_err(|_| Problem::NotAKey)
}

fn private_key_info(der: &[u8]) -> Option<PrivateKeyInfoRef<'_>> {
    PrivateKeyInfoRef::from_der(der).ok()
}

fn decrypt(der: &[u8], passphrase: &[u8]) -> Result<Zeroizing<Vec<u8>>, Problem> {
    let info = EncryptedPrivateKeyInfoRef::from_der(der).map_err(|_| Problem::NotAKey)?;
    let EncryptionScheme::Pbes2(parameters) = &info.encryption_algorithm else {
        return Err(Problem::UnsupportedEncryption);
    };
    // Only PBKDF2: scrypt could ask for any amount of memory.
    let rounds = parameters.kdf.pbkdf2().ok_or(Problem::UnsupportedEncryption)?.iteration_count;
    if rounds > MAX_KDF_ROUNDS {
        return Err(Problem::UnsupportedEncryption);
    }
    match parameters.decrypt(passphrase, info.encrypted_data.as_ref()) {
        Ok(plain) => Ok(Zeroizing::new(plain)),
        Err(pkcs5::Error::DecryptFailed) => Err(Problem::WrongPassphrase),
        Err(_) => Err(Problem::UnsupportedEncryption),
    }
}

fn encrypt(plain: &SecretDocument, passphrase: &[u8]) -> io::Result<SecretDocument> {
    let mut salt = [0; SALT_BYTES];
    let mut iv = [0; AES_BLOCK_BYTES];
    SysRng.try_fill_bytes(&mut salt).and_then(|()| SysRng.try_fill_bytes(&mut iv)).map_err(io::Error::other)?;
    let parameters = pbes2::Parameters::generate_pbkdf2_sha256_aes256cbc(KDF_ROUNDS, &salt, iv)
        .expect("the rounds and the salt are within the limits of the format");
    let encrypted = parameters.encrypt(passphrase, plain.as_bytes()).expect("AES-256-CBC takes any length");
    let encrypted_data = OctetStringRef::new(&encrypted).expect("a key is far below the limit of DER");
    let info = EncryptedPrivateKeyInfo { encryption_algorithm: parameters.into(), encrypted_data };
    Ok(SecretDocument::try_from(info).expect("a key is far below the limit of DER"))
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    const PASSPHRASE: Option<&[u8]> = Some("correct hörse".as_bytes());

    /// An empty directory that goes when the test does.
    struct Directory(PathBuf);

    impl Directory {
        fn new() -> Self {
            static COUNT: AtomicU32 = AtomicU32::new(0);
            let name = format!("atoll-key-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
            let path = std::env::temp_dir().join(name);
            fs::create_dir(&path).unwrap();
            Directory(path)
        }

        fn file(&self, name: &str) -> PathBuf {
            self.0.join(name)
        }

        /// A file that only the owner reads.
        fn written(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
            write_new(&self.file(name), content.as_ref()).unwrap();
            self.file(name)
        }

        /// What `openssl` makes in the file, given the words after its name; `None` where there is no OpenSSL.
        fn openssl(&self, arguments: &str, output: &str) -> Option<PathBuf> {
            let path = self.written(output, "");
            let run = Command::new("openssl").args(arguments.split(' ')).arg("-out").arg(&path).output().ok()?;
            assert!(run.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&run.stderr));
            Some(path)
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn an_identity_survives_a_file_with_and_without_a_passphrase() {
        let (directory, identity) = (Directory::new(), Identity::generate());
        for (name, passphrase) in [("plain", None), ("encrypted", PASSPHRASE)] {
            let path = directory.file(name);
            identity.save(&path, passphrase).unwrap();
            assert_eq!(Identity::load(&path, passphrase).unwrap().public(), identity.public());
        }
    }

    #[test]
    fn an_encrypted_file_opens_with_its_passphrase_alone() {
        let (directory, identity) = (Directory::new(), Identity::generate());
        let path = directory.file("key");
        identity.save(&path, PASSPHRASE).unwrap();
        let error = Identity::load(&path, None).unwrap_err();
        assert!(matches!(error, KeyFileError::NeedsPassphrase { .. }), "{error}");
        let error = Identity::load(&path, Some(b"correct horse")).unwrap_err();
        assert!(matches!(error, KeyFileError::WrongPassphrase { .. }), "{error}");
        let pem = fs::read(&path).unwrap();
        let secret = identity.secret.to_bytes();
        let (_, der) = SecretDocument::from_pem(str::from_utf8(&pem).unwrap()).unwrap();
        assert!(
            !der.as_bytes().windows(secret.len()).any(|bytes| bytes == secret.as_slice()),
            "the secret is in clear"
        );
    }

    #[test]
    fn a_file_that_exists_is_never_overwritten() {
        let directory = Directory::new();
        let path = directory.written("key", "precious");
        let error = Identity::generate().save(&path, None).unwrap_err();
        assert!(matches!(error, KeyFileError::Exists { .. }), "{error}");
        assert_eq!(fs::read(&path).unwrap(), b"precious");
    }

    #[cfg(unix)]
    #[test]
    fn only_the_owner_reads_a_new_file_and_a_file_that_others_read_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let directory = Directory::new();
        let path = directory.file("key");
        Identity::generate().save(&path, None).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let error = Identity::load(&path, None).unwrap_err();
        assert!(error.to_string().contains("(mode 0640): run chmod 600 "), "{error}");
    }

    #[test]
    fn what_is_not_a_key_file_is_refused_with_the_reason() {
        let directory = Directory::new();
        let error = Identity::load(directory.file("nowhere"), None).unwrap_err();
        assert!(matches!(error, KeyFileError::NotFound { .. }), "{error}");
        let error = Identity::generate().save(directory.file("nowhere/key"), None).unwrap_err();
        assert!(matches!(error, KeyFileError::Io { .. }), "{error}");
        let label = |label| format!("-----BEGIN {label}-----\nMAA=\n-----END {label}-----\n");
        let contents = [
            ("empty", Vec::new()),
            ("text", b"hello".to_vec()),
            ("binary", vec![0xff; 300]),
            ("certificate", label("CERTIFICATE").into()),
            ("no_key", label(PLAIN_LABEL).into()),
            ("no_encrypted_key", label(ENCRYPTED_LABEL).into()),
            ("huge", vec![b'-'; MAX_KEY_FILE_BYTES as usize + 1]),
        ];
        let files = contents.map(|(name, content)| directory.written(name, content));
        for path in files.into_iter().chain([directory.0.clone()]) {
            let error = Identity::load(&path, PASSPHRASE).unwrap_err();
            assert!(matches!(error, KeyFileError::NotAKeyFile { .. }), "{}: {error}", path.display());
        }
    }

    #[test]
    fn a_damaged_file_gives_an_error_or_the_same_key() {
        let identity = Identity::generate();
        let pem = identity.encode(None).unwrap();
        for at in 0..pem.len() {
            assert!(decode(&pem.as_bytes()[..at], None).is_err() || at == pem.len() - 1, "cut at {at}");
            let mut damaged = pem.as_bytes().to_vec();
            damaged[at] ^= 1;
            // The file holds the secret and the public half: they must belong together.
            if let Ok(found) = decode(&damaged, None) {
                assert_eq!(found.public(), identity.public(), "byte {at} altered");
            }
        }
    }

    #[test]
    fn a_file_that_asks_for_endless_work_is_refused_at_once() {
        let parameters =
            pbes2::Parameters::generate_pbkdf2_sha256_aes256cbc(MAX_KDF_ROUNDS + 1, &[7; 16], [7; 16]).unwrap();
        let encrypted_data = OctetStringRef::new(&[7; 144]).unwrap();
        let info = EncryptedPrivateKeyInfo { encryption_algorithm: parameters.into(), encrypted_data };
        let document = SecretDocument::try_from(info).unwrap();
        let pem = document.to_pem(ENCRYPTED_LABEL, LineEnding::LF).unwrap();
        assert_eq!(decode(pem.as_bytes(), PASSPHRASE).unwrap_err(), Problem::UnsupportedEncryption);
    }

    #[test]
    fn openssl_reads_our_files() {
        let (directory, identity) = (Directory::new(), Identity::generate());
        let path = directory.file("key");
        identity.save(&path, PASSPHRASE).unwrap();
        let arguments = ["pkey", "-passin", "pass:correct hörse", "-pubout", "-outform", "DER", "-in"];
        let Ok(run) = Command::new("openssl").args(arguments).arg(&path).output() else {
            return eprintln!("skipped: no openssl here");
        };
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
        assert_eq!(run.stdout, identity.public().to_spki_der());
    }

    #[test]
    fn we_read_the_files_of_openssl() {
        let directory = Directory::new();
        let new = "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256";
        let Some(plain) = directory.openssl(new, "plain") else {
            return eprintln!("skipped: no openssl here");
        };
        let identity = Identity::load(&plain, None).unwrap();
        let topk8 = format!("pkcs8 -topk8 -passout pass:x -in {}", plain.display());
        let encrypted = directory.openssl(&topk8, "encrypted").unwrap();
        assert_eq!(Identity::load(&encrypted, Some(b"x")).unwrap().public(), identity.public());
        let scrypt = directory.openssl(&format!("{topk8} -scrypt"), "scrypt").unwrap();
        let error = Identity::load(&scrypt, Some(b"x")).unwrap_err();
        assert!(matches!(error, KeyFileError::UnsupportedEncryption { .. }), "{error}");
        let other_curve = directory.openssl(&new.replace("P-256", "P-384"), "P-384").unwrap();
        let error = Identity::load(&other_curve, None).unwrap_err();
        assert!(matches!(error, KeyFileError::NotAKeyFile { .. }), "{error}");
    }
}
