//! An HTTP client for tests: sends exactly the given bytes and returns exactly the response.
//!
//! Invariant: no redirect is followed, no proxy used, no body decoded; a test sees the server's own answer.

use std::sync::Arc;
use std::time::Duration;

use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE};
use hyper::{HeaderMap, Method, StatusCode};
use serde_json::Value;
use url::form_urlencoded;

use crate::{staleness, transcript};

/// A listener to talk to.
#[derive(Clone, Debug)]
pub struct Api {
    base: String,
    client: reqwest::Client,
    /// The admin listeners of the replicas that must read a change before the next request.
    replicas: Arc<[String]>,
}

/// A request that is being put together.
#[derive(Clone, Debug)]
#[must_use = "a request goes out with send()"]
pub struct Call {
    api: Api,
    method: Method,
    path: String,
    headers: HeaderMap,
    body: Bytes,
}

/// What came back, with what was asked.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The method asked with.
    pub method: Method,
    /// The path asked for, with its query.
    pub path: String,
    /// The body sent.
    pub sent: Bytes,
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Api {
    /// A client of the listener at `base`, `http://127.0.0.1:PORT`.
    pub fn new(base: &str) -> Self {
        Self::with(base, reqwest::Client::builder())
    }

    /// As [`Api::new`], over TLS, trusting the authority of `ca_pem`.
    ///
    /// # Panics
    /// If `ca_pem` is no certificate.
    pub fn trusting(base: &str, ca_pem: &str) -> Self {
        let authority = reqwest::Certificate::from_pem(ca_pem.as_bytes()).expect("a certificate in PEM");
        Self::with(base, reqwest::Client::builder().tls_certs_only([authority]))
    }

    fn with(base: &str, client: reqwest::ClientBuilder) -> Self {
        #[expect(clippy::disallowed_types, reason = "it is the redirect that a test wants to see")]
        let never = reqwest::redirect::Policy::none();
        let client = client.no_proxy().redirect(never).timeout(Duration::from_secs(60)).build();
        let (base, client) = (base.trim_end_matches('/').to_owned(), client.expect("a client with fixed settings"));
        Self { base, client, replicas: Arc::default() }
    }

    /// A client of replicas behind a proxy at `base`: each request goes to the next replica. The answer to a bind, an
    /// unbind or a logout comes when the replicas with these admin listeners have read it.
    pub(crate) fn of_replicas(base: &str, admin_urls: Vec<String>) -> Self {
        // The proxy leads each connection to the next replica.
        let api = Self::with(base, reqwest::Client::builder().pool_max_idle_per_host(0));
        Self { replicas: admin_urls.into(), ..api }
    }

    /// A `GET` request.
    pub fn get(&self, path: &str) -> Call {
        self.request(Method::GET, path)
    }

    /// A `POST` request with a JSON body.
    #[expect(clippy::needless_pass_by_value, reason = "tests write json!(…) in place")]
    pub fn post(&self, path: &str, body: Value) -> Call {
        self.request(Method::POST, path).json(&body)
    }

    /// A `PUT` request with a JSON body.
    #[expect(clippy::needless_pass_by_value, reason = "tests write json!(…) in place")]
    pub fn put(&self, path: &str, body: Value) -> Call {
        self.request(Method::PUT, path).json(&body)
    }

    /// A `DELETE` request.
    pub fn delete(&self, path: &str) -> Call {
        self.request(Method::DELETE, path)
    }

    /// A request of any method, without a body so far. `path` starts with `/` and may have a query.
    pub fn request(&self, method: Method, path: &str) -> Call {
        Call { api: self.clone(), method, path: path.to_owned(), headers: HeaderMap::new(), body: Bytes::new() }
    }
}

impl Call {
    /// Adds `Authorization: Bearer …`.
    pub fn bearer(self, token: &str) -> Self {
        self.header(AUTHORIZATION.as_str(), &format!("Bearer {token}"))
    }

    /// Adds a header; one given twice is sent twice.
    ///
    /// # Panics
    /// If it cannot be a header: send such things with [`crate::raw`].
    pub fn header(self, name: &str, value: &str) -> Self {
        self.header_bytes(name, value.as_bytes())
    }

    /// As [`Call::header`], for a value that need not be UTF-8.
    ///
    /// # Panics
    /// As [`Call::header`].
    pub fn header_bytes(mut self, name: &str, value: &[u8]) -> Self {
        let name = hyper::header::HeaderName::from_bytes(name.as_bytes()).expect("a header name");
        self.headers.append(name, hyper::header::HeaderValue::from_bytes(value).expect("a header value"));
        self
    }

    /// The first header of that name that will be sent.
    pub fn header_value(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// Adds a query parameter, percent-encoded.
    pub fn query(mut self, name: &str, value: &str) -> Self {
        let pair: String = form_urlencoded::Serializer::new(String::new()).append_pair(name, value).finish();
        self.path = format!("{}{}{pair}", self.path, if self.path.contains('?') { '&' } else { '?' });
        self
    }

    /// Takes `body` as it is, with no Content-Type but the one a [`Call::header`] gives.
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Takes `body` as JSON.
    pub fn json(mut self, body: &Value) -> Self {
        self.headers.insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static("application/json"));
        self.body(body.to_string())
    }

    /// Takes `fields` as an `application/x-www-form-urlencoded` body.
    pub fn form(mut self, fields: &[(&str, &str)]) -> Self {
        let form = hyper::header::HeaderValue::from_static("application/x-www-form-urlencoded");
        self.headers.insert(CONTENT_TYPE, form);
        let body: String = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        self.body(body)
    }

