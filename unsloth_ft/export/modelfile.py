"""The Modelfile that makes an exported GGUF an Ollama model: written, read back, compared, and only then put in place.

Grammar and the characters that survive it: ollama's docs/modelfile.mdx and parser/parser.go.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path

from unsloth_ft.errors import GateError, UserError
from unsloth_ft.export.chat_probe import ChatTemplate
from unsloth_ft.export.ollama_template import GoTemplate, check_template, derive_template
from unsloth_ft.record import write_atomically

__all__ = ["ChatTemplate", "GoTemplate", "check_modelfile", "derive_template", "parse_modelfile", "stop_strings", "write_modelfile"]

_TEXT_INSTRUCTIONS = ("from", "template", "system", "adapter")
_OTHER_INSTRUCTIONS = ("license", "message", "draft", "renderer", "parser", "requires")
_QUOTES = '"""'


def stop_strings(end_tokens: Sequence[str]) -> tuple[str, ...]:
    """The `PARAMETER stop` texts: every token that ends a turn or the text (turn end, eos), each once, in order.

    Raises:
        UserError: none is given, or one is empty or can't stand in a Modelfile.
    """
    stops = tuple(dict.fromkeys(end_tokens))
    if not stops:
        raise UserError("Modelfile: no stop; expected at least the token that ends an answer, or the model never stops.")
    for stop in stops:
        if not stop:
            raise UserError(f"Modelfile: stop {stop!r} is empty; it would end every answer at once.")
        _refuse_unwritable("stop", stop)
    return stops


def write_modelfile(
    path: Path,
    *,
    gguf_name: str,
    template: GoTemplate,
    stops: Sequence[str],
    num_ctx: int,
    system: str | None = None,
    adapter: str | None = None,
    temperature: float | None = None,
) -> Path:
    """Writes the Modelfile beside its GGUF. `gguf_name` and `adapter` are bare file names, so a moved or renamed folder changes nothing.

    A `system` text is trimmed where the tokenizer's template trims it: Ollama will not.

    Raises:
        UserError: a value that Ollama would refuse, read differently, or never show to the model; nothing is written.
        MachineError: the disk is full.
    """
    if system is not None and not template.takes_system:
        raise UserError(f"{path}: SYSTEM asked for, but the tokenizer's chat template takes no system message. Leave the system text out.")
    if system is not None and not (system.strip() if "system" in template.trimmed else system):
        raise UserError(f"{path}: SYSTEM is empty, and Ollama takes an empty one for none. Leave the system text out.")
    if num_ctx < 1:
        raise UserError(f"{path}: num_ctx is {num_ctx}; expected 1 or more tokens.")
    if temperature is not None and not (math.isfinite(temperature) and temperature >= 0):
        raise UserError(f"{path}: temperature is {temperature}; expected 0 or more.")
    wanted: dict[str, object] = {"from": f"./{_file_name('gguf_name', gguf_name)}", "template": template.text}
    if system is not None:
        wanted["system"] = system.strip() if "system" in template.trimmed else system
    if adapter is not None:
        wanted["adapter"] = f"./{_file_name('adapter', adapter)}"
    parameters: dict[str, list[str]] = {"stop": list(stop_strings(stops)), "num_ctx": [str(num_ctx)]}
    if temperature is not None:
        parameters["temperature"] = [f"{temperature:.12g}"]
    wanted["parameters"] = parameters
    text = _text(wanted, parameters)
    _compare(path, wanted, parse_modelfile(text))
    write_atomically(path, text)
    return path


def _text(wanted: dict[str, object], parameters: dict[str, list[str]]) -> str:
    for name in ("template", "system"):
        if name in wanted:
            _refuse_unwritable(name.upper(), str(wanted[name]))
    lines = [f"FROM {wanted['from']}"]
    if "adapter" in wanted:
        lines.append(f"ADAPTER {wanted['adapter']}")
    lines.append(f"TEMPLATE {_QUOTES}{wanted['template']}{_QUOTES}")
    if "system" in wanted:
        lines.append(f"SYSTEM {_QUOTES}{wanted['system']}{_QUOTES}")
    for name, values in parameters.items():
        lines += [f"PARAMETER {name} {_quoted(value) if name == 'stop' else value}" for value in values]
    return "\n".join(lines) + "\n"


def _quoted(value: str) -> str:
    return f"{_QUOTES}{value}{_QUOTES}" if '"' in value or "\n" in value else f'"{value}"'


def _file_name(what: str, name: str) -> str:
    if not name.strip() or name != Path(name).name or name in (".", "..") or name != name.strip() or not name.isprintable():
        raise UserError(f"Modelfile: {what} is {name!r}; expected a bare file name of printable characters, beside the Modelfile.")
    return name


def _refuse_unwritable(what: str, text: str) -> None:
    if _QUOTES in text:
        raise UserError(f'Modelfile: {what} holds """ at character {text.index(_QUOTES)}, which ends a text there. Write it without.')
    for position, char in enumerate(text):
        if not _survives(char):
            raise UserError(
                f"Modelfile: {what} holds U+{ord(char):04X} at character {position}; Ollama drops characters that are not printable."
                " Leave it out."
            )


def _survives(char: str) -> bool:
    """parser.go keeps what strconv.IsPrint allows (the set of str.isprintable), and the white space it knows."""
    return char.isprintable() or char in " \t\r\n"


def _compare(path: Path, wanted: dict[str, object], found: dict[str, object]) -> None:
    for name in sorted(wanted.keys() | found.keys()):
        if wanted.get(name) != found.get(name):
            raise UserError(f"{path}: {name} would be read as {found.get(name)!r}; expected {wanted.get(name)!r}. Nothing was written.")


def read_modelfile(path: Path) -> str:
    """The Modelfile's text. What is no UTF-8 in it reads as U+FFFD, which stands in none of ours."""
    return path.read_text(encoding="utf-8", errors="replace")


def parse_modelfile(text: str) -> dict:
    """What Ollama reads: {"from": …, "template": …, "system": …, "adapter": …, "parameters": {name: [values]}}, absent ones absent.

    Raises:
        UserError: an unknown instruction, a parameter without a name, an unclosed quote, no FROM; names the line.
    """
    found: dict = {"parameters": {}}
    lines = _Lines(text.removeprefix("\ufeff"))
    while lines:
        number, line = lines.number, lines.take().lstrip(" \t")
        if not line or line.startswith("#"):
            continue
        name, value = _words(line, number, "[A-Za-z]+", "INSTRUCTION value")
        key = name.lower()
        if key not in (*_TEXT_INSTRUCTIONS, *_OTHER_INSTRUCTIONS, "parameter"):
            raise UserError(
                f"Modelfile:{number}: {name!r} is no instruction; expected FROM, TEMPLATE, PARAMETER, SYSTEM, ADAPTER or LICENSE."
            )
        if key == "parameter":  # a second space before the name makes Ollama read a parameter without one
            parameter, value = _words(value, number, "[A-Za-z0-9_]+", "PARAMETER name value, with one space after PARAMETER")
            found["parameters"].setdefault(parameter, []).append(_value(value, lines, number))
        elif key == "message":
            _value(_words(value, number, "system|user|assistant", "MESSAGE system, user or assistant, and its text")[1], lines, number)
        else:
            value = _value(value, lines, number)
            found |= {key: value} if key in _TEXT_INSTRUCTIONS else {}
    if "from" not in found:
        raise UserError("Modelfile: has no FROM; expected FROM ./NAME.gguf.")
    return found


class _Lines:
    """The lines that are left, each ended by \\n or \\r (Ollama takes either); `number` is that of the next one in an editor."""

    def __init__(self, text: str) -> None:
        pieces = re.split(r"([\r\n])", text)
        self._lines = list(zip(pieces[::2], ["", *pieces[1::2]], strict=True))  # each with what ended the line before it
        self._next = 0
        self.number = 1

    def __bool__(self) -> bool:
        return self._next < len(self._lines)

    def take(self, *, with_end: bool = False) -> str:
        """The next line; `with_end` with what stands between it and the one before."""
        line, end = self._lines[self._next]
        self._next += 1
        if self:
            self.number += self._lines[self._next][1] == "\n"
        return end + line if with_end else line


def _words(line: str, number: int, first: str, expected: str) -> tuple[str, str]:
    """The first word, which has to match `first`, and what follows the space or tab after it."""
    found = re.fullmatch(r"([^ \t]*)([ \t]?)(.*)", line, re.DOTALL)
    word, space, rest = found.groups()  # type: ignore[union-attr]  # every line matches
    if not space:
        raise UserError(f"Modelfile:{number}: {line.strip()!r} has no value; expected {expected}.")
    if not re.fullmatch(first, word):
        raise UserError(f"Modelfile:{number}: {word!r} is not what stands there; expected {expected}.")
    return word, rest


def _value(begin: str, lines: _Lines, number: int) -> str:
    """The value that begins on line `number`: to the end of the line, or to the end of the line that closes its quote."""
    value = begin
    while True:
        text = "".join(char for char in value if _survives(char)).strip()
        mark = next((mark for mark in (_QUOTES, '"') if text.startswith(mark)), "")
        if not mark:
            return text
        if len(text) >= 2 * len(mark) and text.endswith(mark):
            return text[len(mark) : -len(mark)]
        if not lines:
            raise UserError(f"Modelfile:{number}: {mark} is not closed; expected {mark} at the end of a line.")
        value += lines.take(with_end=True)


def check_modelfile(text: str, chat_template: ChatTemplate, *, end_tokens: Sequence[str]) -> None:
    """Whether a Modelfile, ours or not, gives the model what its tokenizer's chat template gives, and stops at every end token.

    Raises:
        GateError: no TEMPLATE, one that writes another text, or an end token without a stop.
    """
    found = parse_modelfile(text)
    if "template" not in found:
        raise GateError("Modelfile: has no TEMPLATE; Ollama would send the bare text. Export again, or write one.")
    try:
        check_template(found["template"], chat_template)
    except UserError as error:
        raise GateError(f"Modelfile: {error}") from error
    missing = [token for token in dict.fromkeys(end_tokens) if token not in found["parameters"].get("stop", [])]
    if missing:
        lines = ", ".join(f'PARAMETER stop "{token}"' for token in missing)
        raise GateError(f"Modelfile: no stop for {', '.join(map(repr, missing))}; the model would go on after its answer. Add {lines}.")
