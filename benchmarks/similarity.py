"""What does the similarity of all module outputs of two ResNet-50 cost beside two bare forward passes and the peers?

The networks have torchvision's names, shapes and in-place ReLUs: 150 modules. Their 182 calls all count to us (the ReLU
of a bottleneck is called three times); the peers keep the last call of a module.

Time: ours as it is (blocks of 16 examples), and with whole batches, as the peers have them. Memory: the peak of fresh
processes. Error: against float64 brute force on one batch, for networks with running statistics collected on images
and as they are drawn, where features are far from zero. Floor: bare forward passes of the images as they come, and of
images whose channels lie last, which is how ours runs them.
"""

from __future__ import annotations

import copy
import sys
import warnings
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import torch
from networks import CLASSES, Batch, bare_forwards, images, random_weights
from race import Entry, Row, absent, against_floor, alone, faster, peak_memory_of, race
from torch import Tensor, nn

import bequest
from bequest.evaluation.activations import watched

SIDE, COUNT, BATCH, BLOCK = 64, 256, 64, 16
JOB, FLOOR = "similarity, 150 modules of two ResNet-50", "two bare forward passes"
WHAT = f"{COUNT} images of {SIDE} px, batches of {BATCH}"


def measure(quick: bool) -> list[Row]:
    batches = images(COUNT, SIDE, batch=BATCH, seed=0)
    a, b = (network(seed, collected=True) for seed in (1, 2))
    entries = [
        Entry("floor", lambda: [bare_forwards(model, batches, 1) for model in (a, b)]),
        Entry("floor, channels last", lambda: [bare_forwards(model, last(batches), 1) for model in (a, b)]),
        Entry("ours", lambda: ours(a, b, batches)),
        Entry("ours, whole batches", lambda: ours(a, b, batches, block=None)),
        Entry("pytorch-cka 1.1.3", lambda: pytorch_cka(a, b, batches)),
        Entry("torch-cka 0.21", lambda: torch_cka(a, b, batches[:1]), most=1),  # a minute a batch
    ]
    timed = race(entries, rounds=1 if quick else 2)
    slow = timed["torch-cka 0.21"]
    quicker = timed["floor, channels last"].median
    timed["torch-cka 0.21"] = replace(slow, seconds=tuple(len(batches) * taken for taken in slow.seconds))
    rows = []
    for name, kind in (("ours", f"blocks of {BLOCK}"), ("ours, whole batches", f"blocks of {BATCH}, as the peers")):
        mine, what = timed[name], f"{WHAT}, {kind}"
        note = (
            ""
            if mine.failure
            else f"{mine.median / quicker:.2f} times bare forward passes with channels last ({quicker:.3g} s)"
        )
        rows.append(against_floor(JOB, what, mine, FLOOR, timed["floor"], most=1.5, note=note))
        for peer, least in (("pytorch-cka 1.1.3", 1.6), ("torch-cka 0.21", 30)):
            note = f"one batch timed, times {len(batches)}" if least == 30 else ""
            more = {"floor": FLOOR, "bare": timed["floor"], "note": note}
            rows.append(faster(JOB, what, mine, peer, timed[peer], least=least, **more))
    return [*rows, memory(), *errors(batches[0])]


def network(seed: int, *, collected: bool) -> nn.Module:
    """A ResNet-50 with in-place ReLUs; running statistics collected on images, or those it is built with."""
    weights = random_weights("resnet50", SIDE, seed=seed) if collected else None
    model = bequest.open_model("resnet50", classes=CLASSES, weights=weights, seed=seed).eval()
    for module in model.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = True
    return model


def last(batches: Sequence[Batch]) -> list[Batch]:
    return [(inputs.contiguous(memory_format=torch.channels_last), targets) for inputs, targets in batches]


def names(model: nn.Module) -> list[str]:
    return [name for name, _ in model.named_modules() if name]


def ours(
    a: nn.Module, b: nn.Module, batches: Sequence[Batch], block: int | None = BLOCK
) -> dict[tuple[str, str], float]:
    result = bequest.similarity({"a": a, "b": b}, batches, modules=names(a), block=block)
    rows, columns = (result.select("cka_identity", a=name)["module"].to_list() for name in "ab")
    found = result.arrays["a|b"].tolist()
    return {(x, y): found[i][j] for i, x in enumerate(rows) for j, y in enumerate(columns)}


def pytorch_cka(a: nn.Module, b: nn.Module, batches: Sequence[Batch]) -> Tensor:
    from cka import compute_cka

    loader = torch.utils.data.DataLoader(list(batches), batch_size=None)  # a list would be several loaders
    with warnings.catch_warnings(action="ignore"):
        return compute_cka(a, b, loader, layers=names(a), progress=False, device="cpu")[0]


def torch_cka(a: nn.Module, b: nn.Module, batches: Sequence[Batch], every: int = 1) -> Tensor:
    from torch_cka import CKA

    examples = [(x, y) for inputs, targets in batches for x, y in zip(inputs, targets, strict=True)]
    loader = torch.utils.data.DataLoader(examples, batch_size=BATCH)
    a, b = copy.deepcopy(a), copy.deepcopy(b)  # it leaves its hooks behind
    with torch.no_grad(), warnings.catch_warnings(action="ignore"):  # it keeps gradients of its own accord
        cka = CKA(a, b, "a", "b", names(a)[::every], names(b)[::every], "cpu")
        cka.compare(loader)
    return cka.export()["CKA"]


