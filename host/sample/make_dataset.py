"""Writes the sample dataset: short Python functions in one house style, each with the task it solves.

    python3 make_dataset.py data

Everything is made here from word lists and templates; nothing is copied from elsewhere (Apache-2.0).
A row is {"prompt", "completion"}: the prompt is a one-line task, the completion a typed function with a docstring.

The held-out file is fair: its (operation, noun) pairs never stand in the training file, and a quarter of its
rows use nouns that the training file never shows at all. Every completion is parsed and run before it is written.
"""

import ast
import json
import random
import sys
from pathlib import Path

NOUNS = """prices scores readings orders weights heights ages distances durations temperatures balances deposits
salaries votes ratings clicks visits downloads sizes lengths widths speeds counts totals samples signals levels
points marks grades hours minutes steps miles pages chapters batches shipments repairs refunds""".split()
NEW_NOUNS = "invoices rainfalls latencies tides budgets harvests".split()

# Task, name and body; {n} is the noun, {s} its singular. Every body follows the house style: the argument carries
# the noun, the accumulator is called `result`, an empty input is answered first, no line is clever.
NUMBER, LIST, MAYBE, FLAG = "int", "list[int]", "int | None", "bool"
OPERATIONS = [
    ("Return the sum of the {n}.", "sum_of_{n}", NUMBER, ["result = 0", "for {s} in {n}:", "    result += {s}", "return result"]),
    ("Return the largest of the {n}, or None without any.", "largest_of_{n}", MAYBE, ["if not {n}:", "    return None", "result = {n}[0]", "for {s} in {n}:", "    if {s} > result:", "        result = {s}", "return result"]),
    ("Return the smallest of the {n}, or None without any.", "smallest_of_{n}", MAYBE, ["if not {n}:", "    return None", "result = {n}[0]", "for {s} in {n}:", "    if {s} < result:", "        result = {s}", "return result"]),
    ("Count the even {n}.", "count_even_{n}", NUMBER, ["result = 0", "for {s} in {n}:", "    if {s} % 2 == 0:", "        result += 1", "return result"]),
    ("Count the odd {n}.", "count_odd_{n}", NUMBER, ["result = 0", "for {s} in {n}:", "    if {s} % 2 == 1:", "        result += 1", "return result"]),
    ("Count the {n} above the limit.", "count_{n}_above", NUMBER, ["result = 0", "for {s} in {n}:", "    if {s} > limit:", "        result += 1", "return result"]),
    ("Keep the {n} above the limit.", "keep_{n}_above", LIST, ["result = []", "for {s} in {n}:", "    if {s} > limit:", "        result.append({s})", "return result"]),
    ("Keep the {n} below the limit.", "keep_{n}_below", LIST, ["result = []", "for {s} in {n}:", "    if {s} < limit:", "        result.append({s})", "return result"]),
    ("Keep the even {n}.", "keep_even_{n}", LIST, ["result = []", "for {s} in {n}:", "    if {s} % 2 == 0:", "        result.append({s})", "return result"]),
    ("Drop the negative {n}.", "drop_negative_{n}", LIST, ["result = []", "for {s} in {n}:", "    if {s} >= 0:", "        result.append({s})", "return result"]),
    ("Double each of the {n}.", "double_{n}", LIST, ["result = []", "for {s} in {n}:", "    result.append({s} * 2)", "return result"]),
    ("Square each of the {n}.", "square_{n}", LIST, ["result = []", "for {s} in {n}:", "    result.append({s} * {s})", "return result"]),
    ("Return the {n} in reverse order.", "reverse_{n}", LIST, ["result = []", "for {s} in {n}:", "    result.insert(0, {s})", "return result"]),
    ("Return the {n} without duplicates.", "unique_{n}", LIST, ["result = []", "for {s} in {n}:", "    if {s} not in result:", "        result.append({s})", "return result"]),
    ("Return the running totals of the {n}.", "running_{n}", LIST, ["result = []", "total = 0", "for {s} in {n}:", "    total += {s}", "    result.append(total)", "return result"]),
    ("Return the mean of the {n}, rounded down, or None without any.", "mean_of_{n}", MAYBE, ["if not {n}:", "    return None", "result = 0", "for {s} in {n}:", "    result += {s}", "return result // len({n})"]),
    ("Return the range of the {n}, or None without any.", "range_of_{n}", MAYBE, ["if not {n}:", "    return None", "result = max({n}) - min({n})", "return result"]),
    ("Tell whether all {n} are positive.", "all_{n}_positive", FLAG, ["for {s} in {n}:", "    if {s} <= 0:", "        return False", "return True"]),
    ("Tell whether any of the {n} is zero.", "any_{n}_zero", FLAG, ["for {s} in {n}:", "    if {s} == 0:", "        return True", "return False"]),
    ("Tell whether the {n} are sorted.", "are_{n}_sorted", FLAG, ["for first, second in zip({n}, {n}[1:]):", "    if first > second:", "        return False", "return True"]),
    ("Return the first of the {n} above the limit, or None without any.", "first_{n}_above", MAYBE, ["for {s} in {n}:", "    if {s} > limit:", "        return {s}", "return None"]),
    ("Return the positions of the {n} that are zero.", "zero_{n}_positions", LIST, ["result = []", "for index, {s} in enumerate({n}):", "    if {s} == 0:", "        result.append(index)", "return result"]),
    ("Return the differences between neighbouring {n}.", "differences_of_{n}", LIST, ["result = []", "for first, second in zip({n}, {n}[1:]):", "    result.append(second - first)", "return result"]),
    ("Return the {n} capped at the limit.", "cap_{n}", LIST, ["result = []", "for {s} in {n}:", "    result.append(min({s}, limit))", "return result"]),
]


