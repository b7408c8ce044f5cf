/// One setting of a RUN.toml: what it may hold and what it is for.
///
/// The validation of a config, the form of the web page and the API's description all read [`FIELDS`], so
/// that none of them can say something else.
#[derive(Debug, Clone, Copy)]
pub struct Field {
    /// Dotted path: `train.learning_rate`.
    pub path: &'static str,
    /// What a person calls it.
    pub label: &'static str,
    /// What it may hold.
    pub kind: FieldKind,
    /// One sentence of help.
    pub help: &'static str,
}

/// What a field may hold; bounds are inclusive.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum FieldKind {
    /// A whole number.
    Integer {
        /// Smallest.
        min: u64,
        /// Largest.
        max: u64,
    },
    /// A finite number.
    Number {
        /// Smallest.
        min: f64,
        /// Largest.
        max: f64,
    },
    /// One of a few words.
    Choice(&'static [&'static str]),
    /// Text that may be left out.
    Text,
    /// The same, of any number of lines.
    Lines,
    /// Yes or no.
    Flag,
    /// A list of words, or one word.
    Words,
    /// A list of whole numbers.
    Integers,
    /// The same, or a table of such lists by names.
    IntegersByName,
    /// Yes, no, or a word.
    FlagOrWord,
    /// Names and their values; the keys of some tables are known, others are the user's own.
    Table,
}

use FieldKind::{
    Choice, Flag, FlagOrWord, Integer, Integers, IntegersByName, Lines, Number, Table, Text, Words,
};

const fn field(
    path: &'static str,
    label: &'static str,
    kind: FieldKind,
    help: &'static str,
) -> Field {
    Field {
        path,
        label,
        kind,
        help,
    }
}

