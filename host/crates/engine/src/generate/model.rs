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
