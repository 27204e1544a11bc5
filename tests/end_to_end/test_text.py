"""A study of texts with a small BERT from a folder, through the command line."""

import random
import shutil

import pytest
import torch
from safetensors.torch import load_file

from bequest.models.torchvision_ops import ready_torchvision
from bequest.study.plan import plan
from bequest.study.reading import read_study
from bequest.study.store import Store

WORDS = {"fruit": ["apple", "pear", "plum", "fig"], "tool": ["saw", "drill", "file", "lathe"]}
STUDY = """\
name: texts
model: "hf:{folder}/bert"
source: {{weights: bert/model.safetensors}}
targets:
  words: {{data: "text:texts.csv", shots: 10}}
arms:
  replicas: 2
  controls: [probe]
  learning_rates: {{}}
  recipe: {{epochs: 5, batch_size: 5, optimizer: adamw, learning_rate: 0.02}}
analyses:
  learning_curves:
  mistakes:
  similarity: {{batch_size: 16}}
  distance:
  barrier: {{points: 3}}
  criticality: {{replicas: 1, draws: 1, images: 12}}
  spectrum:
"""


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    ready_torchvision()
    import transformers

    folder = tmp_path_factory.mktemp("texts")
    every = [word for words in WORDS.values() for word in words]
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "a", "old", "new", "and", *every]
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = transformers.BertConfig(vocab_size=len(vocabulary), max_position_embeddings=16, **sizes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        transformers.BertForSequenceClassification(config).save_pretrained(folder / "bert")
    (folder / "vocab.txt").write_text("\n".join(vocabulary))
    transformers.BertTokenizer(str(folder / "vocab.txt"), model_max_length=16).save_pretrained(folder / "bert")
    stream = random.Random(0)
    lines = ["text,label"]
    for number in range(80):
        kind = list(WORDS)[number % 2]
        start = " ".join(stream.choices(["the", "a", "old", "new", "and"], k=4))
        lines.append(f"{start} {' and '.join(stream.choices(WORDS[kind], k=1 + number % 3))},{kind}")
    (folder / "texts.csv").write_text("\n".join(dict.fromkeys(lines)))
    (folder / "study.yaml").write_text(STUDY.format(folder=folder))
    return folder / "study.yaml"


@pytest.fixture(scope="module")
def done(study, bequest):
    ran = bequest("run", study, "--folder", study.parent / "out")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return plan(read_study(study)), Store(study.parent / "out")


def test_texts_become_tokens_of_the_models_own(done):
    planned, store = done
    [step] = planned.domains.values()
    tokens = load_file(store.open(step).folder / "tokens.safetensors")
    assert (tokens["input_ids"][:, 0] == 2).all()  # [CLS]
    assert not (tokens["input_ids"] == 1).any()  # no word is unknown


def test_the_arms_learn_and_every_analysis_is_there(done):
    planned, store = done
    metrics = store.open(planned.runs["words"]["finetune/0"]).rows().filter(split="train").sort("epoch")
    assert metrics["loss"][-1] < metrics["loss"][0]
    for (analysis, _), step in planned.measured.items():
        assert store.open(step).rows().height, analysis
    similar = store.open(planned.measured["similarity", "words"]).rows()
    assert {"bert.encoder.layer.0", "bert.encoder.layer.1"} <= set(similar["module"])


def test_two_fine_tunes_and_their_base_are_compared(study, done, tmp_path, bequest):
    planned, store = done
    for number in (0, 1):
        weights = store.open(planned.runs["words"][f"finetune/{number}"]).folder / "checkpoints" / "last.safetensors"
        shutil.copy(weights, tmp_path / f"tuned{number}.safetensors")
    files = [tmp_path / "tuned0.safetensors", tmp_path / "tuned1.safetensors"]
    words = ["compare", *files, "--base", planned.study.source.weights, "--model", planned.study.model]
    words += ["--data", f"text:{study.parent / 'texts.csv'}", "--folder", tmp_path / "out"]
    for change in ("criticality.draws=0", "barrier.points=3", "basin.samples=4", "similarity.batch_size=16"):
        words += ["--change", change]
    ran = bequest(*words)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    given = Store(tmp_path / "out")
    compared = plan(read_study(tmp_path / "out" / "study.yaml"))
    here = given.open(compared.measured["barrier", "data"]).rows().filter(metric="error", split="test")
    there = store.open(planned.measured["barrier", "words"]).rows().filter(metric="error", split="test")
    there = there.filter(a="finetune/0", b="finetune/1")["value"].to_list()
    assert here.filter(a="finetune/tuned0", b="finetune/tuned1")["value"].to_list() == pytest.approx(there)
    modules = given.open(compared.measured["distance", "data"]).rows()["module"].unique(maintain_order=True).to_list()
    order = [modules.index(f"bert.encoder.layer.{layer}") for layer in (0, 1)]
    assert order == sorted(order)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("block_shuffle.sizes=[8]", "moves blocks of images, and text:.*texts.csv holds texts"),
        ("model=resnet8", "'resnet8' has no tokenizer"),
    ],
)
def test_what_texts_cannot_do_is_told(study, change, said):
    more = ["source={data: [fonts]}"] if change.startswith("model") else []
    with pytest.raises(ValueError, match=said):
        plan(read_study(study, [change, *more]))
