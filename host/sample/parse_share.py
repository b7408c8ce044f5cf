"""Says how many of a model's completions are valid Python.

    codetune eval --model DIR --data FILE --completions 100 --json | python3 parse_share.py

Reads what `codetune eval --completions` writes: one {"prompt", "completion", "finish_reason"} a line. Judged is the
function that the completion belongs to: from the last unindented `def` of the prompt on (the completion alone, where
the prompt has none) to the first line that is no longer indented. A completion that was cut off by the token limit
loses its last, unfinished line first. An empty body does not parse, so it counts as a failure.
"""

import ast
import json
import re
import sys


def function(row: dict) -> str:
    completion = row["completion"]
    if row["finish_reason"] == "length":
        completion = completion.rsplit("\n", 1)[0] + "\n" if "\n" in completion else ""
    heads = [match.start() for match in re.finditer(r"^(async )?def ", row["prompt"], re.MULTILINE)]
    if not heads:
        return completion
    body = []
    for line in completion.splitlines(keepends=True):
        if line.strip() and not line[0].isspace() and not line.startswith("#"):
            break
        body.append(line)
    return row["prompt"][heads[-1] :] + "".join(body)


def parses(code: str) -> bool:
    try:
        return bool(ast.parse(code).body)
    except (SyntaxError, ValueError):
        return False


def main() -> None:
    rows = [json.loads(line) for line in sys.stdin if line.strip()]
    good = sum(parses(function(row)) for row in rows)
    print(json.dumps({"completions": len(rows), "parse": good, "share": round(good / len(rows), 3)}))


if __name__ == "__main__":
    main()
