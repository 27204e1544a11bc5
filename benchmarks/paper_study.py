"""What would all analyses of a study of the paper's size cost beside its trainings, in images through the network?

Plans `examples/paper/domainnet_clipart.yaml` with DomainNet's official numbers of images (33,525 to train on and 14,604
to test) and counts: an image that is only shown counts one, one that is learned from three. Nothing is trained. The
lists and pictures are made here, tiny ones; a plan only counts them. The seconds columns are billions of images.
"""

from __future__ import annotations

import io
import tempfile
from pathlib import Path

from race import Row, alone

STUDY = Path(__file__).parents[1] / "examples" / "paper" / "domainnet_clipart.yaml"
COUNTS = {"train": 33_525, "test": 14_604}
CLASSES = 345
MOST = 0.2
NEITHER = {"images", "choose", "weights", "report", "train"}


def measure(quick: bool) -> list[Row]:
    from bequest.models.files import write_weights
    from bequest.models.opening import open_model
    from bequest.study.plan import plan
    from bequest.study.reading import read_study

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _domain(folder / "DomainNet")
        write_weights(open_model("fixup_resnet50").state_dict(), folder / "P.safetensors")
        changes = [
            f"targets.clipart.data=domainnet:{folder}/DomainNet/clipart",
            f"source.weights={folder}/P.safetensors",
        ]
        planned = plan(read_study(STUDY, changes))
    steps = planned.steps()
    training = sum(step.cost for step in steps if step.function == "train")
    arms = [step for name, step in planned.runs["clipart"].items() if name.startswith(("finetune", "randinit"))]
    few = sum(step.cost for step in arms)
    analyses = {analysis: step.cost for (analysis, _), step in planned.measured.items()}
    analyses["predictions"] = sum(step.cost for step in steps if step.function == "predict")
    ours = sum(analyses.values())
    largest = sorted(analyses.items(), key=lambda item: -item[1])[:5]
    note = "billions of images. Largest: " + ", ".join(
        f"{name.replace('_', ' ')} {cost / 1e9:.3f}" for name, cost in largest
    )
    rows = []
    for what, whole in (
        (f"all {sum(s.function == 'train' for s in steps)} trainings", training),
        ("7 runs alone", few),
    ):
        ratio = ours / whole
        job, target = "all analyses of DomainNet clipart", f"at most {MOST}"
        rows.append(
            Row(job, what, ours / 1e9, "training, in images", whole / 1e9, ratio, target, ratio <= MOST, note=note)
        )
    return rows


def _domain(folder: Path) -> None:
    """Write the official lists with as many lines, each with a picture of one pixel."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (1, 1)).save(buffer, "JPEG")
    for split, count in COUNTS.items():
        lines = []
        for number in range(count):
            label = number % CLASSES
            place = Path("clipart") / f"class_{label:03d}" / f"{split}_{number:06d}.jpg"
            if number < CLASSES:
                (folder / place).parent.mkdir(parents=True, exist_ok=True)
            (folder / place).write_bytes(buffer.getvalue() + f"{split} {number}".encode())  # so that none is a copy
            lines.append(f"{place} {label}")
        (folder / f"clipart_{split}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    alone(measure)
