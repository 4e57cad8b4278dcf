"""The rules of the house that a machine can check: import directions, the ctypes fence, sizes, names."""

from __future__ import annotations

import ast
import functools
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import faults

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "reloader"
MODULES = sorted(p for p in PACKAGE.rglob("*.py") if "_shipped" not in p.parts)
SCRIPTS = sorted(p for d in ("lab", "bench", "tools", "tests") for p in (ROOT / d).rglob("*.py"))
LONGEST = 450

# From the top of the house to its foundation: a module may import what stands on a later line.
LAYERS = tuple(
    frozenset(parts.split())
    for parts in (
        "__main__",
        "cli",
        "commands",
        "follow",
        "txn",
        "diagnosis checkup live",
        "status handles",
        "arrivals",
        "observe neighbours plan standing lost health trial pin_folders pins",
        "records",
        "spec state",
        "hooks",
        "verifier",
        "pipeline layouts",
        "btf elf",
        "structs",
        "files host lock trust record_folder",
        "kernel filters layout errors effects interrupts record streams typetree frozen message printable __init__",
    )
)
PURE = frozenset({"plan", "health", "btf", "elf", "typetree", "record"})
TOUCHING = frozenset(
    {"pathlib", "subprocess", "socket", "shutil", "time", "tempfile", "select", "mmap", "fcntl", "signal", "threading"}
)
FENCE = "bpf"
MAY_IMPORT_FENCE = frozenset({"cli", "__main__"})
FENCE_NEEDS = frozenset().union(*LAYERS[-4:]) - {"files", "host", "lock", "record_folder", "trust"}
LEAVES = frozenset(
    {"errors", "effects", "interrupts", "layout", "record", "streams", "typetree", "frozen", "message", "printable"}
)
OWN_PATHS = re.compile(r"^/sys/fs/bpf|/sys/fs/bpf/|/var/lib/reloader")  # a hint may name the mount in prose
FOLDERS = frozenset(
    [
        "links",
        "state",
        "taken",
        "import",
        "panic",
        "pub",
        "rescue",
        "loads",
        "progs",
        "maps",
        "bridge",
        "objects",
        "entries",
        "tests",
        "cache",
        "logs",
        "pipelines",
        "generations",
        "journal",
    ]
)
PATH_PIECE = re.compile(rf"/({'|'.join(sorted(FOLDERS))})(?![\w.-])|(^|/)({'|'.join(sorted(FOLDERS))})/$")
FILE_SUFFIX = re.compile(r"\.(jsonl?|sh|tmp)$")
EMPTY_WORDS = re.compile(r"(manager|helper|helpers|utils|util|common)")


@functools.cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def unit(path: Path) -> str:
    """The part of the package a module belongs to: `reloader/txn/apply.py` is of `txn`."""
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """Every dotted name a module imports, wherever in it, with the line."""
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = [*package[: len(package) - node.level + 1]] if node.level else []
            base = ".".join([*start, *([node.module] if node.module else [])])
            yield from ((f"{base}.{alias.name}", node.lineno) for alias in node.names)


def units_imported(path: Path) -> Iterator[tuple[str, int]]:
    """The parts of the package a module imports from."""
    known = {unit(m) for m in MODULES}
    for name, line in imports(path):
        words = name.split(".")
        if words[0] == "reloader":
            yield (words[1] if len(words) > 1 and words[1] in known else "__init__"), line


def layer(part: str) -> int:
    return next(i for i, parts in enumerate(LAYERS) if part in parts)


def test_layers_and_parts_are_the_same() -> None:
    """A part without a layer has no rule; a layer without a part is left over from a move."""
    parts = {unit(m) for m in MODULES}
    assert parts - {FENCE} == frozenset().union(*LAYERS)
    assert parts >= PURE | LEAVES | MAY_IMPORT_FENCE


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_imports_point_one_way(path: Path) -> None:
    own = unit(path)
    allowed = FENCE_NEEDS if own == FENCE else frozenset().union(*LAYERS[layer(own) :])
    allowed |= {own} | ({FENCE} if own in MAY_IMPORT_FENCE else frozenset())
    wrong = {(line, part) for part, line in units_imported(path) if part not in allowed}
    assert not wrong, "\n".join(f"{named(path)}:{line}: {own} may not import {part}" for line, part in sorted(wrong))


@pytest.mark.parametrize("path", [m for m in MODULES if unit(m) in PURE], ids=named)
def test_what_computes_touches_nothing(path: Path) -> None:
    """plan may name observe's types; what it may not do is look for itself."""
    wrong = {name for name, _ in imports(path) if name.split(".")[0] in TOUCHING or name == "reloader.observe.observe"}
    calls = [n.func for n in ast.walk(tree(path)) if isinstance(n, ast.Call)]
    opened = [f.lineno for f in calls if isinstance(f, ast.Name) and f.id == "open"]
    assert not wrong, f"{named(path)} imports {wrong}"
    assert not opened, f"{named(path)} opens a file at lines {opened}"