def singular(noun: str) -> str:
    special = {"batches": "batch", "latencies": "latency", "salaries": "salary", "hours": "hour"}
    return special.get(noun, noun[:-1])


def row(operation, noun: str) -> dict[str, str]:
    task, name, returns, body = operation
    words = {"n": noun, "s": singular(noun)}
    task = task.format(**words)
    limit = ", limit: int" if any("limit" in line for line in body) else ""
    lines = [f"def {name.format(**words)}({noun}: list[int]{limit}) -> {returns}:", f'    """{task}"""']
    lines += ["    " + line.format(**words) for line in body]
    completion = "\n".join(lines) + "\n"
    check(completion, bool(limit))
    return {"prompt": f"# Task: {task}\n", "completion": completion}


def check(code: str, limit: bool) -> None:
    """A completion must parse, and its function must take an empty and a full list."""
    names: dict = {}
    exec(compile(ast.parse(code), "sample", "exec"), names)  # our own text, made above
    function = next(value for key, value in names.items() if not key.startswith("_"))
    for numbers in ([], [3, 0, -2, 7]):
        function(numbers, 2) if limit else function(numbers)


def main() -> None:
    output = Path(sys.argv[1])
    draw = random.Random(20)
    pairs = [(operation, noun) for operation in OPERATIONS for noun in NOUNS]
    draw.shuffle(pairs)
    held_out = pairs[:72] + [(operation, noun) for operation in OPERATIONS for noun in NEW_NOUNS][::6]
    train = pairs[72:472]
    draw.shuffle(held_out)
    for name, chosen in (("train", train), ("held-out", held_out)):
        rows = [row(operation, noun) for operation, noun in chosen]
        text = "".join(json.dumps(item) + "\n" for item in rows)
        (output / f"{name}.jsonl").write_text(text, encoding="utf-8")
        print(f"{name}: {len(rows)} rows, {len(text)} bytes")
    shared = {item["prompt"] for item in map(lambda pair: row(*pair), train)} & {
        item["prompt"] for item in map(lambda pair: row(*pair), held_out)
    }
    assert not shared, "a held-out task stands in the training file"


if __name__ == "__main__":
    main()
