//! A fake DNS server over UDP, whose answers a test sets and changes while it runs.
//!
//! Invariant: every answer has a time to live of zero, so that the next question comes here again; an unset name
//! does not exist (NXDOMAIN).
//!
//! The server under test asks it with `[federation] dns_servers = ["127.0.0.1:PORT"]`.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, SRV};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

/// A DNS server that runs until it is dropped.
#[derive(Debug)]
pub struct Dns {
    zone: Arc<Mutex<Zone>>,
    address: SocketAddr,
    task: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Zone {
    names: HashMap<String, Entry>,
    questions: Vec<(String, RecordType)>,
}

#[derive(Debug)]
enum Entry {
    Records {
        /// One set of addresses for each address question, the last for all that follow.
        addresses: VecDeque<Vec<IpAddr>>,
        services: Vec<SRV>,
    },
    Alias(Name),
    Failing,
    Silent,
}

impl Dns {
    /// Starts an empty server.
    ///
    /// # Panics
    /// If no port is free.
    pub async fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
        let address = socket.local_addr().expect("a bound socket has an address");
        let zone = Arc::<Mutex<Zone>>::default();
        let task = tokio::spawn(serve(socket, Arc::clone(&zone)));
        Self { zone, address, task }
    }

    /// Where it listens, for `dns_servers`.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `name` has exactly these addresses (A and AAAA).
    pub fn set_addresses(&self, name: &str, addresses: &[IpAddr]) {
        self.set_addresses_in_turn(name, &[addresses]);
    }

    /// `name` has the first of these sets at the first question for the type of one of its addresses, the second at
    /// the second, and so on; the last stays (DNS rebinding). Keep the sets to one family.
    pub fn set_addresses_in_turn(&self, name: &str, turns: &[&[IpAddr]]) {
        self.change(name, |addresses, _| *addresses = turns.iter().map(|turn| turn.to_vec()).collect());
    }

    /// `name`, for instance `_matrix-fed._tcp.hs.example`, has exactly these services: priority, weight, port, target.
    ///
    /// # Panics
    /// If a target is no name.
    pub fn set_services(&self, name: &str, services: &[(u16, u16, u16, &str)]) {
        let service =
            |&(priority, weight, port, target): &(u16, u16, u16, &str)| SRV::new(priority, weight, port, parse(target));
        self.change(name, |_, known| *known = services.iter().map(service).collect());
    }

    /// `name` is another name for `target` (CNAME); the addresses of `target` come along if they are known here.
    ///
    /// # Panics
    /// If `target` is no name.
    pub fn set_alias(&self, name: &str, target: &str) {
        self.lock().names.insert(key(name), Entry::Alias(parse(target)));
    }

    /// Questions for `name` are answered with SERVFAIL.
    pub fn set_failing(&self, name: &str) {
        self.lock().names.insert(key(name), Entry::Failing);
    }

    /// Questions for `name` are not answered.
    pub fn set_silent(&self, name: &str) {
        self.lock().names.insert(key(name), Entry::Silent);
    }

    /// `name` does not exist any more.
    pub fn remove(&self, name: &str) {
        self.lock().names.remove(&key(name));
    }

    /// How many questions came for `name`, of any type.
    pub fn questions(&self, name: &str) -> usize {
        self.lock().questions.iter().filter(|(asked, _)| *asked == key(name)).count()
    }

    /// All questions so far, oldest first: the name in lower case without the final dot, the type.
    pub fn all_questions(&self) -> Vec<(String, String)> {
        self.lock().questions.iter().map(|(name, kind)| (name.clone(), kind.to_string())).collect()
    }

