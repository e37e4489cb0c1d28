# Every target makes its own virtual environment in .venv with what it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO_HOME ?= .demo
DEMO_SIZE ?= full

.PHONY: demo test browser lint bench-speed clean

$(VENV)/ready: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

demo: $(VENV)/ready
	$(BIN)/bench demo --home $(DEMO_HOME) --size $(DEMO_SIZE)

# Several processes where there are more than two cores; a file stays in one, with its fixtures.
test: $(VENV)/ready browser
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest \
	  $$($(BIN)/python -c 'import os; print("-n auto --dist loadfile" * ((os.cpu_count() or 1) > 2))')

# The page is tested in a real browser, from the distribution's packages where there is none yet.
browser:
	@command -v chromium chromium-browser google-chrome >/dev/null || .ci/install_browser

lint: $(VENV)/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench-speed: $(VENV)/ready
	$(BIN)/python -m benchmarks.decode
	$(BIN)/python -m benchmarks.decoder_pool
	$(BIN)/python -m benchmarks.transforms
	$(BIN)/python -m benchmarks.attentive --quick
	$(BIN)/python -m benchmarks.pretrain --model vit_digits --batch 32 --threads 1
	$(BIN)/python -m benchmarks.manifests --quick
	$(BIN)/python -m benchmarks.lowshot
	$(BIN)/python -m benchmarks.key_frames
	$(BIN)/python -m benchmarks.places
	$(BIN)/python -m benchmarks.checksums

clean:
	rm -rf $(VENV) $(DEMO_HOME)
