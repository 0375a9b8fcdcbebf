//! Days in UTC, by which daily limits count.

use shared::clock::Timestamp;

const MILLIS: i64 = 86_400_000;

/// A day in UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UtcDay(i64);

impl UtcDay {
    /// The day of `now`.
    pub const fn of(now: Timestamp) -> Self {
        Self(now.as_millis().div_euclid(MILLIS))
    }

    /// Days since 1970-01-01, for a row.
    pub const fn number(self) -> i64 {
        self.0
    }

    /// Midnight after this day.
    pub const fn end(self) -> Timestamp {
        Timestamp::from_millis((self.0 + 1) * MILLIS)
    }
}

#[cfg(test)]
mod tests {
    use shared::clock::Timestamp;

    use super::UtcDay;

    #[test]
    fn a_day_lasts_from_midnight_to_midnight_also_before_1970() {
        for (millis, number, end) in
            [(0, 0, 86_400_000), (86_399_999, 0, 86_400_000), (86_400_000, 1, 172_800_000), (-1, -1, 0)]
        {
            let day = UtcDay::of(Timestamp::from_millis(millis));
            assert_eq!((day.number(), day.end().as_millis()), (number, end), "{millis}");
        }
    }
}