/// Every setting, in the order of the form.
#[rustfmt::skip]
pub const FIELDS: &[Field] = &[
    field("model.path", "Model folder", Text, "A Hugging Face folder with config.json, tokenizer.json and safetensors."),
    field("model.repo", "Hub repository", Text, "A repository on the hub instead of a folder: org/name."),
    field("model.revision", "Revision", Text, "Branch, tag or commit of the hub repository."),
    field("model.dtype", "Weight type", Choice(&["f32", "f16", "bf16"]), "Type of the weights while they are used."),
    field("model.quantize", "Quantize", Choice(&["nf4", "q4k", "q8_0"]), "Pack the frozen base to save memory."),
    field("model.device", "Device", Text, "auto, cpu, cuda or cuda:N."),
    field("model.memory_limit", "Memory limit", Text, "Most memory that the run may use, for example 8GB: the GPU's where it trains on one."),
    field("model.random_init", "Random weights", Flag, "Start from random weights; needs config.json and a tokenizer only."),
    field("data.path", "Data", Text, "A file or folder with the training data."),
    field("data.repo", "Hub dataset", Text, "A dataset repository on the hub instead of a path."),
    field("data.revision", "Dataset revision", Text, "Branch, tag or commit of the hub dataset."),
    field("data.subset", "Subset", Text, "Which of the subsets that the README.md of the hub dataset or folder declares."),
    field("data.split", "Split", Text, "Which split of it, such as train, train+validation or train[:90%]; train where this is empty."),
    field("data.dataset", "Dataset", Text, "Which dataset of a LLaMA-Factory dataset_info.json in the data folder."),
    field("data.curate", "Curation", Text, "A pipeline file (curate.toml) whose plugins the data goes through before it is trained on."),
    field("data.format", "Format", Choice(&["auto", "text", "completion", "alpaca", "sharegpt", "messages", "segments", "preference", "fim", "tokenized", "source-tree"]), "Shape of a row; auto looks at the columns."),
    field("data.columns", "Columns", Table, "Where the data's columns have other names: text = \"content\", prompt = \"question\"."),
    field("data.num_samples", "Number of samples", Integer { min: 1, max: 1_000_000_000 }, "Sequences that are drawn of it, some more than once where it has fewer; all where this is empty."),
    field("data.mix", "Further datasets", Table, "Learned from beside this one, by names of their own: docs = { path = \"docs.jsonl\", num_samples = 2000 }."),
    field("data.chat_template", "Chat template", Lines, "A Jinja template in place of the tokenizer's, or the name of one of several that it has."),
    field("data.max_seq_length", "Maximum sequence length", Integer { min: 8, max: 131_072 }, "Tokens after which a sequence is cut."),
    field("data.overflow", "Longer rows", Choice(&["cut", "split"]), "cut leaves out what is behind the maximum; split makes further sequences of it."),
    field("data.packing", "Packing", Flag, "Put several short sequences into one row, each attending to itself only."),
    field("data.train_on", "Train on", Choice(&["completion", "assistant", "all"]), "Which tokens carry a label; formats without a prompt train on all."),
    field("data.eval_path", "Evaluation data", Text, "Held-out data in the same format."),
    field("data.test_split", "Evaluation split", Text, "Split of the same hub dataset or folder that is held out, such as test, or train[90%:]."),
    field("data.eval_split", "Evaluation share", Number { min: 0.0, max: 0.5 }, "Share of the data that is held out when there is no evaluation data."),
    field("data.shuffle", "Shuffle", Flag, "Draw a new order for each epoch from the seed."),
    field("data.streaming", "Streaming", Flag, "Read while training instead of before it; needs a number of steps."),
    field("data.shuffle_buffer", "Shuffle buffer", Integer { min: 1, max: 10_000_000 }, "Rows that are in memory, shuffled and packed together, while streaming."),
    field("data.fim_rate", "FIM rate", Number { min: 0.0, max: 1.0 }, "Share of documents that become fill-in-the-middle samples."),
    field("data.fim_mode", "FIM order", Choice(&["both", "psm", "spm"]), "Order of a fill-in-the-middle sample."),
    field("data.fim_span", "FIM cuts", Choice(&["character", "line"]), "Where a fill-in-the-middle sample may be cut."),
    field("data.fim_loss", "FIM loss", Choice(&["all", "middle"]), "Which tokens of a fill-in-the-middle sample carry a label."),
    field("data.documents", "Documents", Choice(&["file", "repository"]), "What one document of a source tree is."),
    field("data.languages", "Languages", Words, "Languages of a source tree that are taken, for example python, rust."),
    field("data.max_file_bytes", "Largest file", Integer { min: 1, max: 1_073_741_824 }, "Larger files of a source tree are passed over."),
    field("lora.r", "Rank (r)", Integer { min: 1, max: 1024 }, "Size of the adapter; 8 to 64 is usual."),
    field("lora.lora_alpha", "Alpha", Number { min: 0.001, max: 65_536.0 }, "The update is scaled by alpha / r; twice the rank is usual."),
    field("lora.lora_dropout", "Dropout", Number { min: 0.0, max: 0.9 }, "Share of the adapter's inputs that a step drops."),
    field("lora.target_modules", "Target modules", Words, "all-linear, a regex, or names such as q_proj, v_proj; one name alone ends with a comma."),
    field("lora.exclude_modules", "Excluded modules", Words, "Which of the target modules get no adapter: a regex, or names; one name alone ends with a comma."),
    field("lora.use_rslora", "rsLoRA", Flag, "Scale by alpha / sqrt(r), which keeps high ranks stable."),
    field("lora.use_dora", "DoRA", Flag, "Learn magnitude and direction apart."),
    field("lora.init_lora_weights", "Initial weights", FlagOrWord, "true: B is zero; gaussian, orthogonal, olora, pissa or pissa_niter_N; false: both random."),
    field("lora.rank_pattern", "Ranks by module", Table, "Rank by module name or regex: q_proj = 32."),
    field("lora.alpha_pattern", "Alphas by module", Table, "Alpha by module name or regex: q_proj = 64."),
    field("lora.layers_to_transform", "Layers", Integers, "Numbers of the layers that get an adapter, from 0; empty for all."),
    field("lora.modules_to_save", "Modules trained whole", Words, "Modules that are trained and saved whole, for example lm_head, embed_tokens, norm."),
    field("lora.trainable_token_indices", "Tokens that train", IntegersByName, "Ids of tokens whose rows of the embedding are trained alone, for example those that were added."),
    field("lora.bias", "Biases that train", Choice(&["none", "all", "lora_only"]), "The model's own biases: none, all, or those of layers that have an adapter."),
    field("lora.lora_bias", "Bias of B", Flag, "B has a bias too, which begins as zero."),
    field("lora.ensure_weight_tying", "Keep ends tied", Flag, "Where the head is the embedding, train one copy of both instead of two."),
    field("lora.loraplus_lr_ratio", "LoRA+ ratio", Number { min: 1.0, max: 1000.0 }, "Learning rate of B over that of A; 16 is usual."),
    field("lora.init_adapter", "Start from adapter", Text, "A PEFT folder to go on from; it brings the rest of this section."),
    field("train.output", "Output folder", Text, "Folder for adapter and checkpoints; the studio chooses one for runs of the web page."),
    field("train.method", "Method", Choice(&["lora", "full", "dpo", "cpo", "orpo"]), "lora trains an adapter over a frozen base, dpo, cpo and orpo one on pairs of answers; full trains all weights."),
    field("train.batch_size", "Batch size", Integer { min: 1, max: 4096 }, "Sequences in one forward."),
    field("train.gradient_accumulation_steps", "Gradient accumulation", Integer { min: 1, max: 65_536 }, "Forwards in one optimizer step."),
    field("train.epochs", "Epochs", Number { min: 0.001, max: 10_000.0 }, "Times the data is gone through; 0.5 is half of it."),
    field("train.max_steps", "Maximum steps", Integer { min: 0, max: 1_000_000_000 }, "Above 0 it wins over epochs, and the data goes round."),
    field("train.learning_rate", "Learning rate", Number { min: 1e-10, max: 10.0 }, "1e-4 to 5e-4 suits LoRA; a tenth of that suits full."),
    field("train.lr_scheduler_type", "Schedule", Choice(&["constant", "constant_with_warmup", "linear", "cosine", "cosine_with_min_lr", "cosine_with_restarts", "polynomial", "inverse_sqrt", "warmup_stable_decay"]), "Shape of the learning rate over the steps."),
    field("train.lr_scheduler_kwargs", "Schedule's own settings", Table, "num_cycles, min_lr, min_lr_rate, power, lr_end, timescale, num_decay_steps, num_stable_steps, min_lr_ratio, warmup_type, decay_type."),
    field("train.warmup_steps", "Warmup steps", Integer { min: 0, max: 1_000_000 }, "Steps in which the learning rate rises from 0."),
    field("train.warmup_ratio", "Warmup share", Number { min: 0.0, max: 1.0 }, "The same as a share of all steps; used when warmup steps is 0."),
    field("train.weight_decay", "Weight decay", Number { min: 0.0, max: 10.0 }, "Decoupled weight decay; sgd adds it to the gradient."),
    field("train.max_grad_norm", "Gradient clipping", Number { min: 0.0, max: 1e6 }, "Largest global gradient norm; 0 switches clipping off."),
    field("train.optim", "Optimizer", Choice(&["adamw", "lion", "sgd", "adafactor"]), "Which optimizer."),
    field("train.momentum", "Momentum", Number { min: 0.0, max: 0.999_999 }, "Momentum of sgd."),
    field("train.adam_beta1", "Beta 1", Number { min: 0.0, max: 0.999_999 }, "Decay of the first moment."),
    field("train.adam_beta2", "Beta 2", Number { min: 0.0, max: 0.999_999 }, "Decay of the second moment."),
    field("train.adam_epsilon", "Epsilon", Number { min: 1e-20, max: 1.0 }, "Added to the root of the second moment."),
    field("train.seed", "Seed", Integer { min: 0, max: 9_007_199_254_740_991 }, "Seed of every random choice."),
    field("train.save_strategy", "Save by", Choice(&["steps", "epoch"]), "Whether checkpoints come every so many steps, or at the end of each epoch."),
    field("train.save_steps", "Save every", Integer { min: 0, max: 1_000_000_000 }, "Steps between checkpoints; 0 saves at the end only."),
    field("train.save_total_limit", "Checkpoints kept", Integer { min: 1, max: 1000 }, "Older ones are removed."),
    field("train.eval_strategy", "Evaluate by", Choice(&["steps", "epoch"]), "Whether evaluations come every so many steps, or at the end of each epoch."),
    field("train.eval_steps", "Evaluate every", Integer { min: 0, max: 1_000_000_000 }, "Steps between evaluations; 0 evaluates at the end only."),
    field("train.early_stopping_patience", "Early stopping", Integer { min: 0, max: 1000 }, "Evaluations without a better loss after which the run ends; 0 switches it off."),
    field("train.early_stopping_threshold", "Early stopping threshold", Number { min: 0.0, max: 1000.0 }, "What the held-out loss must fall by to count as better for that."),
    field("train.load_best_model_at_end", "Keep the best", Flag, "Save at the evaluation with the lowest loss, and take the result from there."),
    field("train.score_prompts", "Scored prompts", Integer { min: 1, max: 10_000 }, "Held-out prompts that the model answers at each evaluation, for the run's scorers."),
    field("train.score_max_new_tokens", "Tokens of an answer", Integer { min: 1, max: 32_768 }, "Most tokens of each such answer."),
    field("train.neftune_noise_alpha", "NEFTune noise", Number { min: 0.0, max: 100.0 }, "Noise on the embeddings; 5 is usual, 0 switches it off."),
    field("train.beta", "Preference strength", Number { min: 0.0001, max: 100.0 }, "Strength of the preference losses."),
    field("train.loss_type", "Preference loss", Choice(&["sigmoid", "hinge", "ipo", "robust", "exo_pair", "nca_pair", "bco_pair", "sppo_hard", "apo_zero", "apo_down", "sigmoid_norm", "simpo"]), "Loss over pairs: cpo takes sigmoid, hinge, ipo and simpo, dpo all but simpo."),
    field("train.label_smoothing", "Label smoothing", Number { min: 0.0, max: 0.499 }, "How likely it is that a pair is the wrong way round, for sigmoid, sigmoid_norm, robust, exo_pair and simpo."),
    field("train.cpo_alpha", "CPO alpha", Number { min: 0.0, max: 1000.0 }, "What the likelihood of the chosen answers weighs in cpo; 0 for SimPO."),
    field("train.simpo_gamma", "SimPO gamma", Number { min: 0.0, max: 1000.0 }, "By how much the chosen answer's reward is to be higher, for simpo."),
];
