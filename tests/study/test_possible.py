"""Which analyses a network does not allow, said so that its user understands it."""

from bequest.models.files import write_weights
from bequest.models.opening import open_model
from bequest.study.comparing import comparison

WORDS = """
from torch import nn


class Words(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.embedding, self.fc = nn.Embedding(20, 6), nn.Linear(6, classes)

    def forward(self, words):
        return self.fc(self.embedding(words).mean(1))


def words(classes):
    return Words(classes)
"""


def test_a_network_that_takes_no_images_is_told_so_in_our_words(tmp_path, monkeypatch):
    (tmp_path / "of_words.py").write_text(WORDS)
    monkeypatch.syspath_prepend(tmp_path)
    files = [tmp_path / name for name in ("one.safetensors", "two.safetensors")]
    for seed, file in enumerate(files):
        write_weights(open_model("of_words:words", classes=2, seed=seed).state_dict(), file)
    study = comparison(files, model="of_words:words", data=f"folder:{tmp_path}", size=8)
    assert "matching" not in study.asked()
    assert study.left_out["matching"].endswith("by running the network on an image, and this one takes none")
