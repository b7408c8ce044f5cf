#!/usr/bin/env python3
"""A real-shaped set: `codetune train` and Transformers' `Trainer` + PEFT with its default padding, in one run.

usage: compare_real_set.py --codetune PROGRAM --model DIR [--samples 48] [--batch-size 4] [--rounds 1] [--json]
needs: pip install torch transformers peft; DIR from `codetune bench make-model --output DIR`

Samples of 20 to 1,024 tokens, lengths skewed to the short side as those of functions are, 60 % of each masked as its
prompt. One epoch of LoRA r 16 on every linear layer, f32. Both sides get the same samples in the same order; the first
step is not counted. Prints samples/s and peak memory of both, and the ratios.
"""
import argparse
import json
import pathlib
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time

parser = argparse.ArgumentParser()
parser.add_argument("--codetune")
parser.add_argument("--model", required=True)
parser.add_argument("--samples", type=int, default=48)
parser.add_argument("--batch-size", type=int, default=4)
parser.add_argument("--rounds", type=int, default=1)
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--json", action="store_true")
parser.add_argument("--peer", metavar="DATA", help=argparse.SUPPRESS)
args = parser.parse_args()


def make_samples(vocab):
    draw = random.Random(0)
    samples = []
    for _ in range(args.samples):
        length = min(1024, 20 + int(1004 * draw.random() ** 2))
        ids = [draw.randrange(3, vocab) for _ in range(length)]
        masked = int(length * 0.6)
        samples.append({"input_ids": ids, "labels": [-100] * masked + ids[masked:]})
    return samples


def peer(data):
    import torch
    import transformers
    from peft import LoraConfig, get_peft_model

    torch.set_num_threads(args.threads)
    rows = [json.loads(line) for line in open(data)]
    base = transformers.AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32)
    model = get_peft_model(base, LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"))

    def collate(batch):
        longest = max(len(row["input_ids"]) for row in batch)

        def padded(key, value):
            return torch.tensor([row[key] + [value] * (longest - len(row[key])) for row in batch])

        mask = torch.tensor([[1] * len(r["input_ids"]) + [0] * (longest - len(r["input_ids"])) for r in batch])
        return {"input_ids": padded("input_ids", 0), "labels": padded("labels", -100), "attention_mask": mask}

    ends = []

    class Clock(transformers.TrainerCallback):
        def on_step_end(self, *_args, **_kwargs):
            ends.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as folder:
        options = transformers.TrainingArguments(
            folder, per_device_train_batch_size=args.batch_size, num_train_epochs=1, learning_rate=2e-4,
            report_to=[], save_strategy="no", logging_strategy="no", use_cpu=True, disable_tqdm=True,
            remove_unused_columns=False, seed=0)
        trainer = transformers.Trainer(model=model, args=options, train_dataset=rows, data_collator=collate,
                                       callbacks=[Clock()])
        trainer._get_train_sampler = lambda *_: torch.utils.data.SequentialSampler(rows)
        trainer.train()
    counted = len(rows) - args.batch_size
    print(json.dumps({
        "samples_per_second": counted / (ends[-1] - ends[0]),
        "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }))


def ours(data, folder):
    config = pathlib.Path(folder, "run.toml")
    output = pathlib.Path(folder, "out")
    config.write_text(
        f"[model]\npath = {json.dumps(args.model)}\n"
        f"[data]\npath = {json.dumps(data)}\nformat = \"tokenized\"\nshuffle = false\nmax_seq_length = 1024\n"
        f"[train]\noutput = {json.dumps(str(output))}\nepochs = 1\nbatch_size = {args.batch_size}\n")
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    run = subprocess.Popen([args.codetune, "train", str(config), "--json"], stdout=subprocess.PIPE, text=True)
    ends, events = [], []
    for line in run.stdout:
        event = json.loads(line)
        events.append(event)
        if event["event"] == "step":
            ends.append(time.perf_counter())
    if run.wait() != 0:
        sys.exit(f"codetune train failed: {events[-1:]}")
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    # The largest child so far: ours runs before the peer does.
    assert peak >= before
    counted = args.samples - args.batch_size
    return {"samples_per_second": counted / (ends[-1] - ends[0]), "peak_rss_bytes": peak * 1024}


if args.peer:
    peer(args.peer)
    sys.exit()
if not args.codetune:
    parser.error("--codetune is required")
vocab = json.loads(pathlib.Path(args.model, "config.json").read_text())["vocab_size"]
with tempfile.TemporaryDirectory() as folder:
    data = str(pathlib.Path(folder, "data.jsonl"))
    with open(data, "w") as file:
        for sample in make_samples(vocab):
            file.write(json.dumps(sample) + "\n")
    mine = []
    for round_index in range(args.rounds):
        inner = pathlib.Path(folder, f"round-{round_index}")
        inner.mkdir()
        mine.append(ours(data, inner))
    theirs = []
    for _ in range(args.rounds):
        command = [sys.executable, __file__, "--model", args.model, "--batch-size", str(args.batch_size),
                   "--threads", str(args.threads), "--peer", data]
        run = subprocess.run(command, capture_output=True, text=True)
        if run.returncode != 0:
            sys.exit(run.stderr)
        theirs.append(json.loads(run.stdout.strip().splitlines()[-1]))


def side(answers):
    return {"samples_per_second": statistics.median(a["samples_per_second"] for a in answers),
            "peak_gb": max(a["peak_rss_bytes"] for a in answers) / 1e9}


result = {"codetune": side(mine), "trainer": side(theirs)}
result["speed_ratio"] = result["codetune"]["samples_per_second"] / result["trainer"]["samples_per_second"]
result["memory_ratio"] = result["codetune"]["peak_gb"] / result["trainer"]["peak_gb"]
if args.json:
    print(json.dumps(result))
else:
    for name in ("codetune", "trainer"):
        print(f"{name:10} {result[name]['samples_per_second']:8.3f} samples/s {result[name]['peak_gb']:8.2f} GB")
    print(f"ratio      {result['speed_ratio']:8.2f} {result['memory_ratio']:18.2f}")
