//! Every kind of file, the ways in which each can be wrong, and the folders that are made of them.

use std::{fs, io::Write, path::Path};

use domain::{DataConfig, DataFormat};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Source, resolved};
use crate::Result;

fn read(path: &Path) -> Result<Vec<Value>> {
    let config = DataConfig::default();
    Source::find(path, &config)?
        .stream()
        .map(|row| Ok(Value::Object(row?.fields)))
        .collect()
}

fn in_file(name: &str, bytes: &[u8]) -> Result<Vec<Value>> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, bytes).unwrap();
    read(&path)
}

fn wrong(name: &str, bytes: &[u8]) -> String {
    in_file(name, bytes).unwrap_err().to_string()
}

#[test]
fn parquet_and_arrow_of_pyarrow_give_the_same_rows_in_every_compression() {
    let tables = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../tests/fixtures/tables");
    let expected = [
        json!({"prompt": "def add(a, b):", "completion": "    return a + b", "tags": ["x", null], "extra": {"n": 1, "name": null}}),
        json!({"prompt": "é\n\"q\"", "completion": null, "tags": null, "extra": null}),
        json!({"prompt": "three", "completion": "c", "tags": [], "extra": {"n": null, "name": "z"}}),
    ];
    for name in [
        "rows.snappy.parquet",
        "rows.zstd.parquet",
        "rows.gzip.parquet",
        "rows.feather",
        "rows.arrow",
    ] {
        assert_eq!(read(&tables.join(name)).unwrap(), expected, "{name}");
    }
    let config = DataConfig::default();
    let source = Source::find(&tables.join("rows.arrow"), &config).unwrap();
    let places: Vec<_> = source
        .stream()
        .map(|row| row.unwrap().origin.place().unwrap())
        .collect();
    assert_eq!(places, ["row 1", "row 2", "row 3"]);
}

#[test]
fn csv_has_a_header_and_quoted_values_with_line_breaks() {
    let rows = in_file(
        "rows.csv",
        b"\xef\xbb\xbfprompt,completion\n\"a, \"\"b\"\"\nc\",d\ne,\n",
    );
    assert_eq!(
        rows.unwrap(),
        [
            json!({"prompt": "a, \"b\"\nc", "completion": "d"}),
            json!({"prompt": "e", "completion": ""})
        ]
    );
    let rows = in_file("rows.tsv", b"text\tid\nhello\t1\n").unwrap();
    assert_eq!(rows, [json!({"text": "hello", "id": "1"})]);
}

#[test]
fn packed_text_is_unpacked_as_it_is_read() {
    let text = b"{\"text\": \"one\"}\n{\"text\": \"two\"}\n";
    let expected = [json!({"text": "one"}), json!({"text": "two"})];
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(text).unwrap();
    let gzip = gzip.finish().unwrap();
    assert_eq!(in_file("rows.jsonl.gz", &gzip).unwrap(), expected);
    let zstd = zstd::encode_all(&text[..], 1).unwrap();
    assert_eq!(in_file("rows.jsonl.zst", &zstd).unwrap(), expected);
    // Several members one behind the other, as parallel packers write them.
    let twice = [&gzip[..], &gzip[..]].concat();
    assert_eq!(in_file("rows.jsonl.gz", &twice).unwrap().len(), 4);
    let message = wrong("rows.jsonl.gz", &gzip[..gzip.len() - 12]);
    assert!(message.contains("rows.jsonl.gz: cannot read"), "{message}");
}

#[test]
fn a_bad_file_is_refused_with_its_place_and_reason() {
    for (name, bytes, expected) in [
        (
            "a.csv",
            &b"a,b\n1,2\n1\n"[..],
            "a.csv: line 3: has 1 values where the header has 2",
        ),
        ("a.csv", b"a,b\n1,\xff\n", "line 2: column 2: is no UTF-8"),
        (
            "a.csv",
            b"a,a\n1,2\n",
            "the column \"a\" stands there twice",
        ),
        (
            "a.parquet",
            b"PAR1 no",
            "is no Parquet file that can be read",
        ),
        ("a.arrow", b"ARROW1 no", "is no Arrow file that can be read"),
        ("a.feather", b"FEA1 no", "feather of version 1"),
        ("a.jsonl.zst", b"no", "cannot read"),
        ("a.json", b"[{\"a\": 1}", "the array is not closed"),
        ("a.json", b"[{\"a\": 1},]", "trailing comma"),
        (
            "a.json",
            b"[{\"a\": 1}] x",
            "something stands behind the array",
        ),
        (
            "a.json",
            b"[\n{\"a\": 1},\n{\"a\" 1}\n]",
            "line 3: is not valid JSON",
        ),
        (
            "a.jsonl",
            b"{\"a\": 1}\n{\"a\": \"\xff\"}\n",
            "line 2: is no UTF-8",
        ),
        ("a.txt", b"a\n\xff", "line 2: is no UTF-8"),
    ] {
        let message = wrong(name, bytes);
        assert!(message.contains(expected), "{expected:?} in {message:?}");
        assert!(message.contains(name), "{message:?} names its file");
    }
}

