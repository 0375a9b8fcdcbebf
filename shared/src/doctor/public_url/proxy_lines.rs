//! The lines that a reverse proxy lacks, as in `deploy/reverse-proxy/`.

use super::PublicUrl;
use crate::doctor::Report;

/// Suggests them for nginx and Caddy.
pub(super) fn suggest(report: &mut Report, public: &PublicUrl<'_>) {
    let (upstream, paths) = (public.listens_on, public.passed_on);
    let prefix = public.base.path().trim_end_matches('/');
    report.suggest(
        "nginx, in the server block of this host, before other locations (deploy/reverse-proxy/nginx.conf):",
        format!(
            "location ~ ^{prefix}({}) {{\n    proxy_pass http://{upstream};\n    proxy_http_version 1.1;\n    proxy_set_header \
             Connection \"\";\n    proxy_set_header Host $http_host;\n    proxy_set_header X-Forwarded-For $remote_addr;\n    \
             proxy_read_timeout 90s;\n    proxy_next_upstream off;\n    client_max_body_size 2m;\n}}",
            paths.join("|")
        ),
    );
    let globs: Vec<String> = paths.iter().map(|path| format!("{prefix}{path}*")).collect();
    report.suggest(
        "or Caddy, in the block of this host (deploy/reverse-proxy/Caddyfile):",
        format!("@{name} path {}\nreverse_proxy @{name} {upstream}", globs.join(" "), name = public.program),
    );
    if !prefix.is_empty() {
        report.suggest(&format!("{}, because these lines leave the path as it is:", public.program), {
            format!("[http]\nbase_path = \"{prefix}\"")
        });
    }
}
