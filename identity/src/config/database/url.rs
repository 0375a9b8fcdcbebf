//! The URL of a PostgreSQL database: which part of it cannot work.
//!
//! Invariant: no text contains a part of the user, the password, or what may be one of them.

use std::net::IpAddr;

/// The advice for a password that is written into the URL as it is.
const UNESCAPED: &str = "the user or the password has a character that must be percent-encoded in a URL: @ is %40, / is %2F, \
                         # is %23, ? is %3F, % is %25, a space is %20";

/// Options whose value is a number of seconds, or another whole number.
const NUMBERS: [&str; 6] = [
    "connect_timeout",
    "tcp_user_timeout",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_retries",
];

/// Options whose value is any text.
const TEXTS: [&str; 7] = ["user", "password", "dbname", "options", "application_name", "host", "port"];

/// Options whose value is one of several words.
const WORDS: [(&str, &[&str]); 5] = [
    ("sslmode", &["disable", "prefer", "require", "verify-ca", "verify-full"]),
    ("sslnegotiation", &["postgres", "direct"]),
    ("target_session_attrs", &["any", "read-write", "read-only"]),
    ("channel_binding", &["disable", "prefer", "require"]),
    ("load_balance_hosts", &["disable", "random"]),
];

/// The parts of a URL.
struct Parts<'a> {
    login: Option<&'a str>,
    hosts: &'a str,
    name: &'a str,
    options: Vec<(&'a str, &'a str)>,
}

/// The first part that cannot work, with what is expected; `None` for another kind of URL.
pub(super) fn problem(url: &str) -> Option<String> {
    let rest = after_scheme(url)?;
    if has_unescaped_login(rest) {
        return Some(UNESCAPED.to_owned());
    }
    let parts = Parts::of(rest);
    let (hosts, ports) = match parts.hosts_and_ports() {
        Ok(found) => found,
        Err(problem) => return Some(problem.to_owned()),
    };
    if let Some(c) = parts.name.chars().find(|c| c.is_whitespace() || *c == '#') {
        let code = if c == '#' { "%23" } else { "%20" };
        return Some(format!("the name of the database has {c:?}; write {code} instead"));
    }
    if let Some(problem) = parts.options.iter().find_map(|(key, value)| wrong_option(key, value)) {
        return Some(problem);
    }
    let entries = |key: &str| parts.option(key).map_or(0, |value| value.split(',').count());
    let (hosts, ports) = (hosts + entries("host"), ports + entries("port"));
    let addresses = entries("hostaddr");
    if hosts + addresses == 0 {
        return Some(
            "has no host; write postgres://user@host/name, or ?host=/run/postgresql for a unix socket".to_owned(),
        );
    }
    if hosts > 0 && addresses > 0 && hosts != addresses {
        return Some("the option hostaddr has another number of entries than there are hosts".to_owned());
    }
    let servers = if hosts > 0 { hosts } else { addresses };
    (ports > 1 && ports != servers).then(|| {
        "there are more ports than hosts; write the port after each host, and remove the option port".to_owned()
    })
}

/// Whether the URL turns TLS off for a server beyond this machine.
pub(super) fn is_plain_beyond_this_machine(url: &str) -> bool {
    let Some(rest) = after_scheme(url) else { return false };
    let parts = Parts::of(rest);
    let hosts = parts.hosts.split(',').chain(parts.option("host").into_iter().flat_map(|hosts| hosts.split(',')));
    let is_local = |host: &str| {
        let name = match host.strip_prefix('[') {
            Some(address) => address.split(']').next().unwrap_or_default(),
            None => host.split(':').next().unwrap_or_default(),
        };
        let is_socket = name.is_empty() || name.starts_with('/') || name.to_ascii_lowercase().starts_with("%2f");
        is_socket
            || name.eq_ignore_ascii_case("localhost")
            || name.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
    };
    parts.option("sslmode") == Some("disable") && !hosts.into_iter().all(is_local)
}