def test_the_leaves_import_nothing_of_the_package() -> None:
    """Except @frozen, which stands in for the standard library's dataclass, and the words of printable and message."""
    for path in (m for m in MODULES if unit(m) in LEAVES):
        assert {part for part, _ in units_imported(path)} <= {"frozen", "message", "printable"} - {unit(path)}, named(
            path
        )


@pytest.mark.parametrize("path", [*MODULES, *SCRIPTS], ids=named)
def test_ctypes_stays_behind_the_fence(path: Path) -> None:
    if path.is_relative_to(PACKAGE / FENCE):
        return
    assert not [line for name, line in imports(path) if name.split(".")[0] in {"ctypes", "_ctypes", "cffi"}]


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_only_the_layout_knows_paths(path: Path) -> None:
    if path == PACKAGE / "layout.py":
        return
    wrong = sorted({*path_literals(tree(path)), *joined_paths(tree(path))})
    assert not wrong, f"{named(path)} writes a path of layout.py at lines {wrong}"


def path_literals(module: ast.Module) -> Iterator[int]:
    """Lines with a string that holds a part of one of our paths, or with a row of folder names. Docstrings may."""
    docstrings = {id(d) for d in docstring_nodes(module)}
    for node in ast.walk(module):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            found = any(rule.search(node.value) for rule in (OWN_PATHS, PATH_PIECE, FILE_SUFFIX))
            yield from [node.lineno] if found else []
        if isinstance(node, ast.Tuple | ast.List | ast.Set) and len(node.elts) > 1:
            found = all(isinstance(e, ast.Constant) and e.value in FOLDERS for e in node.elts)
            yield from [node.lineno] if found else []


def joined_paths(module: ast.Module) -> Iterator[int]:
    """Lines that append to a path of Paths, or a folder's name to any path: by `/` or in an f-string."""
    for node in ast.walk(module):
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
            folder = isinstance(node.right, ast.Constant) and node.right.value in FOLDERS
            if folder or asks_paths(node.left):
                yield node.lineno
        if isinstance(node, ast.JoinedStr):
            for part, following in zip(node.values, node.values[1:], strict=False):
                text = following.value if isinstance(following, ast.Constant) else ""
                appended = str(text).startswith("/") and (text != "/" or following is not node.values[-1])
                if isinstance(part, ast.FormattedValue) and asks_paths(part.value) and appended:
                    yield node.lineno


def asks_paths(node: ast.expr) -> bool:
    """Whether the value is an attribute of Paths, or what a method of one returns."""
    while isinstance(node, ast.Call | ast.Attribute):
        node = node.func if isinstance(node, ast.Call) else node.value
        if isinstance(node, ast.Attribute) and node.attr in ("paths", "_paths"):
            return True
    return isinstance(node, ast.Name) and node.id == "paths"


@pytest.mark.parametrize(
    "source",
    [
        'f"{root}/progs/{name}"',
        'f"loads/{load}"',
        'folder / "journal"',
        'listing(folder, ".jsonl")',
        'for name in ("progs", "maps"): print(name)',
        '"/state/" in pin',
        "paths.logs_dir / name",
        "self._in.paths.record_dir(pipeline) / name",
        'f"{bench.paths.load_pins(pipeline, 1)}/{name}"',
    ],
)
def test_a_path_piece_is_seen(source: str) -> None:
    """Sabotage."""
    module = ast.parse(source)
    assert [*path_literals(module), *joined_paths(module)]


@pytest.mark.parametrize(
    "source",
    [
        '"the group may read the maps in pub/"',
        '("spec", "maps", name)',
        'f"{paths.records}: not there"',
        'pin.startswith(f"{paths.pipeline_pins(name)}/")',
        "count / 1024",
        'def f():\n    "<bpffs>/<pipeline>/links/<attachment>"',
    ],
)
def test_prose_and_yaml_keys_are_no_paths(source: str) -> None:
    module = ast.parse(source)
    assert not [*path_literals(module), *joined_paths(module)]


def docstring_nodes(module: ast.Module) -> Iterator[ast.Constant]:
    for node in ast.walk(module):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and node.body:
            first = node.body[0]
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                yield first.value


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_modules_stay_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= LONGEST


@pytest.mark.parametrize("path", [*MODULES, *SCRIPTS], ids=named)
def test_every_module_says_where_it_stands(path: Path) -> None:
    assert ast.get_docstring(tree(path)) or not path.read_text().strip(), f"{named(path)} has no docstring"


