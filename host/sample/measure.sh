#!/bin/sh
# Measures the sample: every figure of README.md comes from here. WORK holds what make.sh left there; where it is a new
# folder, the corpus is gathered again (training data and held-out files are told apart by the hash of their names).
#
#   host/sample/measure.sh WORK [CODETUNE]   (from the root of the checkout)
set -eu
work=$1
codetune=${2:-target/release/codetune}
sample=host/sample
[ -f "$work/corpus/held-out.jsonl" ] || python3 "$sample/prepare.py" "$work/corpus"

echo "held-out source, bits per byte:"
"$codetune" eval --model "$sample/model" --data "$work/corpus/held-out.jsonl" --json
echo "the same files by general compressors:"
python3 - "$work/corpus/held-out.jsonl" <<'EOF'
import gzip, json, lzma, sys
files = [json.loads(line)["text"].encode() for line in open(sys.argv[1], encoding="utf-8")]
size = sum(map(len, files))
for name, pack in (("gzip -9", lambda text: gzip.compress(text, 9)), ("xz", lzma.compress)):
    print(name, round(8 * sum(len(pack(text)) for text in files) / size, 2), "bits per byte")
EOF
echo "completions of held-out functions that parse (greedy, 128 tokens; then at temperature 0.8):"
for temperature in 0 0.8; do
    "$codetune" eval --model "$sample/model" --data "$work/corpus/held-out-functions.jsonl" --completions 157 \
        --max-new-tokens 128 --temperature "$temperature" | python3 "$sample/parse_share.py"
done
echo "the sample run's held-out set, before it:"
"$codetune" eval --model "$sample/model" --data "$sample/data/held-out.jsonl" --json
begun=$(date +%s)
"$codetune" train "$sample/RUN.toml" --set "train.output=$work/sample-run" --json >"$work/sample-run.jsonl"
echo "after it, $(grep -c '"event":"step"' "$work/sample-run.jsonl") steps in $(($(date +%s) - begun)) seconds:"
"$codetune" eval --model "$sample/model" --adapter "$work/sample-run/adapter" --data "$sample/data/held-out.jsonl" --json
echo "its completions of held-out tasks that parse, before and after:"
"$codetune" eval --model "$sample/model" --data "$sample/data/held-out.jsonl" --completions 96 |
    python3 "$sample/parse_share.py"
"$codetune" eval --model "$sample/model" --adapter "$work/sample-run/adapter" --data "$sample/data/held-out.jsonl" \
    --completions 96 | python3 "$sample/parse_share.py"
