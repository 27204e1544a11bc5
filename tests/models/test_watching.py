import math

import torch
from torch import Tensor, nn

from bequest.models.watching import watch


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.late, self.early, self.never = nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 2)
        self.between, self.asked = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))

    def forward(self, x: Tensor) -> Tensor:
        x = self.early(x.to(self.asked.dtype))  # asking for a dtype is no use
        x = torch.stack([x, self.between + 0 * x]).sum(0)
        return self.late(self.early(self.late(x)))  # type: ignore[no-any-return]


def test_one_clock_for_modules_and_tensors() -> None:
    model = Net()
    ran, used = watch(model, torch.zeros(1, 2), dict(model.named_children()), dict(model.named_parameters()))
    assert ran["early"] < used[id(model.early.weight)] < used[id(model.between)] < ran["late"] < math.inf
    assert ran["never"] == used[id(model.never.weight)] == used[id(model.asked)] == math.inf
