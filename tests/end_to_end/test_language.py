"""A study of language and a comparison of decoders, with a small GPT-2 from a folder, through the command line."""

import random

import pytest
import torch
from safetensors.torch import load_file, save_file

from bequest.data.pack import open_packed
from bequest.evaluation.predict import measure
from bequest.models.opening import open_model
from bequest.models.torchvision_ops import ready_torchvision
from bequest.study.plan import plan
from bequest.study.reading import read_study
from bequest.study.store import Store

NEXT = {"the": ["old", "new"], "old": ["saw", "fig"], "new": ["pear", "drill"]}  # what may follow
WORDS = ["the", "old", "new", "saw", "fig", "pear", "drill"]
STUDY = """\
name: language
model: "hf:{folder}/gpt"
source: {{weights: gpt/model.safetensors}}
targets:
  texts: {{data: "text:texts.csv", task: language-modelling}}
arms:
  replicas: 2
  controls: [meanvar]
  learning_rates: {{}}
  recipe: {{epochs: 4, batch_size: 8, optimizer: adamw, learning_rate: 0.01}}
analyses:
  learning_curves:
  mistakes:
  similarity: {{batch_size: 16}}
  distance:
  barrier: {{points: 3}}
  basin: {{samples: 4}}
  plane: {{points: 3}}
  connectivity: {{pairs: 1, epochs: 1, points: 3}}
  criticality: {{replicas: 1, draws: 1, images: 12}}
  valley: {{replicas: 1, points: 3, draws: 1, images: 12}}
  spectrum:
"""


def sentence(stream):
    """One to three phrases of which each first word is by chance, the second half so, and the third, too."""
    found = []
    for _ in range(stream.randint(1, 3)):
        middle = stream.choice(NEXT["the"])
        found += ["the", middle, stream.choice(NEXT[middle])]
    return " ".join(found)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    ready_torchvision()
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers

    folder = tmp_path_factory.mktemp("language")
    vocabulary = {word: number for number, word in enumerate(["<pad>", "<unk>", *WORDS])}
    plain = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    plain.pre_tokenizer = pre_tokenizers.Whitespace()
    config = transformers.GPT2Config(vocab_size=len(vocabulary), n_positions=16, n_embd=16, n_layer=2, n_head=2)
    config.bos_token_id = config.eos_token_id = config.pad_token_id = 0
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        transformers.GPT2LMHeadModel(config).save_pretrained(folder / "gpt")
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=plain, pad_token="<pad>", unk_token="<unk>", model_max_length=16
    )
    tokenizer.save_pretrained(folder / "gpt")
    stream = random.Random(0)
    lines = dict.fromkeys(sentence(stream) for _ in range(200))
    (folder / "texts.csv").write_text("\n".join(["text", *lines]))
    (folder / "study.yaml").write_text(STUDY.format(folder=folder))
    return folder / "study.yaml"


@pytest.fixture(scope="module")
def done(study, bequest):
    ran = bequest("run", study, "--folder", study.parent / "out")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return plan(read_study(study)), Store(study.parent / "out")


def test_what_is_to_be_said_are_the_tokens(done):
    planned, store = done
    [step] = planned.domains.values()
    packed = open_packed(store.open(step).folder)
    assert packed.classes == ()
    assert not packed.multilabel
    mask = packed.tokens["attention_mask"].bool()
    assert not bool(mask.all())  # texts are of several lengths
    assert torch.equal(packed.targets[mask], packed.tokens["input_ids"].long()[mask])
    assert bool((packed.targets[~mask] == -100).all())
    assert planned.tasks == {"texts": "language-modelling"}


def test_the_arms_learn_to_say_it_and_every_analysis_is_there(done):
    planned, store = done
    for run in ("finetune/0", "randinit/1", "meanvar/0"):
        metrics = store.open(planned.runs["texts"][run]).rows().filter(split="test").sort("epoch")
        # two words of three are certain or one of two: who has learned it is wrong about a third of the time
        assert metrics["error"][-1] < 0.45, run
    assert {analysis for analysis, _ in planned.measured} == set(planned.study.asked())
    for (analysis, _), step in planned.measured.items():
        assert store.open(step).rows().height, analysis


