//! diesel's connection over the PostgreSQL driver.
//!
//! diesel-async's own always names its statements, which fails behind a pooler that gives each transaction another
//! server connection. This one sends unnamed statements, in one round trip, and names them only where that is safe.
//!
//! Invariant: it leaves no state in the session: no setting, no lock, no temporary table, and no named statement unless
//! [`Link::has_named_statements`].

use std::collections::HashMap;
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use diesel::connection::{CacheSize, DynInstrumentation, Instrumentation};
use diesel::pg::Pg;
use diesel::query_builder::{AsQuery, QueryFragment, QueryId};
use diesel::result::{DatabaseErrorKind, Error as DieselError};
use diesel::{ConnectionError, ConnectionResult, QueryResult};
use diesel_async::pooled_connection::PoolableConnection;
use diesel_async::{
    AnsiTransactionManager, AsyncConnection, AsyncConnectionCore, SimpleAsyncConnection, TransactionManager,
};
use futures_util::future::BoxFuture;
use futures_util::stream::{self, Iter};
use futures_util::{FutureExt, TryStreamExt};
use tokio::task::JoinHandle;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Error, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::direct;
use super::failure;
use super::row::PostgresRow;
use super::statement::{Statement, Value};

/// Named statements of one connection; beyond that number all are forgotten.
const MAX_NAMED: usize = 256;

/// How long a server may take to stop a statement that exceeded its time.
const TIME_TO_STOP: Duration = Duration::from_secs(2);

/// What a connection knows about the way to its server.
#[derive(Clone)]
pub(super) struct Link {
    pub(super) tls: MakeRustlsConnect,
    pub(super) has_named_statements: bool,
    /// How long a statement may take; `None`: any time.
    pub(super) statement_timeout: Option<Duration>,
}

/// A connection to PostgreSQL.
pub struct PostgresConnection {
    client: Client,
    link: Link,
    /// By their text.
    named: HashMap<String, tokio_postgres::Statement>,
    driver: JoinHandle<()>,
    /// Why the connection ended, if the server said so.
    end: Arc<OnceLock<String>>,
    /// A statement exceeded its time.
    is_out_of_step: bool,
    transaction_state: AnsiTransactionManager,
    instrumentation: DynInstrumentation,
}

impl PostgresConnection {
    pub(super) fn new<S>(client: Client, connection: tokio_postgres::Connection<Socket, S>, link: Link) -> Self
    where
        S: tokio_postgres::tls::TlsStream + Unpin + Send + 'static,
    {
        let end = Arc::new(OnceLock::new());
        let driver = tokio::spawn({
            let end = Arc::clone(&end);
            async move {
                if let Err(error) = connection.await {
                    _ = end.set(failure::of_statement(&error).to_string());
                }
            }
        });
        Self {
            client,
            link,
            named: HashMap::new(),
            driver,
            end,
            is_out_of_step: false,
            transaction_state: AnsiTransactionManager::default(),
            instrumentation: DynInstrumentation::none(),
        }
    }

    /// The driver's handle, for statements without diesel. They have no time limit.
    pub(in crate::store) fn client(&self) -> &Client {
        &self.client
    }

    /// Whether the server itself is at the other end, as far as it can be found out; asks it.
    pub(in crate::store) fn leads_to_server(&self) -> impl Future<Output = bool> + Send {
        // Without `self`, which is not `Sync`.
        direct::is_direct(self.client())
    }

    /// Names statements from now on: the connection leads to the server itself.
    pub(super) fn use_named_statements(&mut self) {
        self.link.has_named_statements = true;
    }

    /// Runs `statement`; returns its rows and the number of rows that it changed.
    async fn run(&mut self, statement: QueryResult<Statement>) -> QueryResult<(Vec<PostgresRow>, usize)> {
        let statement = statement?;
        self.check()?;
        let is_named = self.link.has_named_statements && statement.is_reusable;
        let limit = self.link.statement_timeout;
        let result = within(limit, self.send(statement, is_named)).await;
        self.judge(result).await
    }

    async fn send(&mut self, statement: Statement, is_named: bool) -> Result<(Vec<PostgresRow>, usize), Error> {
        let Statement { sql, values, .. } = statement;
        let rows = if is_named {
            let named = match self.named.get(&sql) {
                Some(named) => named.clone(),
                None => self.name(sql, &values).await?,
            };
            self.client.query_raw(&named, values.iter().map(|(value, _)| value)).await?
        } else {
            self.client.query_typed_raw(&sql, values).await?
        };
        let mut rows = pin!(rows);
        let mut found = Vec::new();
        while let Some(row) = rows.try_next().await? {
            found.push(PostgresRow(row));
        }
        let changed = rows.rows_affected().unwrap_or_default();
        Ok((found, usize::try_from(changed).unwrap_or(usize::MAX)))
    }

    async fn name(&mut self, sql: String, values: &[(Value, Type)]) -> Result<tokio_postgres::Statement, Error> {
        let types: Vec<Type> = values.iter().map(|(_, built_in)| built_in.clone()).collect();
        let named = self.client.prepare_typed(&sql, &types).await?;
        if self.named.len() >= MAX_NAMED {
            self.named.clear();
        }
        self.named.insert(sql, named.clone());
        Ok(named)
    }

