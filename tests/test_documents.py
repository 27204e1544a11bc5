"""What the README and the docs show is true: Python is run, study files are read, commands and their options exist."""

import ast
import re
import shlex
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from typer.main import get_command

import bequest
from bequest.cli import app
from bequest.study.options import Analyses
from bequest.study.plan import plan
from bequest.study.reading import check, read_study, with_changes
from bequest.study.spec import Study

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(path for path in DOCS.rglob("*.md") if "build" not in path.parts)]
DIRECTIVES = {"{toctree}", "{eval-rst}", "{literalinclude}"}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PLUGIN = ROOT / "tests" / "plugins" / "overconfidence"


@dataclass(frozen=True)
class Block:
    page: Path
    line: int
    language: str
    text: str

    @property
    def where(self):
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks_of(page):
    found, begun, language, lines = [], 0, "", []
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        if line.startswith("```") and not begun:
            begun, language, lines = number, line[3:].strip(), []
        elif line == "```":
            found.append(Block(page, begun, language, "\n".join(lines) + "\n"))
            begun = 0
        elif begun:
            lines.append(line)
    assert not begun, f"{page}:{begun}: a block has no end"
    return found


BLOCKS = [block for page in PAGES for block in blocks_of(page)]


def those(*languages):
    return [pytest.param(block, id=block.where) for block in BLOCKS if block.language in languages]


def test_every_block_is_of_a_kind_that_is_looked_at():
    for block in BLOCKS:
        kind = block.language.split()[0] if block.language.startswith("{") else block.language
        assert kind in DIRECTIVES | {"python", "yaml", "console", "text"}, f"{block.where}: {kind!r}"
    assert len(those("python")) >= 4
    assert len(those("yaml")) >= 4
    assert len(those("console")) >= 5


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_python_of_a_page_runs(page, capsys):
    names = {"__name__": "shown"}
    for block in blocks_of(page):
        if block.language == "python":
            exec(compile(block.text, block.where, "exec"), names)
    printed = capsys.readouterr().out
    if page.name == "README.md":
        kappa, cka, l2, barrier = [float(line) for line in printed.split()]
        assert -1 <= kappa <= 1
        assert cka < 1
        assert l2 > 0
        assert 0 <= barrier <= 1


@pytest.mark.parametrize("block", those("yaml"))
def test_a_study_file_is_read(block, tmp_path, install):
    install_plugin(install)
    content = yaml.safe_load(block.text)
    if "name" in content:
        path = tmp_path / "study.yaml"
        path.write_text(block.text)
        study = read_study(path)
        domains = {*study.source.data, *(target.data for target in study.targets.values())}
        if domains <= {"digits", "fonts"}:  # what is on every machine
            assert plan(study).steps()
    else:  # a part of one
        assert content.keys() <= Study.model_fields.keys(), block.where
        rest = {"name": "rest", "source": {"data": ["fonts"]}, "targets": {"one": {"data": "digits"}}}
        check(rest | content, lambda location: block.where)


def install_plugin(install):
    about = tomllib.loads((PLUGIN / "pyproject.toml").read_text())["project"]
    module = "bequest_overconfidence"
    source = (PLUGIN / f"{module}.py").read_text()
    install(module, source, about["entry-points"]["bequest.analyses"], about["version"])


@pytest.mark.parametrize("block", those("console"))
def test_a_command_and_its_options_exist(block):
    for line in block.text.splitlines():
        command, *words = shlex.split(line, comments=True) or ["#"]
        if command == "bequest":
            check_command(words, block.where)
        elif command == "make":
            assert re.search(rf"^{words[0]}:", (ROOT / "Makefile").read_text(), flags=re.MULTILINE), line
        elif command == "pip":
            assert words[0] == "install"
            check_packages([word for word in words[1:] if not word.startswith("-")], line)
        elif command == "ray":
            assert words[0] == "start", line
            options = pytest.importorskip("ray.scripts.scripts", reason='pip install "bequest[ray]"').start
            options.make_context("start", words[1:])  # refuses unknown options
        else:
            assert command == "#", f"{block.where}: {line}"


def check_command(words, where):
    """Parse a line without running it, and read its changes of a study."""
    found = get_command(app).commands[words[0]].make_context(words[0], list(words[1:]))  # refuses unknown options
    asked = found.params.get("study")
    content = yaml.safe_load((ROOT / "examples" / "emoji.yaml").read_text())
    if asked is not None and str(asked).startswith("examples/"):
        content = yaml.safe_load((ROOT / asked).read_text())
    changes = [*(found.params.get("changes") or ()), *(found.params.get("change") or ())]
    check(with_changes(content, [change for change in changes if "…" not in change]), lambda location: where)


