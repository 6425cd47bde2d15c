"""How long a run is, and how often it evaluates and saves."""

from __future__ import annotations

import math

from unsloth_ft.errors import UserError
from unsloth_ft.plan_values import DataFacts, Decision
from unsloth_ft.recipe import Recipe


def steps_of_warmup(warmup_steps: float, max_steps: int) -> int:
    """Optimizer steps of warm-up, from a share (below 1) or a number."""
    return math.ceil(warmup_steps * max_steps) if warmup_steps < 1 else int(warmup_steps)


def epochs(recipe: Recipe, data: DataFacts) -> Decision[float]:
    if recipe.train.num_train_epochs is not None:
        return Decision(recipe.train.num_train_epochs, "recipe")
    rows = data.train_rows
    # 3 to 5 below 1,000 rows, 1 to 3 up to 10,000, 1 above: the practice of Unsloth's and OpenAI's fine-tuning guides.
    if rows < 150:
        epochs = 5
    elif rows < 500:
        epochs = 4
    elif rows <= 3_000:
        epochs = 3
    elif rows <= 10_000:
        epochs = 2
    else:
        epochs = 1
    return Decision(float(epochs), f"{rows:,} training rows; early stopping may end it sooner")


def max_steps(recipe: Recipe, epochs: float, steps_per_epoch: int) -> Decision[int]:
    if recipe.train.max_steps > 0:
        return Decision(recipe.train.max_steps, "asked for")
    return Decision(
        max(1, math.ceil(epochs * steps_per_epoch)), f"{epochs:g} epochs of {steps_per_epoch} step{'s' if steps_per_epoch > 1 else ''}"
    )


def epochs_of(steps: int, steps_per_epoch: int, recipe: Recipe) -> Decision[float]:
    unused = recipe.train.num_train_epochs
    instead = f"; the recipe's num_train_epochs {unused:g} is not used" if unused is not None else ""
    return Decision(round(steps / steps_per_epoch, 4), f"max_steps {steps}, an epoch has {steps_per_epoch}{instead}")


def eval_steps(asked: int | None, save_steps: int | None, steps_per_epoch: int, steps: int) -> Decision[int]:
    if asked:
        return Decision(min(asked, steps), "recipe" if asked <= steps else f"the run's last step; the recipe says {asked}")
    # One epoch or less: ten looks at the eval loss, so that early stopping has something to see.
    every = math.ceil(steps / 10) if steps <= steps_per_epoch else steps_per_epoch
    if save_steps:
        # The best checkpoint can only be kept where one is saved.
        return Decision(min(steps, save_steps * max(1, every // save_steps)), "a multiple of save_steps, about once an epoch")
    if steps <= steps_per_epoch:
        return Decision(every, f"evaluations in {steps} steps: {math.ceil(steps / every)}")
    return Decision(every, "once an epoch")


def save_steps(asked: int | None, eval_steps: int, steps: int) -> Decision[int]:
    if asked is None:
        return Decision(eval_steps, "with each evaluation")
    if asked >= steps:
        return Decision(eval_steps, f"with each evaluation; the recipe says {asked}, the run has {steps} steps")
    if eval_steps % asked:
        raise UserError(
            f"train.save_steps is {asked}, evaluations come every {eval_steps} steps; expected a divisor of {eval_steps}, so that the "
            "best checkpoint is kept."
        )
    return Decision(asked, "recipe")


def warmup(warmup_steps: float, max_steps: int) -> str:
    steps = steps_of_warmup(warmup_steps, max_steps)
    if steps == 0:
        return "no warm-up"
    late = ", so the peak is never reached" if steps >= max_steps > 1 else ""
    return f"warm-up {steps} of {max_steps} steps{late}"
