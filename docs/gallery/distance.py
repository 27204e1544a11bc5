"""**How far did the weights move, and where?** As a share of the norm that a module had at its start."""

from digit_networks import last, modules, start

import bequest

for name in ("finetune/0", "randinit/0"):
    moved = bequest.distance(start[name], last[name], modules=modules)
    shares = {module.name: moved.value("l2_relative", module=module.name) for module in modules}
    print(name, {module: round(share, 2) for module, share in shares.items()})
