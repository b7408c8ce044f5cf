//! Single tokens that an adapter trains the rows of: PEFT's `trainable_token_indices`.

use std::path::Path;

use candle_core::{DType, Device, Tensor};
use domain::TokenIndices;

use super::Settings;
use super::fresh::parameter;
use super::names::{HEAD, PREFIX};
use crate::model::{Decoder, Matrix, TokenRows, Weights};
use crate::{Error, Result};

/// The name of a module's rows of tokens.
pub(crate) fn delta_name(module: &str) -> String {
    format!("{PREFIX}{module}.token_adapter.trainable_tokens_delta")
}

/// The tokens of embedding and head. A list is the embedding's; in a model whose head is its embedding (`tied`) the head
/// learns what the embedding does, unless it has tokens of its own.
///
/// # Errors
/// A name is neither's, or a token comes twice or is beyond the `vocab`.
pub(crate) fn token_ids(
    settings: &Settings,
    embedding: &str,
    vocab: usize,
    tied: bool,
) -> Result<[Vec<u32>; 2], String> {
    let mut found = [Vec::new(), Vec::new()];
    match &settings.trainable_token_indices {
        None => {}
        Some(TokenIndices::List(tokens)) => found[0] = tokens.clone(),
        Some(TokenIndices::ByModule(table)) => {
            for (name, tokens) in table {
                let means = |module: &str| {
                    let rest = module.strip_suffix(name.as_str());
                    rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
                };
                match (means(embedding), means(HEAD)) {
                    (true, _) => found[0] = tokens.clone(),
                    (_, true) => found[1] = tokens.clone(),
                    _ => {
                        return Err(format!(
                            "{name:?} has no rows of tokens; {embedding} and {HEAD} have"
                        ));
                    }
                }
            }
        }
    }
    for tokens in &found {
        let mut seen = std::collections::BTreeSet::new();
        if let Some(token) = tokens.iter().find(|token| !seen.insert(**token)) {
            return Err(format!("names token {token} twice"));
        }
        if let Some(token) = tokens.iter().find(|token| **token as usize >= vocab) {
            return Err(format!(
                "names token {token}, but the model has {vocab} tokens; where the adapter brought more, save it with save_pretrained(..., save_embedding_layers=True)"
            ));
        }
    }
    let both = !found[0].is_empty() && !found[1].is_empty();
    if tied && found[0] == found[1] {
        found[1].clear();
    } else if tied && both && settings.ensure_weight_tying {
        return Err("names other tokens for the head than for the embedding, which ensure_weight_tying rules out".into());
    }
    Ok(found)
}

/// Gives the adapter rows of its own, which begin as the base's.
///
/// # Errors
/// As [`token_ids`]; or embedding or head change otherwise too.
pub(super) fn attach(decoder: &mut Decoder, settings: &Settings) -> Result<()> {
    put(decoder, settings, true, &mut |_, table, tokens| {
        table.gather(&Tensor::new(tokens, &Device::Cpu)?)
    })
    .map_err(|error| match error {
        Error::Input(message) => {
            domain::FieldErrors::one("lora.trainable_token_indices", message).into()
        }
        other => other,
    })
}

/// Reads the adapter's rows from its file.
///
/// # Errors
/// As [`attach`]; or a tensor is missing or does not fit.
pub(super) fn read(
    decoder: &mut Decoder,
    folder: &Path,
    weights: &mut Weights,
    settings: &Settings,
    trainable: bool,
) -> Result<()> {
    let hidden = decoder.description.hidden;
    let mut taken = |name: &str, _: &Matrix, tokens: &[u32]| {
        weights.take(name, &[tokens.len(), hidden], DType::F32)
    };
    put(decoder, settings, trainable, &mut taken).map_err(|error| match error {
        Error::Input(message) => {
            let message = format!("trainable_token_indices {message}");
            Error::file(folder.join("adapter_config.json"), message)
        }
        other => other,
    })?;
    // PEFT saves a head that learns with the embedding a second time, where it saves the embeddings too.
    let again = delta_name(HEAD);
    if let (true, Some(tokens)) = (decoder.tokens_are_tied(), &decoder.embedding_tokens)
        && weights.contains(&again)
    {
        weights.take(&again, tokens.rows.value.dims(), DType::F32)?;
    }
    Ok(())
}

