"""Which networks do the examples look at?

P learned digits that were set in fonts. `finetune/0`, `/1` and `/2` go on from P with two handwritten digits a class,
`randinit/0`, `/1` and `/2` learn the same ones from random weights.
"""

import polars
import torch
from torch.nn.functional import cross_entropy

import bequest
from bequest.data.doors import open_source

SIZE = 16


def digits(door, split, each=None):
    """Draw the images of a split, [N, 3, 16, 16] in -1..1, with their classes; at most so many of each class."""
    records, taken = [], {}
    for record in open_source(door).records:
        taken[record.target] = taken.get(record.target, 0) + (record.split == split)
        if record.split == split and (each is None or taken[record.target] <= each):
            records.append(record)
    pixels = torch.stack([torch.tensor(record.draw(SIZE)) for record in records])
    return pixels.permute(0, 3, 1, 2) / 127.5 - 1, torch.tensor([record.target for record in records])


def loader(images, labels, size=32):
    """Batches that can be walked again."""
    return [(images[at : at + size], labels[at : at + size]) for at in range(0, len(labels), size)]


def train(model, images, labels, *, epochs, size, seed, watch):
    """Train in place, and keep the weights before and after, with error and loss of the watched batches by split."""
    stream = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    rows, start = [], weights(model)
    for epoch in range(epochs + 1):
        for split, batches in watch.items() if epoch % 4 == 0 else ():
            made = bequest.predict(model, batches)
            error = float((made.outputs.argmax(1) != made.targets).double().mean())
            loss = float(cross_entropy(made.outputs, made.targets))
            rows.append({"epoch": epoch, "step": 0, "split": split, "error": error, "loss": loss, "learning_rate": 0.0})
        if epoch < epochs:
            model.train()
            for chosen in torch.randperm(len(labels), generator=stream).split(size):
                optimizer.zero_grad()
                cross_entropy(model(images[chosen]), labels[chosen]).backward()
                optimizer.step()
            schedule.step()
    return bequest.Trajectory(polars.DataFrame(rows), {"step-0": start, "last": weights(model)})


def weights(model):
    """Copy the weights that a model has now."""
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def from_pretrained(seed):
    """Take P, and draw a new head for the handwritten digits."""
    model = bequest.open_model("resnet8", classes=10, seed=seed)
    fresh = model.state_dict()
    model.load_state_dict({name: fresh[name] if name.startswith("fc.") else P[name] for name in fresh})
    return model


def from_random(seed):
    """Draw all weights."""
    return bequest.open_model("resnet8", classes=10, seed=seed)


images, labels = digits("digits", "train", each=2)
splits = {"train": loader(images, labels)}
splits |= {split: loader(*digits("digits", split, each=12)) for split in ("validation", "test")}
model = from_random(100)
P = train(model, *digits("fonts", "train"), epochs=5, size=40, seed=100, watch={}).checkpoints["last"]
runs = {
    f"{arm}/{seed}": train(start(seed), images, labels, epochs=12, size=10, seed=seed, watch=splits)
    for arm, start in (("finetune", from_pretrained), ("randinit", from_random))
    for seed in range(3)
}
start = {name: run.checkpoints["step-0"] for name, run in runs.items()}
last = {name: run.checkpoints["last"] for name, run in runs.items()}
modules = bequest.modules(model, images[:2])
