# Everything that a fresh machine needs: `make run` and `make test`. `make help` lists the rest.
PYTHON ?= python3
SEED ?= 1
MINUTES ?= 10
SEEDS ?= 0-99999
FLOOD_SECONDS ?= 20
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# A virtual environment works only in the folder in which it was made, and with the Python that made it.
IS_HERE = test -x $(BIN)/python && grep -qF " $$(pwd -P)/$(VENV)" $(VENV)/pyvenv.cfg
STALE := $(shell test ! -e $(STAMP) || { $(IS_HERE); } || echo stale-venv)
# Python reads the name of this folder in the locale's encoding, and ends if it cannot.
ifneq ($(filter C POSIX,$(LC_ALL)),)
export LC_ALL := C.UTF-8
endif
# Container images set it. Each of a run's processes, more than a thousand, would compile every module again.
unexport PYTHONDONTWRITEBYTECODE
# What depends on RabbitMQ's version: contracts, RabbitMQ itself, and faults of whole installations.
RABBITMQ_SUITES = tests/contract $(wildcard tests/test_rabbitmq*.py) tests/test_retention.py tests/test_installation.py \
	tests/test_compose_setup.py \
	$(addprefix tests/end_to_end/test_,consumer_timeout.py crashes.py dead.py exactly_once.py order.py poison.py replay.py \
	whole_way.py)
