//! A request, independent of the protocol of the connection.
//!
//! Invariant: a request can be sent again as it is.

use bytes::Bytes;
use http::header::{HOST, HeaderMap, HeaderValue};
use http::uri::PathAndQuery;
use http::{Method, Request, Uri};

use super::origin::Origin;

/// A request to an origin.
#[derive(Clone, Debug)]
pub(crate) struct UpstreamRequest {
    pub(crate) method: Method,
    pub(crate) path: PathAndQuery,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl UpstreamRequest {
    /// A POST with this content.
    pub(crate) fn post(path: PathAndQuery, headers: HeaderMap, body: Bytes) -> Self {
        Self { method: Method::POST, path, headers, body }
    }

    /// The head for HTTP/2.
    pub(super) fn http2(&self, origin: &Origin) -> Request<()> {
        let mut uri = http::uri::Parts::default();
        (uri.scheme, uri.authority) = (Some(origin.scheme().clone()), Some(origin.authority().clone()));
        uri.path_and_query = Some(self.path.clone());
        self.with(Uri::from_parts(uri).unwrap_or_default(), ())
    }

    /// The request for HTTP/1.1.
    pub(super) fn http1<B>(&self, origin: &Origin, body: B) -> Request<B> {
        let mut request = self.with(Uri::from(self.path.clone()), body);
        if let Ok(host) = HeaderValue::from_str(origin.authority().as_str()) {
            request.headers_mut().insert(HOST, host);
        }
        request
    }

    fn with<B>(&self, uri: Uri, body: B) -> Request<B> {
        let mut request = Request::new(body);
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = uri;
        *request.headers_mut() = self.headers.clone();
        request
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::HeaderMap;
    use http::uri::PathAndQuery;

    use super::super::origin::Origin;
    use super::UpstreamRequest;

    #[test]
    fn http2_has_the_origin_in_its_uri_and_http1_in_a_field() {
        let path = PathAndQuery::from_static("/3/device/ab?x=1");
        let request = UpstreamRequest::post(path, HeaderMap::new(), Bytes::from_static(b"{}"));
        for (endpoint, authority) in [
            ("https://a.example:8443", "a.example:8443"),
            ("https://a.example:443", "a.example"),
            ("https://[::1]", "[::1]"),
        ] {
            let origin = Origin::parse_https(endpoint).unwrap();
            let http2 = request.http2(&origin);
            assert_eq!(http2.uri().to_string(), format!("https://{authority}/3/device/ab?x=1"));
            assert!(http2.headers().is_empty());
            let http1 = request.http1(&origin, request.body.clone());
            assert_eq!(http1.uri().to_string(), "/3/device/ab?x=1");
            assert_eq!((http1.headers()["host"].to_str().unwrap(), http1.method().as_str()), (authority, "POST"));
        }
    }
}
