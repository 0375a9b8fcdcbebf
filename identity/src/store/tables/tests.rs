//! The list of tables, and rows of both databases.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{BATCH, Content, Kind, Row, Start, Table, Value, clear, content, insert, list, page};
use crate::config::database::Database;
use crate::flows::copy_database::{Step, copy_database};
use crate::store::testing::{execute, stores};
use crate::store::{Store, StoreError};

async fn fresh() -> Store {
    Store::open(&Database::at("sqlite::memory:"), None).await.unwrap()
}

/// The columns of each table in the diesel schema.
fn schema() -> BTreeMap<String, BTreeSet<String>> {
    let mut tables: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for text in include_str!("../schema.rs").split("\ntable! {").skip(1) {
        let text = &text[..text.find("\n}").unwrap()];
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let mut name = None;
        let head = lines.find(|line| {
            name = line.strip_prefix("#[sql_name = \"").map(|rest| rest.split('"').next().unwrap()).or(name);
            !line.starts_with(['#', '/'])
        });
        let name = name.or(head.unwrap().split_whitespace().next()).unwrap();
        let columns = lines.filter_map(|line| Some(line.split_once(" -> ")?.0.to_owned()));
        tables.entry(name.to_owned()).or_default().extend(columns);
    }
    tables
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_has_every_table_and_column_of_the_schema() {
    let tables = list(&fresh().await).await.unwrap();
    let listed = tables.iter().map(|table| {
        assert!(!table.key.is_empty(), "{} has no primary key", table.name);
        assert!(table.columns.len() <= 30, "{}: a batch has more values than a statement may", table.name);
        (table.name.clone(), table.columns.iter().map(|column| column.name.clone()).collect())
    });
    assert_eq!(listed.collect::<BTreeMap<_, _>>(), schema());
    let place = |name: &str| tables.iter().position(|table| table.name == name).unwrap();
    assert!(place("accounts") < place("tokens") && place("onbinds") < place("invites"));
}

/// The same value in all columns of one kind, so that foreign keys find their parents; 1 passes the checks.
fn value(kind: Kind) -> Value {
    match kind {
        Kind::Integer => Value::Integer(1),
        Kind::Text => Value::Text("\u{e4}\u{10ffff} '\"\\%".to_owned()),
        Kind::Bytes => Value::Bytes(b"\0\xff\\'".to_vec()),
    }
}

fn row(table: &Table) -> Row {
    Row(table.columns.iter().map(|column| value(column.kind)).collect())
}

async fn fill(store: &Store, table: &Arc<Table>, rows: Vec<Row>) {
    let table = Arc::clone(table);
    let write = store.write(async move |conn| {
        clear(conn, &table).await?;
        for part in rows.chunks(1_000) {
            insert(conn, &table, part).await?;
        }
        Ok::<_, StoreError>(())
    });
    write.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_of_every_table_is_copied_from_each_database_to_each() {
    let fresh = fresh().await;
    let tables = list(&fresh).await.unwrap();
    // SQLite to PostgreSQL, to PostgreSQL behind pgbouncer, to SQLite, to SQLite.
    let mut chain = stores().await;
    chain.extend([stores().await.remove(0), stores().await.remove(0)]);
    for store in &chain {
        execute(store, "delete from peppers").await;
    }
    for table in &tables {
        fill(&chain[0], table, vec![row(table)]).await;
    }
    for pair in chain.windows(2) {
        let (mut copied, mut checked) = (BTreeSet::new(), BTreeSet::new());
        let report = |step, table: &str, rows, total| {
            assert_eq!((rows, total), (1, 1), "{table}");
            if step == Step::Copied { &mut copied } else { &mut checked }.insert(table.to_owned());
        };
        let number = tables.len();
        let done = copy_database(&pair[0], &pair[1], &fresh, report).await.unwrap();
        assert_eq!(done, (number, i64::try_from(number).unwrap()));
        assert_eq!((copied.len(), checked.len()), (number, number));
        for table in &tables {
            let mut expected = Content::default();
            expected.add(&row(table));
            assert_eq!(content(&pair[1], table, |_| {}).await.unwrap(), expected, "{}", table.name);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_have_every_row_once_whatever_the_order_of_texts() {
    let tables = list(&fresh().await).await.unwrap();
    // A key of two columns, one of them a text; nulls.
    let table = tables.iter().find(|table| table.name == "associations").unwrap();
    let mut rows = Vec::new();
    let mut expected = Content::default();
    for number in 0..2 * BATCH + 1 {
        let mut row = row(table);
        for (value, column) in row.0.iter_mut().zip(&table.columns) {
            match (column.name.as_str(), &mut *value) {
                ("medium", Value::Text(text)) => {
                    *text = ["a", "B", "\u{e4}"][usize::try_from(number % 3).unwrap()].to_owned();
                }
                ("address", Value::Text(text)) => {
                    *text = format!("{}{number}", ["z-", "A", "\u{df}"][usize::try_from(number % 3).unwrap()]);
                }
                ("digest" | "digest_2", Value::Bytes(bytes)) => *bytes = number.to_be_bytes().to_vec(),
                ("digest_lower" | "digest_ascii", value) if number % 2 == 0 => *value = Value::Null,
                _ => {}
            }
        }
        expected.add(&row);
        rows.push(row);
    }
    for store in stores().await {
        fill(&store, table, rows.clone()).await;
        let mut read = Vec::new();
        assert_eq!(content(&store, table, |rows| read.push(rows)).await.unwrap(), expected);
        assert_eq!(read, [BATCH, 2 * BATCH, 2 * BATCH + 1]);
        let rest = store.read({
            let table = Arc::clone(table);
            async move |conn| page(conn, &table, &Start::Skip(2 * BATCH)).await
        });
        assert_eq!(rest.await.unwrap().len(), 1);
    }
}

#[test]
fn a_checksum_depends_on_each_value_and_not_on_the_order() {
    let content = |rows: &[&[Value]]| {
        let mut content = Content::default();
        rows.iter().for_each(|row| content.add(&Row(row.to_vec())));
        content
    };
    let (a, b) = ([Value::Text("a".to_owned()), Value::Null], [Value::Null, Value::Text("a".to_owned())]);
    assert_eq!(content(&[&a, &b]), content(&[&b, &a]));
    let bytes = [Value::Bytes(b"a".to_vec()), Value::Null];
    let split = [Value::Text(String::new()), Value::Text("a".to_owned())];
    let different = [content(&[&a]), content(&[&b]), content(&[&bytes]), content(&[&split]), content(&[&a, &a])];
    for (index, one) in different.iter().enumerate() {
        assert!(different[..index].iter().all(|other| one != other));
    }
}
