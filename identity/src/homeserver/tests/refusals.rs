//! What is refused: addresses, certificates, replies. Where an address is refused, the server there must not see as
//! much as a connection.

use std::time::Duration;

use shared::config::HumanDuration;
use shared::outbound::failure::Failure;
use tokio::io::{AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

use super::world::{
    Reply, Settings, WELL_KNOWN_PORT, World, delegation, dripping, fresh_ip, get, http, json, read_head, redirect,
};

/// Settings that allow `ip` alone.
fn only(world: &World, ip: std::net::IpAddr) -> Settings {
    let mut settings = world.settings();
    settings.outbound.allow_cidrs = vec![ip.to_string().parse().unwrap()].into();
    settings
}

#[tokio::test]
async fn nothing_that_a_stranger_says_leads_to_a_private_address() {
    let world = World::new().await;
    let (open, private) = (fresh_ip(), fresh_ip());
    let inside = world.serve(private, 8448, &["inside.test", &private.to_string()], json("{}")).await;
    let inside_file = world.serve(private, WELL_KNOWN_PORT, &["inside.test"], delegation("9.9.9.9")).await;
    world.a("inside.test", private);
    world.a("srv.test", open);
    let client = world.client(&only(&world, open));

    // By name, by address, and by a port that only the private address has.
    for server in
        [String::from("inside.test"), String::from("inside.test:8448"), private.to_string(), format!("{private}:8448")]
    {
        assert_eq!(get(&client, &server).await, Err(Failure::Blocked), "{server}");
    }
    // By SRV.
    world.srv("_matrix-fed._tcp.srv.test", 1, 8448, "inside.test");
    assert_eq!(get(&client, "srv.test").await, Err(Failure::Blocked));
    // By a well-known file, and by redirects on the way to one: then there is no such file, and no server either.
    for (host, reply, failure) in [
        ("ip.test", delegation(&format!("{private}:8448")), Failure::Blocked),
        ("name.test", delegation("inside.test:8448"), Failure::Blocked),
        ("redirect.test", redirect(&format!("https://inside.test:{WELL_KNOWN_PORT}/")), Failure::Connect),
        ("redirect-ip.test", redirect(&format!("https://{private}:{WELL_KNOWN_PORT}/")), Failure::Connect),
    ] {
        let ip = fresh_ip();
        world.a(host, ip);
        let file = world.serve(ip, WELL_KNOWN_PORT, &[host], reply).await;
        assert_eq!(get(&world.client(&only(&world, ip)), host).await, Err(failure), "{host}");
        assert_eq!(file.seen().len(), 1, "{host}");
    }
    assert_eq!((inside.accepted(), inside_file.accepted()), (0, 0));
}

#[tokio::test]
async fn no_way_to_write_the_local_host_leads_there() {
    let world = World::new().await;
    let here = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let port = here.local_addr().unwrap().port();
    // Not even while the loopback network is open to a single other address.
    let client = world.client(&only(&world, fresh_ip()));
    for host in [
        "0.0.0.0",
        "0",
        "127.1",
        "0177.0.0.1",
        "2130706433",
        "0x7f.1",
        "127.0.0.1",
        "localhost",
        "[::]",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "169.254.169.254",
        "100.64.0.1",
    ] {
        for server in [format!("{host}:{port}"), host.to_owned()] {
            assert_eq!(get(&client, &server).await, Err(Failure::Blocked), "{server}");
        }
    }
    let unseen = tokio::time::timeout(Duration::from_millis(50), here.accept()).await;
    assert!(unseen.is_err(), "a connection was made");
}

#[tokio::test]
async fn a_target_at_a_low_port_is_refused_and_the_next_one_is_tried() {
    let world = World::new().await;
    let ip = fresh_ip();
    let good = world.serve(ip, 0, &["hs.test"], json("{}")).await;
    world.a("good.test", ip);
    world.a("private.test", fresh_ip());
    world.a("public.test", "9.9.9.9".parse().unwrap());
    world.srv("_matrix-fed._tcp.hs.test", 1, 8448, "private.test");
    world.srv("_matrix-fed._tcp.hs.test", 2, 25, "public.test");
    world.srv("_matrix-fed._tcp.hs.test", 3, good.address.port(), "good.test");
    let client = world.client(&only(&world, ip));
    get(&client, "hs.test").await.unwrap();
    assert_eq!(get(&client, "public.test:25").await, Err(Failure::Blocked));
}

#[tokio::test]
async fn a_certificate_must_be_trusted_in_time_and_for_this_very_name() {
    let world = World::new().await;
    let strangers = World::new().await;
    let mut unverified = world.settings();
    unverified.federation.tls_verify = false;
    let expired = fresh_ip();
    world.a("expired.test", expired);
    let _expired = world.serve_expired(expired, 8448, &["expired.test"]).await;
    let mut servers = Vec::new();
    for (host, certified, trusted) in [
        ("wrong.test", "other.test", true),
        ("untrusted.test", "untrusted.test", false),
        ("a.b.deep.test", "*.deep.test", true),
        ("deep.test", "*.deep.test", true),
        ("b.wide.test", "*.wide.test", true),
        ("right.test", "right.test", true),
    ] {
        let ip = fresh_ip();
        world.a(host, ip);
        let issuer = if trusted { &world } else { &strangers };
        servers.push(issuer.serve(ip, 8448, &[certified], json("{}")).await);
    }
    let client = world.client(&world.settings());
    for (host, accepted) in [
        ("wrong.test", false),
        ("untrusted.test", false),
        ("expired.test", false),
        ("a.b.deep.test", false),
        ("deep.test", false),
        ("b.wide.test", true),
        ("right.test", true),
    ] {
        let result = get(&client, host).await.map(|reply| reply.status.as_u16());
        assert_eq!(result, if accepted { Ok(200) } else { Err(Failure::Tls) }, "{host}");
        assert!(get(&world.client(&unverified), host).await.is_ok(), "{host} with verification off");
    }
}

#[tokio::test]
async fn a_well_known_file_from_a_server_with_a_wrong_certificate_is_not_believed() {
    let world = World::new().await;
    let (ip, delegated) = (fresh_ip(), fresh_ip());
    world.a("hs.test", ip);
    let server = world.serve(delegated, 0, &[&delegated.to_string()], json("{}")).await;
    let file = world.serve(ip, WELL_KNOWN_PORT, &["other.test"], delegation(&server.address.to_string())).await;
    assert_eq!(get(&world.client(&world.settings()), "hs.test").await, Err(Failure::Connect));
    assert_eq!((file.accepted(), file.seen().len(), server.accepted()), (1, 0, 0));
}

#[tokio::test]
async fn a_reply_is_cut_at_its_cap_and_at_its_time_and_redirects_are_not_followed() {
    let world = World::new().await;
    let mut settings = world.settings();
    settings.federation.timeout = HumanDuration::from_millis(600);
    let client = world.client(&settings);
    let fits = "x".repeat(5 * 1024);
    let endless = String::from("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n");
    let never = String::from("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n");
    for (reply, expected) in [
        (json(&fits).into(), Ok((200, fits.len()))),
        (json(&format!("{fits}x")).into(), Err(Failure::TooLarge)),
        ((endless.clone() + &"x".repeat(1 << 20)).into(), Err(Failure::TooLarge)),
        (dripping(endless), Err(Failure::Timeout)),
        (never.into(), Err(Failure::Timeout)),
        (redirect("https://9.9.9.9/").into(), Ok((302, 0))),
        (http("200 OK", "Content-Encoding: gzip\r\n", "raw").into(), Ok((200, 3))),
        (String::from("SMTP\r\n\r\n").into(), Err(Failure::Other)),
    ] {
        let reply: Reply = reply;
        let ip = fresh_ip();
        let server = world.serve(ip, 0, &[&ip.to_string()], reply).await;
        let result = get(&client, &server.address.to_string()).await;
        assert_eq!(result.map(|reply| (reply.status.as_u16(), reply.body.len())), expected);
    }
}

#[tokio::test]
async fn a_silent_or_absent_server_is_a_timeout_or_a_failed_connection() {
    let world = World::new().await;
    let silent = TcpListener::bind((fresh_ip(), 0)).await.unwrap();
    let mut settings = world.settings();
    settings.federation.connect_timeout = HumanDuration::from_millis(200);
    let client = world.client(&settings);
    assert_eq!(get(&client, &silent.local_addr().unwrap().to_string()).await, Err(Failure::Timeout));
    assert_eq!(get(&client, &format!("{}:8448", fresh_ip())).await, Err(Failure::Connect));
    assert_eq!(get(&client, "nowhere.test").await, Err(Failure::Dns));
}

#[tokio::test]
async fn a_proxy_is_asked_for_judged_addresses_only() {
    let world = World::new().await;
    let (ip, private) = (fresh_ip(), fresh_ip());
    let server = world.serve(ip, 0, &["hs.test"], json("{}")).await;
    world.a("target.test", ip);
    world.a("private.test", private);
    world.srv("_matrix-fed._tcp.hs.test", 1, server.address.port(), "target.test");

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = listener.local_addr().unwrap();
    let (heads, mut asked) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut from, _)) = listener.accept().await {
            let heads = heads.clone();
            tokio::spawn(async move {
                let head = read_head(&mut from).await.unwrap();
                let to = head.split(' ').nth(1).unwrap().to_owned();
                heads.send(head).unwrap();
                if let Ok(mut to) = TcpStream::connect(to).await {
                    from.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
                    let _closed = copy_bidirectional(&mut from, &mut to).await;
                }
            });
        }
    });

    let mut settings = only(&world, ip);
    settings.outbound.proxy = format!("http://us%40er:pa:ss@{proxy}").parse().ok();
    let client = world.client(&settings);
    assert_eq!(get(&client, "private.test").await, Err(Failure::Blocked));
    assert_eq!(get(&client, &format!("{private}:8448")).await, Err(Failure::Blocked));
    assert!(asked.try_recv().is_err(), "the proxy was asked for a private address");

    get(&client, "hs.test").await.unwrap();
    let head = asked.recv().await.unwrap();
    assert!(head.starts_with(&format!("CONNECT {} HTTP/1.1\r\n", server.address)), "{head}");
    assert!(head.contains("Proxy-Authorization: Basic dXNAZXI6cGE6c3M=\r\n"), "{head}");
    assert_eq!(server.seen()[0].host, "hs.test");
}
