//! A request as a homeserver signs it: the `Authorization: X-Matrix` header and everything that may be wrong about it.
//!
//! Invariant: written on its own, without the services' code for the same thing; what is not changed is right.

use serde_json::{Value, json};

use super::Key;

/// A request that is being signed. The signed parts and the header can differ.
#[derive(Clone, Debug)]
#[must_use = "a signature is read with header() or parameters()"]
pub struct XMatrix {
    key: Key,
    origin: String,
    method: String,
    uri: String,
    content: Value,
    member: Option<(String, String)>,
    destination: Option<String>,
}

impl XMatrix {
    /// `content` posted to `uri` by `origin`, the way Synapse does it: `destination` is signed as `destination_is` and
    /// stands in the header as `destination`.
    pub fn new(origin: &str, key: Key, uri: &str, destination: &str, content: &Value) -> Self {
        Self {
            key,
            origin: origin.to_owned(),
            method: "POST".to_owned(),
            uri: uri.to_owned(),
            content: content.clone(),
            member: Some(("destination_is".to_owned(), destination.to_owned())),
            destination: Some(destination.to_owned()),
        }
    }

    /// Signed with another key.
    pub fn key(mut self, key: Key) -> Self {
        self.key = key;
        self
    }

    /// In the name of another homeserver.
    pub fn origin(mut self, origin: &str) -> Self {
        origin.clone_into(&mut self.origin);
        self
    }

    /// Signed for another method.
    pub fn method(mut self, method: &str) -> Self {
        method.clone_into(&mut self.method);
        self
    }

    /// Signed for another path and query.
    pub fn uri(mut self, uri: &str) -> Self {
        uri.clone_into(&mut self.uri);
        self
    }

    /// Signed over another body.
    pub fn content(mut self, content: &Value) -> Self {
        self.content = content.clone();
        self
    }

    /// Signed for `name` under this member (`destination`, `destination_is`) instead.
    pub fn signed_for(mut self, member: &str, name: &str) -> Self {
        self.member = Some((member.to_owned(), name.to_owned()));
        self
    }

    /// Signed without saying for whom.
    pub fn without_signed_destination(mut self) -> Self {
        self.member = None;
        self
    }

    /// With another `destination` in the header, or none.
    pub fn destination(mut self, destination: Option<&str>) -> Self {
        self.destination = destination.map(str::to_owned);
        self
    }

    /// The parameters of the header, in the usual order.
    pub fn parameters(&self) -> Vec<(&'static str, String)> {
        let mut object = json!({
            "method": self.method, "uri": self.uri, "origin": self.origin, "content": self.content,
        });
        if let Some((member, name)) = &self.member {
            object[member] = json!(name);
        }
        let mut parameters = vec![
            ("origin", self.origin.clone()),
            ("key", self.key.id().to_owned()),
            ("sig", self.key.signature(&object)),
        ];
        parameters.extend(self.destination.clone().map(|destination| ("destination", destination)));
        parameters
    }

    /// The whole header, as homeservers write it.
    pub fn header(&self) -> String {
        let parameters: Vec<String> =
            self.parameters().iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
        format!("X-Matrix {}", parameters.join(","))
    }
}
