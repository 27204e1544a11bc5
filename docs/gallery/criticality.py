"""**Which modules have to be what they became?** Each alone is put back to its start; its move beside it."""

from digit_networks import last, model, modules, splits, start

import bequest

name = "finetune/0"
result = bequest.criticality(
    model, start[name], last[name], splits["train"], modules=modules, draws=3, tolerance=0.1, precision=0.3, name=name
)
for module in modules:
    error, move = (result.value(metric, module=module.name) for metric in ("rewind_error", "move"))
    print(f"{module.name:10} error {error:.2f} after a move of {move:.2f}")
chart = result.chart()
