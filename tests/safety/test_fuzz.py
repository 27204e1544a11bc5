"""A few inputs for every reader that `benchmarks/fuzz.py` knows; the long run is that script's."""

import importlib.util
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"
EXAMPLES = 12


def load(name):
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


known = load("fuzz_readers")
fuzz = load("fuzz")
READERS = known.readers()


@pytest.mark.parametrize("name", READERS)
def test_an_input_is_read_or_refused_in_words_of_ours(name):
    reader, tally = READERS[name], fuzz.Tally()
    fuzz.fuzz(reader, tally, examples=EXAMPLES, number=1)
    assert not tally.finds, list(tally.finds)
    assert tally.refused or name == "readme"  # what it says may be missing altogether


@pytest.mark.parametrize("name", READERS)
def test_what_is_sound_is_read(name, tmp_path):
    reader, tally = READERS[name], fuzz.Tally()
    (tmp_path / "sound").mkdir()
    fuzz.attempt(reader, reader.files[reader.victim], tmp_path / "sound", tally)
    assert tally.read == 1, tally


def test_errors_of_others_and_damage_that_is_not_found_are_finds(tmp_path):
    for number, error in enumerate((TypeError("x"), ValueError("no file is named"), AssertionError("not found"))):

        def fail(path, error=error):
            raise error

        tally, folder = fuzz.Tally(), tmp_path / f"{number}"
        folder.mkdir()
        fuzz.attempt(known.Reader({"victim.x": b""}, "victim.x", fail, None), b"", folder, tally)
        assert len(tally.finds) == 1 and not tally.refused
