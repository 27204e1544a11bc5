"""What is advised, looked at again by plain torch: the files in a fresh model, and the figures of the runs."""

import json
import math

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.torch import load_file

from bequest import open_model

CHANGES = (
    "analyses={learning_curves: {}}",
    "arms.learning_rates={finetune: [0.05], randinit: [0.1]}",
    "decisions={soup: {points: 3, limit: 1.0, method: uniform}, freeze: {prefixes: 1, rules: [finetune, probe]}, "
    "checkpoint: {epochs: [0, 1], margin: 0.3}}",
)


@pytest.fixture(scope="module")
def decided(tmp_path_factory, study_file, bequest):
    folder = tmp_path_factory.mktemp("decided") / "digits"
    ran = bequest("run", study_file, *CHANGES, "--folder", folder)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return folder


class Step:
    def __init__(self, folder):
        self.folder, self.steps = folder, folder.parent
        self.spec = json.loads((folder / "spec.json").read_text())

    def needs(self, name):
        return Step(self.steps / self.spec["inputs"][name])

    def told(self):
        return json.loads((self.folder / "decision.json").read_text()), pl.read_parquet(self.folder / "rows.parquet")


def step(study, function):
    [found] = (study / "steps").glob(f"{function}-*")
    return Step(found)


def images(decision, split):
    """Images [n, 3, size, size] and classes, from the array and its index alone."""
    folder = decision.needs("images").folder
    index = json.loads((folder / "index.json").read_text())
    places = [place for place, record in enumerate(index["records"]) if record[3] == split]
    pixels = torch.from_numpy(np.load(folder / "pixels.npy")[places]).permute(0, 3, 1, 2).float() / 255
    mean, std = (torch.tensor(decision.spec["arguments"][name]).view(1, 3, 1, 1) for name in ("mean", "std"))
    return (pixels - mean) / std, torch.tensor([index["records"][place][2] for place in places])


def fresh(file):
    model = open_model("resnet8", classes=10, seed=123)
    model.load_state_dict(load_file(file))
    return model.eval()


@torch.no_grad()
def error(model, shown, classes):
    wrong = sum(
        int((model(part).argmax(1) != truth).sum())
        for part, truth in zip(shown.split(100), classes.split(100), strict=True)
    )
    return wrong / len(classes)


def claimed(rows, name):
    kept = rows.filter(pl.col("a") == name, metric="error", split="test", module="*")
    if "domain" in kept.columns:
        kept = kept.filter(pl.col("domain").is_null())
    return kept["value"].item()


def test_the_soup_file_in_a_fresh_model_has_the_error_that_is_claimed(decided):
    soup = step(decided, "decide_soup")
    about, rows = soup.told()
    assert about["sure"] != "refused"
    model = fresh(soup.folder / about["weights"])
    called = rows.filter(pl.col("domain").is_null(), metric="difference", split="test")["a"].item()
    assert error(model, *images(soup, "test")) == claimed(rows, called)
    assert f"{100 * claimed(rows, called):.1f} %" in about["advice"]


