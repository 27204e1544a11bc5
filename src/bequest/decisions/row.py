"""How does a decision write down one number?"""

from __future__ import annotations

import math
from typing import Any

from bequest.analyses.intervals import Interval


def row(metric: str, a: str | None, found: Interval | None = None, **more: Any) -> dict[str, Any]:
    """Give a row for `bequest.analyses.result.table`, about the whole network and a share unless `more` says else.

    Args:
        metric: its name.
        a: what it is about.
        found: value, ends and n; a value that is not finite is left out. None: `more` has them.
        more: further columns.

    Returns:
        The row.
    """
    numbers: dict[str, Any] = {}
    if found is not None:
        value = found.value if math.isfinite(found.value) else None
        numbers = {"value": value, "low": found.low, "high": found.high, "n": found.n}
    return {"metric": metric, "a": a, "module": "*", "unit": "share", **numbers, **more}