fn after_scheme(url: &str) -> Option<&str> {
    ["postgres://", "postgresql://"].iter().find_map(|scheme| url.strip_prefix(scheme))
}

/// Whether the user or the password has a character that ends this part of a URL. The driver would look for a wrong host or
/// log in with a wrong password.
fn has_unescaped_login(rest: &str) -> bool {
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let is_encoded = |part: &str| part.get(..2).is_some_and(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()));
    let login = authority.rsplit_once('@').map_or("", |(login, _)| login);
    !authority.contains('@') && rest.contains('@')
        || authority.matches('@').count() > 1
        || rest.split('?').next().is_some_and(|place| place.matches('@').count() > 1)
        || login.contains(char::is_whitespace)
        || !login.split('%').skip(1).all(is_encoded)
}

fn wrong_option(key: &str, value: &str) -> Option<String> {
    if let Some((_, words)) = WORDS.iter().find(|(known, _)| *known == key) {
        let expected = || format!("the option {key} is not one of {}", words.join(", "));
        return (!words.contains(&value)).then(expected);
    }
    if NUMBERS.contains(&key) {
        return value.parse::<i64>().is_err().then(|| format!("the option {key} is not a whole number"));
    }
    match key {
        "port" => (!value.split(',').all(|port| port.is_empty() || is_port(port)))
            .then(|| "the option port is not a number from 1 to 65535".to_owned()),
        "hostaddr" => (!value.split(',').all(|address| address.parse::<IpAddr>().is_ok()))
            .then(|| "the option hostaddr is not an IP address".to_owned()),
        "sslrootcert" | "sslcert" | "sslkey" => {
            Some(format!("there is no option {key}; for an authority of your own set [outbound] extra_ca_file"))
        }
        "ssl" | "tls" => Some(format!("there is no option {key}; write sslmode=require or sslmode=disable")),
        key if TEXTS.contains(&key) => None,
        // Not named: it may be a part of a password.
        _ => {
            let words = WORDS.iter().map(|(known, _)| *known);
            let known: Vec<&str> = TEXTS.into_iter().chain(NUMBERS).chain(words).chain(["hostaddr"]).collect();
            Some(format!(
                "has an option that does not exist; expected {}; a ? in a password must be percent-encoded: %3F",
                known.join(", ")
            ))
        }
    }
}

fn is_port(text: &str) -> bool {
    text.parse::<u16>().is_ok_and(|port| port > 0)
}

impl<'a> Parts<'a> {
    fn of(rest: &'a str) -> Self {
        let (place, options) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, name) = place.split_once('/').unwrap_or((place, ""));
        let (login, hosts) = match authority.rsplit_once('@') {
            Some((login, hosts)) => (Some(login), hosts),
            None => (None, authority),
        };
        let options = options.split('&').filter(|option| !option.is_empty());
        Self {
            login,
            hosts,
            name,
            options: options.map(|option| option.split_once('=').unwrap_or((option, ""))).collect(),
        }
    }

    fn option(&self, key: &str) -> Option<&'a str> {
        self.options.iter().find(|(known, _)| *known == key).map(|(_, value)| *value)
    }

    /// The numbers of hosts and ports before the name of the database.
    fn hosts_and_ports(&self) -> Result<(usize, usize), &'static str> {
        if self.hosts.is_empty() {
            return Ok((0, 0));
        }
        let mut number = 0;
        for host in self.hosts.split(',') {
            let port = match host.strip_prefix('[') {
                Some(address) => {
                    let (address, after) = address.split_once(']').ok_or("the address in brackets has no end")?;
                    if address.parse::<IpAddr>().is_err() {
                        return Err("the brackets hold no IPv6 address");
                    }
                    if !after.is_empty() && !after.starts_with(':') {
                        return Err("expected a colon and the port after the brackets");
                    }
                    after.strip_prefix(':')
                }
                None if host.matches(':').count() > 1 => {
                    return Err("an IPv6 address needs brackets, such as [::1]:5432");
                }
                None => host.split_once(':').map(|(_, port)| port),
            };
            if !port.is_none_or(|port| port.is_empty() || is_port(port)) {
                return Err(match self.login {
                    Some(_) => "the port is not a number from 1 to 65535",
                    None => {
                        "the port is not a number from 1 to 65535; a user and a password are written before the host: \
                         postgres://user:password@host:port/name"
                    }
                });
            }
            number += 1;
        }
        Ok((number, number))
    }
}

