//! A database row that refuses a late writer. The first holder of a lock hangs, its lock is broken,
//! a second one writes, and then the first one wakes and writes too.
//!
//! ```text
//! cargo run --locked --example fenced_row
//! ```

use std::error::Error;

use lockservice::testkit::{Pair, PairOptions};
use lockservice::{BreakOutcome, Token};
use rusqlite::{Connection, params};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let database = Connection::open_in_memory()?; // yours: the database that all holders share
    database.execute_batch(
        "CREATE TABLE reports (id INTEGER PRIMARY KEY, value TEXT, token INTEGER NOT NULL DEFAULT 0);
         INSERT INTO reports (id, value) VALUES (7, 'empty')",
    )?;
    let pair = Pair::start(PairOptions::threads()).await;
    let [first, second] = [pair.clerk().await, pair.clerk().await];

    let early = first.acquire("reports/7").await?;
    println!(
        "first:  holds the lock by token {}, and hangs",
        early.token()
    );
    let broken = second
        .break_lock("reports/7", early.token(), "it hangs")
        .await?;
    assert_eq!(broken, BreakOutcome::Broken);

    let late = second.acquire("reports/7").await?;
    let is_written = write(&database, 7, "by the second", late.token())?;
    println!(
        "second: holds the lock by token {}, writes: {is_written}",
        late.token()
    );
    assert!(is_written);

    let is_written = write(&database, 7, "by the first", early.token())?;
    println!("first:  wakes, writes: {is_written}");
    assert!(!is_written, "a later holder has written");

    let query = "SELECT value FROM reports WHERE id = 7";
    let value: String = database.query_row(query, [], |row| row.get(0))?;
    println!("the report was written {value}");
    late.release().await?;
    Ok(())
}

/// Writes the report, unless a later holder of its lock has: one statement checks and writes.
fn write(
    database: &Connection,
    id: u32,
    value: &str,
    token: Token,
) -> Result<bool, Box<dyn Error>> {
    let token = i64::try_from(token.get())?;
    let rows = database.execute(
        "UPDATE reports SET value = ?1, token = ?2 WHERE id = ?3 AND token <= ?2",
        params![value, token, id],
    )?;
    Ok(rows == 1)
}
