//! How much of a daily budget a process leases at once.
//!
//! Invariant: all leases of a budget together never exceed it.

/// A budget of addresses for one day, shared by all processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Budget {
    pub(super) quota: i64,
    /// The usual size of a lease. One address for small budgets, so that no process leaves a part unused.
    lease: i64,
}

impl Budget {
    /// The budget of one account or client. A killed process costs it a hundredth.
    pub(super) fn of_caller(quota: i64) -> Self {
        Self { quota, lease: (quota / 100).clamp(1, 1_000) }
    }

    /// The budget of a group. All its members lose what a killed process has leased, so its leases are smaller shares.
    pub(super) fn of_group(quota: i64) -> Self {
        Self { quota, lease: (quota / 1_000).clamp(1, 10_000) }
    }

    /// How many addresses to lease for `need` of them, if `leased` are leased already; none if the rest does not suffice.
    /// The last leases are smaller, so that processes leave little unused when the first one refuses.
    pub(super) fn lease(self, leased: i64, need: i64) -> Option<i64> {
        if need <= 0 {
            return Some(0);
        }
        let left = self.quota.saturating_sub(leased);
        (need <= left).then(|| need.max(self.lease.min(left / 10)))
    }
}

#[cfg(test)]
mod tests {
    use super::Budget;

    #[test]
    fn a_lease_is_a_share_of_the_budget_and_never_more_than_is_left() {
        for (quota, leased, need, lease) in [
            (100_000, 0, 1, Some(1_000)),
            (100_000, 0, 1_000, Some(1_000)),
            (100_000, 0, 1_001, Some(1_001)),
            (100_000, 95_000, 1, Some(500)),
            (100_000, 95_000, 5_000, Some(5_000)),
            (100_000, 95_000, 5_001, None),
            (100_000, 99_999, 1, Some(1)),
            (100_000, 100_000, 0, Some(0)),
            (100_000, 100_000, 1, None),
            (100_000, 100_001, 1, None),
            (10_000_000, 0, 1, Some(1_000)),
            (i64::MAX, 5, 1, Some(1_000)),
            (100, 0, 1, Some(1)),
            (3, 0, 1, Some(1)),
            (3, 2, 2, None),
        ] {
            assert_eq!(Budget::of_caller(quota).lease(leased, need), lease, "{quota} {leased} {need}");
        }
        for (quota, lease) in [(1_000_000, 1_000), (100_000_000, 10_000), (30, 1)] {
            assert_eq!(Budget::of_group(quota).lease(0, 1), Some(lease), "{quota}");
        }
    }

    #[test]
    fn leases_of_one_address_use_the_whole_budget() {
        for quota in [1, 10, 999, 100_000] {
            let (budget, mut leased, mut writes) = (Budget::of_caller(quota), 0, 0);
            while let Some(lease) = budget.lease(leased, 1) {
                leased += lease;
                writes += 1;
            }
            assert_eq!(leased, quota);
            assert!(quota < 1_000 || writes < 200, "{writes} writes");
        }
    }
}
