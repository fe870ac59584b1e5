//! The bare driver's share of a decision: two reads, one insert, one `IF NOT EXISTS`.

use std::sync::Arc;

use anyhow::Result;
use ridgeline_ports::Entropy as _;
use ridgeline_runtime::SystemEntropy;
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::statement::Consistency;
use scylla::statement::prepared::PreparedStatement;

use crate::stack::Stack;
use crate::{Timed, time};

/// About what a subject with two templates takes.
const SUBJECT: &[u8] = &[7; 4_096];
/// About what an answer takes.
const ANSWER: &[u8] = &[7; 1_024];
/// About what the row of a request takes.
const REQUEST: &[u8] = &[7; 128];
const SUBJECTS: usize = 192;

/// Which requests are counted to a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Share {
    /// Two reads, one insert, one `IF NOT EXISTS`.
    Decision,
    /// All that a verification asks of the store: four reads, one insert, one `IF NOT EXISTS`.
    Whole,
    /// All that one by a sealed probe asks: one more `IF NOT EXISTS`.
    SealedProbe,
}

/// A session of its own, as the driver's documentation sets it up, and tables of its own.
pub struct Driver {
    session: Session,
    read: PreparedStatement,
    find: PreparedStatement,
    insert: PreparedStatement,
    answer: PreparedStatement,
}

impl Driver {
    /// Makes the tables and the rows that are read.
    ///
    /// # Errors
    /// A database that refuses.
    pub async fn prepare(stack: &Stack) -> Result<Arc<Self>> {
        let session = SessionBuilder::new().known_node(&stack.contact_point).build().await?;
        let (rows, answers) = (format!("{}.bare_rows", stack.keyspace), format!("{}.bare_answers", stack.keyspace));
        for table in [&rows, &answers] {
            session.query_unpaged(format!("CREATE TABLE {table} (id text PRIMARY KEY, value blob)"), ()).await?;
        }
        session.await_schema_agreement().await?;
        let prepare = async |text: String| -> Result<PreparedStatement> {
            let mut statement = session.prepare(text).await?;
            statement.set_consistency(Consistency::LocalQuorum);
            Ok(statement)
        };
        let read = prepare(format!("SELECT value FROM {rows} WHERE id = ?")).await?;
        let find = prepare(format!("SELECT value FROM {answers} WHERE id = ?")).await?;
        let insert = prepare(format!("INSERT INTO {rows} (id, value) VALUES (?, ?)")).await?;
        let answer = prepare(format!("INSERT INTO {answers} (id, value) VALUES (?, ?) IF NOT EXISTS")).await?;
        for number in 0..SUBJECTS {
            session.execute_unpaged(&insert, (format!("s{number}"), SUBJECT)).await?;
        }
        Ok(Arc::new(Self { session, read, find, insert, answer }))
    }

    /// So many decisions' worth of requests, those of one decision one after the other.
    ///
    /// # Errors
    /// A database that refuses.
    pub async fn time(self: &Arc<Self>, calls: usize, in_flight: usize, share: Share) -> Result<Timed> {
        let this = self.clone();
        time(calls, in_flight, move |number| {
            let this = this.clone();
            async move {
                let id = SystemEntropy.request_id().to_string();
                this.session.execute_unpaged(&this.insert, (&id, REQUEST)).await?;
                this.session.execute_unpaged(&this.find, (&id,)).await?.into_rows_result()?;
                let subject = format!("s{}", number % SUBJECTS);
                let row = this.session.execute_unpaged(&this.read, (subject,)).await?.into_rows_result()?;
                std::hint::black_box(row.single_row::<(Vec<u8>,)>()?);
                this.session.execute_unpaged(&this.answer, (&id, ANSWER)).await?;
                if share == Share::SealedProbe {
                    // The mark of the used probe.
                    this.session.execute_unpaged(&this.answer, (format!("p{id}"), REQUEST)).await?;
                }
                if share != Share::Decision {
                    // The caller's key, and the answer once more for the caller.
                    this.session.execute_unpaged(&this.find, ("key",)).await?.into_rows_result()?;
                    this.session.execute_unpaged(&this.find, (&id,)).await?.into_rows_result()?;
                }
                Ok(())
            }
        })
        .await
    }
}
