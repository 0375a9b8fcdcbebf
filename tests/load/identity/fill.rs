//! Writes associations into the database of a stopped server that has created its tables and its pepper.
//!
//! Invariant: the rows equal those of the server; the lookups of the run find them by their hashes.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rusqlite::Connection;
use sha2::{Digest, Sha256};
use shared::clock::Clock;
use tokio_postgres::NoTls;

/// The validity of an association: `[bind] validity`, 36,500 days in milliseconds.
const VALIDITY: i64 = 36_500 * 86_400_000;

/// The number of rows in one statement to PostgreSQL.
const BATCH: usize = 10_000;

/// The associations.
#[derive(Clone, Debug)]
pub(crate) struct Filling {
    /// Their number.
    pub(crate) associations: usize,
    pepper: String,
    now: i64,
}

impl Filling {
    /// This number of associations, with hashes under this pepper.
    pub(crate) fn new(associations: usize, pepper: &str) -> Self {
        Self { associations, pepper: pepper.to_owned(), now: Clock::system().now().as_millis() }
    }

    /// The lookup hash of the `i`th association.
    pub(crate) fn known_hash(&self, i: usize) -> String {
        self.encode(&address(i))
    }

    /// The lookup hash of an address without an association.
    pub(crate) fn unknown_hash(&self, i: usize) -> String {
        self.encode(&format!("stranger{i}@load.example"))
    }

    fn encode(&self, address: &str) -> String {
        URL_SAFE_NO_PAD.encode(self.digest(address))
    }

    fn digest(&self, address: &str) -> Vec<u8> {
        Sha256::digest(format!("{address} email {}", self.pepper)).to_vec()
    }

    /// Address, mxid, digest.
    pub(super) fn rows(&self) -> impl Iterator<Item = (String, String, Vec<u8>)> {
        (0..self.associations).map(|i| {
            let address = address(i);
            let digest = self.digest(&address);
            (address, format!("@person{i}:hs.example"), digest)
        })
    }
}

fn address(i: usize) -> String {
    format!("person{i}@load.example")
}

/// Fills the SQLite file at `path`.
///
/// # Panics
/// If the database returns an error.
pub(crate) fn sqlite(path: &Path, filling: &Filling) {
    let fill = || -> rusqlite::Result<()> {
        let mut connection = Connection::open(path)?;
        let transaction = connection.transaction()?;
        let mut statement = transaction.prepare(
            "insert into associations (medium, address, typed_address, mxid, ts, not_before, not_after, digest) \
             values ('email', ?1, ?1, ?2, ?3, ?3, ?4, ?5)",
        )?;
        for (address, mxid, digest) in filling.rows() {
            statement.execute((address, mxid, filling.now, filling.now + VALIDITY, digest))?;
        }
        drop(statement);
        transaction.commit()
    };
    fill().unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

/// Fills the PostgreSQL database at `url`, and analyses it as its own housekeeping would within a minute.
///
/// # Panics
/// If the database returns an error.
pub(crate) async fn postgres(url: &str, filling: &Filling) {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("the database takes connections");
    let connection = tokio::spawn(connection);
    let rows: Vec<_> = filling.rows().collect();
    for batch in rows.chunks(BATCH) {
        let addresses: Vec<_> = batch.iter().map(|(address, ..)| address).collect();
        let mxids: Vec<_> = batch.iter().map(|(_, mxid, _)| mxid).collect();
        let digests: Vec<_> = batch.iter().map(|(.., digest)| digest).collect();
        let (from, until) = (filling.now, filling.now + VALIDITY);
        client
            .execute(
                "insert into associations (medium, address, typed_address, mxid, ts, not_before, not_after, digest) \
                 select 'email', address, address, mxid, $4, $4, $5, digest \
                 from unnest($1::text[], $2::text[], $3::bytea[]) as row (address, mxid, digest)",
                &[&addresses, &mxids, &digests, &from, &until],
            )
            .await
            .expect("the rows are taken");
    }
    client.batch_execute("vacuum analyze").await.expect("the rows are counted");
    drop(client);
    connection.await.expect("the connection ends by itself").expect("a good end");
}