    fn change(&self, name: &str, change: impl FnOnce(&mut VecDeque<Vec<IpAddr>>, &mut Vec<SRV>)) {
        let mut zone = self.lock();
        let empty = || Entry::Records { addresses: VecDeque::new(), services: Vec::new() };
        let entry = zone.names.entry(key(name)).or_insert_with(empty);
        if !matches!(entry, Entry::Records { .. }) {
            *entry = empty();
        }
        if let Entry::Records { addresses, services } = entry {
            change(addresses, services);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Zone> {
        self.zone.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(socket: UdpSocket, zone: Arc<Mutex<Zone>>) {
    let mut buffer = [0; 4096];
    loop {
        let Ok((length, client)) = socket.recv_from(&mut buffer).await else { continue };
        let Ok(question) = Message::from_vec(&buffer[..length]) else { continue };
        let reply = zone.lock().unwrap_or_else(PoisonError::into_inner).answer(&question);
        if let Some(bytes) = reply.and_then(|reply| reply.to_vec().ok()) {
            // A client that has gone does not want the answer.
            drop(socket.send_to(&bytes, client).await);
        }
    }
}

impl Zone {
    /// The reply to a message; `None` for silence.
    fn answer(&mut self, message: &Message) -> Option<Message> {
        let query = message.queries.first()?.clone();
        let mut reply = Message::response(message.metadata.id, message.metadata.op_code);
        reply.metadata.recursion_desired = message.metadata.recursion_desired;
        reply.metadata.recursion_available = true;
        reply.add_query(query.clone());
        let mut name = query.name().clone();
        self.questions.push((key(&name.to_ascii()), query.query_type()));
        // An alias of an alias of … ends somewhere even if the test made a circle.
        for _ in 0..8 {
            let records = match self.names.get_mut(&key(&name.to_ascii())) {
                None => {
                    reply.metadata.response_code = ResponseCode::NXDomain;
                    return Some(reply);
                }
                Some(Entry::Failing) => {
                    reply.metadata.response_code = ResponseCode::ServFail;
                    return Some(reply);
                }
                Some(Entry::Silent) => return None,
                Some(Entry::Alias(target)) => {
                    let record = Record::from_rdata(name, 0, RData::CNAME(CNAME(target.clone())));
                    name = target.clone();
                    reply.add_answer(record);
                    continue;
                }
                Some(Entry::Records { addresses, services }) => match query.query_type() {
                    RecordType::SRV => services.iter().cloned().map(RData::SRV).collect(),
                    kind => next_addresses(addresses, kind),
                },
            };
            reply.add_answers(records.into_iter().map(|data| Record::from_rdata(name.clone(), 0, data)));
            return Some(reply);
        }
        Some(reply)
    }
}

/// The addresses of type `kind` in the present set, which makes way for the next one if it had any.
fn next_addresses(turns: &mut VecDeque<Vec<IpAddr>>, kind: RecordType) -> Vec<RData> {
    let data = |address: &IpAddr| match (*address, kind) {
        (IpAddr::V4(address), RecordType::A) => Some(RData::A(A(address))),
        (IpAddr::V6(address), RecordType::AAAA) => Some(RData::AAAA(AAAA(address))),
        _ => None,
    };
    let found: Vec<_> = turns.front().into_iter().flatten().filter_map(data).collect();
    if !found.is_empty() && turns.len() > 1 {
        turns.pop_front();
    }
    found
}

fn parse(name: &str) -> Name {
    let mut name = Name::from_ascii(name).expect("a DNS name");
    name.set_fqdn(true);
    name
}

fn key(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::Dns;
    use hickory_proto::op::{Message, Query, ResponseCode};
    use hickory_proto::rr::{Name, RecordType};
    use std::net::IpAddr;
    use std::time::Duration;
    use tokio::net::UdpSocket;

    /// Asks once; the response code and the data of the answers, `None` if nothing comes.
    async fn ask(dns: &Dns, name: &str, kind: RecordType) -> Option<(ResponseCode, Vec<String>)> {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let mut question = Message::query();
        question.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
        socket.send_to(&question.to_vec().unwrap(), dns.address()).await.unwrap();
        let mut buffer = [0; 4096];
        let received = tokio::time::timeout(Duration::from_millis(300), socket.recv_from(&mut buffer)).await;
        let (length, _) = received.ok()?.unwrap();
        let reply = Message::from_vec(&buffer[..length]).unwrap();
        assert_eq!(reply.metadata.id, question.metadata.id);
        assert!(reply.answers.iter().all(|answer| answer.ttl == 0));
        Some((reply.metadata.response_code, reply.answers.iter().map(|answer| answer.data.to_string()).collect()))
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[tokio::test]
    async fn a_name_has_what_was_set_and_no_more() {
        let dns = Dns::start().await;
        dns.set_addresses("hs.example", &[ip("127.0.0.1"), ip("::1"), ip("127.0.0.2")]);
        dns.set_services("_matrix-fed._tcp.hs.example", &[(10, 5, 8448, "a.example"), (20, 0, 443, "b.example")]);
        let ok = |data: &[&str]| Some((ResponseCode::NoError, data.iter().map(|d| (*d).to_owned()).collect()));
        assert_eq!(ask(&dns, "HS.example.", RecordType::A).await, ok(&["127.0.0.1", "127.0.0.2"]));
        assert_eq!(ask(&dns, "hs.example.", RecordType::AAAA).await, ok(&["::1"]));
        assert_eq!(ask(&dns, "hs.example.", RecordType::SRV).await, ok(&[]));
        assert_eq!(
            ask(&dns, "_matrix-fed._tcp.hs.example.", RecordType::SRV).await,
            ok(&["10 5 8448 a.example.", "20 0 443 b.example."])
        );
        assert_eq!(ask(&dns, "x.example.", RecordType::A).await, Some((ResponseCode::NXDomain, Vec::new())));
        assert_eq!((dns.questions("hs.example"), dns.questions("x.example"), dns.questions("y.example")), (3, 1, 0));
        assert_eq!(dns.all_questions()[1], ("hs.example".to_owned(), "AAAA".to_owned()));
    }

    #[tokio::test]
    async fn answers_change_while_it_runs() {
        let dns = Dns::start().await;
        dns.set_addresses_in_turn("hs.example", &[&[ip("9.9.9.9")], &[ip("127.0.0.1")]]);
        let mut seen = Vec::new();
        for kind in [RecordType::AAAA, RecordType::A, RecordType::AAAA, RecordType::A, RecordType::A] {
            seen.extend(ask(&dns, "hs.example.", kind).await.unwrap().1);
        }
        assert_eq!(seen, ["9.9.9.9", "127.0.0.1", "127.0.0.1"]);
        dns.set_addresses("hs.example", &[ip("10.0.0.1")]);
        assert_eq!(ask(&dns, "hs.example.", RecordType::A).await.unwrap().1, ["10.0.0.1"]);
        dns.remove("hs.example");
        assert_eq!(ask(&dns, "hs.example.", RecordType::A).await.unwrap().0, ResponseCode::NXDomain);
    }

    #[tokio::test]
    async fn aliases_failures_and_silence() {
        let dns = Dns::start().await;
        dns.set_addresses("real.example", &[ip("127.0.0.1")]);
        dns.set_alias("alias.example", "real.example");
        dns.set_alias("circle.example", "circle.example");
        dns.set_failing("bad.example");
        dns.set_silent("mute.example");
        assert_eq!(ask(&dns, "alias.example.", RecordType::A).await.unwrap().1, ["real.example.", "127.0.0.1"]);
        assert!(ask(&dns, "circle.example.", RecordType::A).await.is_some());
        assert_eq!(ask(&dns, "bad.example.", RecordType::A).await.unwrap().0, ResponseCode::ServFail);
        assert_eq!(ask(&dns, "mute.example.", RecordType::A).await, None);
        assert_eq!(dns.questions("mute.example"), 1);
    }
}
