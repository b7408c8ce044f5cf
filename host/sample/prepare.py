"""Gathers the source that the tiny model is trained on: the Python standard library of the running interpreter.

    python3 prepare.py OUTPUT

Writes OUTPUT/train.jsonl and OUTPUT/held-out.jsonl ({"path", "text"}), OUTPUT/held-out-functions.jsonl (a function's
head as prompt, its body as completion) and OUTPUT/corpus.json (versions, sizes and a digest of what went in).

Left out: tests and their data, generated tables, and every file with a permission notice of its own, so that all of
it stands under the licence of Python itself (PSF-2.0). A file is held out by the hash of its name, so the split
does not depend on the order or the number of files.
"""

import ast
import hashlib
import json
import platform
import re
import sys
import sysconfig
from pathlib import Path

SKIPPED_FOLDERS = {
    "site-packages", "test", "tests", "idle_test", "__pycache__", "encodings", "pydoc_data", "ensurepip",
    "__phello__", "lib-dynload",
}
OWN_NOTICE = re.compile(
    r"permission\s+(is\s+hereby\s+granted|to\s+use)|all\s+rights\s+reserved|redistribution\s+and\s+use"
    r"|licensed\s+(under|to)|\bGNU\b|\bMIT\s+licen|secret\s*labs|\bapache\s+licen",
    re.IGNORECASE,
)
LARGEST = 200_000


def sources(root: Path):
    for path in sorted(root.rglob("*.py")):
        relative = path.relative_to(root)
        if SKIPPED_FOLDERS & set(relative.parts) or relative.name.startswith("_sysconfigdata"):
            continue
        try:
            text = path.read_text(encoding="utf-8")
            ast.parse(text)
        except (UnicodeDecodeError, SyntaxError):
            continue
        if 200 <= len(text) <= LARGEST and not OWN_NOTICE.search(text):
            yield relative.as_posix(), text


def held_out(name: str) -> bool:
    return hashlib.sha256(name.encode()).digest()[0] < 20  # about one in thirteen


def functions(text: str):
    """Top-level functions of a file: the lines before the body, about 600 characters of them, and the body."""
    lines = text.splitlines(keepends=True)
    for node in ast.parse(text).body:
        if isinstance(node, ast.FunctionDef) and node.body[0].lineno > node.lineno:
            first = node.body[0].lineno - 1
            start = node.lineno - 1
            while start > 0 and sum(map(len, lines[start - 1 : first])) <= 600:
                start -= 1
            completion = "".join(lines[first : node.end_lineno])
            yield {"prompt": "".join(lines[start:first]), "completion": completion}


def write(path: Path, rows: list) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def main() -> None:
    output = Path(sys.argv[1])
    output.mkdir(parents=True, exist_ok=True)
    root = Path(sysconfig.get_paths()["stdlib"])
    parts: dict[bool, list] = {True: [], False: []}
    for name, text in sources(root):
        parts[held_out(name)].append({"path": name, "text": text})
    write(output / "train.jsonl", parts[False])
    write(output / "held-out.jsonl", parts[True])
    bodies = [row for file in parts[True] for row in functions(file["text"])]
    bodies.sort(key=lambda row: hashlib.sha256(row["prompt"].encode()).digest())
    write(output / "held-out-functions.jsonl", bodies[:200])
    digest = hashlib.sha256()
    for name, text in sources(root):
        digest.update(name.encode() + b"\0" + text.encode() + b"\0")
    summary = {
        "python": platform.python_version(),
        "train_files": len(parts[False]),
        "train_bytes": sum(len(row["text"].encode()) for row in parts[False]),
        "held_out_files": len(parts[True]),
        "held_out_bytes": sum(len(row["text"].encode()) for row in parts[True]),
        "held_out_functions": len(bodies[:200]),
        "sha256": digest.hexdigest(),
    }
    (output / "corpus.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