def check_packages(packages, line):
    for package in packages:
        if package.startswith("./"):
            assert (ROOT / "tests" / "plugins" / package / "pyproject.toml").is_file(), line
        else:
            name, extras = re.fullmatch(r"([a-z0-9-]+)(?:\[([a-z,]+)\])?", package).groups()
            known = PROJECT["optional-dependencies"]
            assert name != "bequest" or set((extras or "").split(",")) <= known.keys() | {""}, line


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_pictures_lead_to_files(page):
    text = page.read_text(encoding="utf-8")
    for address in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
        if "://" not in address:
            assert (page.parent / address).exists(), f"{page.name}: {address}"
    for block in blocks_of(page):
        if block.language.startswith("{literalinclude}"):
            assert (page.parent / block.language.split()[1]).is_file(), block.where
        if block.language == "{toctree}":
            for name in [line for line in block.text.splitlines() if line and not line.startswith(":")]:
                assert (page.parent / f"{name}.md").is_file(), f"{block.where}: {name}"


def test_every_page_is_in_the_tree():
    trees = [block.text.splitlines() for block in blocks_of(DOCS / "index.md") if block.language == "{toctree}"]
    named = {line for tree in trees for line in tree if line and not line.startswith(":")}
    pages = {str(page.relative_to(DOCS).with_suffix("")) for page in PAGES if page.is_relative_to(DOCS)}
    assert pages - {"index"} == named


def test_the_tree_of_the_readme_names_folders_that_are_there():
    [tree] = [block.text for block in BLOCKS if block.page.name == "README.md" and block.language == "text"]
    for line in tree.splitlines():
        name = line.split()[0]
        assert (ROOT / ("src/bequest" if line.startswith(" ") else "") / name).exists(), name
    rooms = {path.name for path in (ROOT / "src" / "bequest").iterdir() if (path / "__init__.py").is_file()}
    named = re.findall(r"^  (\w+)/", tree, flags=re.MULTILINE)
    assert sorted(named) == sorted(rooms)


@pytest.fixture
def building(monkeypatch):
    """What builds the pages; needs no Sphinx."""
    monkeypatch.syspath_prepend(DOCS)
    import building.pages

    return building.pages


def test_the_reference_has_every_key_option_and_name(building, tmp_path):
    keys = building.filled((DOCS / "reference" / "study_file.md").read_text(), tmp_path)
    for name in (*Study.model_fields, *(f"## `analyses.{analysis}`" for analysis in Analyses.model_fields)):
        assert name in keys
    assert "`points`\n: whole number; at least 3; at most 1,001; default `21`." in keys
    assert "`learning_rates`\n: a map from `finetune` or `randinit` or" in keys
    commands = building.filled((DOCS / "reference" / "command_line.md").read_text(), tmp_path)
    for name, command in get_command(app).commands.items():
        assert f"## `bequest {name}`" in commands
        assert all(word in commands for one in command.params for word in one.opts if word.startswith("--"))
    python = building.filled((DOCS / "reference" / "python.md").read_text(), tmp_path)
    assert set(re.findall(r":: bequest\.(\w+)$", python, flags=re.MULTILINE)) == set(bequest.__all__)
    assert ".. autoclass:: bequest.Result\n   :members:" in python


def test_every_analysis_is_explained_with_what_to_suspect(building, tmp_path):
    text = (DOCS / "reading.md").read_text()
    parts = re.split(r"^## ", text, flags=re.MULTILINE)[1:]
    named = [re.search(r"<!-- analysis: (\w+) -->\n\n### When it misleads\n\n\* ", part)[1] for part in parts]
    assert set(named) == {*Analyses.model_fields, "changes"}
    assert "**Is there a barrier on the straight line between two solutions?**" in building.filled(text, tmp_path)


def test_every_example_of_the_gallery_is_shown_and_has_words_and_code():
    shown = re.findall(r"<!-- example: (\S+) -->", (DOCS / "gallery.md").read_text())
    files = {path.name for path in (DOCS / "gallery").glob("*.py")} - {"digit_networks.py"}
    assert set(shown) == files
    for name in files:
        tree = ast.parse((DOCS / "gallery" / name).read_text())
        assert ast.get_docstring(tree).startswith("**"), name
