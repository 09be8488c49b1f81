//! What operators do around services: topics, schemas, migrations, a look at health and metrics.

use std::path::Path;

use integration_tests::{Expectation, Failure, Installation, verify};
use signalbox::payouts::Wish;
use signalbox::scene::SceneError;
use sqlx::migrate::Migrator;
use sqlx::{Connection, PgConnection, Row};

use crate::{ADAPTER, ENGINE, Outcome};

/// The migration since which programs before an upgrade can work on a newer database.
const FIRST_WINDOW: i64 = 20261129000000;

/// Plans and checks find nothing to do after an installation was prepared, and doing it again changes nothing.
pub(crate) async fn topics_and_schemas(on: &mut Installation) -> Outcome {
    let plan = ["topics", "plan", "--replicas", "1"];
    let settled = "nothing to change\n";
    assert_eq!(on.succeed(&plan).await?, settled);
    for _ in 0..2 {
        let applied = on.succeed(&["topics", "apply", "--replicas", "1"]).await?;
        assert_eq!(applied, "the cluster has every topic of topics.yaml\n");
    }
    assert_eq!(on.succeed(&plan).await?, settled);
    let checked = on.succeed(&["schemas", "check"]).await?;
    on.succeed(&["schemas", "register"]).await?;
    assert_eq!(
        on.succeed(&["schemas", "check"]).await?,
        checked,
        "registering again gave other ids"
    );
    let last = checked.lines().last().unwrap_or_default();
    assert!(last.starts_with("all ") && last.ends_with(" subjects are registered"), "{checked}");
    Ok(format!("topics plan is empty and apply changes nothing twice; {last}"))
}

/// Each migration alone, each of them twice, ends where `signalbox migrate` ends; and so does that, run twice.
pub(crate) async fn migrations(on: &mut Installation) -> Outcome {
    let at_once = database(on, "migrated_at_once").await?;
    for _ in 0..2 {
        on_database(on, &["migrate"], &at_once).await?;
    }
    let wanted = shape(&at_once).await?;

    let stepwise = database(on, "migrated_stepwise").await?;
    let files = on.checkout().join("engine/store/migrations");
    let steps = migrate_stepwise(&stepwise, &files).await?;
    on_database(on, &["migrate"], &stepwise).await?;
    let found = shape(&stepwise).await?;
    assert_eq!(found, wanted, "the database that was migrated step by step differs");
    on_database(on, &["migrate"], &stepwise).await?;
    assert_eq!(shape(&stepwise).await?, wanted, "migrating again changed something");
    under_an_engine(on, &files).await?;
    Ok(format!(
        "{steps} migrations, each run twice: the same {} columns, constraints, indexes and triggers",
        wanted.len()
    ))
}

/// A migration that an engine which runs could not work on is refused with its name; once it is gone, it is carried out.
async fn under_an_engine(on: &mut Installation, files: &Path) -> Result<(), Failure> {
    let url = database(on, "migrated_under_an_engine").await?;
    let mut connection = PgConnection::connect(&url).await?;
    let all = Migrator::new(files).await.map_err(|error| Failure::Broken(error.to_string()))?;
    // What knew no windows: the next step works with nobody older.
    let first = all.iter().filter(|step| step.version < FIRST_WINDOW).cloned().collect::<Vec<_>>();
    let migrator = Migrator { migrations: first.into(), ..Migrator::DEFAULT };
    let ran = migrator.run(&mut connection).await;
    ran.map_err(|error| Failure::Broken(error.to_string()))?;
    sqlx::query("INSERT INTO worker VALUES ('old-engine', now())").execute(&mut connection).await?;
    let postgres = ("SIGNALBOX__POSTGRES__URL".to_owned(), url.clone());
    let said = on.run(&["migrate"], &[postgres]).await?;
    assert_ne!(said.code, Some(0), "{}{}", said.out, said.err);
    assert!(said.err.contains("old-engine"), "{}", said.err);
    sqlx::query("DELETE FROM worker").execute(&mut connection).await?;
    on_database(on, &["migrate"], &url).await
}

/// Neither engine nor adapter runs on an empty database or on one whose newer steps say nothing of their program. Where
/// they say that it may, both work.
pub(crate) async fn unknown_schema(on: &mut Installation) -> Outcome {
    let empty = database(on, "never_migrated").await?;
    let newer = database(on, "of_the_future").await?;
    on_database(on, &["migrate"], &newer).await?;
    let mut connection = PgConnection::connect(&newer).await?;
    sqlx::query(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
         VALUES (99991231000001, 'a step that this program does not know', true, '', 0)",
    )
    .execute(&mut connection)
    .await?;
    let services: [&[&str]; 2] = [
        &["engine", "--admin-listen", "127.0.0.1:0"],
        &["adapter", "--all", "--admin-listen", "127.0.0.1:0"],
    ];
    for service in services {
        for (at, words) in [(&empty, "run `signalbox migrate`"), (&newer, "run the newer program")]
        {
            let postgres = ("SIGNALBOX__POSTGRES__URL".to_owned(), at.clone());
            let said = on.run(service, &[postgres]).await?;
            let told = format!("{}{}", said.out, said.err);
            assert_ne!(said.code, Some(0), "{service:?} ended well on {at}:\n{told}");
            assert!(told.contains(words), "{service:?} on {at} does not say {words:?}:\n{told}");
        }
    }
    let told = on_a_newer_database(on).await?;
    Ok(format!(
        "engine and adapter refuse an empty database and one of a newer program, and say what to do; where its steps say \
         that they may, they work: {told}"
    ))
}

