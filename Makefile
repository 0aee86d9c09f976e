# make test: everything that must hold. make demo: a first picture. Both set up .venv themselves.
PYTHON ?= python3
BIN := .venv/bin
# Small matrices: threads cost more than they bring.
export OMP_NUM_THREADS ?= 1
INSTALLED := .venv/installed

.PHONY: .venv demo test fuzz lint format docs pages installed bench clean

.venv: $(INSTALLED)

# Set up again only if what is to be installed changed. torch comes first and by its exact version,
# so that a build for the CPU that pip has at hand is not passed over for a larger one.
$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -c constraints.txt "$$(grep '^torch==' constraints.txt)"
	$(BIN)/pip install -c constraints.txt -e ".[datasets,plot,test,lint]"
	touch $@

demo: .venv
	$(BIN)/python examples/demo.py

test: lint
	$(BIN)/python -m pytest --cov

# The tests over hostile input, on as many new cases as asked for.
FUZZ_CASES ?= 10000
fuzz: .venv
	FUZZ_CASES=$(FUZZ_CASES) $(BIN)/python -m pytest tests/test_fuzz.py

lint: .venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: .venv
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The pages, for which the gallery's examples run; and a look at all of them with a browser.
docs: pages
	$(BIN)/python -m pytest docs/test_pages.py

pages: .venv
	$(BIN)/pip install -c constraints.txt -e ".[docs]"
	$(BIN)/python -m sphinx -q -W --keep-going -b html docs docs/_build/html

# What is published, run from a wheel in an environment of its own.
installed:
	PYTHON=$(PYTHON) .ci/installed

bench: .venv
	$(BIN)/pip install -c constraints.txt -e ".[bench]"
	$(BIN)/python -m benchmarks.grouped.run
	$(BIN)/python -m benchmarks.grouped_classes.run
	$(BIN)/python -m benchmarks.episodes.run
	$(BIN)/python -m benchmarks.sinusoid.run --seconds 20 60
	$(BIN)/python -m benchmarks.sinusoid.models --rules all
	$(BIN)/python -m benchmarks.speed.run
	$(BIN)/python -m benchmarks.speed.classes
	$(BIN)/python -m benchmarks.speed.meta_step
	$(BIN)/python -m benchmarks.speed.imports
	$(BIN)/python -m benchmarks.speed.inner_step --hidden 40,40 32 8
	$(BIN)/python -m benchmarks.speed.updates
	$(BIN)/python -m benchmarks.theory.run
	$(BIN)/python -m benchmarks.limits.run

clean:
	rm -rf .venv build dist *.egg-info .coverage htmlcov demo.png
	rm -rf docs/_build docs/auto_examples docs/gen_modules docs/generated docs/sg_execution_times.rst
	rm -rf .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find skcml tests benchmarks examples -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true