    fn check(&self) -> QueryResult<()> {
        if self.is_out_of_step { Err(closed("an earlier statement exceeded its time".to_owned())) } else { Ok(()) }
    }

    /// Maps the failure of a statement; `None` is one that exceeded its time.
    async fn judge<T: Send>(&mut self, result: Option<Result<T, Error>>) -> QueryResult<T> {
        match result {
            Some(Ok(value)) => Ok(value),
            Some(Err(error)) => {
                let stale = [SqlState::FEATURE_NOT_SUPPORTED, SqlState::INVALID_SQL_STATEMENT_NAME];
                // A table changed since the statement was named, or the server does not know the name.
                if error.code().is_some_and(|code| stale.contains(code)) {
                    self.named.clear();
                }
                match self.end.get().filter(|_| error.is_closed()) {
                    Some(end) => Err(closed(end.clone())),
                    None => Err(failure::of_statement(&error)),
                }
            }
            None => {
                self.is_out_of_step = true;
                // The server itself is asked to stop the statement. A pooler is not: it may pass the cancellation on to the
                // statement of another client, and pgbouncer 1.18 ends with all its connections when it is asked.
                if self.link.has_named_statements {
                    let (token, tls) = (self.client.cancel_token(), self.link.tls.clone());
                    _ = tokio::time::timeout(TIME_TO_STOP, token.cancel_query(tls)).await;
                }
                let limit = self.link.statement_timeout.unwrap_or_default();
                Err(closed(format!("a statement took longer than [database] statement_timeout, {limit:?}")))
            }
        }
    }
}

impl Drop for PostgresConnection {
    fn drop(&mut self) {
        // Closes the socket also while a statement runs; the server rolls its transaction back.
        self.driver.abort();
    }
}

async fn within<T>(limit: Option<Duration>, work: impl Future<Output = T>) -> Option<T> {
    match limit {
        Some(limit) => tokio::time::timeout(limit, work).await.ok(),
        None => Some(work.await),
    }
}

fn closed(text: String) -> DieselError {
    DieselError::DatabaseError(DatabaseErrorKind::ClosedConnection, Box::new(text))
}

impl SimpleAsyncConnection for PostgresConnection {
    async fn batch_execute(&mut self, query: &str) -> QueryResult<()> {
        self.check()?;
        let result = within(self.link.statement_timeout, self.client.batch_execute(query)).await;
        self.judge(result).await
    }
}

impl AsyncConnectionCore for PostgresConnection {
    type ExecuteFuture<'conn, 'query> = BoxFuture<'conn, QueryResult<usize>>;
    type LoadFuture<'conn, 'query> = BoxFuture<'conn, QueryResult<Self::Stream<'conn, 'query>>>;
    type Stream<'conn, 'query> = Iter<std::vec::IntoIter<QueryResult<PostgresRow>>>;
    type Row<'conn, 'query> = PostgresRow;
    type Backend = Pg;

    fn load<'conn, 'query, T>(&'conn mut self, source: T) -> Self::LoadFuture<'conn, 'query>
    where
        T: AsQuery + 'query,
        T::Query: QueryFragment<Pg> + QueryId + 'query,
    {
        let statement = Statement::new(&source.as_query());
        async move {
            let (rows, _) = self.run(statement).await?;
            let rows: Vec<_> = rows.into_iter().map(Ok).collect();
            Ok(stream::iter(rows))
        }
        .boxed()
    }

    fn execute_returning_count<'conn, 'query, T>(&'conn mut self, source: T) -> Self::ExecuteFuture<'conn, 'query>
    where
        T: QueryFragment<Pg> + QueryId + 'query,
    {
        let statement = Statement::new(&source);
        async move { Ok(self.run(statement).await?.1) }.boxed()
    }
}

impl AsyncConnection for PostgresConnection {
    type TransactionManager = AnsiTransactionManager;

    /// The pool opens connections by its own setup.
    async fn establish(_: &str) -> ConnectionResult<Self> {
        Err(ConnectionError::BadConnection("this connection is opened by its pool alone".to_owned()))
    }

    fn transaction_state(&mut self) -> &mut AnsiTransactionManager {
        &mut self.transaction_state
    }

    fn instrumentation(&mut self) -> &mut dyn Instrumentation {
        &mut *self.instrumentation
    }

    fn set_instrumentation(&mut self, instrumentation: impl Instrumentation) {
        self.instrumentation = instrumentation.into();
    }

    fn set_prepared_statement_cache_size(&mut self, size: CacheSize) {
        if matches!(size, CacheSize::Disabled) {
            self.link.has_named_statements = false;
        }
    }
}

impl PoolableConnection for PostgresConnection {
    fn is_broken(&mut self) -> bool {
        self.is_out_of_step || self.client.is_closed() || AnsiTransactionManager::is_broken_transaction_manager(self)
    }
}
