#!/usr/bin/env python3
"""Checks that Python PEFT loads what `codetune train` goes on with and writes: adapters over more tokens, rows of tokens, biases.

usage: adapters_load.py --codetune PROGRAM [--cases DIR] [CASE ...]
needs: pip install torch transformers peft safetensors

Every case of tests/fixtures/goldens/make_goldens.py is trained by both for the golden's steps. PEFT then loads the adapter that
codetune wrote, over the base with as many tokens as that was trained over, and its logits are those of the golden's adapter.
"""
import argparse
import json
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import torch
import transformers
from peft import PeftModel
from safetensors.torch import load_file

parser = argparse.ArgumentParser()
parser.add_argument("--codetune", required=True)
parser.add_argument("--cases", default=str(Path(__file__).parent.parent / "fixtures/goldens"))
parser.add_argument("case", nargs="*")
args = parser.parse_args()
torch.set_num_threads(1)
transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()
warnings.simplefilter("ignore")


def logits(folder, adapter, tokens):
    base = transformers.AutoModelForCausalLM.from_pretrained(folder / "model", dtype=torch.float32, attn_implementation="eager")
    if base.config.vocab_size != tokens:
        base.resize_token_embeddings(tokens)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        model = PeftModel.from_pretrained(base, adapter).eval()
    told = [str(warning.message) for warning in told if "adapter keys" in str(warning.message)]
    assert not told, told
    ids = torch.tensor([[(i * 37 + 11) % tokens for i in range(24)]])
    with torch.no_grad():
        return model(ids).logits


def trained(folder, scratch):
    golden = load_file(folder / "golden.safetensors")
    rows = [dict(input_ids=ids[:n].tolist(), labels=labels[:n].tolist()) for ids, labels, n in
            zip(golden["input_ids"], golden["labels"], golden["attention_mask"].sum(1).tolist())]
    (scratch / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    train = json.loads((folder / "golden.json").read_text())["train"]
    (scratch / "RUN.toml").write_text(f"""
[model]
path = {json.dumps(str(folder / "model"))}
[data]
path = {json.dumps(str(scratch / "data.jsonl"))}
format = "tokenized"
[lora]
init_adapter = {json.dumps(str(folder / "adapter_init"))}
[train]
output = {json.dumps(str(scratch / "out"))}
batch_size = 3
max_steps = {train["steps"]}
learning_rate = {train["learning_rate"]}
weight_decay = {train["weight_decay"]}
lr_scheduler_type = "constant"
""")
    done = subprocess.run([args.codetune, "train", str(scratch / "RUN.toml"), "--json"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return scratch / "out/adapter", golden["logits_adapter"].shape[-1]


cases = args.case or sorted(path.parent.name for path in Path(args.cases).glob("*/golden.safetensors"))
for case in cases:
    folder = Path(args.cases) / case
    with tempfile.TemporaryDirectory() as scratch:
        adapter, tokens = trained(folder, Path(scratch))
        got, expected = logits(folder, adapter, tokens), logits(folder, folder / "adapter_trained", tokens)
    difference = (got - expected).abs().max().item() / expected.abs().max().item()
    print(f"{case:24s} largest difference {difference:.1e} of the largest logit")
    assert difference < 2e-3, case
print("ok")
sys.exit(0)
