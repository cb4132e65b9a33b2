# One place for every task. VENV may point anywhere; `make demo` and `make test` need only Python 3.11, make and a C compiler.
PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin
SHELL := bash
STAMP := $(VENV)/.installed
# What writes the bill of materials lives beside the environment that it describes: it brings parts of jsonschema
# that every process of Ray would import, which took a second and a half of each.
TOOLS := $(VENV)/tools
export RAY_USAGE_STATS_ENABLED := 0
export RAY_AUTH_MODE ?= token
export RAY_AUTH_TOKEN ?= $(shell $(PYTHON) -c "import secrets; print(secrets.token_hex(32))")

.PHONY: install demo test acceptance lint bench sbom audit clean
install: $(STAMP)
$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check -q -c constraints.txt -e ".[dev]" \
		--report $(VENV)/installed-$$(date +%s).json
	touch $(STAMP)

$(TOOLS)/.installed: constraints.txt | install
	$(BIN)/python -m venv $(TOOLS)
	$(TOOLS)/bin/python -m pip install --disable-pip-version-check -q -c constraints.txt cyclonedx-bom
	touch $@

demo: install
	$(BIN)/pertcast demo --out demo

# What needs no Ray in two processes, the rest one after the other on one Ray; both are run whatever the first
# finds, and what failed in either is named at the end.
define run_tests
	@set -o pipefail; failed=0; log=$$(mktemp); trap 'rm -f '$$log EXIT; \
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "$(1) and not ray" -n 2 --dist loadfile | tee $$log || failed=1; \
	$(BIN)/python -m pytest -m "$(1) and ray" $(2) | tee -a $$log || failed=1; \
	grep -E "^(FAILED|ERROR) " $$log; \
	exit $$failed
endef

test: install $(TOOLS)/.installed
	$(call run_tests,not acceptance,tests/jobs tests/serve)

# With PERTCAST_THOROUGH=1 things are killed as often as the docs say; an hour more.
acceptance: install
	$(call run_tests,acceptance)

lint: install
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

bench: install
	@for script in benchmarks/bench_*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done

# The bill of materials of this environment, and whether what it ships may be shipped under Apache-2.0.
sbom: install $(TOOLS)/.installed
	$(TOOLS)/bin/python k8s/images/sbom.py $(BIN)/python --out dist/pertcast.cdx.json $(addprefix --report ,$(wildcard $(VENV)/installed-*.json))
	$(BIN)/python k8s/images/licences.py dist/pertcast.cdx.json

# 1: known vulnerabilities; 3: advisories could not be had (both shown by make as "Error 1" and "Error 3").
audit: install
	$(BIN)/python k8s/images/audit.py constraints.txt

clean:
	rm -rf .mypy_cache .ruff_cache .pytest_cache dist build demo
