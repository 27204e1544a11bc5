"""Are the counts, answers and pictures of the page those of the predictions, and do they fit?"""

import base64
import math

import numpy as np
import pytest
import torch

from bequest.data.pack import Packed
from bequest.evaluation.predict import Predictions
from bequest.report.contents import Predicted
from bequest.report.predictions import MOST_BYTES, MOST_SHOWN, MOST_TEXT, page_data, predicted

NAN = float("nan")


def packed(targets, classes, texts=()):
    count = len(targets)
    pixels = np.arange(count, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)
    names = [str(index) for index in range(count)]
    tokens = {"input_ids": torch.zeros(count, 1)} if texts else {}
    return Packed(pixels, targets, names, names, ["test"] * count, classes, "me", "csv:x", texts=texts, tokens=tokens)


def random_set(count=300, classes=5, runs=("finetune/0", "finetune/1", "randinit/0"), size=8, seed=0):
    generator = np.random.default_rng(seed)
    truth = generator.integers(0, classes, count)
    answers = {
        name: np.where(generator.random(count) < 0.6, truth, generator.integers(0, classes, count)) for name in runs
    }
    sure = {name: generator.random(count) for name in runs}
    pixels = generator.integers(0, 255, (count, size, size, 3), np.uint8)
    return Predicted("line", tuple("abcde"), truth, answers, sure, np.arange(count), pixels)


def bits(text, count):
    return np.unpackbits(np.frombuffer(base64.b64decode(text), np.uint8), bitorder="little")[:count].astype(bool)


def test_answers_and_confidences_are_those_of_the_softmax():
    outputs = torch.tensor([[0.0, 2.0, 0.0], [3.0, 0.0, 0.0]])
    given = {"mine": Predictions(outputs, torch.tensor([1, 2]))}
    found = predicted("x", given, packed(torch.tensor([0, 1, 2]), ("a", "b", "c")), np.array([1, 2]))
    assert found.answers["mine"].tolist() == [1, 0] and found.truth.tolist() == [1, 2]
    expected = [math.exp(2) / (math.exp(2) + 2), math.exp(3) / (math.exp(3) + 2)]
    assert found.confidence["mine"] == pytest.approx(expected, abs=1e-6)
    assert found.rows.tolist() == [1, 2] and found.labels is None


def test_with_several_labels_an_example_is_a_label_that_is_there():
    targets = torch.tensor([[1.0, 0.0], [NAN, 1.0]])
    given = {"finetune/0": Predictions(torch.tensor([[2.0, 1.0], [-3.0, -1.0]]), targets)}
    found = predicted("x", given, packed(targets, ("red", "blue")), np.array([0, 1]))
    assert found.truth.tolist() == [1, 0, 1]  # the missing label of the second image is nobody's mistake
    assert found.labels is not None and found.labels.tolist() == [0, 1, 1]
    assert found.rows.tolist() == [0, 0, 1] and found.answers["finetune/0"].tolist() == [1, 1, 0]
    chances = [1 / (1 + math.exp(-value)) for value in (2, 1, 1)]
    assert found.confidence["finetune/0"] == pytest.approx(chances, abs=1e-6)
    (data,) = page_data([found])
    assert data["labels"] and sorted(data["about"]) == [0, 1, 1] and len(data["pictures"]) == 2


def test_the_page_counts_every_example_and_shows_what_was_said_of_some():
    given = random_set()
    (data,) = page_data([given])
    for name, text in zip(data["runs"], data["right"], strict=True):
        assert (bits(text, 300) == (given.answers[name] == given.truth)).all()
    assert data["about"] == given.truth.tolist() and data["all"] == 300
    assert data["arms"] == {"finetune": [0, 1]}
    assert len(set(data["shown"])) == len(data["shown"]) == 300
    place = data["shown"].index(17)
    assert data["said"][place] == [given.answers[name][17] for name in data["runs"]]
    assert data["sure"][place] == [round(100 * given.confidence[name][17]) for name in data["runs"]]
    assert data["truth"][place] == given.truth[17]


def test_of_too_many_some_of_each_class_and_outcome_are_shown():
    given = random_set(count=4000)
    first, second = page_data([given, random_set(count=4000, seed=1)])
    assert len(first["shown"]) == len(second["shown"]) == MOST_SHOWN // 2
    a = sum((given.answers[name] == given.truth) * 1 for name in ("finetune/0", "finetune/1")) == 2
    b = given.answers["randinit/0"] == given.truth
    cells = np.stack([given.truth, 2 * a + b], 1)
    there = {tuple(cell) for cell in cells[first["shown"]].tolist()}
    assert there == {tuple(cell) for cell in cells.tolist()} and len(there) == 20
    assert sum(map(len, first["pictures"])) <= MOST_BYTES // 2


def test_bytes_are_bounded_whatever_the_pictures_are():
    given = random_set(count=480, size=96)  # noise does not compress
    (data,) = page_data([given])
    used = sum(map(len, data["pictures"]))
    assert 0.9 * MOST_BYTES < used <= MOST_BYTES and len(data["shown"]) < 480
    assert all(one.startswith("data:image/webp;base64,") for one in data["pictures"])


def test_texts_stand_in_place_of_pictures_and_long_ones_are_cut():
    texts = ("short", "word " * 500)
    given = {"mine": Predictions(torch.eye(2), torch.tensor([0, 1]))}
    found = predicted("x", given, packed(torch.tensor([0, 1]), ("a", "b"), texts), np.array([0, 1]))
    (data,) = page_data([found])
    assert data["text"] and data["pictures"][0] == "short"
    assert data["pictures"][1].endswith("word …") and len(data["pictures"][1]) <= MOST_TEXT + 2


def test_many_runs_show_fewer_examples():
    names = [f"{arm}/{index}" for arm in ("finetune", "randinit") for index in range(150)]
    (data,) = page_data([random_set(count=900, runs=names)])
    assert len(data["shown"]) == 200 and len(data["said"][0]) == 300


def test_a_run_that_repeats_an_init_does_not_stand_for_its_arm():
    names = ("finetune/0", "randinit/0", "randinit/0b", "randinit/1")
    (data,) = page_data([random_set(runs=names)])
    assert data["arms"] == {"randinit": [1, 3]}
