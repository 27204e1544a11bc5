"""Parts of a batch, each in a thread of its own, are normalised as the whole batch is by torch's own BatchNorm."""

import threading

import pytest
import torch
from torch import nn

from bequest.training.global_batchnorm import GlobalBatchNorm


class Meeting:
    """Gathers tensors of threads as processes would."""

    def __init__(self, count):
        self.brought, self.barrier = [None] * count, threading.Barrier(count, timeout=20)

    def of(self, rank):
        def every(tensor):
            self.brought[rank] = tensor
            self.barrier.wait()
            found = torch.stack(self.brought)
            self.barrier.wait()
            return found

        return every


def apart(layers, parts, weights):
    """Outputs, gradients of inputs, layers after: each part in its thread."""
    meeting, found = Meeting(len(parts)), [None] * len(parts)

    def one(rank):
        inputs = parts[rank].clone().requires_grad_()
        with GlobalBatchNorm(meeting.of(rank)):
            outputs = layers[rank](inputs)
        (outputs * weights[rank]).sum().backward()
        found[rank] = outputs.detach(), inputs.grad

    threads = [threading.Thread(target=one, args=(rank,)) for rank in range(len(parts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


@pytest.mark.parametrize(
    ("make", "shape", "sizes"),
    [
        (lambda: nn.BatchNorm2d(5), (7, 5, 3, 4), (4, 3)),
        (lambda: nn.BatchNorm2d(5, momentum=None), (3, 5, 1, 1), (1, 1, 1)),
        (lambda: nn.BatchNorm1d(5, affine=False), (7, 5), (3, 2, 2)),
        (lambda: nn.BatchNorm1d(5, track_running_stats=False), (4, 5, 6), (3, 1)),
    ],
)
def test_the_parts_together_are_normalised_as_the_whole(make, shape, sizes):
    stream = torch.Generator().manual_seed(0)
    whole = torch.randn(shape, generator=stream, dtype=torch.float64) * 3 + 40  # far from 0: sums of squares would fail
    weights = torch.randn(shape, generator=stream, dtype=torch.float64)
    whole, weights = whole.float(), weights.float()
    if whole.ndim == 4:
        whole = whole.contiguous(memory_format=torch.channels_last)
    alone, layers = make(), [make() for _ in sizes]
    if alone.affine:
        with torch.no_grad():
            for layer in (alone, *layers):
                layer.weight.copy_(torch.linspace(-1, 2, 5))
    inputs = whole.clone().requires_grad_()
    outputs = alone(inputs)
    (outputs * weights).sum().backward()
    found = apart(layers, whole.split(sizes), weights.split(sizes))
    torch.testing.assert_close(torch.cat([one for one, _ in found]), outputs.detach(), rtol=1e-5, atol=2e-5)
    torch.testing.assert_close(torch.cat([one for _, one in found]), inputs.grad, rtol=1e-4, atol=2e-5)
    for name, parameter in alone.named_parameters():
        total = sum(dict(layer.named_parameters())[name].grad for layer in layers)
        torch.testing.assert_close(total, parameter.grad, rtol=1e-4, atol=1e-5)
    for layer in layers:
        for name, buffer in alone.named_buffers():
            torch.testing.assert_close(dict(layer.named_buffers())[name], buffer, rtol=1e-6, atol=1e-6)


def test_in_evaluation_mode_and_outside_nothing_is_exchanged():
    layer, inputs = nn.BatchNorm1d(3), torch.arange(12.0).view(4, 3)

    def never(tensor):
        raise AssertionError("asked for the other processes")

    layer(inputs)
    layer.eval()
    expected = layer(inputs)
    with GlobalBatchNorm(never):
        assert torch.equal(layer(inputs), expected)
