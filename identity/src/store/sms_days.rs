//! `sms_days`: the number of SMS of a day, by calling code.
//!
//! Invariant: a row changes only by additions, so that concurrent processes lose no count.

use diesel::prelude::{ExpressionMethods, OptionalExtension, QueryDsl};
use diesel_async::RunQueryDsl;

use super::StoreError;
use super::connection::queries;
use super::schema::sms_days;

queries! {
    /// The messages of a day to a calling code.
    pub async fn count(conn, day: i64, calling_code: &str) -> Result<i64, StoreError> {
        let messages: Option<i64> = sms_days::table
            .find((day, calling_code))
            .select(sms_days::messages)
            .get_result(conn as &mut Conn)
            .await
            .optional()?;
        Ok(messages.unwrap_or_default())
    }

    /// Adds to the messages of a day to a calling code.
    pub async fn add(conn, day: i64, calling_code: &str, messages: i64) -> Result<(), StoreError> {
        diesel::insert_into(sms_days::table)
            .values((
                sms_days::day.eq(day),
                sms_days::calling_code.eq(calling_code),
                sms_days::messages.eq(messages),
            ))
            .on_conflict((sms_days::day, sms_days::calling_code))
            .do_update()
            .set(sms_days::messages.eq(sms_days::messages + messages))
            .execute(conn as &mut Conn)
            .await?;
        Ok(())
    }

    /// Deletes the days before `day`.
    pub async fn delete_before(conn, day: i64) -> Result<(), StoreError> {
        diesel::delete(sms_days::table.filter(sms_days::day.lt(day))).execute(conn as &mut Conn).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::store::testing::stores;
    use crate::store::{StoreError, sms_days};

    #[tokio::test(flavor = "multi_thread")]
    async fn days_and_countries_are_counted_separately() {
        for store in stores().await {
            let counted = store.write(async |conn| {
                for (day, country, messages) in [(1, "44", 1), (1, "44", 2), (1, "", 3), (2, "44", 5), (1, "44", -1)] {
                    sms_days::add(conn, day, country, messages).await?;
                }
                sms_days::delete_before(conn, 1).await?;
                let mut counted = Vec::new();
                for (day, country) in [(1, "44"), (1, ""), (2, "44"), (2, ""), (0, "44")] {
                    counted.push(sms_days::count(conn, day, country).await?);
                }
                sms_days::delete_before(conn, 2).await?;
                counted.push(sms_days::count(conn, 1, "44").await?);
                Ok::<_, StoreError>(counted)
            });
            assert_eq!(counted.await.unwrap(), [2, 3, 5, 0, 0, 0]);
        }
    }
}
