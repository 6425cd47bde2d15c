# Thin: what these targets do, the README shows as plain lines.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: setup demo test sweep fuzz fuzz-million data-errors bench bench-gpu help

help:
	@echo "make setup   a virtual environment in .venv with the locked packages, for a machine without a GPU"
	@echo "make demo    tune SmolLM2-135M on examples/faq.jsonl, prove it, export it, ask it"
	@echo "make test    the test suite"
	@echo "make sweep   the long sweeps that the suite takes a sample of"
	@echo "make fuzz    ten minutes of coverage-guided fuzzing of the data reader, with atheris; FUZZ_SECONDS=60 for one"
	@echo "make fuzz-million   a million mutated lines through the data reader, about three minutes; figures in tests/fuzz/million.json"
	@echo "make data-errors    write docs/data-errors.md, the table of bad files and what is said of them"
	@echo "make bench   every case on SmolLM2-135M, without a GPU about three hours; results and report in bench/results"
	@echo "make bench-gpu   on a GPU machine, with the package installed: RECIPE=$(RECIPE) with random weights, most important cases first"

setup: .venv/installed

.venv/installed: requirements/cpu.lock setup.cfg pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --no-deps -r requirements/cpu.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	touch $@

.venv/installed-dev: .venv/installed requirements/dev.lock
	$(BIN)/python -m pip install --quiet --no-deps -r requirements/dev.lock
	touch $@

# llama.cpp's own converter, which the tests compare our GGUF files with; it is read and run, never installed
.venv/oracle/done: tests/oracle.py | .venv/installed-dev
	$(BIN)/python -m tests.oracle .venv/oracle

demo: setup
	$(BIN)/unsloth-ft run smollm2-135m --data examples/faq.jsonl --eval-data examples/faq_eval.jsonl \
	    --export gguf:q8_0 --export ollama --out runs/demo
	@echo; echo "asked in llama.cpp: What does the rank r of LoRA mean?"
	@$(BIN)/unsloth-ft chat runs/demo "What does the rank r of LoRA mean?"

test: .venv/installed-dev .venv/oracle/done
	OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest -n 2 --dist loadfile

sweep: .venv/installed-dev .venv/oracle/done
	OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest -n 2 -m slow

# New code reached by an input is kept in the corpus, so that the next call goes on from there; what kills the reader is left in build/.
FUZZ_SECONDS ?= 600

.venv/installed-fuzz: .venv/installed-dev requirements/fuzz.lock
	$(BIN)/python -m pip install --quiet --no-deps -r requirements/fuzz.lock
	touch $@

fuzz: .venv/installed-fuzz
	mkdir -p build
	nice -n 19 $(BIN)/python -m tests.fuzz.with_atheris build/fuzz-corpus -max_total_time=$(FUZZ_SECONDS) -artifact_prefix=build/

fuzz-million: .venv/installed-dev
	rm -f tests/fuzz/million.json
	nice -n 19 $(BIN)/python -m tests.fuzz.million --out tests/fuzz/million.json --crashes build/fuzz-crashes

data-errors: .venv/installed-dev
	$(BIN)/python -m tests.data.errors_page

# In the order of what a reader asks first. The longest context needs a cap: without one it would go on until the whole machine is full.
BENCH_CASES := speed-faq speed-faq-grouped speed-full methods self-check memory-length memory-rank scaling-length scaling-tokens scaling-rows \
    data-preparation data-check export startup

bench: setup
	$(BIN)/unsloth-ft bench run $(BENCH_CASES)
	$(BIN)/unsloth-ft bench run context --memory-cap 4GB
	$(BIN)/unsloth-ft bench report

# What it asks of a card: 8 GB of disk for the weights, and 38 minutes at most; `--time-budget` of each line says how they are shared out.
RECIPE ?= llama31-8b
WEIGHTS ?= /tmp/$(RECIPE)-nf4
ON_GPU = --recipe $(RECIPE) --model $(WEIGHTS) --keep-loaded --offline
ALL_LEGS = peft-naive,peft-tuned,unsloth-notebook,unsloth-plan,unsloth-flat,unsloth-padded
CARDS = --memory-cap 8GB --memory-cap 12GB --memory-cap 16GB --memory-cap 24GB --memory-cap 40GB --memory-cap 48GB --memory-cap 80GB

bench-gpu:
	test -d $(WEIGHTS) || unsloth-ft bench synth $(RECIPE) --nf4 --out $(WEIGHTS)
	unsloth-ft bench run speed-faq $(ON_GPU) --legs $(ALL_LEGS) --steps 8 --time-budget 420
	unsloth-ft bench run speed-full $(ON_GPU) --steps 3 --time-budget 420
	unsloth-ft bench run context $(ON_GPU) --legs peft-naive,unsloth-plan --memory-cap 24GB --time-budget 240
	unsloth-ft bench run context $(ON_GPU) --legs peft-naive,unsloth-plan $(CARDS) --time-budget 1200
	unsloth-ft bench report
