//! What the user said of each suggestion that a plugin made.

use chrono::{DateTime, NaiveDateTime, Utc};
use diesel::prelude::*;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::schema::{plugin_executions, plugin_suggestions};
use crate::{Error, Store};

/// The user's word on a suggestion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SuggestionVerdict {
    /// It was taken.
    Accepted,
    /// It was not.
    Rejected,
}

/// One suggestion that the user said something of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StoredSuggestion {
    /// The call that made it.
    pub execution_id: Uuid,
    /// Where it stands in the answer, as a JSON pointer.
    pub pointer: String,
    /// What the user said.
    pub verdict: SuggestionVerdict,
    /// When.
    pub updated_at: DateTime<Utc>,
}

impl Store {
    /// Keeps the user's word on a suggestion, in place of the one before.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no such call, else when the database fails.
    pub fn judge_suggestion(
        &self,
        execution_id: Uuid,
        pointer: &str,
        verdict: SuggestionVerdict,
    ) -> Result<StoredSuggestion, Error> {
        let row = Row {
            execution_id: execution_id.to_string(),
            pointer: pointer.to_owned(),
            verdict: word(verdict).to_owned(),
            updated_at: Utc::now().naive_utc(),
        };
        self.write(|connection| {
            let calls: i64 = plugin_executions::table
                .filter(plugin_executions::id.eq(&row.execution_id))
                .count()
                .get_result(connection)?;
            if calls == 0 {
                return Err(Error::NotFound {
                    what: "plugin execution",
                    id: row.execution_id.clone(),
                });
            }
            let key = (row.execution_id.as_str(), row.pointer.as_str());
            diesel::delete(plugin_suggestions::table.find(key)).execute(connection)?;
            diesel::insert_into(plugin_suggestions::table)
                .values(&row)
                .execute(connection)?;
            Ok(())
        })?;
        row.into_stored()
    }

    /// Every suggestion of a call that the user said something of, in the order of pointers.
    ///
    /// # Errors
    /// When the database fails.
    pub fn list_suggestions(&self, execution_id: Uuid) -> Result<Vec<StoredSuggestion>, Error> {
        let rows: Vec<Row> = self.read(|connection| {
            Ok(plugin_suggestions::table
                .filter(plugin_suggestions::execution_id.eq(execution_id.to_string()))
                .order(plugin_suggestions::pointer)
                .select(Row::as_select())
                .load(connection)?)
        })?;
        rows.into_iter().map(Row::into_stored).collect()
    }
}

fn word(verdict: SuggestionVerdict) -> &'static str {
    match verdict {
        SuggestionVerdict::Accepted => "accepted",
        SuggestionVerdict::Rejected => "rejected",
    }
}

#[derive(Insertable, Queryable, Selectable)]
#[diesel(table_name = plugin_suggestions)]
struct Row {
    execution_id: String,
    pointer: String,
    verdict: String,
    updated_at: NaiveDateTime,
}

impl Row {
    fn into_stored(self) -> Result<StoredSuggestion, Error> {
        let corrupt = |message: String| Error::Corrupt {
            what: "plugin suggestion",
            id: self.execution_id.clone(),
            message,
        };
        Ok(StoredSuggestion {
            execution_id: self
                .execution_id
                .parse()
                .map_err(|error: uuid::Error| corrupt(error.to_string()))?,
            verdict: match self.verdict.as_str() {
                "accepted" => SuggestionVerdict::Accepted,
                "rejected" => SuggestionVerdict::Rejected,
                other => return Err(corrupt(format!("no verdict is named {other:?}"))),
            },
            pointer: self.pointer,
            updated_at: self.updated_at.and_utc(),
        })
    }
}
