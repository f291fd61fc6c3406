# Everything a developer runs. Needs Python 3.11 or newer, make and a package registry; nothing else.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
GOOGLEAPIS := third_party/googleapis/.ready
CODE = $(wildcard src tests benchmarks scripts)
WORKERS ?= 8# at most; never more than there are cores
ARGS ?=

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-17s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# --- environment -----------------------------------------------------------------------------------------------------

.PHONY: setup
setup: $(READY) ## Create .venv and install everything into it

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=...")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

.PHONY: constraints
constraints: ## Resolve all dependencies anew and pin them in constraints.txt
	rm -rf build/resolve
	$(PYTHON) -m venv build/resolve
	build/resolve/bin/python -m pip install --quiet --disable-pip-version-check '.[dev]'
	echo '# Every version of the development environment, resolved by `make constraints`.' > build/constraints.txt
	build/resolve/bin/python -m pip freeze --exclude coreason-foundry >> build/constraints.txt
	mv build/constraints.txt constraints.txt
	rm -rf build

.PHONY: clean
clean: ## Remove everything that can be made again (not the data in .foundry)
	rm -rf $(VENV) third_party build dist examples/node/node_modules .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find src tests benchmarks scripts generated -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true

# --- contract --------------------------------------------------------------------------------------------------------

.PHONY: proto-deps
proto-deps: $(GOOGLEAPIS) ## Copy Google's protos out of the installed wheel

$(GOOGLEAPIS): $(READY) scripts/proto_deps.py
	@$(BIN)/python scripts/proto_deps.py
	@touch $@

.PHONY: generate
generate: $(GOOGLEAPIS) ## Generate the code of the contract into generated/
	@$(BIN)/python scripts/generate.py

.PHONY: check-generated
check-generated: $(GOOGLEAPIS) ## Check that the committed generated code is current
	@$(BIN)/python scripts/generate.py --check

.PHONY: protos
protos: $(GOOGLEAPIS) ## Check the contract: lint and format
	$(BIN)/buf lint
	$(BIN)/buf format protos -d --exit-code

# The released contract is a file and not a commit: it is there in every clone, however shallow.
.PHONY: breaking
breaking: $(GOOGLEAPIS) ## Check that the contract breaks no client of the released one
	@mkdir -p build
	@$(BIN)/buf build --path protos/coreason -o build/contract.binpb
	$(BIN)/buf breaking build/contract.binpb --against generated/baseline.binpb --exclude-imports \
		--config '{"version": "v2", "breaking": {"use": ["FILE"]}}'

.PHONY: baseline
baseline: $(GOOGLEAPIS) ## Make the contract as it is the released one; part of a release
	$(BIN)/buf build --path protos/coreason --exclude-source-info -o generated/baseline.binpb

# --- checks ----------------------------------------------------------------------------------------------------------

.PHONY: check
check: lint types protos breaking layers check-generated test ## Run every check of a minute or a few

.PHONY: check-all
check-all: check test-backends test-faults test-defects ## Run everything there is (what .ci/run runs)

.PHONY: lint
lint: $(READY) ## Check style: ruff
	$(BIN)/ruff check
	$(BIN)/ruff format --check

.PHONY: format
format: $(READY) $(GOOGLEAPIS) ## Mend what can be mended: ruff and buf
	$(BIN)/ruff check --fix
	$(BIN)/ruff format
	$(BIN)/buf format protos -w

.PHONY: types
types: $(READY) ## Check types: mypy, strict
	$(BIN)/mypy $(CODE)

.PHONY: layers
layers: $(READY) ## Check that imports go one way
	$(BIN)/lint-imports

.PHONY: test
test: $(READY) ## Run the tests; ARGS='-k lock -x', ARGS='tests/stories', ...
	$(BIN)/pytest -n logical --maxprocesses=$(WORKERS) -m 'not fault' $(ARGS)

.PHONY: test-backends
test-backends: $(READY) ## Run the suites of the service over Postgres and Redis too, with one server and with two
	$(BIN)/pytest -n logical --maxprocesses=$(WORKERS) -m 'not fault' \
		--backends 'postgres+memory,postgres+redis,postgres+redis*2' tests/service tests/session tests/properties $(ARGS)

.PHONY: test-jitter
test-jitter: $(READY) ## Run the same over two servers that wait by chance for what they ask; ARGS='--jitter 7' is another chance
	$(BIN)/pytest -n logical --maxprocesses=$(WORKERS) -m 'not fault' \
		--backends 'postgres+redis*2' --jitter 1 tests/service tests/session tests/properties $(ARGS)

.PHONY: test-faults
test-faults: $(READY) ## Kill, freeze and cut off real processes, and print how long everything took
	$(BIN)/pytest -m fault -s tests/faults $(ARGS)

.PHONY: test-defects
test-defects: $(READY) ## Plant known defects one at a time and see that a named test notices each
	$(BIN)/python -m tests.faults.defects $(ARGS)

# --- running ---------------------------------------------------------------------------------------------------------

.PHONY: serve
serve: $(READY) ## Run a development server on 127.0.0.1:50051 with its data in .foundry
	$(BIN)/foundry serve --dev --data-dir .foundry --listen 127.0.0.1:50051

.PHONY: demo
demo: $(READY) ## Play the demo; ARGS are passed on
	$(BIN)/foundry demo $(ARGS)

.PHONY: bench
bench: $(READY) ## Measure; ARGS are passed on
	$(BIN)/python -m benchmarks $(ARGS)