/// The database of the installation gets a step that this program does not know and that says that it may go on.
async fn on_a_newer_database(on: &mut Installation) -> Outcome {
    let mut connection = PgConnection::connect(&on.settings().postgres).await?;
    let newer = "INSERT INTO schema_step SELECT 99991231000001, max(version) FROM _sqlx_migrations; \
                 INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
                 VALUES (99991231000001, 'a step that adds something', true, '', 0)";
    sqlx::raw_sql(newer).execute(&mut connection).await?;
    on.stop_engine(ENGINE).await?;
    on.kill_adapter(ADAPTER)?;
    on.start_adapter(ADAPTER).await?;
    on.start_engine(ENGINE).await?;
    let migrated = on.succeed(&["migrate"]).await?;
    let payouts = on.request(&Wish::default(), 3).await?;
    let expected: Vec<Expectation> = payouts.into_iter().map(Expectation::completed).collect();
    let told = verify(on, &expected).await?;
    let gone = "DELETE FROM schema_step WHERE version = 99991231000001; \
                DELETE FROM _sqlx_migrations WHERE version = 99991231000001";
    sqlx::raw_sql(gone).execute(&mut connection).await?;
    assert!(migrated.contains("a newer program has migrated this database"), "{migrated}");
    Ok(told.to_string())
}

/// An engine and an adapter that may do no more than their roles allow lead payouts to their ends.
pub(crate) async fn least_privileges(on: &mut Installation) -> Outcome {
    let script = on.succeed(&["migrate", "--print-roles"]).await?;
    let url = on.settings().postgres.clone();
    let mut owner = PgConnection::connect(&url).await?;
    for _ in 0..2 {
        sqlx::raw_sql(sqlx::AssertSqlSafe(script.clone())).execute(&mut owner).await?;
    }
    for role in ["engine", "adapter", "reader"] {
        let login = format!("CREATE ROLE only_{role} LOGIN IN ROLE signalbox_{role}");
        sqlx::raw_sql(sqlx::AssertSqlSafe(login)).execute(&mut owner).await?;
    }
    on.stop_engine(ENGINE).await?;
    on.kill_adapter(ADAPTER)?;
    on.also(vec![as_login(&url, "only_engine")]);
    on.start_engine(ENGINE).await?;
    on.also(vec![as_login(&url, "only_adapter")]);
    on.start_adapter(ADAPTER).await?;
    on.also(Vec::new());
    let payouts = on.request(&Wish::default(), 5).await?;
    let shown = payouts.first().map(|payout| payout.id.clone()).unwrap_or_default();
    let expected: Vec<Expectation> = payouts.into_iter().map(Expectation::completed).collect();
    let told = verify(on, &expected).await?;

    let forbidden = [
        ("only_engine", "UPDATE journal SET reason = 'another' WHERE false"),
        ("only_engine", "CREATE TABLE mine (id int)"),
        ("only_adapter", "SELECT content FROM command"),
        ("only_adapter", "UPDATE flow SET state = 'completed' WHERE false"),
        ("only_reader", "UPDATE gate SET is_off = false WHERE false"),
    ];
    for (login, statement) in forbidden {
        let (_, address) = as_login(&url, login);
        let mut connection = PgConnection::connect(&address).await?;
        let refused = sqlx::raw_sql(statement).execute(&mut connection).await;
        let code =
            refused.err().and_then(|error| Some(error.as_database_error()?.code()?.into_owned()));
        assert_eq!(code.as_deref(), Some("42501"), "{login} may: {statement}");
    }
    let (name, address) = as_login(&url, "only_reader");
    let seen = on.run(&["flow", "show", &shown], &[(name, address)]).await?;
    assert_eq!(seen.code, Some(0), "{}{}", seen.out, seen.err);
    on.stop_engine(ENGINE).await?;
    on.kill_adapter(ADAPTER)?;
    on.start_adapter(ADAPTER).await?;
    on.start_engine(ENGINE).await?;
    Ok(format!("under their own roles: {told}; {} statements refused", forbidden.len()))
}

/// The setting by which a service connects as somebody else.
fn as_login(url: &str, login: &str) -> (String, String) {
    let (scheme, rest) = url.split_once("://").unwrap_or_default();
    let host = rest.split_once('@').map_or(rest, |(_, host)| host);
    ("SIGNALBOX__POSTGRES__URL".to_owned(), format!("{scheme}://{login}@{host}"))
}

