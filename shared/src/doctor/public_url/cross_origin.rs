//! Whether browsers of every origin can use the service through the reverse proxy.

use hyper::Method;
use hyper::header::{ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_ORIGIN, HeaderName, ORIGIN};

use super::{PublicUrl, proxy_lines};
use crate::doctor::Report;
use crate::doctor::prober::Prober;
use crate::outbound::client::Reply;

const CORS: &str = "cross-origin headers";

pub(super) async fn check(report: &mut Report, prober: &Prober, public: &PublicUrl<'_>) {
    let url = public.url_of(public.path);
    let origin = [(ORIGIN.as_str(), "https://app.example.org")];
    let preflight = [origin[0], ("access-control-request-method", "POST")];
    for (method, headers) in [(Method::OPTIONS, &preflight[..]), (Method::GET, &origin)] {
        let reply = match prober.request(method.clone(), &url, headers).await {
            Ok(reply) => reply,
            Err(failure) => {
                report.failed(CORS, format!("{method} {url}: {failure}"), "let the reverse proxy pass every method on");
                return;
            }
        };
        let Err((cause, next_step)) = permits_browsers(&reply, method == Method::OPTIONS) else { continue };
        report.failed(CORS, format!("{method} {url} {cause}"), next_step);
        proxy_lines::suggest(report, public);
        return;
    }
    report.good(CORS, "browsers of every origin can read the responses");
}

/// Whether a web page of any origin may send what clients send (Fetch, section 3.2; the server's own values are those of the
/// specification's "Web browser clients").
fn permits_browsers(reply: &Reply, is_preflight: bool) -> Result<(), (&'static str, &'static str)> {
    let values = |name: HeaderName| -> Vec<String> {
        let values = reply.headers.get_all(name).iter();
        values.map(|value| String::from_utf8_lossy(value.as_bytes()).to_lowercase()).collect()
    };
    match values(ACCESS_CONTROL_ALLOW_ORIGIN).as_slice() {
        [one] if one == "*" => {}
        [] => {
            return Err((
                "has no Access-Control-Allow-Origin",
                "let the reverse proxy pass OPTIONS on and remove no header",
            ));
        }
        [_] => {
            return Err((
                "has another Access-Control-Allow-Origin than \"*\"",
                "remove the header from the reverse proxy",
            ));
        }
        _ => {
            return Err((
                "has Access-Control-Allow-Origin twice, which browsers refuse",
                "remove it from the reverse proxy: the service sends it itself",
            ));
        }
    }
    let names = |name: HeaderName, wanted: &str| {
        values(name).iter().any(|value| value.split(',').any(|word| word.trim() == wanted))
    };
    // "*" does not include Authorization.
    if is_preflight && !names(ACCESS_CONTROL_ALLOW_HEADERS, "authorization") {
        return Err((
            "has no Authorization in Access-Control-Allow-Headers, so browsers send no access token",
            "let the reverse proxy pass OPTIONS on and change no header",
        ));
    }
    Ok(())
}
