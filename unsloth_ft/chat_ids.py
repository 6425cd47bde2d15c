"""Text -> token ids, with token borders where an inference prompt ends, and control tokens only where the template writes them."""

from __future__ import annotations

import copy
import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

Span = tuple[int, int]

SHORT = 64  # characters; what a template writes before an answer, as `assistant\n`, and is the same in every row


class Token(NamedTuple):
    """A token and where its characters stand in the text; several tokens of one character share its place."""

    id: int
    start: int
    end: int


class Encoder:
    """A tokenizer without its habits: it adds no BOS, cuts no row short and warns of none."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self.tokenizer = tokenizer
        self._alone: dict[tuple[str, bool], tuple[int, ...]] = {}

    @cached_property
    def control_tokens(self) -> dict[str, int]:
        """The tokenizer's special tokens: spelling -> id."""
        added = {token.content: index for index, token in self.tokenizer.added_tokens_decoder.items() if token.special}
        named = {token: self.tokenizer.convert_tokens_to_ids(token) for token in self.tokenizer.all_special_tokens}
        return added | named

    def control_token(self, text: str) -> str | None:
        """The first control token spelled in the text."""
        found = self._spellings.search(text)
        return found.group().strip() if found else None

    def encode(self, text: str, *, cuts: Sequence[int] = (), plain: Sequence[Span] = ()) -> tuple[list[Token], list[int]]:
        """The text's tokens, and for each cut (a place in the text, ascending) the number of tokens before it.

        The tokens are those of the whole text, unless one would reach across a cut: `"\\n"` at a prompt's end and the `"\\n"` that
        an answer begins with are one token together, which no model can be asked to write after that prompt. The text is then
        encoded in stretches. Control tokens spelled inside a `plain` span are encoded as plain text.
        """
        tokens = self._stretch(text, 0, len(text), plain)
        torn = [cut for cut in cuts if self._border(text, tokens, cut, plain) is None]
        if not torn:
            return tokens, [first_from(tokens, cut) for cut in cuts]
        tokens, before = [], {}
        for begin, end in pairwise((0, *torn, len(text))):
            before[begin] = len(tokens)
            tokens += self._stretch(text, begin, end, plain)
        return tokens, [before[cut] if cut in before else first_from(tokens, cut) for cut in cuts]

    @cached_property
    def _spellings(self) -> re.Pattern[str]:
        """Control tokens as the tokenizer finds them: longest first, with the white space that some (Phi 3's) take with them."""
        takes = {token.content: token for token in self.tokenizer.added_tokens_decoder.values()}
        parts = []
        for spelling in sorted(self.control_tokens, key=len, reverse=True):
            left = r"\s*" if spelling in takes and takes[spelling].lstrip else ""
            right = r"\s*" if spelling in takes and takes[spelling].rstrip else ""
            parts.append(left + re.escape(spelling) + right)
        return re.compile("|".join(parts) or r"(?!)")

    @cached_property
    def _control_ids(self) -> frozenset[int]:
        return frozenset(self.control_tokens.values())

    @cached_property
    def _inside(self) -> PreTrainedTokenizerFast:
        """For text that does not begin the row: SentencePiece tokenizers write a space before a row's first word, and there only."""
        from tokenizers.pre_tokenizers import Metaspace

        metaspace = self.tokenizer.backend_tokenizer.pre_tokenizer
        if not isinstance(metaspace, Metaspace) or metaspace.prepend_scheme != "first":
            return self.tokenizer
        inside = copy.deepcopy(self.tokenizer)
        inside.backend_tokenizer.pre_tokenizer.prepend_scheme = "never"
        return inside

    def _border(self, text: str, tokens: Sequence[Token], cut: int, plain: Sequence[Span]) -> int | None:
        """The number of tokens before the cut; None when they are not those of the text before the cut alone.

        Only what follows the last control token is compared: nothing before it can matter.
        """
        index = begin = first_from(tokens, cut)
        while begin and tokens[begin - 1].id not in self._control_ids:
            begin -= 1
        start = tokens[begin - 1].end if begin else 0
        key = (text[start:cut], start == 0)
        if key not in self._alone:
            alone = tuple(token.id for token in self._stretch(text, start, cut, plain))
            if cut - start > SHORT:
                return index if alone == _ids(tokens[begin:index]) else None
            self._alone[key] = alone
        return index if self._alone[key] == _ids(tokens[begin:index]) else None

    def _stretch(self, text: str, begin: int, end: int, plain: Sequence[Span]) -> list[Token]:
        """Tokens of text[begin:end], their places counted in the whole text."""
        if begin >= end:
            return []
        if not any(start < end and begin < stop for start, stop in plain):
            return self._tokens(text, begin, end)
        tokens: list[Token] = []
        for control in self._template_controls(text, begin, end, plain):
            tokens += self._tokens(text, begin, control.start, split_special_tokens=True)
            tokens.append(control)
            begin = control.end
        return tokens + self._tokens(text, begin, end, split_special_tokens=True)

    def _template_controls(self, text: str, begin: int, end: int, plain: Sequence[Span]) -> Iterator[Token]:
        """Control tokens outside the plain spans. They part the text for the tokenizer, so the stretches between stand alone."""
        for found in self._spellings.finditer(text, begin, end):
            spelling = found.group().strip()
            start = text.index(spelling, found.start())
            if not any(left <= start < right for left, right in plain):
                yield Token(self.control_tokens[spelling], found.start(), found.end())

    def _tokens(self, text: str, begin: int, end: int, *, split_special_tokens: bool = False) -> list[Token]:
        tokenizer = self._inside if begin else self.tokenizer
        encoded = tokenizer(
            text[begin:end], add_special_tokens=False, return_offsets_mapping=True, split_special_tokens=split_special_tokens, verbose=False
        )
        return [Token(index, begin + start, begin + stop) for index, (start, stop) in zip(encoded["input_ids"], encoded["offset_mapping"])]


def first_from(tokens: Sequence[Token], place: int) -> int:
    """Index of the first token that starts at or after a place in the text."""
    return bisect_left(tokens, place, key=lambda token: token.start)


def _ids(tokens: Sequence[Token]) -> tuple[int, ...]:
    return tuple(token.id for token in tokens)
