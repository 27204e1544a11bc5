"""Every line that the README and the docs type is carried out, in a small folder with small files of those names."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from typer.testing import CliRunner

from bequest.cli import app
from bequest.models.opening import open_model

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"^```(yaml|console)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PAGES = [ROOT / "README.md", *sorted(path for path in (ROOT / "docs").rglob("*.md") if "build" not in path.parts)]
TYPING = [page for page in PAGES if "```console" in page.read_text(encoding="utf-8")]
# The demo in seconds: its keys and its images, next to none of its trainings.
LITTLE = [
    "size=16",
    "source.recipe.epochs=1",
    "arms.recipe.epochs=1",
    "arms.replicas=1",
    "arms.controls=[]",
    "arms.checkpoint_epochs=[]",
    "arms.learning_rates={finetune: [0.003], randinit: [0.003]}",
    "targets={line: {data: 'emoji:line', shots: 2}}",
    "analyses={learning_curves: , distance: }",
    "decisions={}",
]
FEW = ["--size=32", "--change=barrier.points=3"]
FEW_FROM_A_BASE = ["--change=criticality.draws=2", "--change=criticality.precision=0.5", "--change=basin.samples=4"]
STUDY = """\
name: study
model: resnet8
size: 8
source: {data: [fonts], recipe: {epochs: 1}}
targets: {digits: {data: digits, shots: 2}}
arms: {replicas: 1, learning_rates: {}, recipe: {epochs: 1, batch_size: 10}}
analyses: {learning_curves: , distance: }
"""
WITH_RAY = pytest.mark.skipif(
    not os.environ.get("BEQUEST_RAY"),
    reason="Ray takes a minute to start here: BEQUEST_RAY=1 pytest tests/test_console.py",
)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The folder in which somebody types."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    (tmp_path / "study.yaml").write_text(STUDY)
    draw = np.random.default_rng(0)
    for label, name in enumerate(("dark", "light")):
        folder = tmp_path / "photos" / name
        folder.mkdir(parents=True)
        for number in range(8):
            pixels = draw.normal(70 + 110 * label, 40, (16, 16, 3)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{number}.png")
    return tmp_path


def write_weights(folder, model, words):
    """Write the weights of a network, each drawn a little off the same ones, under the names that a line says."""
    if model.startswith("hf:"):
        make_transformer(folder / model.removeprefix("hf:"))
    for seed, word in enumerate(words):
        network = open_model(model or "resnet8", classes=2, seed=9)
        draw = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for value in network.parameters():
                value.add_(0.01 * value.std(correction=0) * torch.randn(value.shape, generator=draw))
        state = network.state_dict()
        path = folder / word
        if word.endswith("/"):
            path.mkdir()
            save_file(state, path / "model.safetensors")
        elif word.endswith(".safetensors"):
            save_file(state, path)
        else:
            torch.save(state, path)


def make_transformer(folder):
    from transformers import ResNetConfig, ResNetForImageClassification

    config = ResNetConfig(num_labels=2, embedding_size=4, hidden_sizes=[4, 8], depths=[1, 1], layer_type="basic")
    ResNetForImageClassification(config).save_pretrained(folder)


def carry_out(words, folder, *, apart=False):
    """Do a line that begins with `bequest` on something small, in this process or in its own; it has to end with 0."""
    command, *rest = [str(folder / word[1:]) if word.startswith("/shared") else word for word in words]
    named = 0 if command == "demo" else 1
    if command in ("demo", "run", "plan") and (command == "demo" or rest[0].startswith("examples/")):
        rest = [*rest[:named], *LITTLE, *rest[named:]]
    elif command == "compare":
        model = rest[rest.index("--model") + 1] if "--model" in rest else ""
        write_weights(folder, model, [word for word in rest if word.endswith(("/", ".pth", ".safetensors"))])
        rest += [*FEW, *(FEW_FROM_A_BASE if "--base" in rest else ())] if model else []
    if apart:  # where Ray is started and stopped, which takes the processes along that are joined to it
        done = subprocess.run([sys.executable, "-m", "bequest", command, *rest], capture_output=True, text=True)
        assert done.returncode == 0, f"bequest {shlex.join([command, *rest])}\n{done.stdout}{done.stderr}"
        return
    answer = CliRunner().invoke(app, [command, *rest], input="y\n")
    assert answer.exit_code == 0, f"bequest {shlex.join([command, *rest])}\n{answer.output}\n{answer.exception}"


def lines_of(page):
    """What a page types, in its order, and before it the study files that the page shows."""
    for kind, text in BLOCK.findall(page.read_text(encoding="utf-8")):
        if kind == "yaml" and text.startswith("name: "):
            yield "file", [text.split()[1], text]
        for line in text.splitlines() if kind == "console" else ():
            command, *words = shlex.split(line, comments=True) or [""]
            if command:
                yield command, words


def needs_ray(words):
    return "ray" in words or any(word.startswith("/shared") for word in words)


@pytest.mark.parametrize("page", TYPING, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_types_can_be_typed(page, here):
    for command, words in lines_of(page):
        if command == "file":
            (here / f"{words[0]}.yaml").write_text(words[1])
        elif command == "make":  # dry: CI does `make test`, and `bequest demo` is done here
            subprocess.run(["make", "--dry-run", *words], cwd=ROOT, check=True, capture_output=True)
        elif command == "pip":
            install(words, here)
        elif command == "bequest" and not needs_ray(words):
            carry_out(words, here)
        else:
            assert command in ("bequest", "ray"), command


def install(words, folder):
    """Install without a network: a package beside us into a folder of its own, and what is here already not at all."""
    how = ["--dry-run"]
    if words[1].startswith("./"):
        shutil.copytree(ROOT / "tests" / "plugins" / words[1], folder / words[1])
        how = ["--no-deps", "--no-build-isolation", "--target", str(folder / "site")]
    pip = [sys.executable, "-m", "pip", *words, "--no-index", "--disable-pip-version-check", *how]
    done = subprocess.run(pip, cwd=folder, check=True, capture_output=True, text=True)
    assert "WARNING" not in done.stderr + done.stdout  # so it is said that an extra is not known
    assert (folder / "site").is_dir() == words[1].startswith("./")


@WITH_RAY
@pytest.mark.parametrize("page", ["README.md", "docs/how_to/cluster.md"])
def test_what_a_page_types_with_ray_can_be_typed(page, here, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")  # else it goes by whether Ray has left a token on this machine
    ray, nodes = str(Path(sys.executable).parent / "ray"), 0

    def start():
        nonlocal nodes
        place = ["--address=127.0.0.1:6379"] if nodes else ["--head", "--port=6379"]
        words = ["start", *place, "--num-cpus=1", "--disable-usage-stats"]
        subprocess.run([ray, *words], check=True, capture_output=True, timeout=120)
        nodes += 1

    try:
        for command, words in lines_of(ROOT / page):
            if command == "ray" or ("auto" in words and not nodes):  # the README takes a cluster that runs
                start()
            if command == "bequest" and needs_ray(words):
                carry_out(words, here, apart=True)
    finally:
        subprocess.run([ray, "stop", "--force"], capture_output=True, timeout=120)
    assert nodes
