"""How do many independent random streams come from one seed?"""

from __future__ import annotations

import hashlib

import torch


def fold(seed: int, *names: object) -> int:
    """Derive a seed from a seed and names, so that streams with different names are independent.

    Args:
        seed: any integer.
        names: what the stream is for, as in `fold(0, "finetune", 2, "order")`.

    Returns:
        An integer in 0..2**63 - 1, the same on every machine.
    """
    text = "/".join([str(seed), *(str(name) for name in names)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *names: object) -> torch.Generator:
    """Make a CPU generator from a folded seed."""
    return torch.Generator().manual_seed(fold(seed, *names))
