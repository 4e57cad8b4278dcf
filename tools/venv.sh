#!/bin/sh
# Make .venv hold the project (editable) and its development tools. The stamp inside says for which
# pyproject.toml and which checkout it was made: a copied tree or a changed dependency is noticed.
# `venv.sh vm` adds what `make test-vm` needs.
set -eu

here=$(pwd -P)
stamp=.venv/.made-for
wanted="$here $(sha256sum pyproject.toml setup.py 2>/dev/null | sha256sum | cut -d' ' -f1)"
commands="python pip pytest ruff mypy reloader"

complete() {
	for name in $commands; do
		[ -x ".venv/bin/$name" ] || return 1
	done
}

if [ "${1:-}" = vm ]; then
	[ -x .venv/bin/vng ] || .venv/bin/python -m pip install --quiet --editable '.[vm]' >&2
	exit 0
fi

[ "$(cat $stamp 2>/dev/null || true)" = "$wanted" ] && complete && exit 0

case "$(cat $stamp 2>/dev/null || true)" in
"$here "*) "${PYTHON:-python3}" -m venv .venv ;;
*) "${PYTHON:-python3}" -m venv --clear .venv ;;
esac
.venv/bin/python -m pip install --quiet --editable '.[dev]' >&2
printf '%s' "$wanted" >$stamp
