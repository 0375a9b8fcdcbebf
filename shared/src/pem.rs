//! Certificates and private keys from files, PEM or DER, as they reach a server: through mail, shells, secrets of a
//! platform, and JSON.
//!
//! Invariant: no error contains a part of the file. The errors of PEM libraries contain lines of it.

use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer};
use x509_parser::parse_x509_certificate;
use zeroize::Zeroizing;

use crate::secret::Secret;
use crate::text_file::{self, TextError};

const BEGIN: &str = "-----BEGIN ";

/// Why a file is unusable; the subject is the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PemError {
    /// It has no text.
    #[error(transparent)]
    Text(#[from] TextError),
    /// A block without its last line.
    #[error("has no line \"-----END …-----\" after its \"-----BEGIN …-----\": a part is missing; copy the whole file")]
    Truncated,
    /// A block that is not base64.
    #[error("has other characters than base64 between its BEGIN and END lines; copy the file again")]
    Garbled,
    /// BEGIN lines without their dashes.
    #[error("has BEGIN and END lines without five \"-\" on both sides; copy the file again")]
    Dashes,
    /// The private key is encrypted.
    #[error("has a private key that is encrypted with a password; decrypt it: openssl pkey -in FILE -out NEW_FILE")]
    Encrypted,
    /// The format of OpenSSH.
    #[error("has a key in OpenSSH's format; expected PEM with \"-----BEGIN PRIVATE KEY-----\"")]
    OpenSsh,
    /// A public key where a private one is needed.
    #[error("has a public key and no private key; use the file with the private key")]
    PublicKey,
    /// A certificate request where a certificate is needed.
    #[error("has a certificate request and no certificate; use the file that the authority returned for it")]
    Request,
    /// No certificate.
    #[error("has no certificate (\"-----BEGIN CERTIFICATE-----\"); use the file with the certificate and its chain")]
    NoCertificate,
    /// No private key.
    #[error("has no private key (\"-----BEGIN PRIVATE KEY-----\"); use the file with the key")]
    NoKey,
    /// A web page.
    #[error("is an HTML page, as a failed download leaves it; download the file again")]
    Html,
    /// JSON.
    #[error("is JSON; expected PEM")]
    Json,
    /// A template.
    #[error("has the name of a variable that was not replaced by its value")]
    Placeholder,
    /// Binary, but neither a certificate nor a key.
    #[error("is binary and neither a certificate nor a key in DER; convert it to PEM, PKCS#12 with openssl pkcs12")]
    OtherDer,
    /// Anything else.
    #[error("is neither PEM, with lines \"-----BEGIN …-----\", nor DER")]
    Unknown,
}

/// The certificates of a file, in its order: at least one.
///
/// # Errors
/// [`PemError`].
pub fn certificates(file: &[u8]) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let text = match open(file)? {
        Content::Der(der) if is_certificate(&der) => return Ok(vec![CertificateDer::from(der.to_vec())]),
        Content::Der(der) if is_key(&der) => return Err(PemError::NoCertificate),
        Content::Der(_) => return Err(PemError::OtherDer),
        Content::Text(text) => text,
    };
    let blocks = blocks(&text)?;
    let of_certificates = blocks.iter().filter(|block| matches!(block.label, "CERTIFICATE" | "X509 CERTIFICATE"));
    let certificates: Vec<_> = of_certificates
        .map(|block| block.der().map(|der| CertificateDer::from(der.to_vec())))
        .collect::<Result<_, _>>()?;
    match certificates.is_empty() {
        false => Ok(certificates),
        true if blocks.iter().any(|block| block.label.ends_with("CERTIFICATE REQUEST")) => Err(PemError::Request),
        true => Err(PemError::NoCertificate),
    }
}

/// The first private key of a file: PKCS#8, SEC1 or PKCS#1.
///
/// # Errors
/// [`PemError`].
pub fn private_key(file: &[u8]) -> Result<PrivateKeyDer<'static>, PemError> {
    let text = match open(file)? {
        Content::Der(der) if is_certificate(&der) => return Err(PemError::NoKey),
        Content::Der(der) if is_key(&der) => {
            return PrivateKeyDer::try_from(der.to_vec()).map_err(|_| PemError::OtherDer);
        }
        Content::Der(_) => return Err(PemError::OtherDer),
        Content::Text(text) => text,
    };
    let blocks = blocks(&text)?;
    for block in &blocks {
        let is_key = block.label.ends_with("PRIVATE KEY");
        if is_key && (block.label.contains("ENCRYPTED") || block.body.contains("ENCRYPTED")) {
            return Err(PemError::Encrypted);
        }
        let der = || block.der().map(|der| der.to_vec());
        return Ok(match block.label {
            "PRIVATE KEY" => PrivatePkcs8KeyDer::from(der()?).into(),
            "EC PRIVATE KEY" => PrivateSec1KeyDer::from(der()?).into(),
            "RSA PRIVATE KEY" => PrivatePkcs1KeyDer::from(der()?).into(),
            "OPENSSH PRIVATE KEY" => return Err(PemError::OpenSsh),
            _ => continue,
        });
    }
    let is_public = blocks.iter().any(|block| block.label.ends_with("PUBLIC KEY"));
    Err(if is_public { PemError::PublicKey } else { PemError::NoKey })
}

