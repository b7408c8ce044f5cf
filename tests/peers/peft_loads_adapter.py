#!/usr/bin/env python3
"""Checks that Python PEFT loads an adapter of ours as it is, and that its greedy answer is ours.

usage: peft_loads_adapter.py --model DIR --adapter DIR --codetune PROGRAM [--prompt TEXT] [--max-new-tokens N]
needs: pip install torch transformers peft
"""
import argparse
import json
import subprocess
import sys

import torch
import transformers
from peft import PeftModel

parser = argparse.ArgumentParser()
parser.add_argument("--model", required=True)
parser.add_argument("--adapter", required=True)
parser.add_argument("--codetune", required=True)
parser.add_argument("--prompt", default="def add(a, b):\n")
parser.add_argument("--max-new-tokens", type=int, default=24)
args = parser.parse_args()

torch.set_num_threads(1)
tokenizer = transformers.AutoTokenizer.from_pretrained(args.model)
base = transformers.AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32)
model = PeftModel.from_pretrained(base, args.adapter).eval()
prompt = tokenizer(args.prompt, return_tensors="pt")
with torch.no_grad():
    output = model.generate(**prompt, max_new_tokens=args.max_new_tokens, do_sample=False)
theirs = tokenizer.decode(output[0, prompt["input_ids"].shape[1]:], skip_special_tokens=True)

answer = subprocess.run(
    [args.codetune, "generate", "--model", args.model, "--adapter", args.adapter, "--prompt", args.prompt,
     "--max-new-tokens", str(args.max_new_tokens), "--temperature", "0", "--json"],
    check=True, capture_output=True, text=True)
ours = json.loads(answer.stdout)["text"]
ours = ours.removeprefix(args.prompt)
print(json.dumps({"same": ours == theirs, "ours": ours, "theirs": theirs}))
sys.exit(0 if ours == theirs else 1)
