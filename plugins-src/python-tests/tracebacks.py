"""A `traceback` that names exceptions and shows no place: frames, where a test stands, cannot be had."""

import sys

HEAD = "Traceback (most recent call last):\n"


def format_exception_only(error, value=None, **_):
    error = error if value is None else value
    if error is None:
        return ["NoneType: None\n"]
    name, text = type(error).__qualname__, str(error)
    return [f"{name}: {text}\n" if text else f"{name}\n"]


def format_exception(error, value=None, tb=None, *_, **__):
    return [HEAD, *format_exception_only(error, value)]


def format_exc(*_, **__):
    error = sys.exception()
    return "".join(format_exception(error) if error is not None else format_exception_only(None))


def print_exception(error, value=None, tb=None, limit=None, file=None, chain=True):
    """As logging calls it, with a file."""
    if file is not None:
        file.write("".join(format_exception(error, value)))


def _nothing(*_, **__):
    return []


def fill(module, system):
    """Fills the `traceback` of a trial, whose standard error is that of `system`."""

    def print_exception_here(error, value=None, tb=None, limit=None, file=None, chain=True):
        print_exception(error, value, file=system.stderr if file is None else file)

    def print_exc(limit=None, file=None, chain=True):
        (system.stderr if file is None else file).write(format_exc())

    module.format_exception_only, module.format_exception = format_exception_only, format_exception
    module.format_exc, module.print_exception, module.print_exc = format_exc, print_exception_here, print_exc
    for name in ("extract_tb", "extract_stack", "format_tb", "format_stack", "format_list", "print_tb", "print_stack"):
        setattr(module, name, _nothing)
