#!/usr/bin/env python3
"""Generation speed of `codetune bench generate` and of Transformers' `generate` on the same work, in one run.

usage: compare_generate.py --codetune PROGRAM --model DIR [--batch-size B ...] [--prompt-tokens P] [--new-tokens N]
                           [--rounds R] [--json]
needs: pip install torch transformers; DIR from `codetune bench make-model --output DIR`

Greedy, f32, keys and values kept, prompts of random tokens, nothing ends a text early; the time of the prompts counts.
Each round runs ours, then theirs, each in a process of its own; the table has the medians and their ratio.
"""
import argparse
import json
import resource
import statistics
import subprocess
import sys
import time

parser = argparse.ArgumentParser()
parser.add_argument("--codetune")
parser.add_argument("--model", required=True)
parser.add_argument("--batch-size", type=int, nargs="+", default=[1, 8])
parser.add_argument("--prompt-tokens", type=int, default=64)
parser.add_argument("--new-tokens", type=int, default=128)
parser.add_argument("--rounds", type=int, default=2)
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--json", action="store_true")
parser.add_argument("--peer", action="store_true", help=argparse.SUPPRESS)
args = parser.parse_args()


def peer(batch_size):
    import torch
    import transformers

    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32).eval()
    ids = torch.randint(3, model.config.vocab_size, (batch_size, args.prompt_tokens))
    seconds = []
    for _ in range(3):
        begun = time.perf_counter()
        with torch.no_grad():
            out = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False, use_cache=True,
                                 min_new_tokens=args.new_tokens, max_new_tokens=args.new_tokens, pad_token_id=0)
        seconds.append(time.perf_counter() - begun)
        assert out.shape == (batch_size, args.prompt_tokens + args.new_tokens)
    print(json.dumps({"tokens_per_second": batch_size * args.new_tokens / statistics.median(seconds[1:]),
                      "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}))


def answer(command):
    run = subprocess.run(command, capture_output=True, text=True)
    if run.returncode != 0:
        sys.exit(f"{' '.join(command)}\n{run.stderr}")
    return json.loads(run.stdout.strip().splitlines()[-1])


if args.peer:
    peer(args.batch_size[0])
    sys.exit()
if not args.codetune:
    parser.error("--codetune is required")
rows = []
for batch_size in args.batch_size:
    shape = ["--model", args.model, "--batch-size", str(batch_size), "--prompt-tokens", str(args.prompt_tokens),
             "--new-tokens", str(args.new_tokens)]
    ours, theirs = [], []
    for _ in range(args.rounds):
        ours.append(answer([args.codetune, "bench", "generate", *shape, "--json"]))
        theirs.append(answer([sys.executable, __file__, "--peer", "--threads", str(args.threads), *shape]))
    row = {"batch_size": batch_size}
    for name, answers in (("codetune", ours), ("transformers", theirs)):
        row[f"{name}_tokens_per_second"] = statistics.median(a["tokens_per_second"] for a in answers)
        row[f"{name}_peak_gb"] = max(a["peak_rss_bytes"] for a in answers) / 1e9
    row["ratio"] = row["codetune_tokens_per_second"] / row["transformers_tokens_per_second"]
    rows.append(row)
if args.json:
    print(json.dumps(rows))
else:
    for row in rows:
        for key, value in row.items():
            print(f"{key:32} {value if isinstance(value, int) else round(value, 3)}")
        print()
