# make demo   the main job on real images; ends with the path of a report
# make test   lint, types, tests: what CI runs
# make bench  speed against the peers of benchmarks/requirements.txt; at most 20 minutes on two quiet cores
# make docs   the documentation, its gallery run as it is built; docs/build/index.html
# make clean  remove the virtual environments and the studies
PYTHON ?= python3
BIN := .venv/bin
# threads that spin while they wait are slow where cores are shared
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: demo test bench docs clean

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
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

.venv-bench/installed: pyproject.toml constraints.txt benchmarks/requirements.txt benchmarks/requirements-bare.txt
	test -x .venv-bench/bin/python || $(PYTHON) -m venv .venv-bench
	PIP_CONSTRAINT=$(CURDIR)/constraints.txt .venv-bench/bin/python -m pip install --quiet --disable-pip-version-check \
		-e ".[demo]" -r benchmarks/requirements.txt
	.venv-bench/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r benchmarks/requirements-bare.txt
	touch $@

bench: .venv-bench/installed
	.venv-bench/bin/python benchmarks/run.py $(BENCH)

.venv/documented: .venv/installed
	PIP_CONSTRAINT=$(CURDIR)/constraints.txt $(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[demo,dev,docs]"
	touch $@

docs: .venv/documented
	$(BIN)/python -m sphinx -W --keep-going -E -q -b html docs docs/build
	@echo "docs: docs/build/index.html"

clean:
	rm -rf .venv .venv-bench studies docs/build docs/generated