    /// Sends it and reads the whole answer.
    ///
    /// # Panics
    /// If no answer comes.
    pub async fn send(self) -> Answer {
        let (method, path) = (self.method.clone(), self.path.clone());
        self.try_send().await.unwrap_or_else(|error| panic!("{method} {path}: {error:?}"))
    }

    /// As [`Call::send`], to a server that may be gone.
    ///
    /// # Errors
    /// What kept the whole answer from coming.
    pub async fn try_send(self) -> Result<Answer, reqwest::Error> {
        let Self { api, method, path, headers, body } = self;
        let url = format!("{}{path}", api.base);
        let request = api.client.request(method.clone(), &url).headers(headers).body(body.clone());
        let response = request.send().await?;
        let (status, headers) = (response.status(), response.headers().clone());
        let received = response.bytes().await?;
        let is_change = path.split('?').next().is_some_and(|path| path.ends_with("bind") || path.ends_with("/logout"));
        if is_change && status.is_success() {
            staleness::wait_for_replicas(&api.client, &api.replicas).await;
        }
        Ok(Answer { method, path, sent: body, status, headers, body: received })
    }
}

impl Answer {
    /// The status as a number.
    pub fn code(&self) -> u16 {
        self.status.as_u16()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// If it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("not JSON ({error}):\n{self}"))
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The first header of that name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The JSON body, after a check of the status.
    ///
    /// # Panics
    /// If the status is another one or the body is no JSON; the message shows the exchange.
    #[track_caller]
    pub fn expect(&self, status: u16) -> Value {
        assert!(self.code() == status, "{status} expected:\n{self}");
        self.json()
    }

    /// Checks status and `errcode`; gives the JSON body.
    ///
    /// # Panics
    /// If one of them is another; the message shows the exchange.
    #[track_caller]
    pub fn refused(&self, status: u16, errcode: &str) -> Value {
        let body = self.expect(status);
        assert!(body["errcode"] == errcode, "{errcode} expected:\n{self}");
        body
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&exchange(self))
    }
}

/// Method, path and body of the request, then status and body of the answer; JSON indented, long text cut.
fn exchange(answer: &Answer) -> String {
    let mut text = format!("{} {}\n", answer.method, answer.path);
    text.push_str(&transcript::body("  > ", &answer.sent));
    text.push_str(&format!("{}\n", answer.status));
    text.push_str(&transcript::body("  < ", &answer.body));
    text
}

#[cfg(test)]
mod tests {
    use super::{Answer, Api};
    use crate::homeserver::{Fault, Homeserver};
    use hyper::{HeaderMap, Method, StatusCode};
    use serde_json::json;

    #[tokio::test]
    async fn it_sends_the_given_request_and_follows_no_redirect() {
        let server = Homeserver::start("127.0.0.1").await;
        server.fault("/moved", Fault::redirect("/elsewhere"));
        let api = Api::trusting(&format!("https://{}", server.address()), &server.authority().pem());

        let answer = api.get("/moved").query("a", "b&c").bearer("t").header("x-a", "1").header("x-a", "2").send().await;
        assert_eq!((answer.code(), answer.header("location")), (302, Some("/elsewhere")));
        let seen = server.requests().pop().unwrap();
        assert_eq!(seen.target, "/moved?a=b%26c");
        assert_eq!(seen.header("authorization"), Some("Bearer t"));
        assert_eq!(seen.headers.get_all("x-a").iter().count(), 2);

        let answer = api.post("/nowhere", json!({"a": 1})).send().await;
        assert_eq!(answer.refused(404, "M_UNRECOGNIZED")["errcode"], "M_UNRECOGNIZED");
        let seen = server.requests().pop().unwrap();
        assert_eq!(
            (seen.body.as_ref(), seen.header("content-type")),
            (br#"{"a":1}"#.as_slice(), Some("application/json"))
        );

        api.request(Method::POST, "/f").form(&[("a b", "ä&")]).send().await;
        let seen = server.requests().pop().unwrap();
        assert_eq!(seen.body.as_ref(), b"a+b=%C3%A4%26");
    }

    #[tokio::test]
    #[should_panic(expected = "200 expected:\nGET /nowhere")]
    async fn an_unexpected_status_shows_the_exchange() {
        let server = Homeserver::start("127.0.0.1").await;
        let api = Api::trusting(&format!("https://{}", server.address()), &server.authority().pem());
        api.get("/nowhere").send().await.expect(200);
    }

    #[tokio::test]
    #[should_panic(expected = "GET /")]
    async fn a_certificate_of_another_authority_is_refused() {
        let (server, other) = (Homeserver::start("127.0.0.1").await, Homeserver::start("127.0.0.1").await);
        let api = Api::trusting(&format!("https://{}", server.address()), &other.authority().pem());
        api.get("/").send().await;
    }

    #[test]
    fn an_exchange_reads_from_top_to_bottom() {
        let answer = Answer {
            method: Method::POST,
            path: "/lookup".to_owned(),
            sent: r#"{"a":1}"#.into(),
            status: StatusCode::BAD_REQUEST,
            headers: HeaderMap::new(),
            body: "no".into(),
        };
        assert_eq!(answer.to_string(), "POST /lookup\n  > {\n  >   \"a\": 1\n  > }\n400 Bad Request\n  < no\n");
    }
}