def memory() -> Row:
    """Compare the peaks of fresh processes, beyond what Python, images and networks take that only stand there."""
    job, peer, target = f"{JOB}: memory", "pytorch-cka 1.1.3", "at most 0.333 of its memory"
    peaks = {}
    try:
        for who in ("nothing", "floor", "ours", "pytorch-cka"):
            peaks[who] = peak_memory_of([sys.executable, __file__, "--peak", who])
    except RuntimeError as error:
        return absent(job, WHAT, peer, error, target)
    ratio = (peaks["ours"] - peaks["nothing"]) / (peaks["pytorch-cka"] - peaks["nothing"])
    said = ", ".join(f"{who} {peak:.0f} MiB" for who, peak in peaks.items())
    note = (
        f"peaks of fresh processes: {said} (nothing: images and networks stand there; floor: the bare forward passes)"
    )
    return Row(job, WHAT, None, peer, None, ratio, target, ratio <= 1 / 3, note=note)


def peak(who: str) -> None:
    """Do the job once, for `memory`."""
    batches = images(COUNT, SIDE, batch=BATCH, seed=0)
    a, b = (network(seed, collected=False) for seed in (1, 2))
    if who == "floor":
        for model in (a, b):
            bare_forwards(model, batches, 1)
    elif who != "nothing":
        {"ours": ours, "pytorch-cka": pytorch_cka}[who](a, b, batches)


def errors(batch: Batch) -> list[Row]:
    """Compare ours and the peers with brute force, in all pairs of modules."""
    rows = []
    for collected, kind in ((True, "statistics collected"), (False, "as drawn")):
        a, b = (network(seed, collected=collected) for seed in (1, 2))
        outputs = [kept(model, batch[0]) for model in (a, b)]
        off, exact = [], {}
        for size in (BLOCK, BATCH):
            exact = brute_force(*outputs, size)
            mine = ours(a, b, [batch], block=size)
            off += [abs(mine[pair] - value) for pair, value in exact.items()]
        last = {name.split("#")[0]: name for name in outputs[0]}  # of a module's calls, as peers have it
        order = [last[name] for name in names(a)]
        wanted = torch.tensor([[exact[x, y] for y in order] for x in order], dtype=torch.float64)
        said = [f"ours in {len(off)} numbers, blocks of {BLOCK} and of {BATCH}"]
        for peer, run, every in (("pytorch-cka", pytorch_cka, 1), ("torch-cka", partial(torch_cka, every=10), 10)):
            try:
                away = (run(a, b, [batch]).double() - wanted[::every, ::every]).abs()
                which = f" in every {every}th module" if every > 1 else ""
                said.append(f"{peer} is off by up to {float(away.max()):.2g} (mean {float(away.mean()):.2g}){which}")
            except Exception as error:  # a peer may raise anything; it is reported
                said.append(f"{peer} failed: {type(error).__name__}: {error}")
        largest, target = max(off), "at most 0.0001 off"
        what = f"{BATCH} images of {SIDE} px, {kind}"
        met, note = largest <= 1e-4, "; ".join(said)
        rows.append(Row(JOB, what, None, "float64 brute force", None, largest, target, met, note=note))
    return rows


def kept(model: nn.Module, inputs: Tensor) -> dict[str, Tensor]:
    """Every output in float64 from the images on, as a matrix, before the next module overwrites it."""
    found: dict[str, Tensor] = {}
    model = copy.deepcopy(model).double()
    with torch.no_grad(), watched(model, names(model), lambda name, out: found.update({name: out.flatten(1).clone()})):
        model(inputs.double())
    return found


def brute_force(a: dict[str, Tensor], b: dict[str, Tensor], size: int) -> dict[tuple[str, str], float]:
    """CKA of all pairs of outputs: the sum of HSIC over blocks of examples, and then the ratio."""
    k, l = (hollow_grams(features, size) for features in (a, b))  # noqa: E741 - the paper's letters
    between, first, second = (hsic1(*pair) for pair in ((k, l), (k, k), (l, l)))
    cka = between / (first.diagonal()[:, None] * second.diagonal()).sqrt()
    return {(x, y): float(cka[i, j]) for i, x in enumerate(a) for j, y in enumerate(b)}


def hollow_grams(features: dict[str, Tensor], size: int) -> Tensor:
    """Gram matrices without their diagonals [outputs, blocks, size, size]; centred first, which HSIC does not see."""
    found = []
    for rows in features.values():
        blocks = (rows - rows.mean(0)).unflatten(0, (-1, size))
        grams = blocks @ blocks.mT
        found.append(grams - torch.diag_embed(grams.diagonal(dim1=-2, dim2=-1)))
    return torch.stack(found)


def hsic1(k: Tensor, l: Tensor) -> Tensor:  # noqa: E741
    """Song et al. 2007, equation 5, of all pairs of outputs, summed over blocks."""
    n = k.shape[-1]
    trace = torch.einsum("apij,bpji->ab", k, l)
    sums = torch.einsum("ap,bp->ab", k.sum((-2, -1)), l.sum((-2, -1))) / ((n - 1) * (n - 2))
    middle = torch.einsum("api,bpi->ab", k.sum(-1), l.sum(-1)) * 2 / (n - 2)
    return (trace + sums - middle) / (n * (n - 3))


if __name__ == "__main__":
    if "--peak" in sys.argv:
        peak(sys.argv[-1])
    else:
        alone(measure)
