//! The encrypted body of a push (RFC 8188, RFC 8291).
//!
//! Invariant: the gateway cannot decrypt it and passes it on unchanged; but what is no encrypted message never reaches a push
//! service.

/// The largest body in bytes (RFC 8030, section 7.2).
pub(crate) const LARGEST: usize = 4096;

/// The salt, the record size, the length of the key's name and the key: an uncompressed point of P-256.
const HEAD: usize = 16 + 4 + 1 + POINT;
const POINT: usize = 65;
/// The delimiter of the last record, and the tag.
const LEAST_RECORD: usize = 1 + 16;

/// Whether `body` is one record of `aes128gcm` with the sender's key. An empty one is a wake-up.
pub(crate) fn is_message(body: &[u8]) -> bool {
    if body.is_empty() {
        return true;
    }
    let Some(([_, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, a, b, c, d, length, form], _)) =
        body.split_first_chunk::<22>()
    else {
        return false;
    };
    let record_size = u64::from(u32::from_be_bytes([*a, *b, *c, *d]));
    let record = body.len().saturating_sub(HEAD);
    usize::from(*length) == POINT
        && *form == 4
        && record >= LEAST_RECORD
        && record_size >= 18
        && record_size >= record as u64
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::is_message;

    fn body(length: usize, record_size: u32, key_length: u8, form: u8) -> Vec<u8> {
        let mut body = [&[0; 16], &record_size.to_be_bytes()[..], &[key_length, form]].concat();
        body.resize(length, 0x11);
        body
    }

    #[test]
    fn one_record_with_a_key_of_the_sender_is_a_message() {
        // RFC 8291, section 5.
        let example = "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6P\
                       Bru3jl7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN";
        assert!(is_message(&URL_SAFE_NO_PAD.decode(example).unwrap()));
        for (is_right, body) in [
            (true, Vec::new()),
            (true, body(103, 4096, 65, 4)),
            (true, body(4096, 4096, 65, 4)),
            (true, body(4096, 4010, 65, 4)),
            (true, body(104, u32::MAX, 65, 4)),
            (true, body(104, 18, 65, 4)),
            (false, body(102, 4096, 65, 4)),
            (false, body(104, 17, 65, 4)),
            (false, body(104, 0, 65, 4)),
            (false, body(4096, 4009, 65, 4)),
            (false, body(4096, 18, 65, 4)),
            (false, body(200, 4096, 0, 4)),
            (false, body(200, 4096, 64, 4)),
            (false, body(200, 4096, 255, 4)),
            (false, body(200, 4096, 65, 2)),
            (false, b"{\"notification\":{}}".to_vec()),
            (false, vec![4; 21]),
        ] {
            assert_eq!(is_message(&body), is_right, "{}", body.len());
        }
    }
}
