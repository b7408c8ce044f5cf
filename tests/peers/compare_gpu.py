#!/usr/bin/env python3
"""Training speed on one GPU: `codetune bench train` beside PyTorch + Transformers + PEFT (SDPA), and that with Liger's kernels.

usage: compare_gpu.py (--codetune PROGRAM | --bench-train PROGRAM) [--device cuda:N] [--steps N] [--only WORD ...] [--json]
needs: a GPU; pip install torch transformers peft, liger-kernel for the third column, bitsandbytes for QLoRA

LoRA r 16 on all linear layers, bf16, random weights of the shapes in tests/peers/shapes, one after the other on the same
card: sequences of 2,048 and 4,096, QLoRA of the largest shape, and a sequence of 32,768. MFU is 4 operations a frozen
weight and token over the rate of cuBLAS on this card, the same for all. What does not fit without gradient checkpointing is
measured with it (marked +gc). The table at the end has the ratios to the better of the two peers. Exit code 3: no GPU.
"""
import argparse
import datetime
import importlib.util
import json
import pathlib
import subprocess
import sys

import measuring

SHAPES = pathlib.Path(__file__).with_name("shapes")
SMALL, MIDDLE, LARGE = "qwen2.5-coder-0.5b", "qwen2.5-coder-1.5b", "qwen2.5-coder-7b"
# Shape, quantization of the base, sequences in a batch, tokens of each.
WORK = [(shape, None, 2, length) for shape in (SMALL, MIDDLE, LARGE) for length in (2048, 4096)]
WORK += [(LARGE, "nf4", 1, 2048), (LARGE, None, 1, 32768)]

parser = argparse.ArgumentParser()
program = parser.add_mutually_exclusive_group(required=True)
program.add_argument("--codetune", help="codetune-cuda, or codetune with it beside")
program.add_argument("--bench-train", help="what .ci/gpu build carries: the engine's example")
parser.add_argument("--device", default="cuda:0")
parser.add_argument("--steps", type=int, default=6, help="the first is not counted")
parser.add_argument("--only", nargs="+", default=[""], help="only work whose name has one of these words in it")
parser.add_argument("--json", action="store_true")
args = parser.parse_args()


def card():
    """The GPU's name; ends the program in words where there is none."""
    command = [args.codetune, "devices", "--json"] if args.codetune else [args.bench_train, "--device", args.device]
    asked = subprocess.run(command, capture_output=True, text=True)
    if args.codetune:
        try:
            devices = json.loads(asked.stdout)
        except json.JSONDecodeError:
            sys.exit(f"{args.codetune} does not tell its devices: {asked.stderr.strip()}")
        index = int(args.device.partition(":")[2] or 0)
        name = next((gpu["name"] for gpu in devices["gpus"] if gpu["index"] == index), None)
        missing = devices["missing"] or f"{args.device} is not there"
    else:
        name = asked.stdout.strip() if asked.returncode == 0 else None
        missing = asked.stderr.strip()
    if not name:
        print(f"no GPU: nothing was measured. {missing}", file=sys.stderr)
        sys.exit(3)
    return name


def sides():
    """What can be compared here, by name, and why the rest cannot."""
    ours = measuring.ours if args.codetune else measuring.bench_train
    found = {"codetune": lambda **work: ours(args.codetune or args.bench_train, steps=args.steps, **work)}
    missing = [name for name in ("torch", "transformers", "peft") if importlib.util.find_spec(name) is None]
    if missing:
        print(f"PEFT is left out: pip install {' '.join(missing)}", file=sys.stderr)
        return found
    found["peft"] = lambda **work: measuring.peft(args.steps, **work)
    if importlib.util.find_spec("liger_kernel") is None:
        print("Liger is left out: pip install liger-kernel", file=sys.stderr)
    else:
        found["liger"] = lambda **work: measuring.peft(args.steps, liger=True, **work)
    return found


def measure(side, run, work):
    """One side's figures, or what kept it from having any."""
    tries = [{}] if side == "codetune" else [{}, {"gradient_checkpointing": True}]
    fault = None
    for more in tries:
        try:
            return run(**work, **more) | {"checkpointed": bool(more)}
        except measuring.Failed as error:
            fault = error
            if not error.is_out_of_memory:
                break
    print(fault, file=sys.stderr)
    return {"fault": "out of memory" if fault.is_out_of_memory else "failed"}


def row(name, results):
    """Figures of one piece of work: what each reached, and ours over the better peer's."""
    our = results["codetune"]
    for found in results.values():
        # The operations and the card's rate are ours to know: they are those of the same work on the same card.
        if "fault" not in found and "fault" not in our:
            rate = our["gflop_per_step"] / found["seconds_per_step"]
            found["model_flops_utilization"] = rate / our["gemm_gflops"]
    peers = [found for side, found in results.items() if side != "codetune" and "fault" not in found]
    line = {"work": name, "sides": results}
    if peers and "fault" not in our:
        line["speed_ratio"] = our["tokens_per_second"] / max(peer["tokens_per_second"] for peer in peers)
        line["memory_ratio"] = our["peak_device_bytes"] / min(peer["peak_device_bytes"] for peer in peers)
    return line


def cell(found):
    if "fault" in found:
        return found["fault"]
    utilization = found.get("model_flops_utilization")
    mark = " +gc" if found["checkpointed"] else ""
    mfu = "" if utilization is None else f", {100 * utilization:.0f} %"
    return f"{found['tokens_per_second']:,.0f}/s, {found['peak_device_bytes'] / 1e9:.1f} GB{mfu}{mark}"


def table(rows, names):
    """Lines of a Markdown table."""
    head = ["work", *names, "speed", "memory"]
    lines = [head, ["---"] * len(head)]
    for line in rows:
        ratios = [f"{line[key]:.2f}" if key in line else "–" for key in ("speed_ratio", "memory_ratio")]
        lines.append([line["work"], *(cell(line["sides"][name]) for name in names), *ratios])
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


gpu = card()
compared = sides()
rows = []
for shape, quantize, batch, length in WORK:
    name = f"{shape} {'QLoRA' if quantize else 'LoRA'} {batch} x {length}"
    if not any(word in name for word in args.only):
        continue
    work = {"model": str(SHAPES / shape), "batch_size": batch, "seq_len": length, "dtype": "bf16", "device": args.device,
            "quantize": quantize}
    print(name, file=sys.stderr)
    rows.append(row(name, {side: measure(side, run, work) for side, run in compared.items()}))

if args.json:
    print(json.dumps({"card": gpu, "date": datetime.date.today().isoformat(), "rows": rows}))
else:
    print(f"\n{gpu}, {datetime.date.today().isoformat()}: tokens a second, peak device memory, MFU; ratios of codetune to the better peer\n")
    print(table(rows, list(compared)))
# That a peer needs more memory than the card has is a result; all else that failed is not.
sys.exit(any(found.get("fault") == "failed" or (side == "codetune" and "fault" in found)
             for line in rows for side, found in line["sides"].items()))
