# Two commands do everything on a machine with only Python (3.11 or newer) and make:
#   make reproduce     the claims of the papers, measured, with figures and reports
#   make test          lint, types and the test suite, but for tests marked as slow
# Both create .venv from the locked dependencies when it is missing or out of date. Beside them,
#   make test-lm       installs torch and TRL, and tests what language models need of them
#   make test-wheel    installs the wheel on another Python, and runs a core of the tests and the slow ones

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: reproduce test test-lm test-wheel lint format rules bench-convergence bench-speed bench-ground-truth bench-self-tuning
.PHONY: lock clean mutate-claims

reproduce: $(READY)
	$(BIN)/comalgames reproduce all

test: lint
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

# The adapter to TRL, on a tiny model, offline. Installs the extra `lm` first, with the CPU build of torch where
# pip finds one; elsewhere name it: make test-lm TORCH="torch==2.13.0 --index-url https://download.pytorch.org/whl/cpu"
TORCH ?= torch==2.13.0
READY_LM := $(VENV)/.ready-lm

test-lm: $(READY_LM)
	$(BIN)/python -m pytest tests/test_trl.py tests/test_lm.py tests/test_losses.py tests/test_docs.py -k "trl or torch"

# The wheel as users install it, on another Python: a core of the tests, the slow ones, and a quick reproduction,
# which is compiled as by default.
NEWEST ?= python3.13
WHEEL := .venv-wheel
CORE := tests/test_protocol.py tests/test_identities.py tests/test_nash.py tests/test_losses.py tests/test_imports.py

test-wheel:
	rm -rf $(WHEEL) && $(NEWEST) -m venv $(WHEEL)
	$(WHEEL)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes \
	    -r requirements.lock
	$(WHEEL)/bin/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir $(WHEEL)/dist .
	$(WHEEL)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps $(WHEEL)/dist/*.whl
	PYTHONSAFEPATH=1 $(WHEEL)/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(CORE)
	PYTHONSAFEPATH=1 $(WHEEL)/bin/python -m pytest -m slow tests/test_reproduce.py
	$(WHEEL)/bin/comalgames reproduce comal --quick --out $(WHEEL)/results

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# The page of rules, from the guarantees that stand beside them.
rules: $(READY)
	$(BIN)/python -c "import comalgames.parametric, comalgames.algorithms.guarantees as g; print(g.as_markdown(), end='')" > docs/rules.md

# Which claims fail under wrong rules; about 20 minutes.
mutate-claims: $(READY)
	$(BIN)/python tests/planted.py all --quick

bench-convergence: $(READY)
	$(BIN)/python benchmarks/convergence.py

bench-speed: $(READY)
	$(BIN)/python benchmarks/speed.py

bench-ground-truth: $(READY)
	$(BIN)/python benchmarks/ground_truth.py

bench-self-tuning: $(READY)
	$(BIN)/python benchmarks/self_tuning.py

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "comalgames needs Python 3.11 or newer; name one: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

$(READY_LM): requirements-lm.lock $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(TORCH)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements-lm.lock
	@touch $@

# Torch is left out of the second lock, for its build differs from machine to machine. Needs uv (pip install uv). Resolves for every platform and every supported Python at once.
COMPILE := --universal --python-version 3.11 --no-header --generate-hashes pyproject.toml
lock:
	uv pip compile $(COMPILE) --extra test -o requirements.lock
	echo 'torch ; sys_platform == "none"' > $(VENV)/no-torch.txt
	uv pip compile $(COMPILE) --extra test --extra lm -c requirements.lock --override $(VENV)/no-torch.txt \
	    -o requirements-lm.lock

clean:
	rm -rf $(VENV) $(WHEEL)
