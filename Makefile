# `make run` and `make test` create what they need: a virtual environment in .venv, exact versions
# from requirements.lock. Set PYTHON=... to choose the interpreter, ARGS="..." to add options to run.
PYTHON ?= $(or $(shell command -v python3.11),$(shell command -v python3),python3)
DATA ?= mnist
BIN := .venv/bin
NOTEBOOKS := $(sort $(wildcard notebooks/*.ipynb))
# The last digits of a sum depend on how many threads share it: fixed wherever outputs are compared.
ONE_THREAD := OMP_NUM_THREADS=1

define PLATFORM_CHECK
import platform, sys
machine = platform.system(), platform.machine()
wheels = ("Linux", "x86_64"), ("Linux", "aarch64"), ("Darwin", "x86_64")
if sys.version_info[:2] != (3, 11):
    sys.exit(f"gluon-vae needs Python 3.11 (MXNet 1.9.1 runs on no later one), but {sys.executable} is Python "
             f"{platform.python_version()}: install python3.11, or name it with make PYTHON=/path/to/python3.11")
if machine not in wheels or (machine[0] == "Linux" and platform.libc_ver()[0] != "glibc"):
    sys.exit(f"MXNet 1.9.1 has no wheel for {' '.join(machine)}: use Linux with glibc (x86-64 or ARM) or macOS on Intel")
endef
export PLATFORM_CHECK

define IMPORT_CHECK
try:
    import mxnet
except OSError as error:
    raise SystemExit(f"MXNet is installed but a system library is missing ({error}); on Debian and Ubuntu: "
                     "apt-get install libgomp1 libquadmath0")
endef
export IMPORT_CHECK

.PHONY: run test soak lab notebooks figures bench lint format clean

run: .venv/.run
	$(BIN)/python -m gluon_vae $(ARGS)

test: lint
	$(ONE_THREAD) $(BIN)/pytest -n auto --maxprocesses 4
	$(ONE_THREAD) $(BIN)/pytest -n auto --maxprocesses 4 --dist loadfile --nbval \
		--nbval-sanitize-with tests/sanitize.cfg --nbval-cell-timeout 600 $(NOTEBOOKS)

# Thirty kills of a training process, half of them during a save; `make test` has a few of them.
soak: .venv/.dev
	$(ONE_THREAD) $(BIN)/pytest -q -s tests/soak.py

lint: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: .venv/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lab: .venv/.dev
	$(BIN)/jupyter lab notebooks

notebooks: .venv/.dev
	printf '%s\n' $(NOTEBOOKS) | $(ONE_THREAD) xargs -n 1 -P 2 $(BIN)/python notebooks/execute.py

figures: .venv/.run
	$(BIN)/python -m gluon_vae --data $(DATA) --epochs 50 --out figures

# The peers' environments are made on demand, in benchmarks/.
bench: .venv/.run
	$(BIN)/python benchmarks/run.py --data $(DATA) $(ARGS)

clean:
	rm -rf .venv benchmarks/.venv-* out build *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +

# What running needs comes first and alone, so that the first picture comes soon.
.venv/.run: requirements.lock pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "gluon-vae needs Python 3.11; $(PYTHON) was not found"; exit 1; }
	@$(PYTHON) -c "$$PLATFORM_CHECK"
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c requirements.lock setuptools
	$(BIN)/pip install --quiet --disable-pip-version-check -c requirements.lock --no-build-isolation -e .
	@$(BIN)/python -c "$$IMPORT_CHECK"
	touch $@

.venv/.dev: .venv/.run
	$(BIN)/pip install --quiet --disable-pip-version-check -c requirements.lock --no-build-isolation -e '.[dev]'
	touch $@
