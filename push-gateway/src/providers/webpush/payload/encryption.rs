//! Message encryption for Web Push (RFC 8291): one record of `aes128gcm` (RFC 8188).
//!
//! Invariant: a key pair and a salt encrypt one message.

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::agreement::{self, ECDH_P256, PrivateKey};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};

use super::super::subscription::Keys;

/// The size of a record: the whole body, which push services accept up to this size.
const RECORD_SIZE: u32 = 4096;
/// The bytes that encryption adds: salt, record size, length of the key, key, delimiter, tag.
const OVERHEAD: usize = 16 + 4 + 1 + 65 + 1 + 16;
/// The delimiter of the last record.
const LAST_RECORD: u8 = 0x02;

/// The largest plaintext in bytes.
pub(in super::super) const MAX_PLAINTEXT: usize = RECORD_SIZE as usize - OVERHEAD;

/// The sender's part of the key agreement: new for each message.
pub(in super::super) struct Ephemeral {
    pub(in super::super) private: PrivateKey,
    pub(in super::super) salt: [u8; 16],
}

/// The keys of one message.
struct MessageKeys {
    content: [u8; 16],
    nonce: [u8; 12],
}

/// The number of bytes to derive.
struct Bytes(usize);

impl KeyType for Bytes {
    fn len(&self) -> usize {
        self.0
    }
}

impl Ephemeral {
    /// A new key pair with this salt.
    ///
    /// # Errors
    /// [`Unspecified`] if the random source of the library fails.
    pub(in super::super) fn new(salt: [u8; 16]) -> Result<Self, Unspecified> {
        Ok(Self { private: PrivateKey::generate(&ECDH_P256)?, salt })
    }
}

/// The body of a request that carries `plaintext` to the receiver with these keys.
///
/// # Errors
/// [`Unspecified`] if the library fails.
pub(in super::super) fn encrypt(plaintext: &[u8], to: &Keys, ephemeral: &Ephemeral) -> Result<Vec<u8>, Unspecified> {
    let public = ephemeral.private.compute_public_key()?;
    let public: &[u8] = public.as_ref();
    let receiver = to.public.clone();
    let ikm = agreement::agree(&ephemeral.private, receiver, Unspecified, |shared| input_key(shared, to, public))?;
    let keys = message_keys(&ikm, &ephemeral.salt)?;
    let mut body = Vec::with_capacity(plaintext.len() + OVERHEAD);
    body.extend_from_slice(&ephemeral.salt);
    body.extend_from_slice(&RECORD_SIZE.to_be_bytes());
    body.push(u8::try_from(public.len()).map_err(|_| Unspecified)?);
    body.extend_from_slice(public);
    let mut record = Vec::with_capacity(plaintext.len() + 1 + 16);
    record.extend_from_slice(plaintext);
    record.push(LAST_RECORD);
    let key = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &keys.content)?);
    key.seal_in_place_append_tag(Nonce::assume_unique_for_key(keys.nonce), Aad::empty(), &mut record)?;
    body.append(&mut record);
    Ok(body)
}

/// The input keying material: binds the shared secret to both public keys and to the authentication secret.
fn input_key(shared: &[u8], to: &Keys, sender: &[u8]) -> Result<[u8; 32], Unspecified> {
    let prk = Salt::new(HKDF_SHA256, &to.secret).extract(shared);
    expand(&prk, &[b"WebPush: info\0", to.public.as_ref(), sender])
}

fn message_keys(ikm: &[u8; 32], salt: &[u8; 16]) -> Result<MessageKeys, Unspecified> {
    let prk = Salt::new(HKDF_SHA256, salt).extract(ikm);
    Ok(MessageKeys {
        content: expand(&prk, &[b"Content-Encoding: aes128gcm\0"])?,
        nonce: expand(&prk, &[b"Content-Encoding: nonce\0"])?,
    })
}

fn expand<const N: usize>(prk: &Prk, info: &[&[u8]]) -> Result<[u8; N], Unspecified> {
    let mut out = [0; N];
    prk.expand(info, Bytes(N))?.fill(&mut out)?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::agreement::{self, ECDH_P256, PrivateKey, UnparsedPublicKey};
    use aws_lc_rs::error::Unspecified;

    use super::super::super::base64::{decode, encode};
    use super::{Ephemeral, Keys, MAX_PLAINTEXT, encrypt, input_key, message_keys};

    /// RFC 8291 §5 and appendix A.
    const PLAINTEXT: &str = "When I grow up, I want to be a watermelon";
    const SECRET: &str = "BTBZMqHH6r4Tts7J_aSIgg";
    const RECEIVER: &str = "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4";
    const SENDER_PRIVATE: &str = "yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw";
    const SENDER: &str = "BP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A8";
    const SALT: &str = "DGv6ra1nlYgDCS1FRnbzlw";
    const SHARED: &str = "kyrL1jIIOHEzg3sM2ZWRHDRB62YACZhhSlknJ672kSs";
    const IKM: &str = "S4lYMb_L0FxCeq0WhDx813KgSYqU26kOyzWUdsXYyrg";
    const CEK: &str = "oIhVW04MRdy2XN9CiKLxTg";
    const NONCE: &str = "4h_95klXJ5E_qnoN";
    const BODY: &str = "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS\
                        6TlzAC8wEqKK6PBru3jl7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qu\
                        lcy4a-fN";

    fn bytes<const N: usize>(text: &str) -> [u8; N] {
        decode(text).unwrap().try_into().unwrap()
    }

    fn receiver() -> Keys {
        Keys::parse(RECEIVER, SECRET).unwrap()
    }

    #[test]
    fn the_example_of_the_specification_is_reproduced_byte_by_byte() {
        let private = || PrivateKey::from_private_key(&ECDH_P256, &bytes::<32>(SENDER_PRIVATE)).unwrap();
        assert_eq!(encode(private().compute_public_key().unwrap().as_ref()), SENDER);
        let peer = UnparsedPublicKey::new(&ECDH_P256, bytes::<65>(RECEIVER));
        let shared = agreement::agree(&private(), peer, Unspecified, |shared| Ok(shared.to_vec())).unwrap();
        assert_eq!(encode(&shared), SHARED);
        let ikm = input_key(&shared, &receiver(), &bytes::<65>(SENDER)).unwrap();
        assert_eq!(encode(&ikm), IKM);
        let keys = message_keys(&ikm, &bytes(SALT)).unwrap();
        assert_eq!((encode(&keys.content).as_str(), encode(&keys.nonce).as_str()), (CEK, NONCE));
        let ephemeral = Ephemeral { private: private(), salt: bytes(SALT) };
        let body = encrypt(PLAINTEXT.as_bytes(), &receiver(), &ephemeral).unwrap();
        assert_eq!((encode(&body).as_str(), body.len()), (BODY, 144));
    }

    #[test]
    fn the_largest_plaintext_fills_one_record() {
        let body = |size| {
            let ephemeral = Ephemeral::new([7; 16]).unwrap();
            encrypt(&vec![b'x'; size], &receiver(), &ephemeral).unwrap()
        };
        assert_eq!((MAX_PLAINTEXT, body(MAX_PLAINTEXT).len(), body(0).len()), (3993, 4096, 103));
        assert_ne!(body(10), body(10), "the key pair is new each time");
    }
}
