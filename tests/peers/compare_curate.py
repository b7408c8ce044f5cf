#!/usr/bin/env python3
"""Curation speed of `codetune bench curate` and of datatrove on the same files and the same steps, in one run.

usage: compare_curate.py --codetune PROGRAM --tree DIR [--threads N] [--rounds R] [--json]
needs: pip install "datatrove[processing,io]"; DIR a folder of source code

Steps of both: rows in, exact duplicates, the rule pack of StarCoder2 (longest and mean line, share of letters, lines),
e-mail and IP addresses found and redacted (ours looks for keys and tokens too), MinHash of word 5-grams in 25 bands of 10
values with exact comparison left to the bands, near duplicates dropped, rows out. `codetune bench curate --rows` writes the
rows that both read. datatrove runs its four MinHash stages on N workers, the stages one after the other as they must.
"""
import argparse
import json
import pathlib
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

def starcoder2(document):
    """The bounds of curator-rules' default pack."""
    lines = document.text.splitlines() or [""]
    lengths = [len(line) for line in lines]
    letters = sum(map(str.isalpha, document.text))
    return (len(lines) <= 100_000 and max(lengths) <= 1000 and sum(lengths) / len(lengths) <= 100
            and letters >= 0.25 * max(len(document.text), 1))


class Exact:
    """Drops rows with the texts of an earlier one: datatrove's own exact stage needs two passes, so this favours it."""

    def __init__(self):
        self.seen = set()

    def __call__(self, document):
        import hashlib
        digest = hashlib.sha256(document.text.encode()).digest()
        new = digest not in self.seen
        self.seen.add(digest)
        return new


def words():
    """What `near-duplicates` takes for words; datatrove's own tokenizer for English is slower and needs spaCy."""
    import re

    from datatrove.utils.word_tokenizers import WordTokenizer

    class Words(WordTokenizer):
        def word_tokenize(self, text):
            return re.findall(r"\w+", text)

        def sent_tokenize(self, text):
            return [text]

        def span_tokenize(self, text):
            return [(0, len(text))]

    return Words()


def peer(folder, threads):
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.dedup import MinhashDedupBuckets, MinhashDedupCluster, MinhashDedupFilter, MinhashDedupSignature
    from datatrove.pipeline.dedup.minhash import MinhashConfig
    from datatrove.pipeline.filters import LambdaFilter
    from datatrove.pipeline.formatters import PIIFormatter
    from datatrove.pipeline.readers import JsonlReader
    from datatrove.pipeline.writers import JsonlWriter
    from datatrove.utils.hashing import HashConfig

    folder = pathlib.Path(folder)
    config = MinhashConfig(n_grams=5, num_buckets=25, hashes_per_bucket=10, hash_config=HashConfig(precision=32))

    def run(name, pipeline, tasks):
        LocalPipelineExecutor(pipeline=pipeline, tasks=tasks, workers=min(tasks, threads),
                              logging_dir=str(folder / "logs" / name)).run()

    def reader(name):
        return JsonlReader(str(folder / name), text_key="text")

    begun = time.perf_counter()
    run("rules", [reader("rows"), LambdaFilter(Exact()), LambdaFilter(starcoder2), PIIFormatter(),
                  JsonlWriter(str(folder / "ruled"), compression=None)], threads)
    run("signatures", [reader("ruled"), MinhashDedupSignature(output_folder=str(folder / "signatures"), config=config,
                                                               language=words())], threads)
    run("buckets", [MinhashDedupBuckets(input_folder=str(folder / "signatures"), output_folder=str(folder / "buckets"),
                                        config=config)], config.num_buckets)
    run("cluster", [MinhashDedupCluster(input_folder=str(folder / "buckets"), output_folder=str(folder / "remove"),
                                        config=config)], 1)
    run("filter", [reader("ruled"), MinhashDedupFilter(input_folder=str(folder / "remove")),
                   JsonlWriter(str(folder / "out"), compression=None)], threads)
    seconds = time.perf_counter() - begun
    kept = sum(sum(1 for _ in open(path)) for path in (folder / "out").glob("*.jsonl"))
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    print(json.dumps({"seconds": seconds, "kept": kept, "peak_rss_bytes": peak * 1024}))


def answer(command):
    run = subprocess.run(command, capture_output=True, text=True)
    if run.returncode != 0:
        sys.exit(f"{' '.join(command)}\n{run.stderr}")
    return json.loads(run.stdout.strip().splitlines()[-1])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--codetune")
    parser.add_argument("--tree")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--peer", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.peer:
        peer(args.peer, args.threads)
        return
    if not (args.codetune and args.tree):
        parser.error("--codetune and --tree are needed")
    ours, theirs = [], []
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        rows = folder / "all.jsonl"
        for turn in range(args.rounds):
            ours.append(answer([args.codetune, "bench", "curate", args.tree, "--threads", str(args.threads),
                                "--rows", str(rows), "--json"]))
            work = folder / f"peer-{turn}"
            (work / "rows").mkdir(parents=True)
            # One file a worker, rows dealt round, so that its workers have the same to do.
            files = [open(work / "rows" / f"{n:03}.jsonl", "w") for n in range(args.threads)]
            for number, line in enumerate(open(rows)):
                files[number % args.threads].write(line)
            for file in files:
                file.close()
            theirs.append(answer([sys.executable, __file__, "--threads", str(args.threads), "--peer", str(work)]))
            shutil.rmtree(work)
    size = ours[0]["pipeline"]["bytes"] / 1e6
    mine = size / statistics.median(run["pipeline"]["seconds"] for run in ours)
    other = size / statistics.median(run["seconds"] for run in theirs)
    found = {
        "megabytes": size,
        "threads": args.threads,
        "codetune_mb_per_second": mine,
        "datatrove_mb_per_second": other,
        "ratio": mine / other,
        "codetune_kept": ours[-1]["pipeline"]["kept"],
        "datatrove_kept": theirs[-1]["kept"],
        "codetune_peak_rss_bytes": max(run["peak_rss_bytes"] for run in ours),
        "datatrove_peak_rss_bytes_of_a_worker": max(run["peak_rss_bytes"] for run in theirs),
        "rules_samples_per_second": statistics.median(run["rules"]["samples_per_second"] for run in ours),
    }
    if args.json:
        print(json.dumps(found))
    else:
        print(f"{size:.0f} MB on {args.threads} threads: codetune {mine:.1f} MB/s, datatrove {other:.1f} MB/s, ratio {mine / other:.1f}")
        print(f"kept: codetune {found['codetune_kept']}, datatrove {found['datatrove_kept']}")
        print(f"rule pack alone: {found['rules_samples_per_second']:.0f} samples a second on one thread")


# datatrove's workers import this file again: without this line each of them would begin a comparison of its own.
if __name__ == "__main__":
    main()
