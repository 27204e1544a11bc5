"""**Are they apart, or only their channels in another order?** The line before and after matching, and repaired.

This network is narrow, and narrow networks match badly. That matching does not help here proves nothing.
"""

from digit_networks import last, model, splits

import bequest

pair = [("randinit/0", "randinit/1")]
result = bequest.matching(model, last, splits["test"], points=7, calibration=splits["train"], pairs=pair)
for treatment in ("raw", "matched", "repaired"):
    print(f"{treatment}: {100 * result.value('barrier_error', treatment=treatment):.1f} points of error")
chart = result.chart()
