//! Where a stranger cannot send this server: private addresses in every spelling, by every hop, and names that are no
//! server names.
//!
//! Invariant: what is refused is refused without a connection; the fake at the forbidden place counts them.

use std::net::IpAddr;

use harness::homeserver::{Fault, Homeserver};
use serde_json::{Value, json};

use super::{Outside, WELL_KNOWN, WELL_KNOWN_PORT, asked_as, delegation, fresh_ip, registered, unreachable};

/// What listens at a private address, as a homeserver and as a web server, and must never hear of a stranger's wish.
struct Inside {
    ip: IpAddr,
    servers: [Homeserver; 2],
}

impl Inside {
    /// With a certificate for its name and address, so that nothing but the filter keeps a connection away.
    async fn start(world: &Outside) -> Self {
        let ip = fresh_ip();
        world.dns.set_addresses("inside.test", &[ip]);
        let servers = [
            world.homeserver("inside.test", ip, 8448).await,
            world.homeserver("inside.test", ip, WELL_KNOWN_PORT).await,
        ];
        for server in &servers {
            server.set_certificate(&world.authority.issue(&["inside.test", "*.w.test", &ip.to_string()]));
            server.fault(WELL_KNOWN, delegation("inside.test"));
        }
        Self { ip, servers }
    }

