# resnet_bench: every job is a target; `make help` lists them.
# Variables may be given on the command line or in the environment, e.g. make demo DEPTHS=8 SEEDS=0

STUDY ?=
DATA ?=
DEPTHS ?=
SEEDS ?=
DEVICE ?= auto
MODE ?= auto
PRECISION ?= auto
JOBS ?= 1
THREADS ?=
EXECUTOR ?=
ADDRESS ?=
GPUS_PER_RUN ?=
CPUS_PER_RUN ?=
OPTIMIZER ?= sgd
SCHEDULE ?= step
ROUNDS ?= 7
BASE ?=
BUDGET ?=
RECORD ?=
RESULTS ?= results
VENV ?= .venv
CONSTRAINTS ?= constraints.txt
PYTHON ?= python3

PY := "$(VENV)/bin/python"
BENCH := $(PY) -m resnet_bench
# The code of this checkout comes first, whichever checkout the environment was set up from.
export PYTHONPATH := $(CURDIR)
export PYTHONUNBUFFERED := 1

ON_THREADS = $(if $(THREADS),--threads "$(THREADS)")
CHOICE = $(if $(DATA),--data "$(DATA)") $(if $(DEPTHS),--depths "$(DEPTHS)") $(if $(SEEDS),--seeds "$(SEEDS)") \
	--device "$(or $(DEVICE),auto)" --mode "$(or $(MODE),auto)" --precision "$(or $(PRECISION),auto)" \
	--jobs "$(or $(JOBS),1)" $(ON_THREADS) \
	$(if $(EXECUTOR),--executor "$(EXECUTOR)") $(if $(ADDRESS),--address "$(ADDRESS)") \
	$(if $(GPUS_PER_RUN),--gpus-per-run "$(GPUS_PER_RUN)") $(if $(CPUS_PER_RUN),--cpus-per-run "$(CPUS_PER_RUN)") \
	--optimizer "$(or $(OPTIMIZER),sgd)" --schedule "$(or $(SCHEDULE),step)" --results "$(or $(RESULTS),results)" --cost

.DEFAULT_GOAL := help
.PHONY: help install demo cifar-sweep digits-sweep shortcuts-sweep sweep cost report surgery transfer test test-lowest bench bench-peers bench-memory bench-check gate-check counters docs faults fuzz cluster-check lint format cuda-check \
	dictionary constraints clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo "variables: STUDY DATA DEPTHS SEEDS DEVICE MODE PRECISION JOBS THREADS OPTIMIZER SCHEDULE ROUNDS RESULTS BASE BUDGET VENV PYTHON"
	@echo "on a cluster: EXECUTOR ADDRESS GPUS_PER_RUN CPUS_PER_RUN (docs/cluster.md)"

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
	@$(BENCH) sweep --study demo $(CHOICE)

cifar-sweep: install ## the main job: CIFAR-10, the paper's protocol on CUDA, a short one on CPU
	@$(BENCH) sweep --study "$(or $(STUDY),auto)" $(CHOICE)

digits-sweep: install ## 5 depths x 5 seeds on digits: the whole phenomenon in under an hour
	@$(BENCH) sweep --study digits-full $(CHOICE)

shortcuts-sweep: install ## shortcut options A, B and C on digits
	@$(BENCH) sweep --study digits-shortcuts $(CHOICE)

sweep: install ## any study: make sweep STUDY=...
	@$(BENCH) sweep --study "$(STUDY)" $(CHOICE)

# Pretraining on eight classes, then transfer to the other two.
TRANSFER = $(BENCH) finetune --data "$(or $(DATA),cifar10)" --arch residual --depth 20 --device "$(or $(DEVICE),auto)" $(ON_THREADS) --results "$(or $(RESULTS),results)"
transfer: install ## what a pretrained ResNet-20 is worth, 5 seeds: make transfer DATA=cifar10
	@$(TRANSFER) --mode scratch --name pretrain --classes airplane,automobile,bird,deer,frog,horse,ship,truck \
		--epochs 8 --batch-size 128 --lr 0.1
	@$(TRANSFER) --mode scratch,feature-extraction,fine-tune --weights "$(or $(RESULTS),results)/pretrain/scratch" \
		--classes cat,dog --images-per-class 100 --seeds "$(if $(SEEDS),$(SEEDS),0,1,2,3,4)"

