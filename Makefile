# make run    install, and open the Studio on http://127.0.0.1:8765
# make test   install, and run the default tests
# TORCH=any   take any build of torch instead of the pinned CPU build

PYTHON ?= python3
VENV   ?= .venv
TORCH  ?= pinned
PORT   ?= 8765
BIN    := $(VENV)/bin
SETUP  := $(PYTHON) scripts/setup_env.py --venv $(VENV) --torch $(TORCH)
QUIET  := OMP_NUM_THREADS=1 MPLBACKEND=Agg

.PHONY: run test test-marked test-all setup setup-dev peers lint format types wheel-check study bench pictures tour lock clean

run: setup
	@exec $(BIN)/fieldsight studio --port $(PORT)

test: setup-dev
	$(QUIET) $(BIN)/python -m pytest -n 2 -q

# what is slower: exports, kills, a real browser, trainings up to a minute, files out of other packages
test-marked: setup-dev
	$(BIN)/python scripts/prepare_tests.py
	$(QUIET) $(BIN)/python -m pytest -n 2 -q -m "slow or onnx or studio or assets"

test-all: test test-marked

setup:
	@$(SETUP) --extras all

setup-dev:
	@$(SETUP) --extras dev

peers:
	@$(SETUP) --extras dev,peers

lint: setup-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: setup-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

types: setup-dev
	$(BIN)/mypy

wheel-check: setup-dev
	$(BIN)/python scripts/wheel_check.py

# make study SYSTEM=sem [NAME=recipes]
study: setup-dev
	$(BIN)/python studies/run.py $(SYSTEM) $(NAME)

# make bench [NAME=sem_conformal]
bench: peers
	$(BIN)/python -m benchmarks $(NAME)

pictures: setup-dev
	$(BIN)/python docs/pictures/make.py

tour: setup
	$(BIN)/fieldsight tour

# newer libraries, as a commit of its own
lock: setup-dev
	$(BIN)/python scripts/lock.py

clean:
	rm -rf build dist .pytest_cache .ruff_cache .mypy_cache .hypothesis