#[cfg(test)]
mod tests {
    use super::{is_plain_beyond_this_machine, problem};

    #[test]
    fn a_url_that_works_has_no_problem() {
        for url in [
            "postgres://u:p@h/d",
            "postgres://u:p%40ss@h:5432/d?application_name=b@c",
            "postgres://h/d",
            "postgres://h:/d",
            "postgres://u@[::1]:5432/d",
            "postgres://u@h1,h2:5/d?target_session_attrs=read-write&connect_timeout=5",
            "postgres://u@h1,h2/d?sslmode=verify-full",
            "postgres:///d?host=/run/postgresql",
            "postgres:///d?host=/run/postgresql&port=5433",
            "postgres://u@%2Frun%2Fpostgresql/d",
            "postgres://u@h/d?hostaddr=10.0.0.5",
            "sqlite://a#b@c.db",
        ] {
            assert_eq!(problem(url), None, "{url}");
        }
    }

    #[test]
    fn the_part_that_cannot_work_is_named_and_no_password_is() {
        for (url, expected) in [
            ("postgres://u:hunter2@h:port/d", "the port is not a number"),
            ("postgres://u:hunter2@h:70000/d", "the port is not a number"),
            ("postgres://u:hunter2/d", "the port is not a number"),
            ("postgres://u:hunter2@::1/d", "needs brackets"),
            ("postgres://u:hunter2@[::1/d", "has no end"),
            ("postgres://u:hunter2@h/d?sslmode=foo", "the option sslmode is not one of disable, prefer, require"),
            ("postgres://u:hunter2@h/d?ssl=true", "write sslmode=require"),
            ("postgres://u:hunter2@h/d?sslrootcert=x", "extra_ca_file"),
            ("postgres://u:hunter2@h/d?pool_max=3", "an option that does not exist"),
            ("postgres://u:hunter2@h/d?connect_timeout=5s", "connect_timeout is not a whole number"),
            ("postgres:///d", "has no host"),
            ("postgres://h1,h2:5/d?port=1", "more ports than hosts"),
            ("postgres://u@h/d d", "the name of the database has ' '"),
            ("postgres://u@h/d#1", "the name of the database has '#'"),
            ("postgres://u:p@h/d?hunter2=1", "percent-encoded"),
            ("postgres://u:a@hunter2?hunter2@h/d", "percent-encoded"),
            ("postgres://u:p@h/d?sslrootcert=/hunter2", "extra_ca_file"),
            ("postgres://u:hunter?2@h/d", "percent-encoded"),
            ("postgres://u:hunter/2@h/d", "percent-encoded"),
            ("postgres://u:hunter 2@h/d", "percent-encoded"),
        ] {
            let problem = problem(url).unwrap_or_default();
            assert!(problem.contains(expected) && !problem.contains("hunter"), "{url}: {problem}");
        }
    }

    #[test]
    fn plain_text_beyond_this_machine_is_found() {
        for (url, expected) in [
            ("postgres://u@db.example/d?sslmode=disable", true),
            ("postgres://u@localhost,db.example/d?sslmode=disable", true),
            ("postgres://u@127.0.0.1:5433/d?sslmode=disable", false),
            ("postgres://u@[::1]/d?sslmode=disable", false),
            ("postgres:///d?host=/run/postgresql&sslmode=disable", false),
            ("postgres://u@db.example/d", false),
            ("sqlite:///x", false),
        ] {
            assert_eq!(is_plain_beyond_this_machine(url), expected, "{url}");
        }
    }
}