/// The first private key of a file as well-formed PEM, for libraries that read it themselves.
///
/// # Errors
/// [`PemError`].
pub fn private_key_pem(file: &[u8]) -> Result<Secret<String>, PemError> {
    let key = private_key(file)?;
    let label = match &key {
        PrivateKeyDer::Pkcs1(_) => "RSA PRIVATE KEY",
        PrivateKeyDer::Sec1(_) => "EC PRIVATE KEY",
        _ => "PRIVATE KEY",
    };
    let base64 = Zeroizing::new(text_file::to_base64(key.secret_der()));
    let mut pem = Secret::new(format!("{BEGIN}{label}-----\n"));
    let text = pem.expose_mut();
    // Base64 is ASCII, so every length is a boundary.
    for start in (0..base64.len()).step_by(64) {
        text.push_str(&base64[start..base64.len().min(start + 64)]);
        text.push('\n');
    }
    text.push_str(&format!("-----END {label}-----\n"));
    Ok(pem)
}

enum Content {
    /// Has a BEGIN line.
    Text(Zeroizing<String>),
    Der(Zeroizing<Vec<u8>>),
}

fn open(file: &[u8]) -> Result<Content, PemError> {
    if is_der(file) {
        return Ok(Content::Der(Zeroizing::new(file.to_vec())));
    }
    let text = text_file::decode(file)?;
    let with_lines = with_line_breaks(text);
    if with_lines.contains(BEGIN) {
        return Ok(Content::Text(with_lines));
    }
    if let Some(inner) = text_file::of_base64(text_file::unquoted(text)) {
        if is_der(&inner) {
            return Ok(Content::Der(inner));
        }
        if let Some(inner) = text_file::decode(&inner).ok().map(with_line_breaks).filter(|text| text.contains(BEGIN)) {
            return Ok(Content::Text(inner));
        }
    }
    Err(match text_file::unquoted(text) {
        text if text.starts_with('<') => PemError::Html,
        text if text.starts_with("${") || text.starts_with("{{") || text.starts_with("$(") => PemError::Placeholder,
        text if text.starts_with('{') => PemError::Json,
        text if text.starts_with("ssh-") => PemError::OpenSsh,
        text if text.contains("BEGIN ") => PemError::Dashes,
        _ => PemError::Unknown,
    })
}

/// `text` with line breaks where `\n` was written, with any number of backslashes.
fn with_line_breaks(text: &str) -> Zeroizing<String> {
    let mut out = Zeroizing::new(String::with_capacity(text.len()));
    let mut characters = text.chars().peekable();
    while let Some(c) = characters.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        while characters.next_if_eq(&'\\').is_some() {}
        match characters.next_if(|c| matches!(*c, 'n' | 'r' | 't')) {
            Some('n') => out.push('\n'),
            Some(_) => out.push(' '),
            None => {}
        }
    }
    out
}

/// Whether the content is binary and begins as DER does.
fn is_der(file: &[u8]) -> bool {
    file.first() == Some(&0x30) && (file.iter().any(|&byte| byte < 9) || std::str::from_utf8(file).is_err())
}

fn is_certificate(der: &[u8]) -> bool {
    parse_x509_certificate(der).is_ok()
}

/// Whether it is a key that TLS can use. The type alone does not show it: PKCS#12 begins as PKCS#8 does.
fn is_key(der: &[u8]) -> bool {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    PrivateKeyDer::try_from(der).is_ok_and(|key| provider.key_provider.load_private_key(key.clone_key()).is_ok())
}

struct Block<'a> {
    label: &'a str,
    body: &'a str,
}

impl Block<'_> {
    fn der(&self) -> Result<Zeroizing<Vec<u8>>, PemError> {
        text_file::base64(self.body).filter(|der| !der.is_empty()).ok_or(PemError::Garbled)
    }
}

