# make book   runs every notebook and builds the book      make test   runs all tests
# make lab    opens the notebooks in JupyterLab            make help   lists the rest
# Needs python3 (>= 3.11) and make. Everything goes into .venv; a second call reinstalls nothing.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
PROFILE ?= fast
ARGS ?=
EXTRAS := faces,nobody,book,cluster,onnx,dev
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.gendkit-installed
TF4 := .venv-tf4
APP := .venv-app
TF4_TESTS := tests/test_hub.py tests/test_convert.py tests/test_model.py tests/test_adapters.py tests/test_backbones.py tests/test_train.py

# Two threads: the same speed everywhere and no fight for cores.
export OMP_NUM_THREADS ?= 2
export HF_HUB_OFFLINE ?= 1
export TRANSFORMERS_OFFLINE ?= 1
export TOKENIZERS_PARALLELISM := false
export MPLBACKEND := agg
export PYTHONUTF8 := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export JUPYTER_PLATFORM_DIRS := 1

.PHONY: help install app book exercises test test-app test-book test-tf4 models-report bench lint format notebooks lab clean

help: ## this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

install: $(STAMP) ## make .venv and install the exact versions of constraints.txt

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("gendkit needs Python 3.11 or newer, this is " + sys.version) if sys.version_info < (3, 11) else None'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt torch
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[$(EXTRAS)]"
	@touch $@

book: $(STAMP) ## run the notebooks (PROFILE=fast) and build _build/html
	$(BIN)/python book/build.py --profile $(PROFILE) $(ARGS)

exercises: $(STAMP) ## the notebooks without solutions, for a class, into _build/exercises
	$(BIN)/python book/exercises.py $(ARGS)

# The notebooks run last and alone, so that their times mean something.
test: $(STAMP) ## all tests; each notebook is one of them
ifeq ($(strip $(ARGS)),)
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile --ignore tests/test_notebooks.py
	$(BIN)/python -m pytest tests/test_notebooks.py
else
	$(BIN)/python -m pytest $(ARGS)
endif

test-book: $(STAMP) ## the tests of the built book: links, alt text, headless browser
	GENDKIT_REQUIRE_BOOK=1 $(BIN)/python -m pytest tests/test_book.py tests/test_browser.py $(ARGS)

test-tf4: $(TF4)/.gendkit-installed ## parity, layouts and adapters on transformers 4.56, in .venv-tf4
	$(TF4)/bin/python -m pytest -p no:cacheprovider $(TF4_TESTS) $(ARGS)

$(TF4)/.gendkit-installed: requirements/tf4.txt
	test -x $(TF4)/bin/python || $(PYTHON) -m venv $(TF4)
	$(TF4)/bin/python -m pip install --quiet -c requirements/tf4.txt torch
	$(TF4)/bin/python -m pip install --quiet -r requirements/tf4.txt
	@touch $@

app: $(APP)/.gendkit-installed ## the app in your browser, in .venv-app (Gradio needs an older Pillow)
	$(APP)/bin/gendkit app $(ARGS)

test-app: $(APP)/.gendkit-installed ## the tests of the app, in .venv-app
	$(APP)/bin/python -m pytest -p no:cacheprovider tests/test_app.py tests/test_app_browser.py $(ARGS)

$(APP)/.gendkit-installed: requirements/app.txt
	test -x $(APP)/bin/python || $(PYTHON) -m venv $(APP)
	$(APP)/bin/python -m pip install --quiet -c requirements/app.txt torch
	$(APP)/bin/python -m pip install --quiet -c requirements/app.txt -e ".[faces,app,dev]"
	@touch $@

models-report: $(STAMP) ## train and measure the embedded models against their bars
	$(BIN)/gendkit weights report $(ARGS)

bench: $(STAMP) ## speed and memory, each against a baseline in the same run
	$(BIN)/gendkit bench $(ARGS)

lint: $(STAMP) ## style of the code
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(STAMP) ## repair the style of the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

notebooks: $(STAMP) ## make every notebooks/NN_slug.ipynb again from its .py
	$(BIN)/jupytext --to ipynb --update notebooks/[0-9]*.py

lab: $(STAMP) ## open the notebooks in JupyterLab
	cd notebooks && ../$(BIN)/jupyter lab

clean: ## remove what was built, keep .venv
	rm -rf _build .pytest_cache .ruff_cache
