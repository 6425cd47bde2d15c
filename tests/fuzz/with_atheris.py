"""Coverage-guided fuzzing of the reader: `make fuzz`, or `python -m tests.fuzz.with_atheris build/fuzz-corpus -max_total_time=600`.

The first byte of an input chooses the file's name, and with it the format; the rest is the content. libFuzzer's options follow the
folder of the corpus, in which inputs that reach new code are kept.
"""

from __future__ import annotations

import gzip
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["unsloth_ft.data"]):
    from tests.fuzz.survival import survive

from tests.fuzz.mutation import SEEDS

NAMES = ("f.jsonl", "f.json", "f.csv", "f.tsv", "f.jsonl.gz", "f.jsonl.zst", "f.parquet", "f.txt")


def seeds() -> list[bytes]:
    """An input of each format to begin with."""
    import io

    import pyarrow
    import pyarrow.parquet
    import zstandard

    table = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table({"question": ["Who?"], "answer": ["Me."]}), table)
    lines = b"".join(SEEDS)
    return [
        *(bytes([0]) + seed for seed in SEEDS),
        b"\x01[" + b",".join(SEEDS[:2]) + b"]",
        b'\x02question,answer\nWho?,"Me, ""too"".\n"\n',
        b"\x03question\tanswer\nWho?\tMe.\n",
        b"\x04" + gzip.compress(lines, mtime=0),
        b"\x05" + zstandard.compress(lines),
        b"\x06" + table.getvalue(),
        b"\x07" + lines,
    ]


def main() -> None:
    """Fuzz until libFuzzer's options say that it is enough; an input that kills the reader ends the program."""
    corpus = Path(sys.argv[1])
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds()):
        (corpus / f"seed-{number}").write_bytes(seed)
    with tempfile.TemporaryDirectory() as folder:

        def one(data: bytes) -> None:
            if data:
                survive(Path(folder) / NAMES[data[0] % len(NAMES)], data[1:])

        atheris.Setup(sys.argv, one)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