cost: install ## count and time a study's networks here: make cost STUDY=<folder under results/> [MODE=compile]
	@$(BENCH) complexity "$(or $(RESULTS),results)/$(STUDY)"
	@$(BENCH) throughput "$(or $(RESULTS),results)/$(STUDY)" --device "$(or $(DEVICE),auto)" \
		--mode "$(or $(MODE),auto)" --precision "$(or $(PRECISION),auto)" $(ON_THREADS)
	@$(BENCH) report "$(or $(RESULTS),results)/$(STUDY)" --quiet

report: install ## draw figures and tables again from CSV files: make report STUDY=<folder under results/>
	@$(BENCH) report "$(or $(RESULTS),results)/$(STUDY)"

fuzz: install ## every reader of files against mutated files: make fuzz MINUTES=10
	@$(PY) -m tests.fuzz.campaign "$(or $(MINUTES),10)"

test: install ## all tests that this machine can run
	@$(PY) -m pytest -n auto --dist worksteal --ignore tests/cluster
	@$(PY) -m pytest tests/cluster # alone: processes of a cluster that get no time are taken for lost

test-lowest: ## the tests on the lowest versions that pyproject.toml allows, in an environment of their own
	@$(MAKE) --no-print-directory test VENV=.venv-lowest CONSTRAINTS=constraints-lowest.txt

bench: install ## speed of every part, about 10 minutes on 2 cores; JSON under .benchmarks/
	@$(PY) -m pytest benchmarks --benchmark-enable --benchmark-autosave --benchmark-save-data

bench-peers: install ## training speed beside the loop that people write today
	@$(PY) -m benchmarks.peers $(if $(DEPTHS),--depths "$(DEPTHS)") --rounds "$(ROUNDS)" --device "$(or $(DEVICE),auto)" --mode "$(or $(MODE),auto)" $(ON_THREADS)

surgery: install ## trained plain nets made deeper by identity layers, and nets without a block: make surgery STUDY=...
	@$(BENCH) surgery "$(or $(RESULTS),results)/$(or $(STUDY),demo)" $(if $(DATA),--data "$(DATA)") --device "$(or $(DEVICE),auto)" $(ON_THREADS)

bench-memory: install ## peak memory beside that loop
	@$(PY) -m benchmarks.peers --memory --depths "$(or $(DEPTHS),110)" --device "$(or $(DEVICE),auto)"

cuda-check: install ## on a GPU: the tests that need one, graph against eager bit by bit, img/s of every mode
	@$(PY) -m pytest -m cuda -rs
	@$(PY) -m benchmarks.cuda_check

bench-check: install ## the throughput gate: is this checkout slower than BASE; BUDGET in minutes
	@code=0; $(BENCH) gate $(if $(BASE),--base "$(BASE)") --budget "$(or $(BUDGET),5)" $(if $(RECORD),--record "$(RECORD)") || code=$$?; \
	case $$code in 0|3|4) ;; *) exit $$code ;; esac

gate-check: install ## gates whose answer is known, over an hour; then how often the gate is right
	@$(PY) -m benchmarks.gate_campaign .benchmarks/gate --budget "$(or $(BUDGET),2)" && \
	$(PY) -m benchmarks.gate_rates .benchmarks/gate/pairs.csv --max-pairs 18

counters: install ## accept what a step does now, after a change that is meant: benchmarks/counters.json
	@$(BENCH) counters --accept

docs: install ## the site, into docs/_build/html; a link that leads nowhere fails
	@$(PY) -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	@$(PY) -m sphinx -q -W --keep-going -n -b html docs docs/_build/html && echo "open docs/_build/html/index.html"

faults: install ## the long fault campaign, about half an hour; writes docs/reliability.md
	@$(PY) -m tests.faults.campaign

cluster-check: install ## kill workers, nodes and drivers of a Ray cluster of three nodes, over 100 runs; about 10 minutes
	@$(PY) -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[ray]'
	@$(PY) -m tests.cluster.campaign

lint: install ## ruff and mypy
	@$(PY) -m ruff check . && $(PY) -m ruff format --check . && $(PY) -m mypy

format: install ## rewrite the code in the project's format
	@$(PY) -m ruff check --fix . && $(PY) -m ruff format .

dictionary: install ## write results/README.md from the schema
	@$(PY) -c "from resnet_bench.results.dictionary import data_dictionary; print(data_dictionary(), end='')" > results/README.md

constraints: install ## write constraints.txt from what is installed now
	@$(PY) -m pip freeze --all --exclude-editable | grep -v -e ' @ ' -e '^pip==' > constraints.new && mv constraints.new constraints.txt

clean: ## remove the environment and caches; results stay
	@if [ -f "$(VENV)/.installed" ]; then rm -rf "$(VENV)"; fi
	rm -rf build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