def test_the_soup_file_has_batchnorm_of_the_training_images(decided):
    soup = step(decided, "decide_soup")
    about, rows = soup.told()
    called = rows.filter(pl.col("domain").is_null(), metric="difference", split="test")["a"].item()
    mixed = len(rows.filter(pl.col("b") == called, metric="in_soup", value=1.0))
    assert mixed > 1 or called == "best, refitted", "the study is to end with statistics that were made anew"
    model = fresh(soup.folder / about["weights"])
    layers = [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    kept = {name: value.clone() for name, value in model.state_dict().items() if "running" in name}
    for layer in layers:
        layer.momentum = 1.0  # all images are one batch: its statistics are the running ones
        layer.train()
    pixels, classes = images(soup, "train")
    seen = shown_to(soup, classes)
    with torch.no_grad():
        model(pixels[seen])
    for name, value in kept.items():
        torch.testing.assert_close(model.state_dict()[name], value, rtol=1e-4, atol=1e-5)


def shown_to(decision, classes):
    """Positions within train of the shots, as the data room takes them."""
    from bequest.data.batches import take_shots
    from bequest.data.pack import open_packed

    packed = open_packed(decision.needs("images").folder)
    given = decision.spec["arguments"]
    where = {int(index): place for place, index in enumerate(packed.indices("train"))}
    seen = [where[int(index)] for index in take_shots(packed, given["shots"], seed=given["shots_seed"])]
    assert classes[seen].bincount().tolist() == [given["shots"]] * 10
    return seen


def test_the_advised_freeze_has_the_error_that_is_claimed_and_left_its_modules_alone(decided):
    freeze = step(decided, "decide_freeze")
    about, rows = freeze.told()
    weights = load_file(freeze.folder / about["weights"])
    tested = rows.filter(metric="error", split="test")["a"].unique().to_list()
    kept = [name for name in rows.filter(metric="frozen")["a"].unique() if rows.filter(a=name, metric="error").height]
    model = fresh(freeze.folder / about["weights"])
    found = error(model, *images(freeze, "test"))
    pretrained = load_file(freeze.needs("pretrained").folder / "checkpoints" / "last.safetensors")
    same = {module for module in ("conv1", "layer1.0", "layer2.0", "layer3.0") if unmoved(weights, pretrained, module)}
    [way] = [
        name
        for name in kept
        if set(rows.filter(a=name, metric="frozen", value=1.0)["module"]) - {"fc"} == same and name in tested
    ]
    assert found == claimed(rows, way)
    assert f"{100 * found:.1f} %" in about["advice"]


def unmoved(weights, pretrained, module):
    names = [name for name in weights if name.startswith(f"{module}.") and "num_batches" not in name]
    return bool(names) and all(torch.equal(weights[name], pretrained[name]) for name in names)


def test_the_checkpoint_and_its_loss_are_those_of_the_runs(decided):
    decision = step(decided, "decide_checkpoint")
    about, rows = decision.told()
    ends = {}
    for name, run, epoch in decision.spec["arguments"]["cells"]:
        lines = (decision.needs(f"run/{name}").folder / "metrics.jsonl").read_text().splitlines()
        for line in map(json.loads, lines):  # the last line of a split stands
            ends[run, epoch, line["split"]] = line["error"]
    runs = sorted({run for run, _, _ in ends if run.startswith("finetune")})
    last = max(epoch for _, epoch, _ in ends)

    def lost(epoch, split):
        return [ends[run, epoch, split] - ends[run, last, split] for run in runs]

    for row in rows.filter(metric="error_loss").iter_rows(named=True):
        gaps = lost(int(row["x"]), row["split"])
        assert row["value"] == pytest.approx(np.mean(gaps), abs=1e-12)
        if row["x"] != last:
            half = 12.706204736 * np.std(gaps, ddof=1) / math.sqrt(2)  # Student's t of one degree of freedom
            assert (row["low"], row["high"]) == pytest.approx((np.mean(gaps) - half, np.mean(gaps) + half), abs=1e-6)
    chosen = last
    for epoch in sorted({epoch for _, epoch, _ in ends}, reverse=True):
        if np.mean(lost(epoch, "validation")) > 0.3:
            break
        chosen = epoch
    assert rows.filter(metric="chosen_epoch")["value"].item() == chosen
    assert rows.filter(metric="saved_share")["value"].item() == (last - chosen) / last
    name = "last" if chosen == last else f"epoch-{chosen}" if chosen else "step-0"
    there = load_file(decision.needs("pretrained").folder / "checkpoints" / f"{name}.safetensors")
    file = load_file(decision.folder / about["weights"])
    assert file.keys() == there.keys() and all(torch.equal(file[key], there[key]) for key in there)
