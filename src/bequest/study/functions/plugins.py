"""How does a step run an analysis of another package?

The step's identity has the name of the analysis, its version and its options, as those of Bequest have.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bequest.analyses.material import Material
from bequest.analyses.plugins import plugin
from bequest.data.pack import open_packed
from bequest.study.functions.images import chosen, evaluation_batches, task_of
from bequest.study.functions.measuring import chance_of, empty_model, runs_among, units_of, write_result
from bequest.study.functions.training import run_of
from bequest.study.step import Context
from bequest.study.store import Artefact


def plugged(folder: Path, arguments: Mapping[str, Any], inputs: Mapping[str, Artefact], context: Context) -> None:
    """Make an analysis of another package on a target.

    Args:
        folder: gets its rows and arrays, and in `plugin.json` the package that has it.
        arguments: `analysis`, the `version` that was planned, `options`, `seed`, and those of every measurement.
        inputs: the runs and `images`; maybe `pretrained`.
        context: device, progress.

    Raises:
        ValueError: if the package that is installed here has another version of the analysis.
    """
    found = plugin(arguments["analysis"])
    if found.version != arguments["version"]:
        raise ValueError(
            f"the plan has version {arguments['version']} of the analysis {found.name}, and {found.package}, which is "
            f"installed here, has version {found.version}; install the same package everywhere"
        )
    packed = open_packed(inputs["images"].folder)
    model = empty_model(inputs, context)
    splits = [split for split in ("train", "validation", "test") if len(chosen(packed, split, arguments))]
    material = Material(
        model=model,
        runs={name: run_of(artefact) for name, artefact in runs_among(inputs).items()},
        pretrained=run_of(inputs["pretrained"]) if "pretrained" in inputs else None,
        batches={split: evaluation_batches(packed, split, arguments) for split in splits},
        modules=units_of(model, arguments, inputs),
        task=task_of(arguments),
        classes=tuple(packed.classes),
        chance=chance_of(inputs),
        seed=arguments["seed"],
        tell=context.tell,
    )
    result = found.measure(material, found.options.model_validate(arguments["options"]))
    write_result(folder, arguments, inputs, result)
    (folder / "plugin.json").write_text(json.dumps({"analysis": found.name, "package": found.package}))
