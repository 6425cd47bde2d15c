# Thin: what these targets do, the README shows as plain lines.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: setup demo test sweep bench help

help:
	@echo "make setup   a virtual environment in .venv with the locked packages, for a machine without a GPU"
	@echo "make demo    tune SmolLM2-135M on examples/faq.jsonl, prove it, export it, ask it"
	@echo "make test    the test suite"
	@echo "make sweep   the long sweeps that the suite takes a sample of"
	@echo "make bench   every case on SmolLM2-135M, without a GPU about three hours; results and report in bench/results"

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

# In the order of what a reader asks first. The longest context needs a cap: without one it would go on until the whole machine is full.
BENCH_CASES := speed-faq speed-faq-grouped speed-full methods self-check memory-length memory-rank scaling-length scaling-rows \
    data-preparation export startup

bench: setup
	$(BIN)/unsloth-ft bench run $(BENCH_CASES)
	$(BIN)/unsloth-ft bench run context --memory-cap 4GB
	$(BIN)/unsloth-ft bench report
