//! How many addresses an attacker obtains from three processes: in a day, or with `GATEHOUSE_LONG_TESTS=1` in a week with
//! a restart every hour.

use harness::options::scale;

use super::*;

/// How the processes end at each hour.
#[derive(Clone, Copy, PartialEq)]
enum Ending {
    None,
    Stopped,
    Killed,
}

/// Asks each process before each restart for new addresses, with each account in turn.
struct Attack {
    accounts: Vec<UserId>,
    quota: usize,
    per_homeserver: usize,
    days: u32,
    /// Restarts in a day.
    restarts: u32,
}

impl Attack {
    async fn addresses(&self, store: &Store, ending: Ending) -> u32 {
        let start = || (0..3).map(|_| Process::start(store, self.quota, self.per_homeserver)).collect::<Vec<_>>();
        let (mut processes, mut next) = (start(), 0_u32);
        // With the requests spread over the day, leases are in use at each restart.
        let a_day = self.quota.min(self.per_homeserver / self.accounts.len());
        let share = (u32::try_from(a_day).unwrap() / self.restarts).max(1);
        for turn in 0..self.days * self.restarts {
            let now = Duration::from_secs(u64::from(turn) * 86_400 / u64::from(self.restarts));
            let now = NOON.minus(HALF_A_DAY).plus(now);
            for account in &self.accounts {
                for process in &processes {
                    let (mut size, mut left) = (share.min(700), share);
                    while left > 0 && size > 0 {
                        if process.allows_at(LimitKey::Account(account), next..next + size, now).await {
                            (next, left) = (next + size, left.saturating_sub(size));
                        } else {
                            size = if size > 1 { (size / 30).max(1) } else { 0 };
                        }
                    }
                }
            }
            if ending != Ending::None {
                for process in std::mem::replace(&mut processes, start()) {
                    if ending == Ending::Stopped {
                        process.stop().await;
                    }
                }
            }
            store.write(async move |conn| delete_past(conn, now).await).await.unwrap();
        }
        next
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attacker_obtains_no_more_than_the_quota_of_each_day() {
    // The quotas are a tenth of the defaults, and leases are the same share of them.
    let (quota, per_homeserver) = scale((1_000, 5_000), (10_000, 100_000));
    let (accounts, days, restarts) = scale((10, 1, 6), (100, 7, 24));
    let of = |accounts: usize, server: fn(usize) -> String| -> Vec<UserId> {
        (0..accounts).map(|n| user(&format!("@u{n}:{}", server(n)))).collect()
    };
    let attacks = [
        ("one account", quota, of(1, |_| "hs.example".to_owned())),
        ("many accounts of one homeserver", per_homeserver, of(accounts, |_| "hs.example".to_owned())),
        ("many accounts, each on a subdomain", per_homeserver, of(accounts, |n| format!("s{n}.hs.example"))),
    ];
    eprintln!(
        "{days} days, three processes, {restarts} restarts a day, {accounts} accounts or one; quotas: {quota} an account, \
         {per_homeserver} a homeserver"
    );
    for (name, a_day, accounts) in attacks {
        let attack = Attack { accounts, quota, per_homeserver, days, restarts };
        let allowed = u32::try_from(a_day).unwrap() * days;
        for (ending, restarts) in
            [(Ending::None, "no restart"), (Ending::Stopped, "stopped"), (Ending::Killed, "killed")]
        {
            // One database suffices: other tests show that all of them count alike.
            let store = &stores().await[0];
            let obtained = attack.addresses(store, ending).await;
            eprintln!("| {name} | {restarts} | {obtained} | {allowed} |");
            assert!(obtained <= allowed, "{name}, {restarts}: {obtained} of {allowed}");
            let least = if ending == Ending::Killed { allowed / 2 } else { allowed * 97 / 100 };
            assert!(obtained >= least, "{name}, {restarts}: {obtained} of {allowed}");
        }
    }
}
