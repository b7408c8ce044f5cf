use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

/// When a search with beams ends. In JSON `false`, `true` or `"never"`, as Transformers has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EarlyStopping {
    /// `false`: when a better text is unlikely.
    #[default]
    Heuristic,
    /// `true`: as soon as there are as many whole texts as beams.
    First,
    /// `"never"`: when no better text can come.
    Never,
}

impl std::str::FromStr for EarlyStopping {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        match word {
            "false" => Ok(Self::Heuristic),
            "true" => Ok(Self::First),
            "never" => Ok(Self::Never),
            other => Err(format!("must be false, true or never, not {other:?}")),
        }
    }
}

impl Serialize for EarlyStopping {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Heuristic => serializer.serialize_bool(false),
            Self::First => serializer.serialize_bool(true),
            Self::Never => serializer.serialize_str("never"),
        }
    }
}

impl<'de> Deserialize<'de> for EarlyStopping {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let word = match &value {
            Value::Bool(flag) => flag.to_string(),
            Value::String(word) => word.clone(),
            other => other.to_string(),
        };
        word.parse().map_err(serde::de::Error::custom)
    }
}
