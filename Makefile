# Everything that a fresh machine needs: `make run` and `make test`. `make help` lists the rest.
PYTHON ?= python3
SEED ?= 1
MINUTES ?= 10
FLOOD_SECONDS ?= 20
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# What depends on RabbitMQ's version: contracts, RabbitMQ itself, and faults of whole installations.
RABBITMQ_SUITES = tests/contract $(wildcard tests/test_rabbitmq*.py) tests/test_retention.py tests/test_installation.py \
	$(addprefix tests/end_to_end/test_,consumer_timeout.py crashes.py dead.py exactly_once.py order.py poison.py replay.py \
	whole_way.py)
# Debian and Ubuntu keep venv in a package of its own, for each version of Python.
INSTALL_VENV = sh tests/services/packages.sh $$($(PYTHON) -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])'):python3
# Every platform and Python that the project supports; no comment says which index was used.
LOCK = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --custom-compile-command 'make lock'

.PHONY: run test test-rabbitmq4 check docs wheel bench chaos floods fuzz compose-test lock clean help

run: $(STAMP)  ## set everything up, write hookline.toml, and run ingress and room view on the embedded queue
	@test -f hookline.toml || $(BIN)/hookline init
	@$(BIN)/hookline run

test: $(STAMP) docs  ## install what the tests need, real servers included, and run them all
	@bash tests/services/install.sh
	$(BIN)/python -m pytest -n 3 --dist loadfile

test-rabbitmq4: $(STAMP)  ## run what depends on RabbitMQ on each of RABBITMQ4_PROGRAMS="folder folder"
	@test -n "$(RABBITMQ4_PROGRAMS)" || { echo "Name the folders that hold rabbitmq-server and rabbitmqctl of RabbitMQ 4:" \
		'make test-rabbitmq4 RABBITMQ4_PROGRAMS="/opt/rabbitmq-4.0/sbin /opt/rabbitmq-4.3/sbin"' >&2; exit 2; }
	@HOOKLINE_TEST_RABBITMQ_PROGRAMS=named bash tests/services/install.sh
	@failed=; for folder in $(RABBITMQ4_PROGRAMS); do \
		echo "RabbitMQ of $$folder:"; \
		env -u HOOKLINE_TEST_AMQP_URL CI=1 HOOKLINE_TEST_RABBITMQ_PROGRAMS=$$folder \
			$(BIN)/python -m pytest -n 3 --dist loadfile -k "not embedded" $(RABBITMQ_SUITES) || failed="$$failed $$folder"; \
	done; test -z "$$failed" || { echo "Failed with$$failed" >&2; exit 1; }

check: $(STAMP)  ## lint, check types, and compare README's tables and docs/schema with the code
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m docs.readme_tables --check
	$(BIN)/python -m docs.descriptions --check

docs: $(STAMP)  ## write README's tables and the descriptions in docs/schema from the code
	@$(BIN)/python -m docs.readme_tables
	@$(BIN)/python -m docs.descriptions

wheel: $(STAMP)  ## build the wheel into dist/, to install in another project
	@$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .
	@ls dist/*.whl

bench: $(STAMP)  ## measure beside simpler programs and print the ratios (about twelve minutes)
	@sh tests/services/install.sh
	@sh benchmarks/install.sh
	@$(BIN)/python -m pip install --quiet --editable '.[test,bench]'
	@$(BIN)/python -m benchmarks

chaos: $(STAMP)  ## send events under random faults (SEED=1 MINUTES=10) and check what became of each
	@bash tests/services/install.sh
	@$(BIN)/python -m tests.chaos --seed $(SEED) --minutes $(MINUTES)

floods: $(STAMP)  ## flood an ingress in each way (FLOOD_SECONDS=20 each); print its memory and answers
	@$(BIN)/python -m tests.floods $(FLOOD_SECONDS)

fuzz: $(STAMP)  ## fuzz all that reads a sender's bytes (MINUTES=10), and keep inputs that reach new code
	@$(BIN)/python -m pip install --quiet --editable '.[test,fuzz]'
	@$(BIN)/python -m tests.fuzz $(MINUTES)

compose-test: $(STAMP)  ## test compose.yaml with signed callbacks through HAProxy (needs Docker)
	bash tests/compose/run.sh

lock: $(STAMP)  ## write the versions and hashes that the Dockerfile installs
	$(BIN)/python -m pip install --quiet 'uv>=0.13,<0.14'
	$(LOCK) --extra redis --extra postgresql pyproject.toml --output-file deploy/requirements.lock
	$(BIN)/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"], sep="\n")' \
		| $(LOCK) - --output-file deploy/build.lock

help:  ## list these targets
	@awk -F ':.*## ' '/^[a-z][a-z0-9-]*:.*## / {printf "make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Hookline needs Python 3.11 or newer"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); $(INSTALL_VENV) && $(PYTHON) -m venv $(VENV); }
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[test,check]'
	@touch $@

clean:  ## remove the virtual environment and the caches
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis
