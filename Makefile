# Sugar over `resnet-bench` and `python -m`: every line below can be typed by hand. `make help` lists the targets.
# Variables may be given on the command line or in the environment, e.g. make demo DEPTHS=8 SEEDS=0

STUDY ?=
DATA ?=
DEPTHS ?=
SEEDS ?=
DEVICE ?=
MODE ?=
PRECISION ?=
JOBS ?=
THREADS ?=
RESULTS ?= results
BASE ?=
BUDGET ?=
ARGS ?=
VENV ?= .venv
CONSTRAINTS ?= constraints.txt
PYTHON ?= python3

PY := "$(VENV)/bin/python"
BENCH := $(PY) -m resnet_bench
# The code of this checkout comes first, whichever checkout the environment was set up from.
export PYTHONPATH := $(CURDIR)
export PYTHONUNBUFFERED := 1

# A variable that was given, as the option of that name.
given = $(if $($1),--$2 "$($1)")
WHERE = $(call given,DEVICE,device) $(call given,THREADS,threads)
HOW = $(WHERE) $(call given,MODE,mode) $(call given,PRECISION,precision)
CHOICE = $(call given,DATA,data) $(call given,DEPTHS,depths) $(call given,SEEDS,seeds) $(HOW) \
	$(call given,JOBS,jobs) $(call given,RESULTS,results) $(ARGS)
# Where a study lies: that of a study file is found by the name inside the file.
FOLDER = $(if $(filter %.toml,$(STUDY)),"$(STUDY)" $(call given,RESULTS,results),"$(or $(RESULTS),results)/$(or $(STUDY),demo)")

.DEFAULT_GOAL := help
.PHONY: help install demo cifar-sweep sweep report cost surgery test test-lowest lint format bench bench-peers bench-check \
	cuda-check docs faults fuzz cluster-check clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo "variables: STUDY DATA DEPTHS SEEDS DEVICE MODE PRECISION JOBS THREADS RESULTS BASE BUDGET VENV PYTHON"
	@echo "anything else: ARGS, as in make sweep STUDY=demo ARGS='--optimizer adam --dry-run'; more commands: CONTRIBUTING.md"

install: ## set up the environment in VENV, once per change of pyproject.toml or constraints.txt
	@wanted=$$(cat pyproject.toml "$(CONSTRAINTS)" | cksum); \
	if [ "$$(cat "$(VENV)/.installed" 2>/dev/null)" != "$$wanted" ]; then \
		rm -f "$(VENV)/.installed" && \
		$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed; set PYTHON=")' && \
		echo "setting up $(VENV): some minutes, and gigabytes if they are not in pip's cache" && \
		{ $(PY) -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear "$(VENV)"; } && \
		if [ -t 1 ]; then quiet=; else quiet=--quiet; fi && \
		$(PY) -m pip install $$quiet --disable-pip-version-check -c "$(CONSTRAINTS)" -e '.[dev]' && \
		echo "$$wanted" > "$(VENV)/.installed"; \
	fi

demo: install ## the phenomenon in a few minutes, on images that need no download
	@$(BENCH) demo $(CHOICE)

cifar-sweep: install ## the main job: CIFAR-10, the paper's protocol on CUDA, a short one on CPU
	@$(BENCH) cifar-sweep $(CHOICE)

sweep: install ## any study, by name or by file: make sweep STUDY=my.toml
	@$(BENCH) sweep --study "$(STUDY)" --cost $(CHOICE)

report: install ## draw figures and tables again from CSV files: make report STUDY=<folder under results/, or a file>
	@$(BENCH) report $(FOLDER) $(ARGS)

cost: install ## count and time a study's networks here: make cost STUDY=... [MODE=compile]
	@$(BENCH) complexity $(FOLDER)
	@$(BENCH) throughput $(FOLDER) $(HOW) $(ARGS)
	@$(BENCH) report $(FOLDER) --quiet

surgery: install ## trained plain nets made deeper by identity layers, and nets without a block: make surgery STUDY=...
	@$(BENCH) surgery $(FOLDER) $(call given,DATA,data) $(call given,SEEDS,seeds) $(WHERE) $(ARGS)

test: install ## all tests that this machine can run
	@$(PY) -m pytest -n auto --dist worksteal --ignore tests/cluster $(ARGS)
	@$(PY) -m pytest tests/cluster # alone: processes of a cluster that get no time are taken for lost

test-lowest: ## the tests on the lowest versions that pyproject.toml allows, in an environment of their own
	@$(MAKE) --no-print-directory test VENV=.venv-lowest CONSTRAINTS=constraints-lowest.txt

lint: install ## ruff and mypy
	@$(PY) -m ruff check . && $(PY) -m ruff format --check . && $(PY) -m mypy

format: install ## rewrite the code in the project's format
	@$(PY) -m ruff check --fix . && $(PY) -m ruff format .

bench: install ## speed of every part, about 10 minutes on 2 cores; JSON under .benchmarks/
	@$(PY) -m pytest benchmarks/cases --benchmark-enable --benchmark-autosave --benchmark-save-data $(ARGS)

bench-peers: install ## training speed compared with the loop that people write today (ARGS=--memory: peak memory)
	@$(PY) -m benchmarks.peers $(call given,DEPTHS,depths) $(call given,MODE,mode) $(WHERE) $(ARGS)

bench-check: install ## the throughput gate: is this checkout slower than BASE; BUDGET in minutes
	@code=0; $(BENCH) gate $(call given,BASE,base) $(call given,BUDGET,budget) $(ARGS) || code=$$?; \
	case $$code in 0|3|4) ;; *) exit $$code ;; esac

cuda-check: install ## on a GPU: the tests that need one, graph against eager bit by bit, img/s of every mode
	@$(PY) -m pytest -m cuda -rs
	@$(PY) -m benchmarks.scripts.cuda_check

docs: install ## the site, into docs/_build/html; a link that leads nowhere fails
	@$(PY) -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	@$(PY) -m sphinx -q -W --keep-going -n -b html docs docs/_build/html && echo "open docs/_build/html/index.html"

faults: install ## the long fault campaign, about half an hour; writes docs/reliability.md
	@$(PY) -m tests.faults.campaign $(ARGS)

fuzz: install ## every reader of files against mutated files, for ARGS minutes (10)
	@$(PY) -m tests.fuzz.campaign $(or $(ARGS),10)

cluster-check: install ## kill workers, nodes and drivers of a Ray cluster of three nodes, over 100 runs; about 10 minutes
	@$(PY) -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[ray]'
	@$(PY) -m tests.cluster.campaign $(ARGS)

clean: ## remove the environment and caches; results stay
	@if [ -f "$(VENV)/.installed" ]; then rm -rf "$(VENV)"; fi
	rm -rf build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
