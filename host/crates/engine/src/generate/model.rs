use crate::Result;
use crate::model::Description;

/// A model that reads and writes texts, wherever its weights lie.
pub(crate) trait TextModel {
    /// Keys and values of what one text read and wrote so far, so that each token is computed once.
    type Cache;

    /// What the model is made of.
    fn description(&self) -> &Description;

    /// A cache with room for `capacity` tokens.
    ///
    /// # Errors
    /// Not enough memory.
    fn cache(&self, capacity: usize) -> Result<Self::Cache>;

    /// Another cache with the same tokens.
    ///
    /// # Errors
    /// Not enough memory.
    fn copied(&self, cache: &Self::Cache) -> Result<Self::Cache>;

    /// Forgets the tokens of a cache, whose room stays.
    fn forget(&self, cache: &mut Self::Cache);

    /// Takes in tokens of one text, one at least, and returns the logits [V] of the one after the last.
    ///
    /// # Errors
    /// The cache has no room for them.
    fn read(&self, cache: &mut Self::Cache, tokens: &[u32], adapter: bool) -> Result<Vec<f32>>;

    /// Takes in one token of each text and returns the logits of the ones after them: the weights are read once for
    /// all texts, whose lengths may differ, and nothing is padded.
    ///
    /// # Errors
    /// A cache has no room for its token.
    fn step(
        &self,
        caches: &mut [&mut Self::Cache],
        tokens: &[u32],
        adapter: bool,
    ) -> Result<Vec<Vec<f32>>>;
}

/// As [`TextModel::step`], of texts that come whole, each with its new token at the end.
///
/// Phi-3 turns by other angles once a text has more tokens than the model was first trained on. What was kept then holds the
/// old ones, so such a text is read anew, as Transformers does (`Phi3ForCausalLM.prepare_inputs_for_generation`).
///
/// # Errors
/// As [`TextModel::step`].
pub(super) fn step_of<M: TextModel>(
    model: &M,
    caches: &mut [&mut M::Cache],
    texts: &[&[u32]],
    adapter: bool,
) -> Result<Vec<Vec<f32>>> {
    let last = |text: &[u32]| text[text.len() - 1];
    let description = model.description();
    if !texts.iter().any(|text| description.turns_anew(text.len())) {
        let tokens: Vec<u32> = texts.iter().map(|text| last(text)).collect();
        return model.step(caches, &tokens, adapter);
    }
    let each = caches.iter_mut().zip(texts);
    each.map(|(cache, text)| match description.turns_anew(text.len()) {
        true => {
            model.forget(cache);
            model.read(cache, text, adapter)
        }
        false => model.read(cache, &[last(text)], adapter),
    })
    .collect()
}
