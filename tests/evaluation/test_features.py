from types import SimpleNamespace

import pytest
import torch
from torch import nn

from bequest.evaluation.features import features


def network(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        body = nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.ReLU(inplace=True))
        return nn.Sequential(body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 4))


def batches(sizes=(4, 3), seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [(torch.randn(n, 3, 6, 6, generator=generator), torch.arange(n) % 2) for n in sizes]


def test_features_are_what_the_head_is_given():
    model, shown = network().train(), batches()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    found = features(model, shown)
    assert model.training and all(torch.equal(before[name], one) for name, one in model.state_dict().items())
    assert not model[3]._forward_pre_hooks
    model.eval()
    with torch.no_grad():
        inputs = torch.cat([one for one, _ in shown])
        torch.testing.assert_close(found.features, model[:3](inputs).double())
        torch.testing.assert_close(found.outputs, model(inputs).double())
    assert found.features.dtype == torch.float64 and found.targets.tolist() == [0, 1, 0, 1, 0, 1, 0]


def test_weights_and_another_place():
    model, other, shown = network(), network(1), batches()
    assert torch.equal(features(model, shown, weights=other.state_dict()).features, features(other, shown).features)
    # the input of the pooling has places: it is averaged over them, as the pooling does
    torch.testing.assert_close(features(model, shown, at="1").features, features(model, shown).features)


class Texts(nn.Module):
    """A head on every token, as GPT-2's has it; inputs by keyword and outputs wrapped."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(10, 4)
        self.score = nn.Linear(4, 2)

    def forward(self, tokens):
        return SimpleNamespace(logits=self.score(self.embed(tokens))[:, -1])


def test_tokens_need_a_reduction():
    shown = [({"tokens": torch.arange(12).view(3, 4) % 10}, torch.tensor([0, 1, 1]))]
    with pytest.raises(ValueError, match=r"\[3, 4, 4\], and features are \[B, D\]; pass reduce="):
        features(Texts(), shown)
    model = Texts()
    found = features(model, shown, reduce=lambda seen: seen[:, -1])
    torch.testing.assert_close(found.features, model.embed(torch.tensor([3, 7, 1])).detach().double())


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3, 3)

    def forward(self, x):
        return self.fc(self.fc(x))


def test_what_has_no_features_is_refused():
    with pytest.raises(ValueError, match="'fc' ran 2 times for one batch"):
        features(Twice(), [(torch.zeros(2, 3), torch.tensor([0, 1]))])
    with pytest.raises(KeyError, match="no module 'neck'"):
        features(network(), batches(), at="neck")
    model = network()
    nn.init.constant_(model[0][0].weight, torch.inf)
    with pytest.raises(ValueError, match="not finite"):
        features(model, batches())
