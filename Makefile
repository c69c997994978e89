# make demo   install into .venv, classify the sample dumps, say where the results are
# make test   install into .venv, run linters, type check and tests
# make test-oldest   fast tests with the oldest versions that pyproject.toml promises, in .venv-oldest
# make docs   install into .venv, build the documentation with its API pages into build/docs/html

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
DEMO   ?= demo_output
OLDEST ?= python3.11
CONSTRAINTS := constraints.txt
STAMP  := $(VENV)/.installed

.PHONY: demo test fast test-oldest lint docs clean

$(STAMP): pyproject.toml $(CONSTRAINTS)
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --constraint $(CONSTRAINTS) torch
	$(BIN)/pip install --quiet --constraint $(CONSTRAINTS) --editable '.[lint,test]'
	touch $@

demo: $(STAMP)
	$(BIN)/ovito-mace-phase classify sample_dumps/*.dump.gz --output $(DEMO) --force

lint: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

test: lint
	$(BIN)/pytest

fast: $(STAMP)
	$(BIN)/pytest -m 'not slow' $(WARNINGS)

# numba's cache holds one version at a time, hence the folder of its own
test-oldest:
	NUMBA_CACHE_DIR=$(abspath .venv-oldest/numba) $(MAKE) fast PYTHON=$(OLDEST) VENV=.venv-oldest CONSTRAINTS=constraints-oldest.txt WARNINGS='-W default'

docs: $(STAMP)
	$(BIN)/sphinx-build -W --keep-going -q -b html -d build/docs/doctrees docs build/docs/html
	@echo 'open build/docs/html/index.html'

clean:
	rm -rf $(VENV) .venv-oldest $(DEMO) build *.egg-info
