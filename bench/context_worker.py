"""A program: the longest row that one leg trains, in a process of its own.

    python -m unsloth_ft.bench.context_worker REQUEST.json

It speaks as `leg_worker` does; a repeat is a search. Each try is two whole training steps with one row of that length; the first
step of all, with a short row, makes the optimizer's states and whatever the libraries compile.
"""

from __future__ import annotations

import gc
import random
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from unsloth_ft.bench import context
from unsloth_ft.bench.leg import Line, Loaded, prepare
from unsloth_ft.train.memory import is_out_of_memory
from unsloth_ft.bench.workload import ordinary_ids, random_row

LEAST = 256  # tokens
RESOLUTION_SHARE = 16  # the search ends within a 16th of what fits: 6 %
STEPS = 2  # in the second the first one's gradients and states are there already
SECONDS = 90  # a search on a large card would else try rows that take minutes a step


class Tries:
    """Training steps with one row of any length, through the leg's own trainer and collator."""

    def __init__(self, loaded: Loaded) -> None:
        self.loaded = loaded
        self.trainer = loaded.trainer
        self.peaks: dict[int, dict[str, int]] = {}
        """Tokens -> peak bytes, of the rows that fitted."""

    def fits(self, tokens: int) -> bool:
        """Whether two steps with such a row go through. Leaves no memory behind when they don't."""
        try:
            self.loaded.forget_peaks()
            for _ in range(STEPS):
                self.step(tokens)
            self.peaks[tokens] = self.loaded.peaks()
            return True
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            error.__traceback__ = None  # holds the step's tensors
        self.trainer.optimizer.zero_grad()
        self.trainer.seen.collated.clear()
        self.trainer.seen.clear()
        self.clean()
        return False

    def step(self, tokens: int) -> None:
        """Forward, backward and the optimizer's step."""
        first, last = ordinary_ids(self.loaded.situation.model.vocab_size)
        learned, generator = self.loaded.request.case.learned, random.Random(tokens)
        row = random_row(tokens, learned, generator, first=first, last=last, where="a try")
        batch = self.trainer.data_collator([self.example(row)])
        loss = self.trainer.training_step(self.trainer.model_wrapped, batch, num_items_in_batch=row.learned)
        self.trainer.optimizer.step()
        self.trainer.optimizer.zero_grad()
        float(loss)  # waits for the device
        self.trainer.seen.clear()  # or the rows of all tries would be kept

    def example(self, row: Any) -> dict[str, Any]:
        """The row as the leg's data set holds it."""
        values = {"input_ids": list(row.input_ids), "labels": list(row.labels)}
        return values | ({"index": 0} if self.loaded.setup.plan is not None else {})

    def clean(self) -> None:
        gc.collect()
        self.loaded.give_back_cache()

    def search(self) -> dict[str, Any]:
        """What Measurement says of a search."""
        case = self.loaded.request.case
        most = min(case.most_tokens, self.loaded.situation.model.max_position_embeddings)
        self.clean()
        found = context.longest(
            self.fits, least=LEAST, most=most, resolution=max(64, most // 1024), share=1 / RESOLUTION_SHARE, budget_seconds=SECONDS
        )
        longest = found.longest
        return {
            "outcome": "out_of_memory" if longest is None else "done",
            "error": "" if longest else f"a row of {LEAST} tokens doesn't fit",
            "longest_tokens": longest,
            "tries": [asdict(replace(one, peaks=self.peaks.get(one.tokens, {}))) for one in found.tries],
            "amount": {"shortest_failed_tokens": float(found.shortest_failed or 0), "exact": float(found.ended != "no_time")},
            **(self.peaks[longest] if longest else {}),
        }


def main(path: str) -> None:
    line = Line()
    loaded = prepare(Path(path))
    line.say("ready", measured=loaded.ready)
    from unsloth_ft.bench.training import Pauses  # after the backend, which Unsloth has to come first in

    tries = Tries(loaded)
    asked = line.asked()

    def after_first_step() -> bool:
        for message in asked:
            line.say("repeat", repeat=message["repeat"], measured=tries.search())
        return False

    loaded.trainer.add_callback(Pauses(after_first_step, lambda: None))
    try:
        loaded.trainer.train()
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        for message in asked:
            line.say("repeat", repeat=message["repeat"], measured={"outcome": "out_of_memory", "error": str(error).splitlines()[0]})


if __name__ == "__main__":
    main(sys.argv[1])
