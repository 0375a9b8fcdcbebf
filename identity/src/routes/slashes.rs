//! Slashes in a row in a path count as one: clients append paths to base URLs that end with a slash.
//!
//! Invariant: the query stays as it is. A request without such a path costs one search; actix's own middleware runs a
//! regular expression on every path.

use actix_web::Error;
use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Uri;
use actix_web::http::uri::PathAndQuery;
use actix_web::middleware::Next;

/// The middleware; install it with `actix_web::middleware::from_fn`.
pub(super) async fn merge_slashes<B: MessageBody>(
    mut request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, Error> {
    if let Some(uri) = merged(request.uri()) {
        request.match_info_mut().get_mut().update(&uri);
        request.head_mut().uri = uri;
    }
    next.call(request).await
}

/// The URI with single slashes; none if it has no others, or without them is none.
fn merged(uri: &Uri) -> Option<Uri> {
    let path = uri.path();
    if !path.contains("//") {
        return None;
    }
    let mut merged = String::with_capacity(uri.path().len());
    for character in path.chars() {
        if character != '/' || !merged.ends_with('/') {
            merged.push(character);
        }
    }
    if let Some(query) = uri.query() {
        merged.push('?');
        merged.push_str(query);
    }
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(merged).ok()?);
    Uri::from_parts(parts).ok()
}

#[cfg(test)]
mod tests {
    use actix_web::http::Uri;

    use super::merged;

    #[test]
    fn only_slashes_of_the_path_are_merged() {
        for (uri, expected) in [
            ("/a/b", None),
            ("/", None),
            ("/a?x=//", None),
            ("//", Some("/")),
            ("//a///b/?x=//y", Some("/a/b/?x=//y")),
            ("/a//", Some("/a/")),
            ("http://hs//a", Some("http://hs/a")),
        ] {
            let merged = merged(&uri.parse::<Uri>().unwrap()).map(|uri| uri.to_string());
            assert_eq!(merged.as_deref(), expected, "{uri}");
        }
    }
}
