import itertools
import time
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
import torch

from bequest.analyses.mistakes import chart, mistakes, verdict
from bequest.evaluation.labels import auroc_error
from bequest.evaluation.predict import Predictions


def predictions(answers, targets, classes):
    """Predictions that answer with these class numbers."""
    return SimpleNamespace(
        outputs=torch.nn.functional.one_hot(torch.tensor(answers), classes).float(), targets=torch.tensor(targets)
    )


def binary(pattern):
    """Predictions on targets 0 that are right where the pattern has a 1."""
    return predictions([1 - right for right in pattern], [0] * len(pattern), 2)


def study(seed=0, n=300, shared=0.9, errors=(0.2, 0.4), replicas=3, classes=12):
    """Fine-tuned replicas that mostly fail on the same examples, and random inits that fail independently."""
    generator = np.random.default_rng(seed)
    targets = np.arange(n) % classes
    hard = generator.random(n) < errors[0]
    named = {}
    for arm, error in zip(("finetune", "randinit"), errors, strict=True):
        for replica in range(replicas):
            wrong = generator.random(n) < error
            if arm == "finetune":
                wrong = np.where(generator.random(n) < shared, hard, wrong)
            answers = np.where(wrong, (targets + 1 + generator.integers(0, classes - 1, n)) % classes, targets)
            named[f"{arm}/{replica}"] = predictions(answers, targets, classes)
    return named


def test_kappa_test_vectors():
    # science.md 4.7: accuracies .8 and .7, agreement .9: kappa .736842
    found = mistakes({"a": binary([1] * 8 + [0] * 2), "b": binary([1] * 7 + [0] * 3)})
    assert found.value("kappa", a="a", b="b") == pytest.approx(0.736842, abs=1e-6)
    # accuracies .9 and .9, agreement .82: kappa 0
    left, right = [1] * 90 + [0] * 10, [1] * 81 + [0] * 9 + [0] + [1] * 9
    found = mistakes({"a": binary(left), "b": binary(right)})
    assert found.value("kappa", a="a", b="b") == pytest.approx(0, abs=1e-12)
    assert found.value("uncommon", a="a", b="b") == found.value("expected_uncommon", a="a", b="b") == 18


def test_counts_by_hand():
    a, b = predictions([0, 1, 1, 2], [0, 0, 2, 2], 3), predictions([1, 1, 0, 2], [0, 0, 2, 2], 3)
    found = mistakes([a, b], names=["one", "two"], classes=["cat", "dog", "owl"])
    values = {m: found.value(m, a="one", b="two") for m in ("common", "uncommon", "only_a", "only_b")}
    assert values == {"common": 2, "uncommon": 1, "only_a": 0, "only_b": 1}
    assert found.value("expected_uncommon", a="one", b="two") == pytest.approx(4 * (0.5 * 0.25 + 0.5 * 0.75))
    assert found.value("same_wrong_class", a="one", b="two") == 0.5
    assert found.value("error", a="two") == 0.75
    assert found.value("common_in_class", **{"class": "cat"}) == 1
    assert found.value("only_b_in_class", **{"class": "cat"}) == 1
    assert found.select("common_in_class")["class"].to_list() == ["cat", "owl"]
    assert found.select("common_in_class")["n"].to_list() == [2, 2]


def test_kappa_is_cohens():
    from sklearn.metrics import cohen_kappa_score

    named = study(seed=4)
    found = mistakes(named)
    right = {name: (one.outputs.argmax(1) == one.targets).numpy() for name, one in named.items()}
    for a, b in itertools.combinations(named, 2):
        assert found.value("kappa", a=a, b=b) == pytest.approx(cohen_kappa_score(right[a], right[b]), abs=1e-12)


def test_edges_of_kappa():
    perfect, empty, half = binary([1] * 10), binary([0] * 10), binary([1] * 5 + [0] * 5)
    found = mistakes({"p": perfect, "q": perfect, "e": empty, "f": empty, "h": half})
    assert found.value("kappa", a="p", b="q") == 1.0  # no uncommon mistake
    assert found.value("kappa", a="e", b="f") == 1.0
    assert found.value("kappa", a="p", b="h") == 0.0
    assert found.value("kappa", a="p", b="e") == 0.0
    assert found.select("same_wrong_class", a="p", b="q")["value"].to_list() == [None]
    assert found.select("kappa")["low"].null_count() == 0


