#!/usr/bin/env python3
"""Training speed of `codetune bench train` and of PyTorch + PEFT on the same work, in one run, one after the other.

usage: compare_train.py --codetune PROGRAM --model DIR [--rounds N] [--steps N] [--seq-len S ...] [--batch-size B] [--json]
needs: pip install torch transformers peft; DIR from `codetune bench make-model --output DIR`

Each round runs ours in f32, theirs in f32, ours in bf16, theirs in bf16; the table has the median of the rounds and the
ratios of ours to theirs. With more than one --seq-len each is measured, tokens/s and peak memory.
"""
import argparse
import json
import statistics
import sys

import measuring

parser = argparse.ArgumentParser()
parser.add_argument("--codetune", required=True)
parser.add_argument("--model", required=True)
parser.add_argument("--rounds", type=int, default=3)
parser.add_argument("--steps", type=int, default=4)
parser.add_argument("--seq-len", type=int, nargs="+", default=[512])
parser.add_argument("--batch-size", type=int, default=2)
parser.add_argument("--only-ours", action="store_true", help="leave PyTorch out, as for long sequences")
parser.add_argument("--json", action="store_true")
args = parser.parse_args()


def ours(dtype, seq_len):
    return measuring.ours(args.codetune, steps=args.steps, model=args.model, batch_size=args.batch_size, seq_len=seq_len,
                          dtype=dtype)


def theirs(dtype, seq_len):
    return measuring.peft(args.steps, model=args.model, batch_size=args.batch_size, seq_len=seq_len, dtype=dtype)


sides = {"codetune": ours} if args.only_ours else {"codetune": ours, "peft": theirs}
results = []
for seq_len in args.seq_len:
    rounds = {(side, dtype): [] for dtype in ("f32", "bf16") for side in sides}
    for _ in range(args.rounds):
        for (side, dtype), answers in rounds.items():
            try:
                answers.append(sides[side](dtype, seq_len))
            except measuring.Failed as error:
                sys.exit(str(error))
    row = {"seq_len": seq_len, "batch_size": args.batch_size}
    for (side, dtype), answers in rounds.items():
        row[f"{side}_{dtype}_tokens_per_second"] = statistics.median(a["tokens_per_second"] for a in answers)
        row[f"{side}_{dtype}_peak_gb"] = max(a["peak_rss_bytes"] for a in answers) / 1e9
        if side == "codetune":
            row[f"{side}_{dtype}_losses"] = answers[-1]["losses"]
            row[f"{side}_{dtype}_model_flops_utilization"] = statistics.median(
                a["model_flops_utilization"] for a in answers)
    if not args.only_ours:
        f32, bf16 = row["peft_f32_tokens_per_second"], row["peft_bf16_tokens_per_second"]
        row["ratio_f32"] = row["codetune_f32_tokens_per_second"] / f32
        row["ratio_bf16"] = row["codetune_bf16_tokens_per_second"] / bf16
        row["ratio_f32_to_their_bf16"] = row["codetune_f32_tokens_per_second"] / bf16
        row["memory_ratio_f32"] = row["codetune_f32_peak_gb"] / row["peft_f32_peak_gb"]
    row["ratio_our_bf16_to_our_f32"] = row["codetune_bf16_tokens_per_second"] / row["codetune_f32_tokens_per_second"]
    results.append(row)

if args.json:
    print(json.dumps(results))
else:
    for row in results:
        for key, value in row.items():
            print(f"{key:40} {value if not isinstance(value, float) else round(value, 3)}")
        print()
