//! The store on both databases: one body a test, run on SQLite always and on PostgreSQL when asked for
//! (`TEST_DATABASE_URL=… cargo test -p store -- --ignored`).

mod harness;

mod backup;
mod fallback;
mod history;
mod metrics;
mod migrations;
mod queue;
mod rows;
mod runs;
