"""Which learning rate has a step?"""

from __future__ import annotations

import math

from bequest.training.recipe import Recipe


def learning_rate(recipe: Recipe, step: int, steps: int) -> float:
    """Give the learning rate of a step.

    Args:
        recipe: the peak, the schedule, the warm-up.
        step: 0 for the first step, steps - 1 for the last.
        steps: the number of steps of the whole training.

    Returns:
        The rate, 0 < rate <= recipe.learning_rate.
    """
    warmup = round(recipe.warmup * steps)
    if step < warmup:
        return recipe.learning_rate * (step + 1) / (warmup + 1)
    if recipe.schedule == "cosine":
        progress = (step - warmup) / max(1, steps - warmup)
        return recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))
    if recipe.schedule == "multistep":
        return recipe.learning_rate * recipe.decay ** sum(step >= milestone * steps for milestone in recipe.milestones)
    return recipe.learning_rate