/// What becomes of the rows of one table: their name in the adapter's file, the table, and the tokens.
type Value<'a> = dyn FnMut(&str, &Matrix, &[u32]) -> Result<Tensor> + 'a;

fn put(
    decoder: &mut Decoder,
    settings: &Settings,
    trainable: bool,
    value: &mut Value<'_>,
) -> Result<()> {
    let embedding = decoder.description.names.embedding;
    let (vocab, tied) = (decoder.description.vocab, decoder.head.is_none());
    let [of_embedding, of_head] =
        token_ids(settings, embedding, vocab, tied).map_err(Error::Input)?;
    let mut rows = |module: &str, table: &Matrix, tokens: &[u32]| -> Result<Option<TokenRows>> {
        if tokens.is_empty() {
            return Ok(None);
        }
        let name = delta_name(module);
        let rows = value(&name, table, tokens)?;
        TokenRows::new(tokens, parameter(name, &rows, trainable)?).map(Some)
    };
    let own = rows(embedding, &decoder.embedding, &of_embedding)?;
    let head = rows(HEAD, decoder.head_weight(), &of_head)?;
    decoder.embedding_tokens = own;
    decoder.head_tokens = head;
    let adapted = decoder.embedding_lora.is_some() || decoder.saved_embedding.is_some();
    let head_adapted = decoder.head_lora.is_some() || decoder.saved_head.is_some();
    for (module, both) in [
        (embedding, decoder.embedding_tokens.is_some() && adapted),
        (HEAD, decoder.head_tokens_in_use().is_some() && head_adapted),
    ] {
        if both {
            return Err(Error::Input(format!(
                "cannot be done where target_modules or modules_to_save change {module} too; leave one of both out"
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn of(indices: TokenIndices, tied: bool) -> Result<[Vec<u32>; 2], String> {
        let settings = Settings::of_run(&domain::LoraConfig {
            trainable_token_indices: Some(indices),
            ..Default::default()
        });
        token_ids(&settings, "model.embed_tokens", 96, tied)
    }

    fn table(tables: &[(&str, &[u32])]) -> TokenIndices {
        let tables = tables
            .iter()
            .map(|(name, ids)| ((*name).to_owned(), ids.to_vec()));
        TokenIndices::ByModule(tables.collect::<BTreeMap<_, _>>())
    }

    #[test]
    fn a_list_is_the_embeddings_and_the_head_follows_it_where_both_are_one() {
        let list = || TokenIndices::List(vec![5, 3]);
        assert_eq!(of(list(), true), Ok([vec![5, 3], vec![]]));
        let same = || table(&[("embed_tokens", &[5, 3]), ("lm_head", &[5, 3])]);
        assert_eq!(of(same(), true), Ok([vec![5, 3], vec![]]));
        assert_eq!(of(same(), false), Ok([vec![5, 3], vec![5, 3]]));
        let apart = table(&[("embed_tokens", &[5]), ("lm_head", &[7])]);
        assert_eq!(of(apart, true), Ok([vec![5], vec![7]]));
    }

    #[test]
    fn what_is_no_token_of_embedding_or_head_is_refused() {
        for (indices, word) in [
            (table(&[("q_proj", &[1])]), "\"q_proj\" has no rows"),
            (TokenIndices::List(vec![1, 2, 1]), "token 1 twice"),
            (TokenIndices::List(vec![96]), "the model has 96 tokens"),
        ] {
            let message = of(indices, false).unwrap_err();
            assert!(message.contains(word), "{message}");
        }
    }
}