@pytest.mark.parametrize("path", [*MODULES, *SCRIPTS], ids=named)
def test_names_mean_something(path: Path) -> None:
    for part in path.relative_to(ROOT).parts:
        assert not EMPTY_WORDS.search(part), f"{named(path)}: {part} says nothing"


@pytest.mark.parametrize("path", [*MODULES, *SCRIPTS], ids=named)
def test_errors_are_neither_hidden_nor_shapeless(path: Path) -> None:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.ExceptHandler):
            broad = node.type is None or (isinstance(node.type, ast.Name) and node.type.id == "Exception")
            assert not broad, f"{named(path)}:{node.lineno}: catches everything"
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and isinstance(node.exc.func, ast.Name):
            assert node.exc.func.id not in {"Exception", "BaseException"}, f"{named(path)}:{node.lineno}"


@pytest.mark.parametrize("path", [*MODULES, *SCRIPTS], ids=named)
def test_an_ignored_type_error_is_named(path: Path) -> None:
    marker = "type: " + "ignore"
    bare = [i for i, line in enumerate(path.read_text().splitlines(), 1) if marker in line and f"{marker}[" not in line]
    assert not bare, f"{named(path)}: lines {bare}"


EQUIPMENT = [p for p in SCRIPTS if p.relative_to(ROOT).parts[0] in ("bench", "lab")]
TESTS = [p for p in SCRIPTS if p.is_relative_to(ROOT / "tests") and p != Path(faults.__file__)]


@pytest.mark.parametrize("path", EQUIPMENT, ids=named)
def test_the_lab_and_the_bench_need_no_test(path: Path) -> None:
    assert not [line for name, line in imports(path) if name.split(".")[0] == "tests"]


@pytest.mark.parametrize("path", TESTS, ids=named)
def test_parts_are_replaced_by_name(path: Path) -> None:
    """What a test puts in place of a part of reloader goes through faults.py, so that a move of modules is one edit."""
    wrong = list(replaced(tree(path)))
    assert not wrong, f"{named(path)} replaces parts of reloader at lines {wrong}: name them in tests/support/faults.py"


def replaced(module: ast.Module) -> Iterator[int]:
    """Lines with a `setattr`, pytest's or Python's, on a module or class of reloader."""
    ours = {"reloader"}
    for node in ast.walk(module):
        if isinstance(node, ast.Import | ast.ImportFrom):
            origin = node.module or "" if isinstance(node, ast.ImportFrom) else ""
            ours |= {a.asname or a.name for a in node.names if (origin or a.name).split(".")[0] == "reloader"}
    for node in ast.walk(module):
        called = node.func if isinstance(node, ast.Call) else None
        name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
        if isinstance(node, ast.Call) and name == "setattr" and node.args:
            target = node.args[0]
            words = target.value if isinstance(target, ast.Constant) else ast.unparse(target).replace("'", '"')
            if isinstance(words, str) and (words.split(".")[0] in ours or '"reloader.' in words):
                yield node.lineno


@pytest.mark.parametrize(
    "source",
    [
        'monkeypatch.setattr("reloader.txn.transaction.execute", print)',
        'from reloader.txn import apply as engine\npatched.setattr(engine, "execute", print)',
        'from reloader.bpf.live import LiveKernel\nsetattr(LiveKernel, "barrier", print)',
        'patch.setattr(importlib.import_module("reloader.verifier.explain"), "RULES", ())',
    ],
)
def test_a_replaced_part_is_seen(source: str) -> None:
    """Sabotage, and its counterpart: other things may be replaced."""
    assert list(replaced(ast.parse(source)))
    assert not list(replaced(ast.parse(source.replace("reloader", "elsewhere"))))


@pytest.mark.parametrize("point", faults.POINTS)
def test_every_point_is_there(point: str) -> None:
    assert hasattr(*faults.owner(point))


@pytest.mark.parametrize(
    ("importer", "imported", "allowed"),
    [
        ("cli.py", "bpf", True),
        ("txn/apply.py", "bpf", False),
        ("plan/planner.py", "txn", False),
        ("txn/apply.py", "plan", True),
        ("errors.py", "spec", False),
    ],
)
def test_the_rule_itself(importer: str, imported: str, allowed: bool) -> None:
    """Sabotage: a forbidden import is seen as one."""
    own = importer.split("/")[0].removesuffix(".py")
    reach = frozenset().union(*LAYERS[layer(own) :]) | ({FENCE} if own in MAY_IMPORT_FENCE else frozenset())
    assert (imported in reach) is allowed


@pytest.mark.parametrize("words", [("check", "."), ("format", "--check", ".")], ids=" ".join)
def test_the_linter_is_content(words: tuple[str, ...]) -> None:
    """Types are checked by `make check`, which takes longer."""
    done = subprocess.run([sys.executable, "-m", "ruff", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