#[test]
fn depth_and_size_of_a_row_are_bounded() {
    let deep = format!("{{\"a\": {}{}}}", "[".repeat(5000), "]".repeat(5000));
    assert!(wrong("a.jsonl", deep.as_bytes()).contains("recursion limit"));
    let array = format!("[{deep}]");
    assert!(wrong("a.json", array.as_bytes()).contains("recursion limit"));
    let long = format!(
        "{{\"a\": \"{}\"}}",
        "x".repeat(super::MOST_ROW_BYTES + (1 << 16))
    );
    for (name, text) in [
        ("a.jsonl", long.clone()),
        ("a.json", format!("[{long}]")),
        ("a.csv", format!("a\n\"{long}")),
    ] {
        let message = wrong(name, text.as_bytes());
        assert!(message.contains("64 MiB"), "{name}: {message}");
    }
}

#[test]
fn nothing_is_given_out_behind_a_bad_row() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.jsonl");
    fs::write(&path, "{\"a\": 1}\nno\n{\"a\": 2}\n").unwrap();
    let source = Source::find(&path, &DataConfig::default()).unwrap();
    let rows: Vec<bool> = source.stream().map(|row| row.is_ok()).collect();
    assert_eq!(rows, [true, false]);
}

#[test]
fn of_a_folder_with_splits_only_train_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("data")).unwrap();
    fs::write(at("README.md"), "about").unwrap();
    for (name, text) in [
        ("data/train-00000-of-00002.jsonl", "a"),
        ("data/train-00001-of-00002.jsonl", "b"),
        ("data/test-00000-of-00001.jsonl", "t"),
        ("data/validation-00000-of-00001.jsonl", "v"),
    ] {
        fs::write(at(name), format!("{{\"text\": \"{text}\"}}\n")).unwrap();
    }
    assert_eq!(
        read(folder.path()).unwrap(),
        [json!({"text": "a"}), json!({"text": "b"})]
    );
    let source = Source::find(folder.path(), &DataConfig::default()).unwrap();
    assert!(source.notes[0].starts_with("2 files of other splits"));
    fs::remove_file(at("data/train-00000-of-00002.jsonl")).unwrap();
    fs::remove_file(at("data/train-00001-of-00002.jsonl")).unwrap();
    assert_eq!(read(folder.path()).unwrap().len(), 2);
}

#[test]
fn a_tokenizer_learns_from_the_texts_of_any_row_and_windows_from_documents_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.jsonl");
    let rows = [
        json!({"text": "a document", "language": "python"}),
        json!({"prompt": "ask", "completion": "answer", "score": 3}),
        json!({"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "you"}], "id": "7"}),
    ];
    let text: Vec<String> = rows.iter().map(Value::to_string).collect();
    fs::write(&path, text.join("\n")).unwrap();
    let texts = super::read_texts(std::slice::from_ref(&path)).unwrap();
    assert_eq!(texts, ["a document", "ask", "answer", "hi", "you"]);
    let message = super::read_documents(&[path]).unwrap_err().to_string();
    assert!(message.contains("line 2: field text"), "{message}");
    let numbers = folder.path().join("numbers.jsonl");
    fs::write(&numbers, "{\"input_ids\": [1, 2]}\n").unwrap();
    assert!(super::read_texts(&[numbers]).is_err());
}

#[test]
fn a_file_that_is_packed_otherwise_is_refused_for_its_packing() {
    for name in ["a.jsonl.xz", "a.zip", "a.csv.BZ2"] {
        let message = in_file(name, b"\xfd7zXZ\0").unwrap_err().to_string();
        assert!(
            message.contains("is packed as") && message.contains(".zst"),
            "{name}: {message}"
        );
    }
}

fn described(info: Value, dataset: Option<&str>) -> Result<DataConfig> {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("dataset_info.json"), info.to_string()).unwrap();
    let config = DataConfig {
        path: Some(folder.path().display().to_string()),
        dataset: dataset.map(str::to_owned),
        ..DataConfig::default()
    };
    let mut found = resolved(&config)?;
    let path = found.path.take().unwrap();
    let relative = Path::new(&path).strip_prefix(folder.path()).unwrap();
    found.path = Some(relative.display().to_string());
    Ok(found)
}

