"""**Do they have the same features?** CKA, module by module, beside what unrelated features would give."""

from digit_networks import last, model, modules, splits

import bequest

three = {name: last[name] for name in ("finetune/0", "finetune/1", "randinit/0", "randinit/1")}
result = bequest.similarity(model, splits["test"], weights=three, modules=modules)
pair = {"a": "finetune/0", "b": "finetune/1", "module": "layer2.0", "module_b": "layer2.0"}
print(f"cka {result.value('cka', **pair):.2f}, of unrelated features {result.value('cka_null', **pair):.2f}")
chart = result.chart()
