import math
from types import SimpleNamespace

import pytest
import torch
from torch.nn.functional import log_softmax

from bequest.evaluation.tasks import Tally, task
from bequest.evaluation.tokens import likeliest_token

MEASURED = task("language-modelling")


def texts(n=7, longest=9, words=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    outputs = torch.randn(n, longest, words, generator=generator)
    targets = torch.randint(0, words, (n, longest), generator=generator)
    for row, length in enumerate(torch.randint(2, longest + 1, (n,), generator=generator).tolist()):
        targets[row, length:] = -100
    return outputs, targets


def plain(outputs, targets):
    """Loss and error of each token that is to be said, one by one."""
    losses, wrong = [], []
    for said, truth in zip(outputs, targets, strict=True):
        for place in range(len(truth) - 1):
            token = int(truth[place + 1])
            if token != -100:
                losses.append(-float(log_softmax(said[place].double(), 0)[token]))
                wrong.append(float(said[place].argmax() != token))
    return sum(losses) / len(losses), sum(wrong) / len(wrong)


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_means_are_over_tokens_whatever_the_batches(size):
    outputs, targets = texts()
    tally = Tally(MEASURED)
    for part, truth in zip(outputs.split(size), targets.split(size), strict=True):
        tally.add(SimpleNamespace(logits=part), truth)
    loss, error = tally.means()
    known = plain(outputs, targets)
    assert (loss, error) == (pytest.approx(known[0], rel=1e-6), pytest.approx(known[1], rel=1e-12))
    assert MEASURED.headline(loss, error) == pytest.approx(math.exp(known[0]), rel=1e-5)


def test_even_scores_have_the_perplexity_of_the_vocabulary():
    targets = texts()[1]
    loss = float(MEASURED.loss(torch.zeros(*targets.shape, 5), targets))
    assert MEASURED.headline(loss, 0.0) == pytest.approx(5)


def test_guessing_says_the_most_frequent_token():
    targets = torch.tensor([[4, 1, 1, 2], [4, 1, -100, -100]])
    assert likeliest_token(targets) == 0.75  # the first tokens are never said
    with pytest.raises(ValueError, match="no token to be said"):
        likeliest_token(torch.tensor([[3]]))


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match=r"needs outputs \[texts, tokens, vocabulary\]"):
        MEASURED.loss(torch.zeros(3, 5), torch.zeros(3, dtype=torch.int64))
