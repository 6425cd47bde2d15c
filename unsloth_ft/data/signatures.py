"""What two rows that say nearly the same have in common: MinHash signatures of their questions and of their answers.

A text becomes a set of shingles, three words each; of two such sets a MinHash signature estimates the Jaccard similarity (Broder 1997).
numpy is imported where it is used: most of the package does without.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from .conversation import Conversation, said

if TYPE_CHECKING:
    import numpy as np

PERMUTATIONS = 32  # a part; 64 numbers of 16 bits a row, 128 MB for a million rows
SHINGLE_WORDS = 3
MOST_BYTES = 2**16  # of a text that are compared; rows that agree in 64 KiB and differ behind it are rare
BLOCK_BYTES = 2**18  # of texts at a time: numpy's intermediate results stay in the processor's cache
SEED = 3407
ROLES = ("user", "assistant")
COMMON_ROWS = 10  # as many rows must share a shingle before it can be a template's
COMMON_SHARE = 0.02  # of the rows looked at


@dataclass(frozen=True)
class Shingles:
    """Shingles of several texts, end to end: text i has `hashes[starts[i]:starts[i + 1]]`, uint64, one at least."""

    hashes: np.ndarray
    starts: np.ndarray


def parts(conversation: Conversation) -> tuple[bytes, bytes]:
    """What is asked in the row, and what is answered, each as words between spaces; system prompts, which rows share, are left out."""
    if conversation.text is not None:
        whole = _words(conversation.text)
        return whole, whole
    asked, answered = ("\n".join(map(said, (message for message in conversation.messages if message.role == role))) for role in ROLES)
    return _words(asked), _words(answered)


def _words(text: str) -> bytes:
    """Folded case, UTF-8, ASCII's punctuation as spaces; a text without words is one word."""
    folded = text.casefold().encode("utf-8", "surrogatepass")[:MOST_BYTES]
    spaced = folded.translate(_spaces())
    return spaced if spaced.strip() else folded.hex().encode() or b"-"


@cache
def _spaces() -> bytes:
    """For bytes.translate: letters, digits and all beyond ASCII stay."""
    return bytes(byte if byte >= 0x80 or chr(byte).isalnum() else 0x20 for byte in range(256))


def shingles(texts: Sequence[bytes]) -> Shingles:
    """Each text's shingles; a text of one or two words is one."""
    import numpy as np

    found = [_shingles(block) for block in _blocks(texts)]
    counts = np.concatenate([counts for _, counts in found])
    return Shingles(np.concatenate([hashes for hashes, _ in found]), _starts(counts))


def _blocks(texts: Sequence[bytes]) -> list[Sequence[bytes]]:
    blocks, first, size = [], 0, 0
    for place, text in enumerate(texts):
        size += len(text)
        if size > BLOCK_BYTES:
            blocks.append(texts[first : place + 1])
            first, size = place + 1, 0
    return [*blocks, texts[first:]] if first < len(texts) else blocks


def _starts(counts: np.ndarray) -> np.ndarray:
    import numpy as np

    return np.concatenate([np.zeros(1, dtype=np.uint64), np.cumsum(counts, dtype=np.uint64)])


