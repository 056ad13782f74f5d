# `make run` and `make test` create what they need: a virtual environment in .venv, exact versions
# from requirements.lock. Set PYTHON=... to choose the interpreter, ARGS="..." to add options to run.
PYTHON ?=
SUPPORTED := 3.13 3.12 3.11
DATA ?= mnist
BIN := .venv/bin
PIP = $(BIN)/pip install --quiet --disable-pip-version-check -c requirements.lock
NOTEBOOKS := $(sort $(wildcard notebooks/*.ipynb))
# The last digits of a sum depend on how many threads share it: fixed wherever outputs are compared.
ONE_THREAD := OMP_NUM_THREADS=1
RUN_NOTEBOOKS = $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile -p tests.compare_numbers -p tests.solutions --nbval \
	--nbval-sanitize-with tests/sanitize.cfg --nbval-cell-timeout 600 $(NOTEBOOKS)
MARGINS = $(BIN)/python tests/margins.py
AVX512 := AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL AVX512_SPR X86_V4
AVX2_CPU := DNNL_MAX_CPU_ISA=AVX2 OPENBLAS_CORETYPE=Haswell NPY_DISABLE_CPU_FEATURES="$(AVX512)"
OLD_CPU := DNNL_MAX_CPU_ISA=SSE41 OPENBLAS_CORETYPE=Nehalem NPY_DISABLE_CPU_FEATURES="$(AVX512) AVX2 FMA3 X86_V3"

# Print the interpreter to make .venv with: PYTHON if that is set, else the newest supported one that can,
# else one that uv has or fetches. Passed over are names that do not run, as pyenv's may not, and a Python without
# ensurepip, as Debian's is without its package python3-venv.
define FIND_PYTHON
lacking= uv=
for python in $(or $(PYTHON),$(SUPPORTED:%=python%) python3); do
    answer=$$("$$python" gluon_vae/install_mxnet.py --check 2>&1) &&
        "$$python" -c 'import ensurepip' && echo "$$python" && exit
    case $$answer in MXNet*) break;; "") lacking=$${python##*/}; esac
done 2>/dev/null
case $$answer in MXNet*) echo "$$answer" >&2; exit 1; esac
if [ -z "$(PYTHON)" ] && command -v uv >/dev/null; then
    export UV_PYTHON_PREFERENCE=only-managed UV_PYTHON_INSTALL_BIN=0
    uv python install 3.12 >&2 && uv python find --system 3.12 && exit
    uv=", nor did uv fetch one"
fi
echo "gluon-vae needs Python $(lastword $(SUPPORTED)) to $(firstword $(SUPPORTED)) (to 3.12 on macOS) with its module venv, and \
$(if $(PYTHON),$(PYTHON) is not one,none is on the PATH)$$uv$${lacking:+ ($$lacking lacks the package $$lacking-venv)}: \
install python3.12 and python3.12-venv, or uv, by which make fetches Python 3.12, or name one with make PYTHON=..." >&2
exit 1
endef
export FIND_PYTHON

.PHONY: run check test test-kernels margins soak lab notebooks figures site bench lint format clean FORCE

run: .venv/.run
	$(BIN)/python -m gluon_vae $(ARGS)

# The fast lane of `make test`: without the notebooks, and without the tests marked slow, which build the site, or train
# in processes of their own that are killed, go on, or share the work.
check: lint
	$(ONE_THREAD) $(BIN)/pytest -n auto --maxprocesses 4 -m "not slow"

test: lint
	$(ONE_THREAD) $(BIN)/pytest -n auto --maxprocesses 4
	$(ONE_THREAD) $(RUN_NOTEBOOKS)

# The notebooks as two older processors would compute them, for those who change a chapter: each of the three
# libraries that choose their kernels by the processor is told what it lacks, NumPy by the names of 1.26 and of 2.
test-kernels: lint
	$(ONE_THREAD) $(OLD_CPU) $(RUN_NOTEBOOKS)
	$(ONE_THREAD) $(AVX2_CPU) $(RUN_NOTEBOOKS)

# What every assertion of a chapter compares, with three seeds and three kernel sets: bounds are set from that.
margins: .venv/.dev
	for seed in 0 1 2; do $(ONE_THREAD) $(MARGINS) run --seed $$seed $(NOTEBOOKS) || exit; done
	$(ONE_THREAD) $(OLD_CPU) $(MARGINS) run --name old $(NOTEBOOKS)
	$(ONE_THREAD) $(AVX2_CPU) $(MARGINS) run --name avx2 $(NOTEBOOKS)
	$(MARGINS) report $(NOTEBOOKS)

# Thirty kills of a training process, half of them during a save, and thousands of forged checkpoints; `make test`
# has a few of them.
soak: .venv/.dev
	$(ONE_THREAD) $(BIN)/pytest -q -s tests/soak.py

lint: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: .venv/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lab: .venv/.dev
	$(BIN)/jupyter lab notebooks

notebooks: .venv/.dev
	printf '%s\n' $(NOTEBOOKS) | $(ONE_THREAD) xargs -n 1 -P 2 $(BIN)/python notebooks/execute.py

figures: .venv/.run
	$(BIN)/python -m gluon_vae --data $(DATA) --epochs 50 --rate-warmup 0 --out figures

# Needs node, by which the formulas are set. Opens from disk: site/index.html.
site: .venv/.dev
	$(BIN)/sphinx-build --quiet --fail-on-warning -c docs -d build/doctrees . site

# The peers' environments are made on demand, in benchmarks/.
bench: .venv/.run
	$(BIN)/python benchmarks/run.py --data $(DATA) $(ARGS)

clean:
	rm -rf .venv benchmarks/.venv-* out build site *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +

# What running needs comes first and alone, so that the first picture comes soon.
.venv/.run: requirements.lock pyproject.toml .venv/pyvenv.cfg
	$(PIP) setuptools
	$(PIP) --no-build-isolation -e .
	@$(BIN)/python gluon_vae/install_mxnet.py
	@$(BIN)/python -c 'import sys; sys.tracebacklimit = 0; import gluon_vae'
	touch $@

.venv/.dev: .venv/.run
	$(PIP) --no-build-isolation -e '.[dev,docs]'
	touch $@

.venv/pyvenv.cfg:
	@python=$$($(SHELL) -c "$$FIND_PYTHON") && "$$python" gluon_vae/install_mxnet.py --check && \
		echo "$$python -m venv .venv" && "$$python" -m venv --clear .venv

# .venv is made anew where its Python is gone, and where PYTHON names another.
WHICH = $(shell $1 -c 'import sys; print(sys.base_prefix, sys.version)' 2>/dev/null)
ifeq ($(realpath $(BIN)/python),)
.venv/pyvenv.cfg: FORCE
else ifdef PYTHON
ifneq ($(call WHICH,$(PYTHON)),$(call WHICH,$(BIN)/python))
.venv/pyvenv.cfg: FORCE
endif
endif
FORCE:

.DELETE_ON_ERROR:
