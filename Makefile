# Two commands do everything on a machine with only Python (3.11 or newer) and make:
#   make reproduce     the claims of the paper, measured, with figures and a report
#   make test          lint, types and the test suite
# Both create .venv from the locked dependencies when it is missing or out of date.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: reproduce test lint format bench-convergence bench-speed lock clean

reproduce: $(READY)
	$(BIN)/comalgames reproduce

test: lint
	$(BIN)/python -m pytest -n 2 --dist loadfile

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench-convergence: $(READY)
	$(BIN)/python benchmarks/convergence.py

bench-speed: $(READY)
	$(BIN)/python benchmarks/speed.py

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "comalgames needs Python 3.11 or newer; name one: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

# Needs uv (pip install uv). Resolves for every platform and every supported Python at once.
lock:
	uv pip compile --universal --python-version 3.11 --extra test --no-header pyproject.toml -o requirements.lock

clean:
	rm -rf $(VENV)
