# The two commands of the README: `make demo` and `make test`. Both need only Python 3.11+ and make.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DEMO_DATA ?= demo-data
SOURCES := src tests benchmarks
EMULATOR ?= .emulator
BUNDLE := src/contentplatform/web/static/sources.txt
IN_LAMBDA := boto3 botocore python-dateutil s3transfer six urllib3  # what Lambda's own Python brings

.PHONY: help install console emulator layers demo test format lint types imports unit bench soak lock openapi clean

help:  ## Show what there is
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

install: $(VENV)/installed $(BUNDLE)  ## Make the virtual environment, from the lock file, hashes checked

$(VENV)/installed: $(VENV)/product requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@touch $@

console: $(VENV)/installed  ## Bundle the console's scripts, with the Node that the environment brings
	$(BIN)/python console/bundle.py

$(BUNDLE): $(VENV)/installed $(wildcard console/src/*.js) console/build.mjs console/package-lock.json
	$(BIN)/python console/bundle.py
	@touch $@

# The local home alone: what `make demo` needs, without the libraries of tests and of the home on AWS.
$(VENV)/product: pyproject.toml product.lock
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r product.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

emulator: $(EMULATOR)/installed  ## Make the AWS emulator's own virtual environment, on Python 3.13 where there is one

$(EMULATOR)/installed: tests/emulator.lock
	@for python in python3.13 "$${PYENV_ROOT:-$$HOME/.pyenv}"/versions/3.13*/bin/python $(PYTHON); do \
		if "$$python" -c "" 2>/dev/null; then "$$python" -m venv --clear $(EMULATOR) && break; fi; done
	$(EMULATOR)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r tests/emulator.lock
	@touch $@

layers: install  ## Build the functions' libraries, once a machine; the tests then need no network
	$(BIN)/python -c "from contentplatform_infra.layers import ensure_built; ensure_built()"

demo: $(VENV)/product  ## Put sample media through and show what came out
	$(BIN)/contentplatform --data $(DEMO_DATA) demo

test: install emulator lint types imports unit  ## Everything that CI runs

openapi: install  ## Write the API's description and the routes of its page, after they changed
	$(BIN)/python -m contentplatform.web.api.page docs

lint: install
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)

types: install
	$(BIN)/mypy

imports: install
	$(BIN)/lint-imports

# Thousands of processes are started: compiling the same modules for each would take a third of the time.
unit: install emulator layers
	PYTHONDONTWRITEBYTECODE= PYTHONPYCACHEPREFIX=$(CURDIR)/.pycache $(BIN)/pytest -n 2 --dist worksteal -m "not soak"

format: install  ## Bring the code into the one format
	$(BIN)/ruff format $(SOURCES)
	$(BIN)/ruff check --fix $(SOURCES)

bench: install  ## Time every bar beside its baseline
	$(BIN)/python benchmarks/run.py

soak: install  ## The long random runs
	$(BIN)/pytest -m soak --durations=10

screenshots: install  ## Look at the console anew, for docs/screenshots
	$(BIN)/python scripts/screenshots.py

lock:  ## Resolve the dependencies anew (needs uv)
	uv pip compile pyproject.toml --all-extras --generate-hashes --no-emit-index-url --no-emit-find-links \
		--universal --python-version 3.11 --custom-compile-command "make lock" --output-file requirements.lock
	uv pip compile pyproject.toml --extra editable --constraints requirements.lock --generate-hashes --no-emit-index-url \
		--no-emit-find-links --universal --python-version 3.11 --custom-compile-command "make lock" --output-file product.lock
	uv pip compile tests/emulator.txt --generate-hashes --no-emit-index-url --no-emit-find-links \
		--universal --python-version 3.11 --custom-compile-command "make lock" --output-file tests/emulator.lock
	for layer in runtime images arrays media documents; do uv pip compile src/contentplatform_infra/layers/$$layer.txt --generate-hashes \
		--no-emit-index-url --no-emit-find-links --constraints requirements.lock --python-version 3.13 \
		--python-platform x86_64-manylinux_2_28 --no-python-downloads $(IN_LAMBDA:%=--no-emit-package %) \
		$$([ $$layer = arrays ] || echo --no-emit-package numpy) \
		--custom-compile-command "make lock" --output-file src/contentplatform_infra/layers/$$layer.lock || exit 1; done

clean:  ## Remove what the other targets made
	rm -rf $(VENV) $(EMULATOR) build dist $(DEMO_DATA) .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis console/node_modules src/contentplatform/web/static
