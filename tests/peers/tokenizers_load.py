#!/usr/bin/env python3
"""Checks that Python's tokenizers and transformers load tokenizers of ours, and split as each other; can write the ids.

usage: tokenizers_load.py FOLDER [--write tests/fixtures/tokenizers/ids.json]
FOLDER holds bpe, wordpiece, unigram and sentencepiece, as `cargo test -p engine left_for_python -- --ignored` leaves them in
codetune-tokenizers of the temporary folder.
needs: pip install tokenizers transformers
"""
import argparse
import json
import pathlib
import sys

import tokenizers
import transformers

TEXTS = [
    "def add(a, b):\n    return a + b\n", "", " ", "# Task: Return the largest of the prices.\n", "x = 'ünï' # 日本語 😀\n",
    "  two  blanks\t\ttabs\r\n\r\n", "if x>=10 and y!=3.14: print(f\"{x:>4}\")", "<|im_end|>after<|endoftext|>", "camelCaseName snake_case_name CONSTANT",
]

parser = argparse.ArgumentParser()
parser.add_argument("folder", type=pathlib.Path)
parser.add_argument("--write", type=pathlib.Path)
args = parser.parse_args()

out, same = {"made_with": {"tokenizers": tokenizers.__version__, "transformers": transformers.__version__}}, True
for kind in ["bpe", "wordpiece", "unigram", "sentencepiece"]:
    plain = tokenizers.Tokenizer.from_file(str(args.folder / kind / "tokenizer.json"))
    auto = transformers.AutoTokenizer.from_pretrained(args.folder / kind)
    out[kind] = []
    for text in TEXTS:
        ids = plain.encode(text).ids
        theirs = auto(text)["input_ids"]
        if ids != theirs:
            same = False
            print(f"{kind}: {text!r}: tokenizers {ids}, transformers {theirs}")
        out[kind].append({"text": text, "ids": ids, "decoded": plain.decode(ids, skip_special_tokens=False)})
    ends = (auto.eos_token, auto.pad_token, auto.convert_tokens_to_ids("<|im_end|>") in auto.all_special_ids)
    if ends != ("<|endoftext|>", "<|endoftext|>", True):
        same = False
        print(f"{kind}: special tokens {ends}")
if args.write:
    args.write.write_text(json.dumps(out, ensure_ascii=False, separators=(",", ":")), encoding="utf-8")
print(json.dumps({"same": same}))
sys.exit(0 if same else 1)