/// An engine and an adapter answer for themselves.
pub(crate) async fn admin(on: &mut Installation) -> Outcome {
    let mut metrics = 0;
    for address in on.admin_addresses() {
        for (path, expected) in [("livez", ""), ("readyz", ""), ("metrics", "# TYPE signalbox_")] {
            let (status, body) = on.get(&format!("http://{address}/{path}")).await?;
            assert_eq!(status, 200, "{address}/{path}:\n{body}");
            assert!(body.contains(expected), "{address}/{path}:\n{body}");
            metrics += body.lines().filter(|line| line.starts_with("# TYPE")).count();
        }
    }
    assert!(metrics > 0);
    Ok(format!("engine and adapter are live and ready, {metrics} metrics are described"))
}

/// The doctor finds a whole installation healthy, and names a server that is away with what to do.
pub(crate) async fn doctor(on: &mut Installation) -> Outcome {
    let arguments = ["doctor", "--replicas", "1"];
    let mut settings = on.vendor_settings();
    let said = on.run(&arguments, &settings).await?;
    let told = format!("{}{}", said.out, said.err);
    assert_eq!(said.code, Some(0), "a healthy installation is said to be ill:\n{told}");
    for word in
        ["ok    postgres", "ok    kafka", "ok    registry", "ok    vendors", "nothing is wrong"]
    {
        assert!(told.contains(word), "{word:?} is not told:\n{told}");
    }
    settings.push(("SIGNALBOX__REGISTRY__URL".to_owned(), "http://127.0.0.1:1".to_owned()));
    let said = on.run(&arguments, &settings).await?;
    assert_eq!(said.code, Some(1), "{}{}", said.out, said.err);
    assert!(
        said.out.contains("FAIL  registry") && said.out.contains("-> start the registry"),
        "{}",
        said.out
    );
    let shown = on.succeed(&["config", "show", "--redacted"]).await?;
    assert!(!shown.contains(&on.settings().tenant_key), "the tenant key is shown:\n{shown}");
    Ok(format!(
        "{} things are looked at, all well; a registry that is away is named",
        told.lines().filter(|line| line.starts_with("ok")).count()
    ))
}

/// Makes an empty database; its URL.
pub(crate) async fn database(on: &mut Installation, name: &str) -> Result<String, Failure> {
    Ok(on.stack().create_database(name).await.map_err(SceneError::from)?)
}

async fn on_database(on: &Installation, arguments: &[&str], url: &str) -> Result<(), Failure> {
    let postgres = ("SIGNALBOX__POSTGRES__URL".to_owned(), url.to_owned());
    let said = on.run(arguments, &[postgres]).await?;
    assert_eq!(said.code, Some(0), "{arguments:?}: {}{}", said.out, said.err);
    Ok(())
}

/// Runs the first migration, then the first two, and so on, each time twice. How many there are.
async fn migrate_stepwise(url: &str, files: &Path) -> Result<usize, Failure> {
    let mut connection = PgConnection::connect(url).await?;
    let all = Migrator::new(files).await.map_err(|error| Failure::Broken(error.to_string()))?;
    let steps = all.iter().count();
    for count in 1..=steps {
        let first: Vec<_> = all.iter().take(count).cloned().collect();
        let migrator = Migrator { migrations: first.into(), ..Migrator::DEFAULT };
        for _ in 0..2 {
            let ran = migrator.run(&mut connection).await;
            ran.map_err(|error| Failure::Broken(format!("step {count}: {error}")))?;
        }
    }
    Ok(steps)
}

/// Every column, constraint, index, trigger and function, in words.
async fn shape(url: &str) -> Result<Vec<String>, Failure> {
    let mut connection = PgConnection::connect(url).await?;
    let rows = sqlx::query(
        "SELECT 'column ' || table_name || '.' || column_name || ' ' || data_type || ' ' || is_nullable || ' '
                || coalesce(column_default, '') AS line
           FROM information_schema.columns WHERE table_schema = 'public'
         UNION ALL
         SELECT 'constraint ' || conrelid::regclass || ' ' || conname || ' ' || pg_get_constraintdef(oid)
           FROM pg_constraint WHERE connamespace = 'public'::regnamespace
         UNION ALL SELECT 'index ' || indexdef FROM pg_indexes WHERE schemaname = 'public'
         UNION ALL SELECT 'trigger ' || pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal
         UNION ALL
         SELECT 'function ' || pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = 'public'::regnamespace
         UNION ALL
         SELECT 'table ' || relname || ' ' || coalesce(reloptions::text, '') || ' '
                || coalesce(pg_get_expr(relpartbound, oid), '')
           FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')
         ORDER BY line",
    )
    .fetch_all(&mut connection)
    .await?;
    rows.iter().map(|row| Ok(row.try_get("line")?)).collect()
}
