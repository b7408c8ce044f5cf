//! The splits that the names of folders and files tell, by the rules of `datasets`: the first that finds a split decides for all
//! files.

/// Splits and the words that name them in a path.
const KEYWORDS: [(&str, &[&str]); 3] = [
    ("train", &["train", "training"]),
    ("validation", &["validation", "valid", "dev", "val"]),
    ("test", &["test", "testing", "eval", "evaluation"]),
];

/// The name below a folder, or the name itself where there is no folder.
pub(super) fn within<'a>(name: &'a str, folder: Option<&str>) -> Option<&'a str> {
    match folder.filter(|folder| !folder.is_empty()) {
        None => Some(name),
        Some(folder) => name.strip_prefix(folder)?.strip_prefix('/'),
    }
}

/// Splits in their usual order, each with its files; files in no folder of a split are in none where there are such folders.
pub(super) fn splits<'a>(names: &[&'a str], folder: Option<&str>) -> Vec<(String, Vec<&'a str>)> {
    let inside: Vec<(&str, &'a str)> = names
        .iter()
        .filter_map(|name| Some((within(name, folder)?, *name)))
        .collect();
    let shards = sharded(&inside);
    if !shards.is_empty() {
        return shards;
    }
    let in_folder = |name: &str, words: &[&str]| {
        let folders = name.rsplit_once('/').map_or("", |(folders, _)| folders);
        folders
            .split('/')
            .any(|folder| names_one(folder, words, true))
    };
    let in_file = |name: &str, words: &[&str]| {
        let file = name.rsplit('/').next().unwrap_or_default();
        names_one(file, words, false)
    };
    for rule in [&in_folder as &dyn Fn(&str, &[&str]) -> bool, &in_file] {
        let found = KEYWORDS.iter().map(|(split, words)| {
            let files = inside.iter().filter(|(name, _)| rule(name, words));
            let files: Vec<&str> = files.map(|(_, full)| *full).collect();
            ((*split).to_owned(), files)
        });
        let found: Vec<(String, Vec<&str>)> =
            found.filter(|(_, files)| !files.is_empty()).collect();
        if !found.is_empty() {
            return found;
        }
    }
    let all: Vec<&str> = inside.into_iter().map(|(_, full)| full).collect();
    match all.is_empty() {
        true => Vec::new(),
        false => vec![(super::TRAIN.to_owned(), all)],
    }
}

/// The splits of `data/train-00000-of-00002.parquet`, whatever their names.
fn sharded<'a>(inside: &[(&str, &'a str)]) -> Vec<(String, Vec<&'a str>)> {
    let mut found: Vec<(String, Vec<&str>)> = Vec::new();
    for (name, full) in inside {
        let file = name
            .strip_prefix("data/")
            .filter(|file| !file.contains('/'));
        let Some(split) = file.and_then(shard_of) else {
            continue;
        };
        match found.iter_mut().find(|(other, _)| other == split) {
            Some((_, files)) => files.push(*full),
            None => found.push((split.to_owned(), vec![*full])),
        }
    }
    found.sort_by_key(|(split, _)| {
        let usual = KEYWORDS.iter().position(|(usual, _)| usual == split);
        (usual.unwrap_or(KEYWORDS.len()), split.clone())
    });
    found
}

/// The split that a file such as `train-00000-of-00002.parquet` is a shard of.
fn shard_of(file: &str) -> Option<&str> {
    let is_number = |text: &str| text.len() == 5 && text.bytes().all(|byte| byte.is_ascii_digit());
    let (before, after) = file.rsplit_once("-of-")?;
    let (split, shard) = before.rsplit_once('-')?;
    let (count, rest) = after.split_at_checked(5)?;
    (is_number(shard) && is_number(count) && rest.contains('.') && !split.is_empty())
        .then_some(split)
}

/// One of the words stands in a name by itself; at the end of a name only where it may (a file has an ending).
fn names_one(name: &str, words: &[&str], may_end: bool) -> bool {
    let parts = |byte: u8| b"-._ ".contains(&byte) || byte.is_ascii_digit();
    words.iter().any(|word| {
        name.match_indices(word).any(|(at, _)| {
            let before = name.as_bytes()[..at].last();
            let after = name.as_bytes().get(at + word.len());
            before.is_none_or(|byte| parts(*byte)) && after.map_or(may_end, |byte| parts(*byte))
        })
    })
}
