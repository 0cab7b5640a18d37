# Sets up the project's own environment and runs its jobs. `make` alone lists the targets.
#
#   make PYTHON=/path/to/python3.12 env    use this Python instead of looking for one
#   make PYTEST_ARGS="-k voc -x" quick     hand options to pytest

PYTHON ?=
VENV ?= .venv
PYTEST_ARGS ?=

ifeq ($(OS),Windows_NT)
BIN := $(VENV)/Scripts
else
BIN := $(VENV)/bin
endif

# The tests of a file share what is made for them, so they stay in one process.
PYTEST := $(BIN)/pytest -n auto --dist loadfile

# Its time is when the environment was last made to agree with the two files it depends on.
MARKER := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help env test quick test-benchmarks demo docs lint format clean

help: ## list the targets
	@echo "usage: make TARGET"
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

env: $(MARKER) ## make .venv and install the project into it (once; again when its requirements change)

test: lint ## lint, check types and run every test (those on real data where ../shared/data exists)
	$(PYTEST) $(PYTEST_ARGS)

quick: env ## run every test that takes less than half a second, and name those that took longest
	$(PYTEST) -m "not data and not slow" --durations 5 --durations-min 2 $(PYTEST_ARGS)

test-benchmarks: env ## run the tests of benchmarks/, which measure what the documents say
	$(PYTEST) tests/benchmarks $(PYTEST_ARGS)

demo: env ## prepare, train, export, evaluate and name people on small embedded data
	$(BIN)/faces demo

docs: env ## make the page of `import faces` from its docstrings, build/docs/faces.html
	$(BIN)/python -W error -m pdoc --docformat google --no-show-source -o build/docs faces

lint: env ## check style and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: env ## put the code into the project's style
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean: ## remove the environment and all caches; data/ and runs/ stay
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(MARKER): pyproject.toml constraints.txt
	@python="$(PYTHON)"; \
	if [ -z "$$python" ]; then \
	  for candidate in python3.11 python3 python3.12 python3.13 python3.14 python; do \
	    if $$candidate -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	      python=$$candidate; break; \
	    fi; \
	  done; \
	fi; \
	if [ -z "$$python" ]; then \
	  echo "make: no Python 3.11 or newer was found. Install one, or name it:" >&2; \
	  echo "      make PYTHON=/path/to/python3.11 env" >&2; \
	  exit 2; \
	fi; \
	if ! "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then \
	  echo "make: PYTHON=$$python is missing or older than 3.11; the project needs 3.11 or newer." >&2; \
	  exit 2; \
	fi; \
	if ! "$$python" -c 'import ensurepip, venv' 2>/dev/null; then \
	  version=$$("$$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])'); \
	  echo "make: $$python cannot make environments. On Debian and Ubuntu:" >&2; \
	  echo "      apt install python$$version-venv" >&2; \
	  echo "      elsewhere install the full Python, then type the same again." >&2; \
	  exit 2; \
	fi; \
	if ! $(BIN)/python -c '' 2>/dev/null; then \
	  echo "making $(VENV) with $$("$$python" --version)"; \
	  "$$python" -m venv --clear $(VENV) || exit; \
	fi
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@
