# Every target makes what it needs first: on a bare Debian 12 `make demo` and `make test` are all there is to do.
PYTHON ?= python3
PY := .venv/bin/python
ROOT_UID := $(shell id -u)

# What touches the kernel runs as root: by sudo, unless we are. Whatever root leaves in build/ is given back.
ifeq ($(ROOT_UID),0)
as_root = $(1)
else
as_root = sudo -E env "PATH=$$PATH" PYTHONDONTWRITEBYTECODE=1 $(1); \
	status=$$?; sudo chown -R "$$(id -u):$$(id -g)" build .pytest_cache .hypothesis *.egg-info 2>/dev/null; exit $$status
endif

export PYTHON
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
.PHONY: help demo test test-fast test-vm soak crash fuzz check fmt bpf bench clean deps venv

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | while IFS='	' read -r name text; do printf '  make %-9s %s\n' "$$name" "$$text"; done

demo: bpf venv ## reload an XDP program under full traffic, in a sandbox of its own; writes build/demo.json
	@$(call as_root,$(PY) -m lab.demo)

test: bpf venv ## the whole test suite; ARGS="-k name" narrows it, JOBS=1 runs it one by one
	@$(call as_root,$(if $(JOBS),JOBS=$(JOBS) )$(PY) -m tools.run_tests $(ARGS))

test-fast: bpf venv ## what needs neither root nor a kernel with BPF, in parallel: under 2 minutes
	@JOBS=$(or $(JOBS),$$(nproc)) $(PY) -m tools.run_tests -q -m "not kernel" tests/unit tests/plans tests/verifier tests/fuzz tests/test_architecture.py tests/test_texts.py $(ARGS)

test-vm: bpf venv ## a sample of it on stock Debian kernels, emulated; KERNEL=6.12 for one, CONVERSIONS=100 for more; writes build/vm/
	@tools/deps.sh vm
	@tools/venv.sh vm
	@$(call as_root,$(PY) -m tools.vm $(if $(KERNEL),--kernel $(KERNEL)) $(if $(CONVERSIONS),--conversions $(CONVERSIONS)))

soak: bpf venv ## MINUTES=30 of reloads, conversions and rollbacks under full traffic, or RELOADS=10000; nothing may be lost or grow
	@$(call as_root,$(PY) -m lab.soak $(if $(RELOADS),--reloads $(RELOADS),--minutes $(or $(MINUTES),30)))

crash: bpf venv ## kill it before and after every lasting effect, and fail each; `make test` takes a spread
	@CRASH=all $(call as_root,$(PY) -m pytest -q -s tests/crash)

fuzz: bpf venv ## damaged input of every sort, FUZZ=20 times what `make test` takes, each time other; FUZZ_SEED repeats a run
	@FUZZ=$(or $(FUZZ),20) $(call as_root,$(PY) -m pytest -q tests/fuzz $(ARGS))

check: venv ## linters, formatting and types
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy

fmt: venv ## mend formatting and what linters can mend
	@.venv/bin/ruff check --fix .
	@.venv/bin/ruff format .

bpf: deps ## compile the BPF objects into build/bpf
	@$(PYTHON) tools/build_bpf.py

bench: bpf venv ## measure; ONLY=swap for one subject; writes build/bench.json
	@$(call as_root,$(PY) -m bench $(if $(ONLY),--only $(ONLY)))

clean: ## remove what was built; the virtual environment stays
	@rm -rf build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis reloader/_shipped
	@find . -name .venv -prune -o -name __pycache__ -type d -exec rm -rf {} +

deps:
	@tools/deps.sh
	@mkdir -p build

venv: deps
	@tools/venv.sh
