"""What the comparisons of training speed have in common: one measurement of ours or of the peer, as a dictionary."""
import json
import pathlib
import subprocess
import sys

PEER = pathlib.Path(__file__).with_name("peft_train.py")


class Failed(Exception):
    """A measurement that came to no end; its words are what the program wrote last."""

    def __init__(self, command, stderr):
        self.is_out_of_memory = "out of memory" in stderr.lower() or "memory is full" in stderr.lower()
        super().__init__(f"{' '.join(command)}\n{stderr}")


def answer(command):
    """The JSON object in the last line that a command prints."""
    run = subprocess.run(command, capture_output=True, text=True)
    if run.returncode != 0:
        raise Failed(command, run.stderr)
    return json.loads(run.stdout.strip().splitlines()[-1])


def flags(settings):
    """Settings as command line flags: underscores become hyphens, True stands alone, None is left out."""
    words = []
    for key, value in settings.items():
        if value is not None and value is not False:
            words.append("--" + key.replace("_", "-"))
            if value is not True:
                words.append(str(value))
    return words


def ours(program, **settings):
    """`codetune bench train`."""
    return answer([program, "bench", "train", *flags(settings), "--lora-r", "16", "--json"])


def bench_train(program, model, batch_size, seq_len, dtype, device, steps, quantize=None):
    """The same by the engine's example of that name, which is small enough to carry to a machine with a GPU."""
    return answer([program, model, dtype, *map(str, (batch_size, seq_len, steps)), device, *([quantize] if quantize else [])])


def peft(steps, **settings):
    """The peer, which counts the step that warms up beside the others."""
    return answer([sys.executable, str(PEER), *flags(settings), "--steps", str(steps - 1), "--lora-r", "16"])
