# make demo   the main job on real images; ends with the path of a report
# make test   lint, types, tests: what CI runs
# make clean  remove the virtual environment and the studies
PYTHON ?= python3
BIN := .venv/bin
# threads that spin while they wait are slow where cores are shared
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: demo test clean

.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Bequest needs Python 3.11 or newer; say make PYTHON=/path/to/python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	PIP_CONSTRAINT=$(CURDIR)/constraints.txt $(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[demo,dev]"
	touch $@

demo: .venv/installed
	$(BIN)/bequest demo

test: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest

clean:
	rm -rf .venv studies
