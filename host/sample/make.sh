#!/bin/sh
# Makes the sample again: the dataset, the tokenizer and the tiny model. Half an hour to an hour on two cores.
#
#   host/sample/make.sh WORK [CODETUNE]      (from the root of the checkout)
#
# WORK is a folder for what is made on the way (about 150 MB); CODETUNE is the program, by default the release build.
# The corpus is the standard library of the python3 that is found, so another version of Python gives another model;
# WORK/corpus/corpus.json says what went in. On one machine the outcome is the same each time.
set -eu
work=$1
codetune=${2:-target/release/codetune}
sample=host/sample

python3 "$sample/make_dataset.py" "$sample/data"
python3 "$sample/prepare.py" "$work/corpus"

"$codetune" tokenizer train --input "$work/corpus/train.jsonl" --vocab-size 4096 --model-max-length 512 \
    --special '<|endoftext|>' '<|fim_prefix|>' '<|fim_middle|>' '<|fim_suffix|>' '<|fim_pad|>' \
    '<|im_start|>' '<|im_end|>' --output "$work/start"
cp "$sample/model/config.json" "$work/start/"
"$codetune" tokenizer encode "$work/start" --input "$work/corpus/train.jsonl" --max-seq-length 512 \
    --output "$work/train-tokens.jsonl"

sed "s#WORK#$work#" "$sample/pretrain/RUN.toml" >"$work/RUN.toml"
"$codetune" train "$work/RUN.toml"

for file in config.json model.safetensors tokenizer.json tokenizer_config.json special_tokens_map.json; do
    cp "$work/run/model/$file" "$sample/model/"
done
chmod 644 "$sample"/model/*
"$sample/measure.sh" "$work" "$codetune"