def test_errors_are_those_of_the_network_itself(done):
    planned, store = done
    run = store.open(planned.runs["texts"]["finetune/0"])
    model = open_model(planned.study.model)
    model.load_state_dict(load_file(run.folder / "checkpoints" / "last.safetensors"))
    [step] = planned.domains.values()
    packed = open_packed(store.open(step).folder)
    test = packed.indices("test")
    inputs = {name: tensor[test].long() for name, tensor in packed.tokens.items()}
    error = measure(model.eval(), [(inputs, packed.targets[test])], "language-modelling")[1]
    assert run.rows().filter(split="test").sort("epoch")["error"][-1] == pytest.approx(error, abs=1e-12)
    mistakes = store.open(planned.measured["mistakes", "texts"]).rows()
    found = mistakes.filter(metric="error", a="finetune/0").row(0, named=True)
    assert found["value"] == pytest.approx(error, abs=1e-12)
    assert found["n"] == int((packed.targets[test][:, 1:] != -100).sum())


def test_the_head_starts_from_the_pre_trained_one(done):
    planned, store = done
    checkpoints = store.open(planned.runs["texts"]["finetune/0"]).folder / "checkpoints"
    start, pretrained = (load_file(path) for path in (checkpoints / "step-0.safetensors", planned.study.source.weights))
    assert torch.equal(start["lm_head.weight"], pretrained["transformer.wte.weight"])
    assert torch.equal(start["lm_head.weight"], start["transformer.wte.weight"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("arms.controls=[probe]", "the head of hf:.* is also the table of its input tokens"),
        ("targets.texts.shots=3", "shots are examples of one class each, and those of text:.* have no classes"),
        ("targets.texts.task=classification", "has texts without classes"),
        ("block_shuffle.sizes=[8]", "moves blocks of images"),
    ],
)
def test_what_language_cannot_do_is_told(study, change, said):
    with pytest.raises(ValueError, match=said):
        plan(read_study(study, [change]))


def test_two_decoders_and_their_base_are_compared(study, done, tmp_path, bequest):
    planned, store = done
    for name in ("finetune/0", "finetune/1"):
        weights = load_file(store.open(planned.runs["texts"][name]).folder / "checkpoints" / "last.safetensors")
        del weights["lm_head.weight"]  # as transformers saves it: tied tensors once
        save_file(weights, tmp_path / f"{name.replace('/', '')}.safetensors")
    files = [tmp_path / "finetune0.safetensors", tmp_path / "finetune1.safetensors"]
    words = ["compare", *files, "--base", planned.study.source.weights, "--model", planned.study.model]
    words += ["--data", f"text:{study.parent / 'texts.csv'}", "--folder", tmp_path / "out"]
    for change in ("criticality.draws=0", "barrier.points=3", "basin.samples=4", "similarity.batch_size=16"):
        words += ["--change", change]
    ran = bequest(*words)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    other = plan(read_study(tmp_path / "out" / "study.yaml"))
    given = Store(tmp_path / "out")
    here = given.open(other.measured["barrier", "data"]).rows().filter(metric="error", split="test")
    there = store.open(planned.measured["barrier", "texts"]).rows().filter(metric="error", split="test")
    pair = {"a": "finetune/0", "b": "finetune/1"}
    renamed = {"a": "finetune/finetune0", "b": "finetune/finetune1"}
    assert here.filter(**renamed)["value"].to_list() == pytest.approx(there.filter(**pair)["value"].to_list())
    modules = given.open(other.measured["distance", "data"]).rows()["module"].unique(maintain_order=True).to_list()
    order = [modules.index(name) for name in ("transformer.wte", "transformer.h.0", "transformer.h.1")]
    assert order == sorted(order)


def test_decoders_on_texts_with_classes_are_refused_with_the_way_out(study, done, tmp_path, bequest):
    planned, store = done
    weights = load_file(store.open(planned.runs["texts"]["finetune/0"]).folder / "checkpoints" / "last.safetensors")
    save_file(weights, tmp_path / "one.safetensors")
    lines = ["text,label", *(f"{a} {b} {c},{a}" for a in WORDS[:2] for b in WORDS for c in WORDS)]
    (tmp_path / "said.csv").write_text("\n".join(lines))
    words = ["compare", tmp_path / "one.safetensors", tmp_path / "one.safetensors", "--model", planned.study.model]
    ran = bequest(*words, "--data", f"text:{tmp_path / 'said.csv'}", "--folder", tmp_path / "out")
    assert ran.returncode == 2
    assert "if it is a language model, write text:FILE?label=none" in ran.stderr
