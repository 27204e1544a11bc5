"""**Are two models in one basin?** The error on the straight line between their weights.

The thin curve has BatchNorm's statistics interpolated instead of measured: where it differs, it is an artefact.
"""

from digit_networks import last, model, splits

import bequest

pairs = [("finetune/0", "finetune/1"), ("randinit/0", "randinit/1")]
result = bequest.barrier(model, last, splits["test"], points=11, calibration=splits["train"], pairs=pairs)
for a, b in pairs:
    high, naive = (result.value(metric, a=a, b=b) for metric in ("barrier_error", "barrier_error_naive"))
    print(f"{a} to {b}: {100 * high:.1f} points of error, {100 * naive:.1f} without refitting BatchNorm")
chart = result.chart()
