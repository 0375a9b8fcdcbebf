//! Types for configuration values: durations, sizes, networks, lists and patterns.

use std::fmt;
use std::marker::PhantomData;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;
use serde::de::value::SeqAccessDeserializer;
use serde::de::{Error, IntoDeserializer, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// A duration such as `500ms`, `10s`, `5m`, `24h` or `7d`; `0` is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HumanDuration(Duration);

impl HumanDuration {
    /// From milliseconds, for defaults.
    pub const fn from_millis(millis: u64) -> Self {
        Self(Duration::from_millis(millis))
    }

    /// From seconds, for defaults.
    pub const fn from_secs(secs: u64) -> Self {
        Self(Duration::from_secs(secs))
    }

    /// The duration.
    pub const fn get(self) -> Duration {
        self.0
    }
}

impl FromStr for HumanDuration {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("expected a duration such as \"500ms\", \"10s\", \"5m\", \"24h\" or \"7d\", found \"{text}\"");
        let (number, unit) = split_unit(text).ok_or_else(wrong)?;
        let millis: u64 = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "" if number == 0 => 0,
            _ => return Err(wrong()),
        };
        number.checked_mul(millis).map(Self::from_millis).ok_or_else(wrong)
    }
}

/// A size in bytes: `4096`, `512KiB`, `1MiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteSize(usize);

impl ByteSize {
    /// From bytes, for defaults.
    pub const fn from_bytes(bytes: usize) -> Self {
        Self(bytes)
    }

    /// The number of bytes.
    pub const fn get(self) -> usize {
        self.0
    }
}

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("expected a size such as \"4096\", \"512KiB\" or \"1MiB\", found \"{text}\"");
        let (number, unit) = split_unit(text).ok_or_else(wrong)?;
        let factor: u64 = match unit {
            "" | "B" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            _ => return Err(wrong()),
        };
        number.checked_mul(factor).and_then(|bytes| usize::try_from(bytes).ok()).map(Self).ok_or_else(wrong)
    }
}

fn split_unit(text: &str) -> Option<(u64, &str)> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    Some((text[..end].parse().ok()?, text[end..].trim_start()))
}

/// A network: `10.0.0.0/8`, `fd00::/8`, or a single address.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Cidr(IpNet);

impl Cidr {
    /// Whether the network lies within `other`.
    pub fn is_within(&self, other: &Self) -> bool {
        other.0.contains(&self.0)
    }

    /// Whether the network has so many addresses that most of the Internet may be in it.
    pub fn is_most_of_the_internet(&self) -> bool {
        // 10.0.0.0/8 and fc00::/7 are the largest private networks.
        self.0.prefix_len() < if matches!(self.0, IpNet::V4(_)) { 8 } else { 7 }
    }

    /// Whether the network contains the address.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address)
    }
}

impl FromStr for Cidr {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let net = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        net.map(Self)
            .map_err(|_| format!("expected a network such as \"10.0.0.0/8\" or \"fd00::/8\", found \"{text}\""))
    }
}

impl fmt::Debug for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

macro_rules! deserialize_from_str {
    ($($name:ty),*) => {$(
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
            }
        }
    )*};
}
deserialize_from_str!(Cidr);

/// A number is written with a unit, which is a text, or without one.
struct WithUnit<T>(&'static str, PhantomData<T>);

impl<T: FromStr<Err = String>> Visitor<'_> for WithUnit<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }
}

impl<'de> Deserialize<'de> for HumanDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WithUnit("a duration such as \"10s\"", PhantomData))
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WithUnit("a size such as \"1MiB\"", PhantomData))
    }
}

/// For `deserialize_with`: one of several words; the error for any other value lists them.
///
/// # Errors
/// The deserializer's, with the known words.
pub fn word<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    T::deserialize(String::deserialize(deserializer)?.into_deserializer())
}

/// [`word`] for an optional key.
///
/// # Errors
/// Those of [`word`].
pub fn optional_word<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    word(deserializer).map(Some)
}

/// One value or a list; in the environment a list is separated by commas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OneOrMany<T>(Vec<T>);

impl<T> OneOrMany<T> {
    /// The values in their order.
    pub fn as_slice(&self) -> &[T] {
        &self.0
    }

    /// Whether there is no value.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<T> Default for OneOrMany<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> From<Vec<T>> for OneOrMany<T> {
    fn from(values: Vec<T>) -> Self {
        Self(values)
    }
}

impl<'de, T> Deserialize<'de> for OneOrMany<T>
where
    T: Deserialize<'de> + FromStr,
    T::Err: fmt::Display,
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Values<T>(PhantomData<T>);

        impl<'de, T> Visitor<'de> for Values<T>
        where
            T: Deserialize<'de> + FromStr,
            T::Err: fmt::Display,
        {
            type Value = OneOrMany<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or a list of texts")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                if text.starts_with("[\"") || text.starts_with("['") {
                    return Err(E::custom("expected a list separated by commas, without brackets and quotes"));
                }
                let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
                parts.map(|part| part.parse().map_err(E::custom)).collect::<Result<_, _>>().map(OneOrMany)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(seq)).map(OneOrMany)
            }
        }

        deserializer.deserialize_any(Values(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{ByteSize, Cidr, HumanDuration};

    #[test]
    fn durations_and_sizes_are_parsed() {
        for (text, millis) in [
            ("500ms", 500),
            ("10s", 10_000),
            ("5m", 300_000),
            ("24h", 86_400_000),
            ("0", 0),
            ("36500d", 3_153_600_000_000),
        ] {
            assert_eq!(text.parse::<HumanDuration>().unwrap().get(), Duration::from_millis(millis), "{text}");
        }
        for text in ["", "10", "s", "-1s", "1.5s", "1w", "99999999999999999999s", "18446744073709551615d"] {
            assert!(text.parse::<HumanDuration>().is_err(), "{text}");
        }
        assert_eq!("512KiB".parse::<ByteSize>().unwrap().get(), 524_288);
        assert_eq!("4096".parse::<ByteSize>().unwrap().get(), 4096);
        assert!("1MB".parse::<ByteSize>().is_err());
    }

    #[test]
    fn a_network_is_parsed_with_or_without_its_length() {
        assert_eq!("10.0.0.5".parse::<Cidr>(), "10.0.0.5/32".parse());
        assert!("::1".parse::<Cidr>().unwrap().contains("::1".parse().unwrap()));
        assert!(!"10.0.0.0/8".parse::<Cidr>().unwrap().contains("11.0.0.1".parse().unwrap()));
        assert!("10.0.0.0/33".parse::<Cidr>().is_err());
        assert!("hs.example".parse::<Cidr>().is_err());
    }
}