def test_mcnemar_is_the_exact_binomial():
    from scipy.stats import binomtest

    left, right = [1] * 30 + [0] * 12 + [1] * 3, [1] * 30 + [1] * 12 + [0] * 3
    found = mistakes({"a": binary(left), "b": binary(right)})
    assert found.value("mcnemar_p", a="a", b="b") == pytest.approx(binomtest(3, 15, 0.5).pvalue)
    assert mistakes({"a": binary(left), "b": binary(left)}).value("mcnemar_p", a="a", b="b") == 1.0


def test_bootstrap_by_patterns_is_the_bootstrap_over_examples():
    from bequest.analyses.intervals import bootstrap

    named = {name: one for name, one in study(seed=2).items() if name in ("finetune/0", "randinit/0")}
    row = mistakes(named, seed=1).select("kappa", a="finetune/0", b="randinit/0").row(0, named=True)
    a, b = ((one.outputs.argmax(1) != one.targets).numpy() for one in named.values())

    def kappa(index):
        e1, e2 = a[index].mean(), b[index].mean()
        return 1 - (a[index] != b[index]).mean() / (e1 * (1 - e2) + e2 * (1 - e1))

    slow = bootstrap(kappa, len(a), draws=2000)
    assert row["low"] == pytest.approx(slow.low, abs=0.02)
    assert row["high"] == pytest.approx(slow.high, abs=0.02)


def test_symmetric_in_the_pair_and_repeatable():
    named = study()
    a, b = named["finetune/0"], named["randinit/0"]
    forth, back = mistakes({"a": a, "b": b}), mistakes({"b": b, "a": a})
    for metric in ("common", "uncommon", "expected_uncommon", "kappa", "mcnemar_p", "same_wrong_class"):
        assert forth.value(metric, a="a") == pytest.approx(back.value(metric, a="b"))
    assert forth.value("only_a", a="a") == back.value("only_b", a="b")
    assert mistakes(named).rows.equals(mistakes(named).rows)


def test_eight_models_take_less_than_a_second():
    named = study(n=1000, replicas=4)
    mistakes(named)
    start = time.perf_counter()
    found = mistakes(named)
    assert time.perf_counter() - start < 1
    assert found.select("uncommon").height == 28


def test_twins_are_their_own_kind_and_not_counted_twice():
    named = study()
    named["randinit/0b"] = named["randinit/0"]
    rows = mistakes(named).select("kappa", b=None)
    assert rows["a"].to_list() == [
        "finetune & finetune", "randinit & randinit", "randinit, same init", "finetune & randinit",
    ]  # fmt: skip
    assert rows["n"].to_list() == [3, 3, 1, 9]


def test_verdict_holds_on_shared_mistakes():
    (found,) = mistakes(study(errors=(0.3, 0.35))).verdict
    assert (found.claim, found.status, found.n) == ("C4", "holds", 3)
    assert 0 < found.low < found.high
    assert "kappa" in found.sentence and "bootstrap" in found.rule


def test_arms_of_very_different_errors_are_a_condition():
    (found,) = mistakes(study(errors=(0.2, 0.4))).verdict
    assert found.status == "holds under conditions" and found.low > 0
    assert "are far apart, which kappa does not remove" in found.sentence


def one_law(generator, n=240, error=0.3, least=0.2, most=0.9):
    """Six runs that fail on the same hard examples to an extent of their own, the same law in both arms."""
    targets, hard, named = np.arange(n) % 12, generator.random(n) < error, {}
    for name in (f"{arm}/{k}" for arm in ("finetune", "randinit") for k in range(3)):
        follows = generator.random(n) < generator.uniform(least, most)
        wrong = np.where(follows, hard, generator.random(n) < error)
        named[name] = predictions(np.where(wrong, (targets + 1) % 12, targets), targets, 12)
    return named


def test_arms_that_follow_one_law_are_seldom_said_to_differ():
    generator = np.random.default_rng(0)
    margins = [mistakes(one_law(generator)).select("kappa_difference").row(0, named=True) for _ in range(100)]
    above = sum(row["low"] > 0 for row in margins)  # the intervals of the arms' own kappas are above 0 here
    assert above <= 5 and sum(row["high"] < 0 for row in margins) <= 5
    (found,) = mistakes(one_law(generator)).verdict
    assert "an interval crosses 0" in found.sentence