def _shingles(texts: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
    """(hashes, how many each text has)."""
    import numpy as np

    first_bytes = np.cumsum([0, *(len(text) + 1 for text in texts)])
    words, word_starts = _word_hashes(np.frombuffer(b" ".join(texts) + b" ", dtype=np.uint8))
    first = np.searchsorted(word_starts, first_bytes[:-1])
    numbers = np.diff(np.append(first, len(words)))
    ends = np.repeat(first + numbers, numbers)  # for each word, where its text's words end
    place = np.arange(len(words))
    hashes = words * _ODD[0]
    for behind in range(1, SHINGLE_WORDS):
        following = np.append(words[behind:], np.zeros(behind, dtype=np.uint64))[: len(words)]
        hashes += np.where(place + behind < ends, following, np.uint64(0)) * _ODD[behind]
    whole = place + SHINGLE_WORDS <= ends
    whole[first[numbers < SHINGLE_WORDS]] = True
    return _mixed(hashes[whole]), np.maximum(numbers - SHINGLE_WORDS + 1, 1)


# Odd 64-bit constants of SplitMix64 and of xxHash: multiplying by them permutes the 64-bit numbers.
_ODD = (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB, 0xC2B2AE3D27D4EB4F)


def _word_hashes(text: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(a hash of each word, where it starts). A character of three or more bytes (Chinese, Thai, emoji) starts a word: those scripts have no spaces."""
    import numpy as np

    space = text == 0x20
    begins = text >= 0xE0
    begins[0] = True
    begins[1:] |= space[:-1]
    begins &= ~space
    starts = np.flatnonzero(begins)
    lengths = np.diff(np.append(starts, len(text)))
    place = np.arange(starts[0], len(text), dtype=np.int32) - np.repeat(starts.astype(np.int32), lengths)
    values = np.take(_weights(), place, mode="wrap")
    values *= np.where(space, 0, text + np.uint16(1))[starts[0] :]
    return _mixed(np.add.reduceat(values, starts - starts[0])), starts


@cache
def _weights() -> np.ndarray:
    """A random odd number for each place in a word."""
    import numpy as np

    return np.random.default_rng(SEED).integers(0, 2**64, size=64, dtype=np.uint64) | np.uint64(1)


def _mixed(hashes: np.ndarray) -> np.ndarray:
    """SplitMix64's last steps: every bit of the number decides about every bit of the result."""
    import numpy as np

    hashes = (hashes ^ (hashes >> np.uint64(30))) * np.uint64(_ODD[1])
    hashes = (hashes ^ (hashes >> np.uint64(27))) * np.uint64(_ODD[2])
    return hashes ^ (hashes >> np.uint64(31))


def common(found: Shingles) -> np.ndarray:
    """Shingles of so many texts that they are a template's, in order: what they share doesn't make two rows alike.

    In a file of "Classify this review: …" nearly all words of two questions agree, and what matters is the others.
    """
    import numpy as np

    counts = np.diff(found.starts).astype(np.int64)
    text = np.repeat(np.arange(len(counts)), counts)
    order = np.lexsort((text, found.hashes))
    hashes, text = found.hashes[order], text[order]
    once = np.append(True, (hashes[1:] != hashes[:-1]) | (text[1:] != text[:-1]))[: len(hashes)]
    shared, times = np.unique(hashes[once], return_counts=True)
    rows = len(counts) // 2
    return shared[times >= max(COMMON_ROWS, COMMON_SHARE * rows)]


def without(found: Shingles, dropped: np.ndarray) -> Shingles:
    """The shingles that aren't `dropped`; of a text that has no others all, as one."""
    import numpy as np

    if not len(dropped):
        return found
    place = np.minimum(np.searchsorted(dropped, found.hashes), len(dropped) - 1)
    kept = dropped[place] != found.hashes
    first = found.starts[:-1].astype(np.int64)
    counts = np.add.reduceat(kept.astype(np.int64), first)
    hashes = found.hashes.copy()
    empty = counts == 0
    hashes[first[empty]] = np.add.reduceat(hashes, first)[empty]
    kept[first[empty]] = True
    return Shingles(hashes[kept], _starts(np.maximum(counts, 1)))


def salted(found: Shingles, salts: np.ndarray) -> Shingles:
    """Shingles that only those of a text with the same salt can be equal to; 0 leaves them as they are."""
    import numpy as np

    if not salts.any():
        return found
    return Shingles(found.hashes ^ np.repeat(salts, np.diff(found.starts).astype(np.int64)), found.starts)


def signatures(found: Shingles) -> np.ndarray:
    """(rows, 64) uint16 of texts that come in pairs, question and answer: [q0 q1 a0 a1 q2 q3 a2 a3 …].

    So every four numbers, one band of 64 bits, say something of both. 16 bits of a MinHash agree by chance once in 65,536 (Li and König 2010).
    """
    import numpy as np
    import rensa

    matrix = rensa.RMinHash.digest_matrix_from_flat_token_hashes(found.hashes, found.starts, PERMUTATIONS, SEED)
    numbers = np.asarray(matrix.to_rows(), dtype=np.uint32).astype(np.uint16)
    pairs = numbers.reshape(-1, 2, PERMUTATIONS // 2, 2)
    return np.ascontiguousarray(pairs.transpose(0, 2, 1, 3)).reshape(-1, 2 * PERMUTATIONS)
