use millrace_testkit::Postgres;
use std::process::Command;

fn psql(url: &str, statement: &str) -> String {
    let output = Command::new("psql").args(["-X", "-A", "-t", "-c", statement, url]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn each_test_has_an_empty_database_of_its_own() {
    let server = Postgres::start();
    let (one, two) = (server.database(), server.database());
    assert_ne!(one, two);
    psql(&one, "create table only_here (id int)");
    let tables = "select count(*) from pg_tables where tablename = 'only_here'";
    assert_eq!(psql(&one, tables), "1");
    assert_eq!(psql(&two, tables), "0");
    assert_eq!(psql(&one, "show fsync"), "on");
}