def test_means_over_pairs_are_less_certain_than_the_images_alone():
    result = mistakes(study())
    one = result.select("kappa", a="randinit/0", b="randinit/1").row(0, named=True)
    mean = result.select("kappa", a="randinit & randinit").row(0, named=True)
    assert mean["low"] <= mean["value"] <= mean["high"] and mean["high"] - mean["low"] > one["high"] - one["low"]
    single = mistakes(study(replicas=2)).select("kappa", a="randinit & randinit").row(0, named=True)
    assert (single["low"], single["high"], single["n"]) == (None, None, 1)  # nothing is known of other runs


def test_fewer_mistakes_alone_are_no_evidence():
    """Fine-tuned models with far fewer uncommon mistakes, but all independent."""
    result = mistakes(study(shared=0, errors=(0.1, 0.5)))
    uncommon = result.select("uncommon")
    tuned = uncommon.filter(pl.col("a").str.starts_with("finetune") & pl.col("b").str.starts_with("finetune"))
    random = uncommon.filter(pl.col("a").str.starts_with("randinit"))
    assert tuned["value"].max() < random["value"].min()
    assert result.verdict[0].status == "inconclusive"


def test_verdict_refutes_when_random_inits_are_the_alike_ones():
    named = study()
    swapped = {("randinit" if name[0] == "f" else "finetune") + name[-2:]: one for name, one in named.items()}
    assert mistakes(swapped).verdict[0].status == "does not hold"


def test_verdict_is_inconclusive_without_enough_pairs_or_training():
    assert mistakes(study(replicas=2)).verdict[0].status == "inconclusive"
    untrained = mistakes(study(errors=(0.2, 0.92))).verdict[0]
    assert untrained.status == "inconclusive" and "randinit is hardly better than chance" in untrained.sentence
    assert mistakes({"mine": study()["finetune/0"], "yours": study()["finetune/1"]}).verdict == ()


def test_verdict_by_target_and_chart():
    parts = [
        mistakes(study(seed)).rows.with_columns(pl.lit(name).alias("target")) for seed, name in ((0, "line"), (1, "m"))
    ]
    (found,) = verdict(pl.concat(parts))
    assert [part.target for part in found.parts] == ["line", "m"]
    assert "concat" in chart(pl.concat(parts)).to_dict()
    drawn = mistakes(study()).chart().to_dict()
    assert drawn["width"] == "container" and len(drawn["layer"]) == 3
    assert max(len(rows) for rows in drawn["datasets"].values()) == 15


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda one: SimpleNamespace(outputs=one.outputs[:-1], targets=one.targets[:-1]), "299 examples"),
        (lambda one: SimpleNamespace(outputs=one.outputs, targets=one.targets.flip(0)), "different targets, first at"),
        (lambda one: SimpleNamespace(outputs=one.outputs[:, 0], targets=one.targets), r"outputs \[N, classes\]"),
        (lambda one: SimpleNamespace(outputs=one.outputs[:, :3], targets=one.targets), "not one of the 3 classes"),
    ],
)
def test_bad_predictions_are_refused(change, message):
    named = study()
    with pytest.raises(ValueError, match=message):
        mistakes({"good": named["finetune/0"], "bad": change(named["finetune/1"])})


def test_bad_names_are_refused():
    one = study()["finetune/0"]
    with pytest.raises(ValueError, match="names="):
        mistakes([one, one])
    with pytest.raises(ValueError, match="different names"):
        mistakes([one, one], names=["a", "a"])
    with pytest.raises(ValueError, match="12 classes, but 2"):
        mistakes({"a": one}, classes=["cat", "dog"])
    with pytest.raises(ValueError, match="pass a dict"):
        mistakes({})
    with pytest.raises(ValueError, match="class number"):
        mistakes({"a": SimpleNamespace(outputs=one.outputs, targets=one.targets.float())})


def test_one_model_has_an_error_and_no_pairs():
    found = mistakes({"mine": study()["finetune/0"]})
    assert sorted(found.rows["metric"].unique()) == ["chance_accuracy", "error"]


def labelled(n=200, classes=3, runs=("finetune/0", "finetune/1", "randinit/0"), seed=0):
    generator = torch.Generator().manual_seed(seed)
    targets = torch.randint(0, 2, (n, classes), generator=generator).float()
    targets[torch.rand(n, classes, generator=generator) < 0.3] = torch.nan
    signal = targets.nan_to_num(0.5) * 2 - 1
    return {run: Predictions(signal + torch.randn(n, classes, generator=generator), targets) for run in runs}


def test_mistakes_on_labels_are_counted_one_by_one():
    given = labelled()
    rows = mistakes(given, classes=["a", "b", "c"]).rows
    one, other = given["finetune/0"], given["randinit/0"]
    cells, by_class = dict.fromkeys(("common", "only_a", "only_b"), 0), dict.fromkeys("abc", 0)
    total = 0
    for i in range(200):
        for c in range(3):
            truth = float(one.targets[i, c])
            if truth == truth:
                total += 1
                wrong = [(float(p.outputs[i, c]) > 0) != (truth == 1) for p in (one, other)]
                key = {(True, True): "common", (True, False): "only_a", (False, True): "only_b"}.get(tuple(wrong))
                if key:
                    cells[key] += 1
                by_class["abc"[c]] += wrong == [True, True]
    pair = rows.filter(a="finetune/0", b="randinit/0")
    for metric, count in cells.items():
        row = pair.filter(metric=metric).row(0, named=True)
        assert (row["value"], row["n"], row["unit"]) == (count, total, "labels")
    assert dict(pair.filter(metric="common_in_class").select("class", "value").iter_rows()) == by_class
    assert not {"mcnemar_p", "same_wrong_class"} & set(rows["metric"])
    area = rows.filter(metric="auroc_error", a="finetune/0")["value"][0]
    assert area == auroc_error(one.outputs, one.targets)
    assert rows.filter(metric="chance_accuracy")["value"][0] == 0.5


def test_the_interval_of_labels_is_over_examples_not_over_labels():
    def width(given):
        row = mistakes(given).rows.filter(metric="kappa", a="x", b="y").row(0, named=True)
        return row["high"] - row["low"]

    single = labelled(300, 1, ("x", "y"))
    copied = {name: Predictions(p.outputs.repeat(1, 9), p.targets.repeat(1, 9)) for name, p in single.items()}
    assert width(copied) == pytest.approx(width(single), rel=1e-9)  # nine copies of each label tell nothing new


def test_labels_of_other_examples_are_refused():
    given = labelled()
    moved = Predictions(given["finetune/0"].outputs, given["finetune/0"].targets.roll(1, 0))
    with pytest.raises(ValueError, match="different targets"):
        mistakes({"x": given["finetune/0"], "y": moved})


def spoken(n=60, words=7, seed=0):
    """Predictions of three models of language on texts of one to six tokens, by a few hundred tokens in all."""
    generator = torch.Generator().manual_seed(seed)
    targets = torch.randint(0, words, (n, 6), generator=generator)
    targets[torch.arange(6) > torch.randint(1, 6, (n, 1), generator=generator)] = -100
    scores = {
        name: torch.randn(n, 6, words, generator=generator) for name in ("finetune/0", "finetune/1", "randinit/0")
    }
    return {name: Predictions(one, targets) for name, one in scores.items()}


def test_mistakes_in_language_are_counted_token_by_token():
    given = spoken()
    rows = mistakes(given).rows
    known = [
        (text, place)
        for text in range(60)
        for place in range(5)
        if int(given["finetune/0"].targets[text, place + 1]) != -100
    ]
    wrong = {
        name: [int(one.outputs[text, place].argmax()) != int(one.targets[text, place + 1]) for text, place in known]
        for name, one in given.items()
    }
    a, b = wrong["finetune/0"], wrong["finetune/1"]
    pair = rows.filter(a="finetune/0", b="finetune/1")
    assert pair.filter(metric="common")["value"][0] == sum(x and y for x, y in zip(a, b, strict=True))
    assert pair.filter(metric="uncommon")["value"][0] == sum(x != y for x, y in zip(a, b, strict=True))
    assert pair["unit"].unique().to_list().count("tokens") == 1
    error = rows.filter(metric="error", a="randinit/0").row(0, named=True)
    assert error["value"] == pytest.approx(sum(wrong["randinit/0"]) / len(known))
    assert error["low"] < error["value"] < error["high"]
    assert not rows["metric"].str.ends_with("_in_class").any()
    assert "mcnemar_p" not in rows["metric"]
    answers = {name: Predictions(one.outputs.argmax(-1), one.targets) for name, one in given.items()}
    assert mistakes(answers).rows.equals(rows)


def test_language_of_other_texts_is_refused():
    given = spoken()
    given["randinit/0"] = spoken(seed=1)["randinit/0"]
    with pytest.raises(ValueError, match="'randinit/0' and 'finetune/0' have different targets"):
        mistakes(given)
