"""What should be done, and what was run to know it?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import polars as pl
from torch import Tensor


@dataclass(frozen=True)
class Decision:
    """An advice with everything that was measured for it.

    Attributes:
        name: of the decision, the name of its file under `bequest/decisions`.
        advice: one sentence with the numbers.
        rows: what was measured, in the form of `Result.rows`.
        costs: what it took: `seconds`, `images` (examples through a network), and further ones by name.
        sure: `measured`; `inconclusive` where the numbers cannot tell; `refused` where it should not be done.
        weights: what the decision made, if it made weights.
    """

    name: str
    advice: str
    rows: pl.DataFrame
    costs: Mapping[str, float]
    sure: Literal["measured", "inconclusive", "refused"]
    weights: Mapping[str, Tensor] | None = None
