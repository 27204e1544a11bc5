import ast
import importlib
from itertools import combinations
from pathlib import Path

import polars as pl
import pytest

import bequest.analyses
from bequest.analyses.conditions import training_rows, tuning_rows
from bequest.analyses.result import table
from bequest.analyses.verdict import CLAIMS, COVERED, Verdict, combine, judge_targets, limited, trained_accuracy


def part(status, target="line", claim="C1"):
    return Verdict(claim, status, f"Because of {target}.", "a rule", n=3, low=0.1, high=0.2, target=target)


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["holds", "holds"], "holds"),
        (["does not hold", "does not hold"], "does not hold"),
        (["holds", "does not hold"], "holds under conditions"),
        (["holds under conditions", "holds"], "holds under conditions"),
        (["holds", "inconclusive"], "inconclusive"),
        (["does not hold", "inconclusive"], "inconclusive"),
    ],
)
def test_combine(words, wanted):
    joined = combine([part(word, str(index)) for index, word in enumerate(words)])
    assert joined.status == wanted
    assert [one.status for one in joined.parts] == words
    assert joined.n == 6 and "1: " in joined.sentence


def test_combine_one_is_itself_and_mixed_claims_are_refused():
    assert combine([part("holds")]) == part("holds")
    with pytest.raises(ValueError, match="one claim"):
        combine([part("holds"), part("holds", claim="C2")])
    with pytest.raises(ValueError, match="one claim"):
        combine([])


def test_judge_targets_asks_for_each_target_in_order_and_leaves_out_the_silent():
    rows = pl.DataFrame({"target": ["line", "mono", "line", "flat"], "metric": "m", "a": "P"})

    def judge(part_rows, target):
        assert part_rows["target"].unique().to_list() == [target]
        return None if target == "flat" else part("holds", target)

    (found,) = judge_targets(rows, judge)
    assert [one.target for one in found.parts] == ["line", "mono"]
    assert judge_targets(rows, lambda *_: None) == ()
    assert judge_targets(rows.clear(), judge) == ()


ARMS = ("finetune", "randinit")
RUNS = [f"{arm}/{k}" for arm in ARMS for k in range(3)]
PAIRS = [*combinations(RUNS, 2), *((f"randinit/{k}", f"randinit/{k}b") for k in range(3))]
TRAINED = list(training_rows(dict.fromkeys(RUNS, 0.1), 0.1))


def in_pairs(metric, tuned, others, **more):
    """A row a pair: one level for fine-tuned models, another for all others, with a little spread."""
    more = {"module": "*", "n": 100} | more
    for index, (a, b) in enumerate(PAIRS):
        level = tuned if a[0] == b[0] == "f" else others
        yield {"metric": metric, "a": a, "b": b, "value": level * (1 + 0.01 * (index % 3)), **more}


def clear(metric, value, **more):
    return {"metric": metric, "module": "*", "value": value, "low": value - 0.01, "high": value + 0.01, "n": 3, **more}


HOLDING = {  # analysis -> rows for which all that it judges holds
    "learning_curves": [
        clear("error_difference", -0.2, a="finetune", b="randinit", split="test", x=10),
        clear("mean_train_accuracy_difference", 0.2, a="finetune", b="randinit", split="train"),
        *(clear("error", 0.5 / x, a=arm, split="test", x=x) for arm in ARMS for x in (1, 2)),
        *tuning_rows({arm: [0.01, 0.1, 1] for arm in ARMS}, dict.fromkeys(ARMS, 0.1)),
    ],
    "mistakes": [
        clear("kappa", 0.6, a="finetune & finetune"),
        clear("kappa", 0.3, a="randinit & randinit"),
        clear("kappa_difference", 0.3, a="finetune & finetune", b="randinit & randinit"),
        *(row for metric in ("uncommon", "expected_uncommon", "kappa") for row in in_pairs(metric, 10.0, 20.0)),
        *({"metric": "error", "a": name, "value": 0.1} for name in RUNS),
        {"metric": "chance_accuracy", "value": 0.1},
    ],
    "similarity": [*TRAINED, *in_pairs("cka", 0.8, 0.1, module="fc", module_b="fc")],
    "distance": [
        *TRAINED,
        *(row for metric in ("l2", "l2_sum", "l2_relative") for row in in_pairs(metric, 1.0, 5.0)),
        *(row for metric in ("l2", "l2_per_sqrt_n", "l2_relative") for row in in_pairs(metric, 1.0, 5.0, module="fc")),
        *in_pairs("cosine_from_one_start", 0.5, 0.5),
    ],
    "barrier": [
        row
        for split in ("train", "test")
        for row in (
            *in_pairs("barrier_error", 0.0, 0.4, split=split),
            *(one for t in (0.0, 1.0) for one in in_pairs("error", 0.1, 0.1, split=split, x=t)),
            {"metric": "chance_accuracy", "split": split, "value": 0.1},
        )
    ],
}


