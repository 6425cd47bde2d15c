"""adapter_config.json of a LoRA adapter: the rank and the factor of each module; what a merge can't do is refused by name."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unsloth_ft.errors import UserError, short

# Fields of adapter_config.json (peft.LoraConfig 0.21.2) that change what an update is, and the values a merge knows. Null is known too.
KNOWN: dict[str, tuple[Any, ...]] = {
    "peft_type": ("LORA",),
    "use_dora": (False, True),
    "use_rslora": (False, True),
    "lora_bias": (False, True),
    "use_qalora": (False,),
    "use_bdlora": (False,),
    "fan_in_fan_out": (False,),  # weights stored (in, out): GPT-2's Conv1D, none of our families
    "bias": ("none",),
    "layer_replication": ([],),
    "target_parameters": ([],),
    "alora_invocation_tokens": ([],),
    "velora_config": (),
    "monteclora_config": (),
    "arrow_config": (),
    "kasa_config": (),
    "megatron_config": (),  # PEFT imports the module that megatron_core names
    # PiSSA, OLoRA, CorDA, LoRA-GA and LoftQ change the base's weights when the adapter is made; the base at hand has not been changed.
    "init_lora_weights": (True, False, "gaussian", "orthogonal", "eva"),
}
LARGEST_FACTOR = 1e30  # of lora_alpha; float32 ends at 3e38
LONGEST_PATTERN = 200  # characters
MOST_STEPS = 10**8  # of the regex engine over all patterns and modules: a few seconds
# What PEFT matches the patterns with, whatever the adapter's file holds: every targeted module, 882 in Llama 3.1 405B, and their names.
MODULES, NAME_LENGTH = 1_000, 40
# Fields that PEFT takes for a regular expression where they are a text, or for a list of them; it saves lists of names.
EXPRESSIONS = ("target_modules", "exclude_modules", "layers_pattern")
NAME = re.compile(r"[\w.]+")


@dataclass(frozen=True)
class AdapterConfig:
    """How B·A becomes an update. `token_ids`: the name of an embedding -> the rows that were trained alone."""

    r: int
    lora_alpha: float
    use_rslora: bool
    use_dora: bool
    lora_bias: bool
    rank_pattern: Mapping[str, int]
    alpha_pattern: Mapping[str, float]
    modules_to_save: tuple[str, ...]
    token_ids: Mapping[str, tuple[int, ...]]

    def rank_of(self, module: str) -> int:
        """The r of one module."""
        return self.rank_pattern.get(_first_match(self.rank_pattern, module), self.r)

    def scale_of(self, module: str) -> float:
        """The factor on B·A of one module: alpha/r, or alpha/√r for rsLoRA (arXiv 2312.03732)."""
        alpha = self.alpha_pattern.get(_first_match(self.alpha_pattern, module), self.lora_alpha)
        r = self.rank_of(module)
        return alpha / math.sqrt(r) if self.use_rslora else alpha / r


def read_config(folder: Path) -> AdapterConfig:
    """The folder's adapter_config.json. Raises UserError for what is no JSON, no number, or no kind of adapter that a merge knows."""
    config = read_fields(folder)
    for key, known in KNOWN.items():
        if config.get(key) is not None and config[key] not in known:
            raise UserError(
                f"{folder.name}: adapter_config.json says {key} = {short(repr(config[key]))}; the merge knows LoRA, rsLoRA and DoRA"
                f"{_expected(known)}."
            )
    r, alpha = config.get("r"), config.get("lora_alpha")
    if not (_is_rank(r) and _is_factor(alpha)):
        raise UserError(
            f"{folder.name}: adapter_config.json says r = {short(repr(r))}, lora_alpha = {short(repr(alpha))}; "
            "expected a whole number from 1 and a number."
        )
    _refuse_expressions(folder, config)
    found = AdapterConfig(
        r=r,
        lora_alpha=alpha,
        use_rslora=bool(config.get("use_rslora")),
        use_dora=bool(config.get("use_dora")),
        lora_bias=bool(config.get("lora_bias")),
        rank_pattern=_pattern(folder, config, "rank_pattern", _is_rank, "whole numbers from 1"),
        alpha_pattern=_pattern(folder, config, "alpha_pattern", _is_factor, "numbers"),
        modules_to_save=_modules_to_save(folder, config),
        token_ids=_token_ids(folder, config),
    )
    check_patterns(folder, found)
    return found


