#!/usr/bin/env python3
"""The peer of `codetune bench train`: the same work in PyTorch + Transformers + PEFT.

usage: peft_train.py --model DIR [--batch-size B] [--seq-len S] [--steps N] [--dtype f32|bf16] [--lora-r R] [--threads T]
needs: pip install torch transformers peft

Random tokens, all supervised, LoRA on every linear layer but the head, forward + backward + AdamW; the first step is not
counted and the median step is. Prints one JSON object with the keys of `codetune bench train --json`.
"""
import argparse
import json
import resource
import statistics
import time

import torch
import transformers
from peft import LoraConfig, get_peft_model

parser = argparse.ArgumentParser()
parser.add_argument("--model", required=True)
parser.add_argument("--batch-size", type=int, default=2)
parser.add_argument("--seq-len", type=int, default=512)
parser.add_argument("--steps", type=int, default=5)
parser.add_argument("--dtype", choices=["f32", "bf16"], default="f32")
parser.add_argument("--lora-r", type=int, default=16)
parser.add_argument("--threads", type=int, default=2)
args = parser.parse_args()

torch.set_num_threads(args.threads)
torch.manual_seed(0)
dtype = {"f32": torch.float32, "bf16": torch.bfloat16}[args.dtype]
base = transformers.AutoModelForCausalLM.from_pretrained(args.model, dtype=dtype)
model = get_peft_model(base, LoraConfig(r=args.lora_r, lora_alpha=2 * args.lora_r, target_modules="all-linear", task_type="CAUSAL_LM"))
model.train()
optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=2e-4)

seconds = []
for step in range(args.steps + 1):
    ids = torch.randint(0, model.config.vocab_size, (args.batch_size, args.seq_len))
    start = time.perf_counter()
    loss = model(input_ids=ids, labels=ids).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
    float(loss)
    if step > 0:
        seconds.append(time.perf_counter() - start)

median = statistics.median(seconds)
print(json.dumps({
    "tokens_per_second": args.batch_size * args.seq_len / median,
    "seconds_per_step": median,
    "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    "torch": torch.__version__,
    "transformers": transformers.__version__,
    "peft": __import__("peft").__version__,
}))
