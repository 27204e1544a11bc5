"""What the README shows can be run: its Python example prints numbers, its study file is read."""

import re
from pathlib import Path

from bequest.study.reading import read_study

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_the_python_example_runs_and_prints_numbers(capsys):
    for block in blocks("python"):
        exec(compile(block, "README.md", "exec"), {"__name__": "readme"})
    printed = [float(line) for line in capsys.readouterr().out.split()]
    assert len(printed) == 4
    kappa, cka, l2, barrier = printed
    assert -1 <= kappa <= 1
    assert cka < 1
    assert l2 > 0
    assert 0 <= barrier <= 1


def test_the_study_file_is_read(tmp_path):
    for block in blocks("yaml"):
        path = tmp_path / "study.yaml"
        path.write_text(block)
        assert read_study(path).name == "mine"