/// All blocks of a text; text between them does not count.
fn blocks(text: &str) -> Result<Vec<Block<'_>>, PemError> {
    let mut blocks = Vec::new();
    let mut rest = text;
    while let Some((_, after)) = rest.split_once(BEGIN) {
        let (label, body) = after.split_once("-----").ok_or(PemError::Truncated)?;
        let (body, next) = body.split_once(&format!("-----END {label}-----")).ok_or(PemError::Truncated)?;
        blocks.push(Block { label, body });
        rest = next;
    }
    Ok(blocks)
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};
    use rustls::pki_types::PrivateKeyDer;

    use super::{PemError, certificates, private_key, private_key_pem};
    use crate::text_file::{TextError, to_base64};

    fn pair() -> (String, String) {
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let params = CertificateParams::new(["id.example".to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        (certificate.pem().replace("\r\n", "\n"), key.serialize_pem().replace("\r\n", "\n"))
    }

    /// The ways in which a text file arrives.
    fn forms(good: &str) -> Vec<String> {
        vec![
            good.to_owned(),
            good.trim_end().to_owned(),
            good.replace('\n', "\r\n"),
            good.replace('\n', "\\n"),
            good.replace('\n', "\\r\\n"),
            good.replace('\n', "\\\\n"),
            good.replace('\n', "\\\\\\\\n"),
            good.replace('\n', " "),
            good.replace('\n', ""),
            good.replace('\n', "\u{a0}\n"),
            format!("\u{feff}\n\n{good}\n\n"),
            format!("\u{200b}{good}"),
            format!("\"{}\"\n", good.trim()),
            format!("'{}'", good.trim().replace('\n', "\\n")),
            good.lines().map(|line| format!("  {line}\n")).collect(),
            to_base64(good.as_bytes()),
            to_base64(good.as_bytes()).as_bytes().chunks(76).map(|line| String::from_utf8_lossy(line) + "\n").collect(),
            format!("Bag Attributes\n    friendlyName: x\n{good}"),
        ]
    }

    #[test]
    fn a_key_and_a_certificate_are_read_whatever_happened_to_their_lines() {
        let (certificate, key) = pair();
        let (expected, der) = (private_key(key.as_bytes()).unwrap(), certificates(certificate.as_bytes()).unwrap());
        for form in forms(&key) {
            assert_eq!(private_key(form.as_bytes()).as_ref(), Ok(&expected), "{form:?}");
            assert_eq!(private_key_pem(form.as_bytes()).unwrap().expose(), &key, "{form:?}");
        }
        for form in forms(&certificate) {
            assert_eq!(certificates(form.as_bytes()).as_ref(), Ok(&der), "{form:?}");
        }
        let both = format!("{key}{certificate}{certificate}");
        assert_eq!(private_key(both.as_bytes()).as_ref(), Ok(&expected));
        assert_eq!(certificates(both.as_bytes()).unwrap().len(), 2);
        assert_eq!(private_key(expected.secret_der()).as_ref(), Ok(&expected), "DER");
        assert_eq!(certificates(&der[0]).as_ref(), Ok(&der), "DER");
        assert_eq!(certificates(to_base64(&der[0]).as_bytes()).as_ref(), Ok(&der), "base64 of DER");
    }

    #[test]
    fn what_cannot_be_used_is_named_and_never_shown() {
        let (certificate, key) = pair();
        let base64: String = key.lines().filter(|line| !line.starts_with('-')).collect();
        let block = |label: &str, body: &str| format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n");
        let (public, old) =
            (block("PUBLIC KEY", &base64), format!("Proc-Type: 4,ENCRYPTED\nDEK-Info: AES\n\n{base64}"));
        for (file, expected) in [
            (String::new(), PemError::Text(TextError::Empty)),
            (block("ENCRYPTED PRIVATE KEY", &base64), PemError::Encrypted),
            (block("EC PRIVATE KEY", &old), PemError::Encrypted),
            (block("OPENSSH PRIVATE KEY", &base64), PemError::OpenSsh),
            (public.clone(), PemError::PublicKey),
            (certificate.clone(), PemError::NoKey),
            (key[..key.len() - 40].to_owned(), PemError::Truncated),
            (key.replace("-----", "\u{2014}"), PemError::Dashes),
            (key.lines().map(|line| format!("> {line}\n")).collect(), PemError::Garbled),
            ("<html>login</html>".to_owned(), PemError::Html),
            ("{\"private_key\": 1}".to_owned(), PemError::Json),
            ("${TLS_KEY}\n".to_owned(), PemError::Placeholder),
            ("nonsense".to_owned(), PemError::Unknown),
        ] {
            let error = private_key(file.as_bytes()).unwrap_err();
            assert_eq!(error, expected, "{file}");
            assert!(!error.to_string().contains(&base64[..12]) && !error.to_string().contains("45, 45"), "{error}");
        }
        for (file, expected) in [
            (key.clone(), PemError::NoCertificate),
            (public, PemError::NoCertificate),
            (block("CERTIFICATE REQUEST", &base64), PemError::Request),
            (certificate[..certificate.len() - 30].to_owned(), PemError::Truncated),
            (block("CERTIFICATE", "%%%"), PemError::Garbled),
        ] {
            assert_eq!(certificates(file.as_bytes()).unwrap_err(), expected, "{file}");
        }
        let der = private_key(key.as_bytes()).unwrap();
        assert_eq!(certificates(der.secret_der()), Err(PemError::NoCertificate));
        let pkcs12 = [0x30, 0x82, 1, 1, 2, 1, 3, 0x30, 0x82, 1, 1];
        assert_eq!(private_key(&pkcs12), Err(PemError::OtherDer), "PKCS#12");
        assert_eq!(certificates(&pkcs12), Err(PemError::OtherDer), "PKCS#12");
        assert!(matches!(der, PrivateKeyDer::Pkcs8(_)));
    }
}
