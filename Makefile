# make run, make test, make check, make bench: each installs what it needs into this folder first.

PY := .venv/bin/python
# uv from the machine, or one of our own. (`command -v uv` would find a pyenv shim that fails.)
UV = $$(if uv --version >/dev/null 2>&1; then echo uv; else echo .uv/bin/uv; fi)

.PHONY: run test check bench
.SILENT:

run: .venv/ready
	exec $(PY) -m relay.embedded

test: .venv/ready
	$(PY) -m pytest -n 2 $(ARGS)

check: .venv/ready
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	.venv/bin/lint-imports --no-logo
	find templates -name '*.html' -exec .venv/bin/djade --check {} +

bench: .venv/ready
	$(PY) tests/bench.py $(ARGS)

.venv/ready: requirements.txt .python-version
	uv --version >/dev/null 2>&1 || .uv/bin/uv --version >/dev/null 2>&1 || { \
	  echo "Installing uv into .uv"; python3 -m venv --clear .uv && .uv/bin/python -m pip install --quiet uv; }
	test -x $(PY) || { echo "Installing Python and the dependencies into .venv"; $(UV) venv --quiet --clear .venv; }
	$(UV) pip sync --quiet --python $(PY) requirements.txt
	touch $@