#[test]
fn a_dataset_info_of_llama_factory_says_file_format_and_columns() {
    let info = json!({
        "one": {"file_name": "one.json", "columns": {"prompt": "q", "query": "ctx", "response": "a", "history": "h"}},
        "two": {"file_name": "two.jsonl", "formatting": "sharegpt", "columns": {"messages": "messages", "tools": "tools"},
            "tags": {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"}},
        "three": {"file_name": "c/three.txt", "columns": {"prompt": "content"}},
        "four": {"file_name": "four.json", "ranking": true, "columns": {"prompt": "i", "chosen": "good", "rejected": "bad"}},
    });
    let one = described(info.clone(), Some("one")).unwrap();
    assert_eq!(one.path.as_deref(), Some("one.json"));
    assert_eq!(one.format, DataFormat::Alpaca);
    assert_eq!(one.columns["instruction"], "q");
    assert_eq!(one.columns["history"], "h");
    let two = described(info.clone(), Some("two")).unwrap();
    assert_eq!(two.format, DataFormat::Sharegpt);
    assert_eq!(two.columns["conversations"], "messages");
    assert_eq!(two.columns["user_tag"], "user");
    let three = described(info.clone(), Some("three")).unwrap();
    assert_eq!(
        (three.format, three.columns["text"].as_str()),
        (DataFormat::Text, "content")
    );
    let four = described(info.clone(), Some("four")).unwrap();
    assert_eq!(four.format, DataFormat::Preference);
    assert_eq!(four.columns["rejected"], "bad");
    let message = described(info.clone(), None).unwrap_err().to_string();
    assert!(
        message.contains("data.dataset") && message.contains("one, two"),
        "{message}"
    );
    let message = described(info, Some("five")).unwrap_err().to_string();
    assert!(message.contains("\"five\" is not in"), "{message}");
    for (entry, expected) in [
        (
            json!({"hf_hub_url": "a/b"}),
            "hf_hub_url: cannot be done here",
        ),
        (json!({"file_name": "../a.json"}), "leads out of the folder"),
        (
            json!({"file_name": "a.json", "formatting": "x"}),
            "formatting: must be",
        ),
        (
            json!({"file_name": "a.json", "columns": {"images": "i"}}),
            "columns: images",
        ),
        (
            json!({"file_name": "a.json", "columns": {"prompt": 3}}),
            "prompt: must be text",
        ),
        (
            json!({"file_name": "a.json", "ranking": "yes"}),
            "ranking: must be",
        ),
        (
            json!({"file_name": "a.json", "num_samples": 0}),
            "num_samples: must be a whole number above 0",
        ),
    ] {
        let message = described(json!({"one": entry}), None)
            .unwrap_err()
            .to_string();
        assert!(message.contains(expected), "{expected:?} in {message:?}");
    }
}

#[test]
fn the_dataset_info_of_python_datasets_is_no_description_of_several() {
    let config = described(
        json!({"builder_name": "json", "features": {"text": {"dtype": "string"}}}),
        None,
    );
    assert_eq!(config.unwrap().format, DataFormat::Auto);
    let message = described(json!({"features": {}}), Some("one"))
        .unwrap_err()
        .to_string();
    assert!(message.contains("data.dataset"), "{message}");
}

proptest! {
    #[test]
    fn an_array_gives_what_a_parser_of_the_whole_gives(
        rows in proptest::collection::vec(("[ -~é\n]{0,20}", any::<i32>(), proptest::collection::vec("[\\[\\]{},\"\\\\]{0,5}", 0..4)), 0..8),
        pretty in any::<bool>(),
    ) {
        let rows: Vec<Value> = rows
            .into_iter()
            .map(|(text, number, list)| json!({"text": text, "n": number, "list": list}))
            .collect();
        let text = if pretty {
            serde_json::to_string_pretty(&rows)
        } else {
            serde_json::to_string(&rows)
        };
        let found = in_file("a.json", text.unwrap().as_bytes()).unwrap();
        prop_assert_eq!(found, rows);
    }

    #[test]
    fn no_bytes_make_a_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400), kind in 0usize..6) {
        let name = ["a.json", "a.jsonl", "a.csv", "a.parquet", "a.arrow", "a.jsonl.gz"][kind];
        let head: &[u8] = [&b"["[..], b"{", b"a,b\n", b"PAR1", b"ARROW1", b"\x1f\x8b\x08"][kind];
        let _ = in_file(name, &[head, &bytes].concat());
    }
}