def check_patterns(folder: Path, config: AdapterConfig, modules: Collection[str] = ()) -> None:
    """Raises UserError when matching the patterns against the modules may take for ever: they come with the adapter, from a stranger.

    A backtracking engine tries at most n ways for each open-ended quantifier over a name of n characters, two for each `?`, and each
    alternative of each group; without quantified groups, look-around and back references there is nothing else it could try.
    """
    longest, count = max(NAME_LENGTH, *map(len, modules)) if modules else NAME_LENGTH, max(MODULES, len(modules))
    for key in ("rank_pattern", "alpha_pattern"):
        patterns = config.rank_pattern if key == "rank_pattern" else config.alpha_pattern
        steps = count * sum(_steps(pattern, longest) for pattern in patterns)
        if steps > MOST_STEPS:
            raise UserError(
                f"{folder.name}: adapter_config.json's {key} may take too long to match (up to {steps:.0e} steps). "
                "Name the modules themselves in it, without wildcards."
            )


def _first_match(patterns: Mapping[str, Any], module: str) -> str:
    """The first pattern that is the module's name, or its end after a dot; as peft.utils.other.get_pattern_key finds it."""
    return next((pattern for pattern in patterns if re.match(rf"(.*\.)?({pattern})$", module)), module)


def _steps(pattern: str, longest: int) -> float:
    """An upper bound for one match."""
    open_ended = 1 + sum(map(pattern.count, "*+{"))  # one for what PEFT puts in front
    groups = 1 + pattern.count("(")
    alternatives = ((groups + pattern.count("|")) / groups) ** groups  # at most, for so many bars in so many groups
    return float(longest) ** min(open_ended, 50) * 2.0 ** pattern.count("?") * alternatives


def read_fields(folder: Path) -> dict[str, Any]:
    """adapter_config.json as it is. Raises UserError when it is missing, or no JSON object."""
    if not (folder / "adapter_config.json").is_file():  # a pipe would be waited for
        raise UserError(f"{folder.name}: no adapter_config.json in it; expected a PEFT adapter.")
    try:
        config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
        if not isinstance(config, dict):
            raise ValueError("no object")
    except (ValueError, RecursionError) as error:
        raise UserError(f"{folder.name}: adapter_config.json is not JSON ({error}).") from None
    return config


def _pattern(folder: Path, config: dict[str, Any], key: str, is_value: Any, expected: str) -> dict[str, Any]:
    found = config.get(key) or {}
    if not isinstance(found, dict) or not all(map(is_value, found.values())):
        raise UserError(f"{folder.name}: adapter_config.json says {key} = {short(repr(found))}; expected names and {expected}.")
    for pattern in found:
        try:
            simple = len(pattern) <= LONGEST_PATTERN and not re.search(r"\)[*+?{]|\(\?|\\\d", pattern)
            re.compile(pattern)
        except (re.error, RecursionError, OverflowError):
            simple = False
        if not simple:
            raise UserError(
                f"{folder.name}: adapter_config.json's {key} has the pattern {short(repr(pattern))}; "
                f"expected a module's name, or a regular expression of at most {LONGEST_PATTERN} characters "
                "without repeated groups, look-around and back references."
            )
    return found


def _refuse_expressions(folder: Path, config: dict[str, Any]) -> None:
    """Raises UserError where PEFT would match an expression, for as long as it takes."""
    for key in EXPRESSIONS:
        found = config.get(key)
        if found and found != "all-linear" and not _are_names([found] if isinstance(found, str) else found):
            raise UserError(
                f"{folder.name}: adapter_config.json says {key} = {short(repr(found))}; expected a list of modules' names and no regular "
                "expression, which may take too long to match."
            )


def _are_names(found: Any) -> bool:
    return isinstance(found, list) and all(isinstance(name, str) and NAME.fullmatch(name) for name in found)


def _modules_to_save(folder: Path, config: dict[str, Any]) -> tuple[str, ...]:
    found = config.get("modules_to_save") or []
    if not _are_names(found):  # PEFT matches them as regular expressions too
        raise UserError(f"{folder.name}: adapter_config.json says modules_to_save = {short(repr(found))}; expected a list of names.")
    return tuple(found)


def _token_ids(folder: Path, config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    found = config.get("trainable_token_indices") or {}
    by_name = {"embed_tokens": found} if isinstance(found, list) else found  # a list is for the input embedding, as in PEFT
    if not isinstance(by_name, dict) or not all(
        isinstance(ids, list) and all(type(index) is int and index >= 0 for index in ids) for ids in by_name.values()
    ):
        raise UserError(
            f"{folder.name}: adapter_config.json says trainable_token_indices = {short(repr(found))}; expected lists of token ids."
        )
    return {name: tuple(ids) for name, ids in by_name.items()}


def _is_rank(value: Any) -> bool:
    return type(value) is int and value > 0


def _is_factor(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < LARGEST_FACTOR  # false for NaN


def _expected(known: tuple[Any, ...]) -> str:
    return f" ({' or '.join(map(repr, known))})" if known and known[0] != [] else " without it"
