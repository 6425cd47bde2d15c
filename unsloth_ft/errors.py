"""The errors this package raises on purpose; each knows the exit code the command line gives it.

Library code raises them and never exits. Any other exception is a bug of ours (exit 1).
"""


class UnslothFtError(Exception):
    """Something a user should read. The message says where, what was found, what was expected and what to do."""

    exit_code = 1


class UserError(UnslothFtError):
    """The user's doing: a flag, a recipe, a data file, a model path."""

    exit_code = 2


class MachineError(UnslothFtError):
    """The machine's doing: no GPU, out of memory, disk full, a missing tool. The message names the way out."""

    exit_code = 3


class GateError(UnslothFtError):
    """A gate did not hold: training diverged, an export differs, a result is worse than demanded. Nothing is deleted."""

    exit_code = 4


class BusyError(UnslothFtError):
    """Another process holds this run directory."""

    exit_code = 5


def short(text: str, longest: int = 60) -> str:
    """The text, cut where it is longer, to stand in a message."""
    return text if len(text) <= longest else text[: longest - 1] + "…"


def nearest(word: str, known: "list[str] | tuple[str, ...]", *, count: int = 3) -> str:
    """' Did you mean a, b?' for a mistyped word, or '' when nothing known is near."""
    import difflib

    near = difflib.get_close_matches(word, list(known), n=count, cutoff=0.5)
    return f" Did you mean {', '.join(near)}?" if near else ""
