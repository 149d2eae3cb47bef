# Everything that a fresh machine needs: `make run` and `make test`.
PYTHON ?= python3
SEED ?= 1
MINUTES ?= 10
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Debian and Ubuntu keep venv in a package of its own, for each version of Python.
INSTALL_VENV = sh tests/services/packages.sh $$($(PYTHON) -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])'):python3

.PHONY: run test check docs bench chaos compose-test clean

run: $(STAMP)  ## start the door and the room view on the embedded broker, with a hookline.toml of its own
	@test -f hookline.toml || $(BIN)/hookline init
	@$(BIN)/hookline run

test: $(STAMP) docs  ## install what the tests need, real servers included, and run them
	@bash tests/services/install.sh
	$(BIN)/python -m pytest -n 3 --dist loadfile

check: $(STAMP)  ## lint, types, and that README's tables are what the code says
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m hookline.readme --check

docs: $(STAMP)  ## write README's tables anew from the code
	@$(BIN)/python -m hookline.readme

bench: $(STAMP)  ## measure everything side by side with simpler programs (some twelve minutes), and print the ratios
	@sh tests/services/install.sh
	@sh benchmarks/install.sh
	@$(BIN)/python -m pip install --quiet --editable '.[test,bench]'
	@$(BIN)/python -m benchmarks

chaos: $(STAMP)  ## send events under random faults (SEED=1 MINUTES=10) and check what became of each
	@bash tests/services/install.sh
	@$(BIN)/python -m tests.chaos --seed $(SEED) --minutes $(MINUTES)

compose-test: $(STAMP)  ## the whole of compose.yaml, with signed callbacks through HAProxy
	bash tests/compose/run.sh

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Hookline needs Python 3.11 or newer"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); $(INSTALL_VENV) && $(PYTHON) -m venv $(VENV); }
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[test,check]'
	@touch $@

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis
