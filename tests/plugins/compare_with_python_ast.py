#!/usr/bin/env python3
"""Compares the plugin code-analyzer with Python's own `ast`, in answers and in speed, side by side in one run.

    python3 tests/plugins/compare_with_python_ast.py --codetune target/release/codetune [TREE]

The Python side does what the studio's predecessor did: `ast.parse` and one `ast.walk`, in one process; it only counts
async functions too, and keeps relative imports, so that answers can be compared. TREE is this Python's standard library
unless another folder is named. Exit code 1: an answer differs, or the plugin is less than --at-least times as fast.
"""

import argparse
import ast
import json
import os
import statistics
import subprocess
import sys
import sysconfig
import time
import warnings


def python_files(tree):
    """The files that `codetune analyze --extension py` walks: nothing hidden, no links."""
    for folder, folders, files in os.walk(tree):
        folders[:] = sorted(f for f in folders if not f.startswith(".") and not os.path.islink(os.path.join(folder, f)))
        for name in sorted(files):
            path = os.path.join(folder, name)
            if name.endswith(".py") and not name.startswith(".") and not os.path.islink(path):
                yield path


def walk(code):
    functions = classes = nodes = 0
    imports = []
    for node in ast.walk(ast.parse(code)):
        nodes += 1
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            functions += 1
        elif isinstance(node, ast.ClassDef):
            classes += 1
        elif isinstance(node, ast.Import):
            imports.extend(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            imports.append("." * node.level + (node.module or ""))
    return functions, classes, sorted(imports), nodes


def run_python(tree):
    started = time.perf_counter()
    answers = {}
    size = 0
    for path in python_files(tree):
        try:
            with open(path, encoding="utf-8-sig", newline="") as file:
                code = file.read()
            size += os.path.getsize(path)
            answers[path] = walk(code)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            answers[path] = None
    return answers, size, time.perf_counter() - started


def run_plugin(codetune, tree, environment):
    command = [codetune, "analyze", tree, "--plugin", "code-analyzer", "--extension", "py", "--json"]
    started = time.perf_counter()
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=environment).stdout
    seconds = time.perf_counter() - started
    answers = {}
    for line in output.splitlines():
        file = json.loads(line)
        is_parsed = file["unanalyzable"] is None and all(d["severity"] != "error" for d in file["diagnostics"])
        answers[file["path"]] = (
            (file["num_functions"], file["num_classes"], sorted(file["imports"])) if is_parsed else None
        )
    return answers, seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tree", nargs="?", default=sysconfig.get_path("stdlib"))
    parser.add_argument("--codetune", required=True, help="the program, a release build")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--at-least", type=float, default=10.0, help="times as fast as Python")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    tree = os.path.abspath(arguments.tree)

    # Before the clock starts all plugins are compiled, which `analyze` leaves to the background but for its own, and one run brings
    # the files into memory.
    subprocess.run([arguments.codetune, "plugin", "list"], check=True, stdout=subprocess.DEVNULL)
    run_plugin(arguments.codetune, tree, os.environ)
    python_times, plugin_times = [], []
    for _ in range(arguments.rounds):
        expected, size, seconds = run_python(tree)
        python_times.append(seconds)
        found, seconds = run_plugin(arguments.codetune, tree, os.environ)
        plugin_times.append(seconds)

    both = [path for path, answer in expected.items() if answer and found.get(path)]
    differing = [path for path in both if expected[path][:3] != found[path]]
    only_python = [path for path, answer in expected.items() if answer and not found.get(path)]
    only_plugin = [path for path, answer in expected.items() if not answer and found.get(path)]
    python_time, plugin_time = statistics.median(python_times), statistics.median(plugin_times)
    report = {
        "tree": tree,
        "python": sys.version.split()[0],
        "files": len(expected),
        "bytes": size,
        "both_parse": len(both),
        "only_python_parses": only_python[:10],
        "only_plugin_parses": only_plugin[:10],
        "differing": [
            {"path": path, "python": expected[path][:3], "plugin": found[path]} for path in differing[:10]
        ],
        "python_seconds": python_time,
        "plugin_seconds": plugin_time,
        "python_mb_per_second": size / python_time / 1e6,
        "plugin_mb_per_second": size / plugin_time / 1e6,
        "times_as_fast": python_time / plugin_time,
    }
    print(json.dumps(report, indent=2))
    return 1 if differing or not both or report["times_as_fast"] < arguments.at_least else 0


if __name__ == "__main__":
    sys.exit(main())