# Debian and Ubuntu keep venv in a package of its own, for each version of Python.
INSTALL_VENV = sh tests/services/packages.sh $$($(PYTHON) -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])'):python3
# Most tests wait for servers more than they compute. In the order of folders, one process computes while others wait;
# in the order of pytest-xdist, all compute first and wait then, and the files with a single long test come last.
TESTS_IN_PARALLEL = $(BIN)/python -m pytest -n 4 --dist loadfile --no-loadscope-reorder --max-worker-restart 0
SPHINX = $(BIN)/python -m sphinx -q -W --keep-going -j auto -c docs
# Every platform and Python that the project supports; no comment says which index was used. uv would keep the versions
# that a file has: --upgrade asks for the newest.
LOCK = $(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-annotate --custom-compile-command 'make lock'

.PHONY: run test test-rabbitmq4 check tables docs docs-links wheel bench simulate chaos faults floods fuzz compose-test systemd-test cluster-test lock clean help

run: $(STAMP)  ## set everything up, write hookline.toml, and run ingress and room view on the embedded queue
	@test -f hookline.toml || $(BIN)/hookline init
	@$(BIN)/hookline run

test: $(STAMP) tables  ## install what the tests need, real servers included, and run them all
	@bash tests/services/install.sh
	$(TESTS_IN_PARALLEL)

test-rabbitmq4: $(STAMP)  ## run what depends on RabbitMQ on each of RABBITMQ4_PROGRAMS="folder folder"
	@test -n "$(RABBITMQ4_PROGRAMS)" || { echo "Name the folders that hold rabbitmq-server and rabbitmqctl of RabbitMQ 4:" \
		'make test-rabbitmq4 RABBITMQ4_PROGRAMS="/opt/rabbitmq-4.0/sbin /opt/rabbitmq-4.3/sbin"' >&2; exit 2; }
	@HOOKLINE_TEST_RABBITMQ_PROGRAMS=named bash tests/services/install.sh
	@failed=; for folder in $(RABBITMQ4_PROGRAMS); do \
		echo "RabbitMQ of $$folder:"; \
		env -u HOOKLINE_TEST_AMQP_URL CI=1 HOOKLINE_TEST_RABBITMQ_PROGRAMS=$$folder \
			$(TESTS_IN_PARALLEL) -k "not embedded" $(RABBITMQ_SUITES) || failed="$$failed $$folder"; \
	done; test -z "$$failed" || { echo "Failed with$$failed" >&2; exit 1; }

check: $(STAMP)  ## lint, check types, and compare the written tables, pages and descriptions with the code
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m docs.readme_tables --check
	$(BIN)/python -m docs.descriptions --check
	$(BIN)/python -m docs.site_pages --check

tables: $(STAMP)  ## write the tables of README and docs, the reference, the picture and docs/schema from the code
	@$(BIN)/python -m docs.readme_tables
	@$(BIN)/python -m docs.descriptions
	@$(BIN)/python -m docs.site_pages

docs: tables  ## write the tables, and build the site into build/site (warnings are errors)
	@$(SPHINX) -b html . build/site
	@echo "Open build/site/index.html"

docs-links: tables  ## ask each page of others that the site links to (needs the internet)
	@$(SPHINX) -b linkcheck . build/links

wheel: $(STAMP)  ## build the wheel into dist/, to install in another project
	@$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .
	@ls dist/*.whl

bench: $(STAMP)  ## measure beside simpler programs and print the ratios (nearly an hour)
	@sh tests/services/install.sh
	@sh benchmarks/install.sh
	@$(BIN)/python -m pip install --quiet --editable '.[test,bench]'
	@$(BIN)/python -m benchmarks

simulate: $(STAMP)  ## run workers in virtual time under random faults (SEEDS=0-99999) and show the first broken promise
	@$(BIN)/python -m tests.simulation --seeds $(SEEDS)

chaos: $(STAMP)  ## send events under random faults (SEED=1 MINUTES=10) and check what became of each
	@bash tests/services/install.sh
	@$(BIN)/python -m tests.chaos --seed $(SEED) --minutes $(MINUTES)

faults: $(STAMP)  ## provoke faults of RabbitMQ, network, disk and processes (FAULTS=F1,F7 some); print a row for each
	@bash tests/services/install.sh
	@command -v strace >/dev/null || sh tests/services/packages.sh strace nftables || echo "Some scenes will be left out." >&2
	@$(BIN)/python -m tests.faults $(FAULTS)

floods: $(STAMP)  ## flood an ingress in each way (FLOOD_SECONDS=20 each); print its memory and answers
	@$(BIN)/python -m tests.floods $(FLOOD_SECONDS)

fuzz: $(STAMP)  ## fuzz all that reads a sender's bytes (MINUTES=10), and keep inputs that reach new code
	@$(BIN)/python -m pip install --quiet --editable '.[test,fuzz]'
	@$(BIN)/python -m tests.fuzz $(MINUTES)

compose-test: $(STAMP)  ## test compose.yaml with signed callbacks through HAProxy (needs Docker)
	bash tests/compose/run.sh

systemd-test: $(STAMP)  ## test the units of deploy/systemd under a real systemd (needs Docker)
	bash tests/systemd/run.sh

cluster-test: $(STAMP)  ## run the commands of docs/rabbitmq-cluster.md on three nodes, and upgrade them under load
	@bash tests/services/install.sh
	HOOKLINE_TEST_CLUSTER=1 $(BIN)/python -m pytest tests/deployment/test_cluster_page.py

lock: $(STAMP)  ## write the versions and hashes that the Dockerfile installs
	$(BIN)/python -m pip install --quiet 'uv>=0.13,<0.14'
	$(LOCK) --extra redis --extra postgresql pyproject.toml --output-file deploy/requirements.lock
	$(BIN)/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"], sep="\n")' \
		| $(LOCK) - --output-file deploy/build.lock

help:  ## list these targets
	@awk -F ':.*## ' '/^[a-z][a-z0-9-]*:.*## / {printf "make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(STAMP): pyproject.toml $(STALE)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Hookline needs Python 3.11 or newer: name one, as in make PYTHON=python3.12 run"; exit 1; }
	@test -z "$(STALE)" || { echo "$(VENV) was made in another folder, or its Python is gone: making it anew"; rm -rf $(VENV); }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); $(INSTALL_VENV) && $(PYTHON) -m venv $(VENV); }
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[test,check,docs]'
	@touch $@

stale-venv:

clean:  ## remove the virtual environment and the caches
	rm -rf $(VENV) build .pytest_cache .mypy_cache .ruff_cache .hypothesis
