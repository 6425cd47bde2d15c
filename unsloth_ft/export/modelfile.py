"""The Modelfile that makes an exported GGUF an Ollama model: written, read back, compared, and only then put in place.

Grammar and the characters that survive it: ollama's docs/modelfile.mdx and parser/parser.go.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sequence
from pathlib import Path

from unsloth_ft.errors import GateError, UserError
from unsloth_ft.export.chat_probe import ChatTemplate
from unsloth_ft.export.ollama_template import GoTemplate, check_template, derive_template

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
    """
    if system is not None and not template.takes_system:
        raise UserError(f"{path}: SYSTEM asked for, but the tokenizer's chat template takes no system message. Leave the system text out.")
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
    return _put(path, text)


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


def _put(path: Path, text: str) -> Path:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def parse_modelfile(text: str) -> dict:
    """What Ollama reads: {"from": …, "template": …, "system": …, "adapter": …, "parameters": {name: [values]}}, absent ones absent.

    Raises:
        UserError: an unknown instruction, an unclosed quote, no FROM; names the line.
    """
    found: dict = {"parameters": {}}
    lines = text.split("\n")
    number = 0
    while number < len(lines):
        line, start = lines[number].lstrip(" \t\r"), number + 1
        number += 1
        if not line or line.startswith("#"):
            continue
        name, value = _words(line, start)
        key = name.lower()
        if key not in (*_TEXT_INSTRUCTIONS, *_OTHER_INSTRUCTIONS, "parameter"):
            raise UserError(
                f"Modelfile:{start}: {name!r} is no instruction; expected FROM, TEMPLATE, PARAMETER, SYSTEM, ADAPTER or LICENSE."
            )
        if key == "parameter":
            parameter, value = _words(value, start)
        value, number = _value(value, lines, number, start)
        if key == "parameter":
            found["parameters"].setdefault(parameter, []).append(value)
        elif key in _TEXT_INSTRUCTIONS:
            found[key] = value
    if "from" not in found:
        raise UserError("Modelfile: has no FROM; expected FROM ./NAME.gguf.")
    return found


def _words(line: str, number: int) -> tuple[str, str]:
    found = re.fullmatch(r"([^ \t]+)[ \t]+(.*)", line, re.DOTALL)
    if found is None or not found[2].strip():
        raise UserError(f"Modelfile:{number}: {line.strip()!r} has no value; expected INSTRUCTION value.")
    return found[1], found[2]


def _value(begin: str, lines: Sequence[str], number: int, start: int) -> tuple[str, int]:
    """The value that begins on line `start`: to the end of the line, or to the line that closes its quote; and the next line's index."""
    value = begin
    while True:
        text = "".join(char for char in value if _survives(char)).strip()
        mark = next((mark for mark in (_QUOTES, '"') if text.startswith(mark)), "")
        if not mark:
            return text, number
        if len(text) >= 2 * len(mark) and text.endswith(mark):
            return text[len(mark) : -len(mark)], number
        if number == len(lines):
            raise UserError(f"Modelfile:{start}: {mark} is not closed; expected {mark} at the end of a line.")
        value += "\n" + lines[number]
        number += 1


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
