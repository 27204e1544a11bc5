"""**Which modules have to be what they became?** Each alone is put back to its start; its move beside it.

The head of `finetune/0` was drawn anew, so what it costs to put it back says nothing of P.
"""

from digit_networks import last, model, modules, splits, start

import bequest

for name in ("finetune/0", "randinit/0"):
    result = bequest.criticality(
        model,
        start[name],
        last[name],
        splits["test"],
        modules=modules,
        draws=2,
        tolerance=0.6,
        precision=0.3,
        name=name,
    )
    print(f"{name}, error {result.value('final_error'):.2f}")
    for module in modules:
        error, move = (result.value(metric, module=module.name) for metric in ("rewind_error", "move_relative"))
        print(f"  {module.name:10} {error:.2f} after a move of {move:.2f}")
chart = result.chart()
