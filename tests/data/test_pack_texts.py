import json

import pytest
import torch

from bequest.data.batches import batches
from bequest.data.doors import open_source
from bequest.data.pack import open_packed
from bequest.data.pack_texts import pack_texts


def by_letters(texts):
    """A tokenizer: the letters of each text, padded with 0."""
    longest = max(map(len, texts))
    rows = [[ord(letter) for letter in text] + [0] * (longest - len(text)) for text in texts]
    found = torch.tensor(rows)
    return {"input_ids": found, "attention_mask": (found > 0).long()}


def source(tmp_path, texts=("a bee", "ab", "cd", "see", "ee", "dada", "hub", "bag")):
    lines = [f"{text},{'xy'[place % 2]},{side}" for place, (text, side) in enumerate(zip(texts, SIDES, strict=True))]
    (tmp_path / "texts.csv").write_text("\n".join(["text,label,split", *lines]))
    return open_source(f"text:{tmp_path / 'texts.csv'}")


SIDES = ("train",) * 4 + ("validation",) * 2 + ("test",) * 2


def test_batches_of_texts_are_the_tokens_in_order(tmp_path):
    packed = pack_texts(source(tmp_path), tmp_path / "packed", by_letters)
    assert packed.texts[0] == "a bee" and not packed.multilabel
    indices = packed.indices("train")
    walked = list(batches(packed, indices, batch_size=3, normalise=((0.5,) * 3, (0.5,) * 3)))
    assert [len(targets) for _, targets in walked] == [3, 1]
    letters = torch.cat([inputs["input_ids"] for inputs, _ in walked])
    assert letters.dtype == torch.int64
    texts = ["".join(chr(one) for one in row if one) for row in letters.tolist()]
    assert texts == [packed.texts[index] for index in indices.tolist()]
    assert torch.equal(torch.cat([targets for _, targets in walked]), packed.targets[indices])


def test_a_text_without_tokens_and_images_are_refused(tmp_path):
    with pytest.raises(ValueError, match="makes no token of line 3"):
        pack_texts(
            source(tmp_path),
            tmp_path / "packed",
            lambda texts: {
                "input_ids": torch.ones(8, 2),
                "attention_mask": torch.tensor([[1, 1], [0, 0], *[[1, 0]] * 6]),
            },
        )
    with pytest.raises(ValueError, match="holds images, not texts"):
        pack_texts(open_source("digits"), tmp_path / "packed", by_letters)


def test_tokens_of_another_number_are_refused(tmp_path):
    pack_texts(source(tmp_path), tmp_path / "packed", by_letters)
    file = tmp_path / "packed" / "index.json"
    index = json.loads(file.read_text())
    file.write_text(json.dumps(index | {"texts": index["texts"][1:]}))
    with pytest.raises(ValueError, match="hold other numbers of texts"):
        open_packed(tmp_path / "packed")
