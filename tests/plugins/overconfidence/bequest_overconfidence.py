"""Are models surer than they are right?

Source: Guo et al. 2017. `overconfidence` is the mean confidence (the largest probability) minus the accuracy, over the
images of a split; `calibration_error` the mean distance between the two within bins of equal width of the confidence,
weighted by their images. Both are shares. For each run, and for each arm the mean over replicas with its t interval.

How to read it: 0 is well calibrated, above 0 boasts. A model that is nearly always right has little to be wrong about:
compare models of similar error.
"""

from pydantic import BaseModel, ConfigDict, Field

import bequest
from bequest.analyses.intervals import mean_interval
from bequest.analyses.pairs import ARMS, replicas

name = "overconfidence"
version = 1


class Options(BaseModel):
    """What a study file may say under `analyses: {overconfidence: …}`."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    bins: int = Field(default=10, ge=1, le=100)
    """Bins of the confidence."""
    split: str = Field(default="test", pattern="^(validation|test)$")
    """The images that are shown."""


def scores(outputs, targets, bins):
    """Give (overconfidence, calibration error) of logits [N, classes] and class numbers [N]."""
    sure, answer = outputs.double().softmax(1).max(1)
    gap = sure - (answer == targets).double()
    place = (sure * bins).long().clamp(max=bins - 1)
    within = [gap[place == number] for number in range(bins)]
    return float(gap.mean()), sum(float(part.sum().abs()) for part in within) / len(gap)


def measure(material, options):
    """Predict with every run, then compare how sure it is with how often it is right."""
    if material.task.name != "classification":
        raise ValueError(f"overconfidence is measured on one class an image, not on {material.task.name}")
    found, rows = {}, []
    for done, (run, weights) in enumerate(material.weights().items(), 1):
        made = bequest.predict(material.model, material.batches[options.split], weights=weights)
        found[run] = dict(zip(METRICS, scores(made.outputs, made.targets, options.bins), strict=True))
        for metric, value in found[run].items():
            rows.append({"a": run, "metric": metric, "value": value, "n": len(made.targets)})
        material.tell(done / len(material.runs))
    for arm, runs in replicas(found).items():
        for metric in METRICS:
            mean = mean_interval([found[run][metric] for run in runs])
            rows.append({"a": arm, "metric": metric} | vars(mean))
    return bequest.Result(name, bequest.table(name, [{"module": "*", "split": options.split} | row for row in rows]))


METRICS = ("overconfidence", "calibration_error")


def chart(rows):
    """Draw the mean of each arm with its interval, and each run as a dot."""
    import altair as alt

    arms = rows.filter(rows["a"].is_in(list(ARMS)))
    runs = rows.filter(rows["a"].str.contains("/"))
    colour = alt.Color("arm:N", scale=alt.Scale(domain=list(ARMS), range=list(ARMS.values())), legend=None)
    encoded = {"x": alt.X("value:Q", title="overconfidence"), "y": alt.Y("arm:N", title=None), "color": colour}
    data = [part.filter(part["metric"] == "overconfidence") for part in (arms, runs)]
    means, dots = (part.with_columns(arm=part["a"].str.split("/").list.first()) for part in data)
    bars = alt.Chart(means).mark_errorbar().encode(y=encoded["y"], color=colour, x="low:Q", x2="high:Q")
    points = alt.Chart(dots).mark_circle(size=60).encode(**encoded, tooltip=["a", "value", "n"])
    return (bars + points).properties(width="container", height=140)


def verdict(rows):
    """Judge none of the claims of the paper."""
    return ()
