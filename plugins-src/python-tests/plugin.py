"""The scorer `python-tests`: runs Python that a model wrote, with tests, in CPython inside the sandbox.

Tests are those of the settings and of the reference (see `sources`). Each runs alone, after the code, in a namespace of its
own (see `trial`): `pass` is 1 when all pass (pass@1 of this one completion), `tests_passed` the share that does. A completion that
needs what is not there (NumPy) gets an error in the place of scores: nothing is known of it. The code is
taken from the first fence of Markdown, or is the whole completion, and is run alone and behind the prompt; the better way
counts.

The same completion gets the same scores: nothing is drawn at random but by a seed, the clock grows only with looks at it, and the hashes of
strings, by which sets are ordered, are those of the component's making; another build may order a set otherwise.
"""

import json

from componentize_py_types import Err, Ok
from wit_world import exports
from wit_world.exports.scorer import Completion, Score
from wit_world.exports.tool import PluginMetadata
from wit_world.imports import config

from completion import score

DRAFT = "https://json-schema.org/draft/2020-12/schema"
INPUT = {
    "$schema": DRAFT,
    "type": "object",
    "properties": {
        "prompt": {"type": "string", "title": "Prompt", "format": "code"},
        "text": {
            "type": "string", "title": "Completion", "format": "code", "description": "What the model wrote.",
        },
        "reference": {
            "type": "string", "title": "Reference", "format": "code", "description": "The tests: assert statements.",
        },
        "language": {"type": "string", "title": "Language"},
    },
    "required": ["text"],
    "additionalProperties": False,
}
OUTPUT = {
    "$schema": DRAFT,
    "type": "object",
    "properties": {
        "scores": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "name": {"type": "string"},
                    "value": {"type": "number", "minimum": 0, "maximum": 1},
                    "reason": {"type": "string"},
                },
                "required": ["name", "value", "reason"],
                "additionalProperties": False,
            },
        },
    },
    "required": ["scores"],
    "additionalProperties": False,
}
SETTINGS = {
    "$schema": DRAFT,
    "type": "object",
    "properties": {
        "tests": {
            "type": "array", "default": [], "title": "Tests", "items": {"type": "string", "minLength": 1},
            "description": "Statements that every completion must pass: assert add(1, 2) == 3. Those of the reference are added.",
        },
        "max_steps": {
            "type": "integer", "minimum": 1, "default": 1000000, "title": "Most steps",
            "description": "How long the code with one test may run, in starts of functions and turns of loops.",
        },
    },
    "additionalProperties": False,
}


def scores(prompt, text, reference):
    """Raises `ValueError` where nothing can be said: there is no test, or the code needs what is not there."""
    tests = json.loads(config.get("tests") or "[]")
    max_steps = json.loads(config.get("max_steps") or "1000000")
    return score(prompt, text, reference, tests, max_steps)


def scored(completion: Completion):
    try:
        found = scores(completion.prompt, completion.text, completion.reference or "")
    except ValueError as why:
        return Err(str(why))
    return Ok([Score(*each) for each in found])


class Scorer(exports.Scorer):
    def score_completions(self, completions: list[Completion]):
        return [scored(completion) for completion in completions]


class Tool(exports.Tool):
    def metadata(self) -> PluginMetadata:
        return PluginMetadata(
            name="python-tests",
            version="0.1.0",
            description="Runs a completion in Python with tests, inside the sandbox: pass@1 and the share of tests that pass.",
            author="CodeTune Studio",
            tags=["scorer", "tests", "python", "pass@k"],
            input_schema=json.dumps(INPUT),
            output_schema=json.dumps(OUTPUT),
            config_schema=json.dumps(SETTINGS),
        )

    def validate_inputs(self, inputs: str) -> None:
        pass

    def execute(self, inputs: str) -> str:
        given = json.loads(inputs)
        try:
            found = scores(given.get("prompt", ""), given["text"], given.get("reference", ""))
        except ValueError as why:
            raise Err(str(why)) from None
        return json.dumps({"scores": [dict(zip(("name", "value", "reason"), each)) for each in found]})
