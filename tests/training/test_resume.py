"""The state to go on from is taken as it was written, or the training starts afresh."""

import pytest
import torch
from torch import nn

from bequest.training.resume import Progress, load, save


def make(seed):
    stream = torch.Generator().manual_seed(seed)
    model = nn.Conv2d(2, 3, 3).to(memory_format=torch.channels_last)
    for parameter in model.parameters():
        parameter.data.normal_(generator=stream)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(torch.ones(1, 2, 4, 4)).sum().backward()
    optimizer.step()
    return model, optimizer, {"order": stream}


@pytest.fixture
def state(tmp_path):
    model, optimizer, streams = make(0)
    progress = Progress(2, [{"epoch": 2, "error": 0.5}], {"w": torch.ones(2)}, (0.5, 0.25))
    save(tmp_path / "state.safetensors", progress, model, optimizer, streams)
    return tmp_path / "state.safetensors", model, optimizer, streams


def test_everything_comes_back(state):
    path, model, optimizer, streams = state
    other, its_optimizer, its_streams = make(1)
    progress = load(path, other, its_optimizer, its_streams)
    assert progress.epoch == 2 and progress.best_score == (0.5, 0.25) and progress.rows[0]["error"] == 0.5
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))
    slots = zip(optimizer.state.values(), its_optimizer.state.values(), strict=True)
    assert all(torch.equal(a["momentum_buffer"], b["momentum_buffer"]) for a, b in slots)
    assert torch.equal(streams["order"].get_state(), its_streams["order"].get_state())


def test_a_bit_that_flipped_anywhere_is_found_and_nothing_is_changed(state):
    path, *_ = state
    sound = path.read_bytes()
    other, its_optimizer, its_streams = make(1)
    before = [parameter.clone() for parameter in other.parameters()]
    places = range(0, len(sound), 97)
    for place in [*places, len(sound) - 1]:
        content = bytearray(sound)
        content[place] ^= 1 << place % 8
        path.write_bytes(content)
        found = load(path, other, its_optimizer, its_streams)
        assert found is None, place
    assert all(torch.equal(a, b) for a, b in zip(before, other.parameters(), strict=True))
    path.write_bytes(sound[:-1])
    assert load(path, other, its_optimizer, its_streams) is None
