"""**Do fine-tuned models go wrong on the same images?** Kappa takes out what their errors alone explain."""

from digit_networks import last, model, splits

import bequest

predictions = {name: bequest.predict(model, splits["test"], weights=weights) for name, weights in last.items()}
result = bequest.mistakes(predictions)
for kind in ("finetune & finetune", "randinit & randinit"):
    print(f"{kind}: kappa {result.value('kappa', a=kind):.2f}")
chart = result.chart()
