# Everything that a fresh machine needs: `make run` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# What depends on RabbitMQ's version: contracts, RabbitMQ itself, and faults of whole installations.
RABBITMQ_SUITES = tests/contract $(wildcard tests/test_rabbitmq*.py) tests/test_retention.py tests/test_installation.py \
	$(addprefix tests/end_to_end/test_,consumer_timeout.py crashes.py dead.py exactly_once.py order.py poison.py replay.py \
	whole_way.py)
# Debian and Ubuntu keep venv in a package of its own, for each version of Python.
INSTALL_VENV = sh tests/services/packages.sh $$($(PYTHON) -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])'):python3

.PHONY: run test test-rabbitmq4 check docs bench compose-test clean

run: $(STAMP)  ## start the door and the room view on the embedded broker, with a hookline.toml of its own
	@test -f hookline.toml || $(BIN)/hookline init
	@$(BIN)/hookline run

test: $(STAMP) docs  ## install what the tests need, real servers included, and run them
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