def judge(name, *missing, target=None):
    rows = table(name, [*HOLDING[name], *({"metric": "missing_run", "a": run} for run in missing)])
    module = importlib.import_module(f"bequest.analyses.{name}")
    return module.verdict(rows.with_columns(target=pl.lit(target, dtype=pl.String)))


@pytest.mark.parametrize("name", HOLDING)
def test_what_holds_does_so_under_conditions_where_a_run_of_the_arms_is_missing(name):
    whole = judge(name)
    assert whole and {one.status for one in whole} == {"holds"}
    left = judge(name, "finetune/3", "randinit/4", target="line")
    assert {one.status for one in left} == {"holds under conditions"}
    for one, before in zip(left, whole, strict=True):
        assert one.sentence.startswith(before.sentence.rstrip("."))
        assert "finetune/3 failed and is not counted; randinit/4 failed and is not counted." in one.sentence
    assert judge(name, "shuffled/0") == whole  # these claims are about two arms


@pytest.mark.parametrize("name", HOLDING)
def test_rows_of_missing_runs_are_not_drawn(name):
    module = importlib.import_module(f"bequest.analyses.{name}")
    plain, more = (
        module.chart(table(name, [*HOLDING[name], *extra])).to_dict(format="vega")
        for extra in ([], [{"metric": "missing_run", "a": "finetune/3"}])
    )
    assert plain == more and any(data.get("values") for data in plain["data"])


@pytest.mark.parametrize("name", HOLDING)
def test_every_rule_says_what_intervals_cover(name):
    assert all(one.rule.endswith(COVERED) for one in judge(name))
    assert all(one.rule.count(COVERED) == 1 for one in judge(name, "finetune/3"))


def test_every_analysis_judges_by_way_of_the_targets():
    judges = 0
    for path in Path(bequest.analyses.__path__[0]).glob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and node.name == "verdict":
                if ast.unparse(node.body[-1]) == "return ()":  # judges no claim
                    continue
                judges += 1
                called = [one.func.id for one in ast.walk(node) if isinstance(one, ast.Call)]
                assert "judge_targets" in called, f"{path.name} does not heed missing runs"
    assert judges >= len(HOLDING)


def test_a_missing_run_is_named_but_changes_no_other_word():
    rows = pl.DataFrame({"target": ["line"] * 2, "metric": ["m", "missing_run"], "a": ["P", "randinit/1"]})
    for word in ("does not hold", "inconclusive", "holds under conditions"):
        (found,) = judge_targets(rows, lambda part_rows, target, word=word: part(word, target))
        assert found.status == word and "randinit/1 failed and is not counted" in found.sentence


def test_limits_apply_to_what_holds():
    assert limited(part("holds"), []) == part("holds")
    found = limited(part("holds"), ["nobody looked"])
    assert (found.status, found.sentence) == ("holds under conditions", "Because of line. Beware: nobody looked.")
    for word in ("does not hold", "inconclusive"):
        assert limited(part(word), ["nobody looked"]) == part(word)


def test_trained_means_twice_chance_but_less_where_guessing_is_easy():
    assert trained_accuracy(1 / 12) == pytest.approx(1 / 6)
    assert trained_accuracy(0.5) == pytest.approx(0.625)
    assert trained_accuracy(0.0) == 0.0


def test_there_are_eleven_claims():
    assert list(CLAIMS) == [f"C{number}" for number in range(1, 12)]
