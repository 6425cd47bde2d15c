"""Text -> token ids, with token borders where an inference prompt ends, and control tokens only where the template writes them."""

from __future__ import annotations

import copy
import hashlib
import os
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from itertools import pairwise
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

Span = tuple[int, int]

PARALLEL = "TOKENIZERS_PARALLELISM"  # read by the tokenizers library at each call
KEPT_ALONE = 4096  # such texts; a template without control tokens has users' own among them
SHORT = 64  # characters; what a template writes before an answer, as `assistant\n`, and is the same in every row


class Tokens(NamedTuple):
    """Ids, and for each where its characters stand in the text; several tokens of one character share its place."""

    ids: list[int]
    places: list[Span]

    def first_from(self, place: int) -> int:
        """Index of the first token that starts at or after a place in the text."""
        return bisect_left(self.places, (place,))


class Encoder:
    """A tokenizer without its habits: it adds no BOS, cuts no row short and warns of none."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self.tokenizer = tokenizer
        self._alone: dict[tuple[str, bool], list[int]] = {}
        self._one_at_a_time = Lock()  # transformers sets the tokenizer's switches before each call, and Rust lets nobody while it encodes

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

    def fingerprint(self) -> str:
        """sha256 of the tokenizer as the tokenizers library writes it."""
        backend = self.tokenizer.backend_tokenizer
        with self._one_at_a_time:
            backend.no_truncation()
            backend.no_padding()
            return hashlib.sha256(backend.to_str().encode()).hexdigest()

    def without_control_tokens(self, text: str) -> str:
        """The text between them."""
        return self._spellings.sub("", text)

    def last_control_token(self, text: str) -> str | None:
        """The last control token spelled in the text."""
        found = self._spellings.findall(text)
        return found[-1].strip() if found else None

    def whole(self, texts: Sequence[str]) -> list[list[int]]:
        """Each text's ids, all encoded at once: on all cores, other threads of Python running on.

        Where the tokens stand isn't asked for: counting characters took a quarter of the time (Llama 3.1, Qwen3; 100 tokens a row).
        What all of them begin with, like a system message, is encoded once; that it makes no difference is seen on the first.
        """
        head = self._common_head(texts)
        if not head:
            return self._fast(self.tokenizer, texts)
        (begin,) = self._fast(self.tokenizer, [head])
        ids = [begin + rest for rest in self._fast(self._inside, [text[len(head) :] for text in texts])]
        return ids if self._fast(self.tokenizer, texts[:1]) == ids[:1] else self._fast(self.tokenizer, texts)

    def counted(self, text: str, ids: list[int], *, cuts: Sequence[int]) -> list[int] | None:
        """For each cut the number of `ids`, those of the whole text, before it, told from the control tokens alone.

        A cut stands right behind a control token, or behind what few characters follow one, and these are as many tokens as they are
        alone. None where one doesn't: `encode` tells then.
        """
        spelled = list(self._spellings.finditer(text))
        controls = self._spelled_at(spelled, ids)
        if controls is None:
            return None
        ends = [found.start() + len(found.group().rstrip()) for found in spelled]  # some take white space with them (Phi 3's)
        counts = []
        for cut in cuts:
            before = bisect_right(ends, cut)
            if not before or (before < len(spelled) and spelled[before].start() < cut) or cut - ends[before - 1] > SHORT:
                return None
            first = controls[before - 1] + 1
            alone = self._alone_ids(text, min(cut, spelled[before - 1].end()), cut)
            if ids[first : first + len(alone)] != alone:
                return None
            counts.append(first + len(alone))
        return counts

    def _spelled_at(self, spelled: Sequence[re.Match[str]], ids: list[int]) -> list[int] | None:
        """Where among the ids each spelled control token is; None where one isn't, or can't be told from an unknown character."""
        found, index = [], -1
        for spelling in spelled:
            control = self.control_tokens[spelling.group().strip()]
            try:
                index = ids.index(control, index + 1)
            except ValueError:
                return None
            found.append(index)
        return None if any(ids[index] == self.tokenizer.unk_token_id for index in found) else found

    def encode(self, text: str, *, cuts: Sequence[int] = (), plain: Sequence[Span] = ()) -> tuple[Tokens, list[int]]:
        """The text's tokens, and for each cut (a place in the text, ascending) the number of tokens before it.

        The tokens are those of the whole text, unless one would reach across a cut: `"\\n"` at a prompt's end and the `"\\n"` that
        an answer begins with are one token together, which no model can be asked to write after that prompt. The text is then
        encoded in stretches. Control tokens spelled inside a `plain` span are encoded as plain text.
        """
        tokens = self._stretch(text, 0, len(text), plain)
        torn = [cut for cut in cuts if self._border(text, tokens, cut, plain) is None]
        if not torn:
            return tokens, [tokens.first_from(cut) for cut in cuts]
        tokens, before = Tokens([], []), {}
        for begin, end in pairwise((0, *torn, len(text))):
            before[begin] = len(tokens.ids)
            _append(tokens, self._stretch(text, begin, end, plain))
        return tokens, [before[cut] if cut in before else tokens.first_from(cut) for cut in cuts]

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

    def _common_head(self, texts: Sequence[str]) -> str:
        """What several texts begin with, through a control token that parts them: the tokens on its two sides know nothing of each other."""
        common = os.path.commonprefix(texts) if len(texts) > 1 else ""
        ends = [found.end() for found in self._spellings.finditer(common) if found.group() in self._parting]
        return common[: ends[-1]] if ends else ""

    @cached_property
    def _parting(self) -> frozenset[str]:
        """Control tokens that are found before all else, as they are written, and take nothing of what follows."""
        added = list(self.tokenizer.added_tokens_decoder.values())
        return frozenset(
            token.content
            for token in added
            if not (token.normalized or token.rstrip or token.single_word)
            and not any(other.content.startswith(token.content) for other in added if other.content != token.content)
        )

    def _fast(self, tokenizer: PreTrainedTokenizerFast, texts: Sequence[str]) -> list[list[int]]:
        backend = tokenizer.backend_tokenizer
        with self._one_at_a_time:
            backend.no_truncation()
            backend.no_padding()
            backend.encode_special_tokens = False
            return [found.ids for found in backend.encode_batch_fast(texts, add_special_tokens=False)]

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

    def _border(self, text: str, tokens: Tokens, cut: int, plain: Sequence[Span]) -> int | None:
        """The number of tokens before the cut; None when they are not those of the text before the cut alone.

        Only what follows the last control token is compared: nothing before it can matter.
        """
        index = begin = tokens.first_from(cut)
        while begin and tokens.ids[begin - 1] not in self._control_ids:
            begin -= 1
        start = tokens.places[begin - 1][1] if begin else 0
        return index if self._alone_ids(text, start, cut, plain) == tokens.ids[begin:index] else None

    def _alone_ids(self, text: str, begin: int, end: int, plain: Sequence[Span] = ()) -> list[int]:
        """Ids of text[begin:end] without what follows, remembered where it is short."""
        if plain or end - begin > SHORT:
            return self._stretch(text, begin, end, plain).ids
        key = (text[begin:end], begin == 0)
        if key not in self._alone:
            if len(self._alone) > KEPT_ALONE:
                self._alone.clear()
            self._alone[key] = self._stretch(text, begin, end, plain).ids
        return self._alone[key]

    def _stretch(self, text: str, begin: int, end: int, plain: Sequence[Span]) -> Tokens:
        """Tokens of text[begin:end], their places counted in the whole text."""
        if begin >= end:
            return Tokens([], [])
        if not any(start < end and begin < stop for start, stop in plain):
            return self._tokens(text, begin, end)
        tokens = Tokens([], [])
        for control, place in self._template_controls(text, begin, end, plain):
            _append(tokens, self._tokens(text, begin, place[0], split_special_tokens=True))
            _append(tokens, Tokens([control], [place]))
            begin = place[1]
        _append(tokens, self._tokens(text, begin, end, split_special_tokens=True))
        return tokens

    def _template_controls(self, text: str, begin: int, end: int, plain: Sequence[Span]) -> Iterator[tuple[int, Span]]:
        """Control tokens outside the plain spans, as (id, place). They part the text for the tokenizer: what lies between stands alone."""
        for found in self._spellings.finditer(text, begin, end):
            spelling = found.group().strip()
            start = text.index(spelling, found.start())
            if not any(left <= start < right for left, right in plain):
                yield self.control_tokens[spelling], found.span()

    def _tokens(self, text: str, begin: int, end: int, *, split_special_tokens: bool = False) -> Tokens:
        tokenizer = self._inside if begin else self.tokenizer
        switches = {"add_special_tokens": False, "return_offsets_mapping": True, "split_special_tokens": split_special_tokens}
        with self._one_at_a_time:
            found = tokenizer([text[begin:end]], verbose=False, **switches)
        places = found["offset_mapping"][0]
        return Tokens(found["input_ids"][0], [(begin + start, begin + stop) for start, stop in places] if begin else places)


def _append(tokens: Tokens, more: Tokens) -> None:
    tokens.ids.extend(more.ids)
    tokens.places.extend(more.places)


@contextmanager
def all_cores() -> Iterator[None]:
    """Lets tokenizers use all cores, which the command line forbids (beside torch's threads they are in each other's way)."""
    before = os.environ.get(PARALLEL)
    os.environ[PARALLEL] = "true"
    try:
        yield
    finally:
        if before is None:
            del os.environ[PARALLEL]
        else:
            os.environ[PARALLEL] = before