    fn connections(&self) -> usize {
        self.servers.iter().map(Homeserver::connections).sum()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_hop_leads_to_a_private_address() {
    let open = fresh_ip();
    let world = Outside::reaching(open).await;
    let inside = Inside::start(&world).await;
    let ip = inside.ip;

    let by_name = [format!("{ip}"), format!("{ip}:8448"), "inside.test".to_owned(), "inside.test:8448".to_owned()];
    for name in &by_name {
        unreachable(&world.register_at(name).await);
    }

    // By a service.
    for (name, service) in [("fed.test", "_matrix-fed._tcp"), ("old.test", "_matrix._tcp")] {
        world.dns.set_services(&format!("{service}.{name}"), &[(10, 0, 8448, "inside.test")]);
        unreachable(&world.register_at(name).await);
    }
    world.dns.set_alias("alias.test", "inside.test");
    unreachable(&world.register_at("alias.test:8448").await);

    // By a delegation, and by redirects on the way to one.
    let web = world.homeserver("web.test", open, WELL_KNOWN_PORT).await;
    web.set_certificate(&world.authority.issue(&["*.w.test"]));
    world.dns.set_services("_matrix-fed._tcp.service.test", &[(10, 0, 8448, "inside.test")]);
    for (n, reply) in [
        delegation(&ip.to_string()),
        delegation(&format!("{ip}:8448")),
        delegation("inside.test"),
        delegation("inside.test:8448"),
        delegation("service.test"),
        delegation("localhost:8448"),
        delegation("2130706433:8448"),
        Fault::redirect(&format!("https://{ip}:{WELL_KNOWN_PORT}{WELL_KNOWN}")),
        Fault::redirect(&format!("https://{ip}:8448{WELL_KNOWN}")),
        Fault::redirect(&format!("https://inside.test:{WELL_KNOWN_PORT}{WELL_KNOWN}")),
        Fault::redirect(&format!("//inside.test:8448{WELL_KNOWN}")),
    ]
    .into_iter()
    .enumerate()
    {
        let host = format!("origin{n}.w.test");
        world.dns.set_addresses(&host, &[open]);
        web.mend();
        web.fault("/", reply);
        unreachable(&world.register_at(&host).await);
        assert_eq!(web.requests().len(), n + 1, "{host}");
    }
    assert_eq!(inside.connections(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_spelling_of_the_local_host_leads_there() {
    let world = Outside::reaching(fresh_ip()).await;
    // At every address of this machine, of both families.
    let here = Homeserver::start_with("localhost", &world.authority, "[::]:0").await;
    let port = here.address().port();
    std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    std::net::TcpStream::connect(("::1", port)).unwrap();
    harness::wait::wait_until("both families", harness::world::identity::DEADLINE, || here.connections() == 2).await;

    let spellings = "0.0.0.0 0 127.1 0177.0.0.1 017700000001 2130706433 0x7f.1 0x7f000001 127.0.0.1 \
                     127.255.255.254 localhost [::] [::1] [0:0:0:0:0:0:0:1] [::127.0.0.1] [::ffff:127.0.0.1] \
                     [::ffff:7f00:1] [::ffff:0.0.0.0] [64:ff9b::7f00:1] [64:ff9b::127.0.0.1] [2002:7f00:1::] \
                     [2002:7f00:1::1] 169.254.169.254 100.64.0.1 10.0.0.1 172.16.0.1 192.168.0.1 192.0.0.1 \
                     198.18.0.1 224.0.0.1 255.255.255.255 [fe80::1] [fd00::2] [ff02::1] [fec0::1] \
                     [64:ff9b:1::7f00:1] [::ffff:169.254.169.254] [2002:a9fe:a9fe::]";
    let spellings: Vec<_> = spellings.split(' ').collect();
    for host in &spellings {
        for name in [format!("{host}:{port}"), (*host).to_owned()] {
            unreachable(&world.register_at(&name).await);
        }
    }
    // Judged, not tried: a failed attempt would be of another kind.
    assert_eq!(world.failures("blocked").await, 2 * spellings.len() as u64);
    for host in ["[::1%25lo]", "[::1%lo]", "127.0.0.1.", "[127.0.0.1]", "localhost\0", "①②⑦.0.0.1"] {
        world.register_at(&format!("{host}:{port}")).await.refused(400, "M_INVALID_PARAM");
    }
    assert_eq!(here.connections(), 2);
    assert_eq!(world.dns.all_questions(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_with_private_addresses_of_either_family_are_refused() {
    let world = Outside::reaching(fresh_ip()).await;
    let here = Homeserver::start_with("localhost", &world.authority, "[::]:0").await;
    let port = here.address().port();
    let addresses = "127.0.0.1 0.0.0.0 ::1 :: ::ffff:127.0.0.1 ::ffff:0.0.0.0 ::127.0.0.1 2002:7f00:1:: \
                     64:ff9b::7f00:1 fd00::2 fe80::1 169.254.169.254 100.64.0.1";
    let addresses: Vec<_> = addresses.split(' ').collect();
    for (n, address) in addresses.iter().enumerate() {
        let (name, service) = (format!("n{n}.test"), format!("s{n}.test"));
        world.dns.set_addresses(&name, &[address.parse().unwrap()]);
        world.dns.set_services(&format!("_matrix-fed._tcp.{service}"), &[(1, 1, port, &name)]);
        for server in [format!("{name}:{port}"), name.clone(), service] {
            unreachable(&world.register_at(&server).await);
        }
    }
    assert_eq!(world.failures("blocked").await, 3 * addresses.len() as u64);
    assert_eq!(here.connections(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_changes_between_look_ups_leads_nowhere_else() {
    let open = fresh_ip();
    let world = Outside::reaching(open).await;
    let inside = Inside::start(&world).await;
    let web = world.homeserver("web.test", open, WELL_KNOWN_PORT).await;
    web.set_certificate(&world.authority.issue(&["*.w.test"]));
    let server = world.homeserver("hs.test", open, 8448).await;
    server.set_certificate(&world.authority.issue(&["*.w.test"]));
    let close = |body: Value| Fault::json(200, body).with_header("connection", "close");

    // Good when it was looked up for the file, private when it is looked up for the server.
    world.dns.set_addresses_in_turn("file.w.test", &[&[open], &[inside.ip]]);
    unreachable(&world.register_at("file.w.test").await);
    assert_eq!(web.requests().len(), 1);

    // Good at one registration and private at the next, with and without a file in between.
    for name in ["again.w.test:8448", "again.w.test"] {
        web.mend();
        world.dns.set_addresses("again.w.test", &[open]);
        server.fault("/", close(json!({ "sub": format!("@alice:{name}") })));
        registered(&world.register_at(name).await);
        world.dns.set_addresses("again.w.test", &[inside.ip]);
        unreachable(&world.register_at(name).await);
    }

    // The redirect's own host is good at the first look and private at the second.
    world.dns.set_addresses("loop.w.test", &[open]);
    web.fault(
        WELL_KNOWN,
        Fault::redirect(&format!("https://turn.w.test:{WELL_KNOWN_PORT}/next")).with_header("connection", "close"),
    );
    web.fault(
        "/next",
        Fault::redirect(&format!("https://turn.w.test:8448{WELL_KNOWN}")).with_header("connection", "close"),
    );
    world.dns.set_addresses_in_turn("turn.w.test", &[&[open], &[inside.ip]]);
    server.fault("/", close(json!({ "sub": "@alice:loop.w.test" })));
    registered(&world.register_at("loop.w.test").await);
    assert!(web.requests_to("/next").len() == 1 && world.dns.questions("turn.w.test") >= 2);

    // Of several addresses only the good one is tried.
    world.dns.set_addresses("mixed.w.test", &[inside.ip, "::1".parse().unwrap(), open, inside.ip]);
    server.fault("/", close(json!({ "sub": "@alice:mixed.w.test:8448" })));
    registered(&world.register_at("mixed.w.test:8448").await);
    assert_eq!(inside.connections(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_service_does_not_keep_the_next_one_from_being_tried() {
    let open = fresh_ip();
    let world = Outside::reaching(open).await;
    let inside = Inside::start(&world).await;
    let server = world.homeserver("hs.test", open, 0).await;
    world.dns.set_addresses("good.test", &[open]);
    let port = server.address().port();
    let services = [(10, 0, 8448, "inside.test"), (20, 0, 25, "inside.test"), (30, 0, port, "good.test")];
    world.dns.set_services("_matrix-fed._tcp.hs.test", &services);
    registered(&world.register(&server).await);
    assert_eq!((asked_as(&server).len(), inside.connections()), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn ports_of_other_services_are_refused() {
    let world = Outside::reaching(fresh_ip()).await;
    world.dns.set_addresses("public.test", &["9.9.9.9".parse().unwrap()]);
    world.dns.set_services("_matrix-fed._tcp.service.test", &[(1, 1, 25, "public.test")]);
    for name in ["9.9.9.9:22", "9.9.9.9:1023", "public.test:25", "service.test"] {
        unreachable(&world.register_at(name).await);
    }
    assert_eq!(world.failures("blocked").await, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operators_networks_are_denied_and_allowed_besides() {
    let (allowed, denied) = (fresh_ip(), fresh_ip());
    let outbound = format!("allow_cidrs = [\"{allowed}/32\"]\ndeny_cidrs = [\"9.9.9.0/24\", \"{denied}\"]");
    let world = Outside::with_outbound(&outbound, "", "").await;
    let server = world.homeserver(&allowed.to_string(), allowed, 8448).await;
    let other = world.homeserver(&denied.to_string(), denied, 8448).await;
    registered(&world.register(&server).await);
    unreachable(&world.register(&other).await);
    unreachable(&world.register_at("9.9.9.9").await);
    assert_eq!((world.failures("blocked").await, other.connections()), (2, 0));
}
