//! `identity migrate`: the migration of the database as a step of its own.

use harness::binary;
use harness::process::{Server, new_folder, run};
use harness::world::identity::{Settings, databases};

#[tokio::test(flavor = "multi_thread")]
async fn a_database_is_migrated_once_and_a_server_that_does_not_migrate_starts_after_it() {
    for database in databases().await {
        let folder = new_folder();
        let database = if database.is_empty() { "[database]\n" } else { &database };
        let tables = format!("{database}migrate = false\nstart_timeout = \"0s\"\n");
        let config = Settings { tables: &tables, ..Settings::default() }.toml("", "");
        std::fs::create_dir(folder.path().join("data")).unwrap();
        std::fs::write(folder.path().join("config.toml"), &config).unwrap();
        let command = async |arguments: &[&str]| {
            let output = run(binary::identity(), folder.path(), arguments, &[]).await;
            (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
        };
        let (code, said) = command(&["serve"]).await;
        assert!(code == Some(1) && said.contains("[database] migrate: the database lacks"), "{said}");
        let (code, said) = command(&["migrate"]).await;
        assert!(code == Some(0) && said.contains("migrations: 2026-11-22-000000_first, "), "{said}");
        let (code, said) = command(&["migrate"]).await;
        assert!(code == Some(0) && said.contains("the database is up to date"), "{said}");
        drop(Server::start_in(folder, binary::identity(), &config, &[]).await);

        let unreachable = config.replace(database, "[database]\nurl = \"postgres://u:p@127.0.0.1:1/x\"\n");
        let folder = new_folder();
        std::fs::write(folder.path().join("config.toml"), unreachable).unwrap();
        let output = run(binary::identity(), folder.path(), &["migrate"], &[]).await;
        assert_eq!(output.status.code(), Some(1));
    }
}
