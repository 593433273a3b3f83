# make demo   everything in one go: .venv, install, train, route, blend, evaluate, report
# make test   all the tests, the slow ones included
# make lint   ruff and mypy
# make pocket the base that the package ships, from text
#
# PYTHON picks the interpreter; TORCH says what pip installs for torch, with options if need be.

PYTHON ?= python3
TORCH ?= torch==2.13.0
VENV := .venv
RUN := $(VENV)/bin
DEMO_OUT ?= demo-out
MINUTES ?= 100
PROCESSES ?= 2

.PHONY: demo test lint clean pocket
.DELETE_ON_ERROR:

demo: $(VENV)/.installed
	$(RUN)/loramix demo --out $(DEMO_OUT)

# Side by side, a thread for each; then those that measure time or memory, one after another.
BESIDE := -n auto --maxprocesses 4 --dist loadfile
test: $(VENV)/.installed-dev
	$(RUN)/python -m pytest $(BESIDE) -m "not slow"
	OMP_NUM_THREADS=1 $(RUN)/python -m pytest $(BESIDE) -m "slow and not alone"
	$(RUN)/python -m pytest -m alone

lint: $(VENV)/.installed-dev
	$(RUN)/ruff check src tests tools notebooks benches
	$(RUN)/mypy

# The stamps make a second run start at once; a changed requirement installs again.
$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null || { \
	  echo "loramix needs Python 3.10 or newer, and '$(PYTHON)' is" \
	    "$$($(PYTHON) --version 2>/dev/null || echo missing)." >&2; \
	  echo "Install one and run: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 2; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
	  echo "This Python cannot make virtual environments: its venv module is missing." >&2; \
	  echo "On Debian and Ubuntu: sudo apt install python3-venv" >&2; exit 2; }
	test -x $(RUN)/python || $(PYTHON) -m venv $(VENV)
	$(RUN)/python -m pip install $(TORCH)
	$(RUN)/python -m pip install -c constraints.txt -e .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(RUN)/python -m pip install -c constraints.txt -e '.[dev]'
	touch $@

# An hour or two, one process for each core. CORPUS is a folder with the texts that tools/pocket/corpus.py names.
pocket: $(VENV)/.installed-dev
	@test -d "$(CORPUS)" || { echo "Say where the texts are: make pocket CORPUS=FOLDER" >&2; exit 2; }
	$(RUN)/python tools/pocket/corpus.py --corpus "$(CORPUS)" --work build/pocket
	$(RUN)/torchrun --nproc-per-node $(PROCESSES) tools/pocket/pretrain.py --work build/pocket \
	  --minutes $(MINUTES)
	$(RUN)/python tools/pocket/publish.py --work build/pocket --into src/loramix/pocket/base

clean:
	rm -rf $(VENV) $(DEMO_OUT)
