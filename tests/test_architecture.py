"""The rules of the house that a machine can check: import directions, the ctypes fence, sizes, names."""

from __future__ import annotations

import ast
import functools
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path

import pytest

from tests.support import faults

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "reloader"
MODULES = sorted(p for p in PACKAGE.rglob("*.py") if "_shipped" not in p.parts)
SCRIPTS = sorted(p for d in ("lab", "bench", "tools", "tests") for p in (ROOT / d).rglob("*.py"))
LONGEST = 450

ROOMS = {
    line.split(maxsplit=1)[0]: line.split(maxsplit=1)[1]
    for line in """
__main__            starts the command line
cli                 argv to command, error to exit code
commands            one file a command: arguments, work, rendering
daemon              why now: the loop, its tasks and metrics
daemon/sources      where wishes come from
trial               a version on trial: start, guard, duty, look, judge
lifecycle           what can be asked of a pipeline
doctor              findings about host and pipelines
report              status, drift, contents, history as values
engine              one transaction: forward, back, journal, commit
packet_tests        the YAML's tests on a shadow load
plan                from wish and observation to ops and lines
plan/attach         ops that attach, swap and hand over
plan/config         ops on config maps, and entries of others
plan/map_choices    what becomes of each map
plan/state          ops that carry state to another layout
plan/model          what a plan is
plan/ops            what a plan is made of
observe             what is there: maps, programs, attachments
break_glass         what works without the engine
config_maps         maps whose entries the YAML owns
convert             entries on their way from map to map
store               what is remembered: records, blobs, terms of a trial
pipeline            from YAML and objects to a wish
pipeline/registry   layout versions, as files and as schema
pipeline/check      a document against the schema
pipeline/schema     the published schema of a pipeline
pipeline/tests      the YAML's packet tests as cases
pipeline/health     the YAML's health checks
pipeline/entries    entries of config maps, listed or in bulk
pipeline/keep_fields  which counters a map keeps
pipeline/objects    the objects of a pipeline, read
pipeline/kconfig    the kernel's configuration, for objects
pipeline/wish       what a pipeline asks for, resolved
pipeline/document   YAML with a line and column for each value
pipeline/model      what the YAML says, as values
pipeline/checks     health checks, as values
pipeline/roles      which role a map may have
pipeline/field      places of values in a document
pipeline/fits       patterns of the schema, as a check
pipeline/source     files that are read as input
pipeline/did_you_mean  words that are close to a misspelt one
pipeline/enums      words that the YAML has a fixed list of
layouts             rules between layouts of state
places              where programs attach, by type
places/cgroup       what programs decide about the sockets in a cgroup
places/interface    xdp, tcx and what they share
places/place        what every place answers for itself
places/programs     who the programs at a place are
verifier            a refused load in plain words
pins                what is pinned: the one inventory, and unsafe folders
disk                files, folders, locks and trust
bpf                 the fence: libbpf, bpf(2), netlink
structs/elf         object files: maps, programs, sections
structs             bytes and values: BTF, trees, columns
kernel              what the kernel is asked, as Protocols
paths               every path and pin of ours
errors              what can go wrong, and its exit code
process             signals and standard streams
texts               the words of a room (texts.py), a code each
wording             text made safe to show; codes with values
fault_points        the one function that lasting effects pass
frozen              frozen dataclasses, made quickly
__init__            the version
""".strip().splitlines()
}
"""From the top of the house to its foundation: a module may import what stands on a later line.

A line names a room, a room within a room, or a single module that others of its room build on.
"""
ORDER = list(ROOMS)
PURE = (
    "plan", "trial/judge", "structs/btf", "structs/elf", "structs/tree", "layouts", "disk/jsonable",
)  # fmt: skip
TOUCHING = frozenset(
    {"pathlib", "subprocess", "socket", "shutil", "time", "tempfile", "select", "mmap", "fcntl", "signal", "threading"}
)
FENCE = "bpf"
MAY_IMPORT_FENCE = frozenset({"cli", "__main__"})
LEAVES = ("errors", "fault_points", "process", "paths", "disk/jsonable", "structs/tree", "frozen", "wording")
LEAVES_MAY = frozenset({"frozen", "wording"})
LOOSE = 6  # modules at the top
TWICE = 4  # file names that occur in more than one room
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


def module(path: Path) -> str:
    """The module's path within the package: `engine/execute`, of a room's own module the room."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return "/".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


def room_of(name: str) -> str:
    """The longest line of ROOMS that a module, as `pipeline/check`, is of; texts.py of every room is one line."""
    parts = name.split("/")
    if parts[-1] == "texts":
        return "texts"
    found = ("/".join(parts[:end]) for end in range(len(parts), 0, -1))
    return next((room for room in found if room in ROOMS), parts[0])


def unit(path: Path) -> str:
    """The room a module belongs to."""
    return room_of(module(path))


def within(path: Path, names: Collection[str]) -> bool:
    """Whether a module is one of these, or in one of these folders."""
    return any(module(path) == name or module(path).startswith(f"{name}/") for name in names)


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


KNOWN = {module(m) for m in MODULES}


def units_imported(path: Path) -> Iterator[tuple[str, int]]:
    """The rooms a module imports from."""
    for name, line in imports(path):
        first, *words = name.split(".")
        if first == "reloader":
            found = ("/".join(words[:end]) for end in range(len(words), 0, -1))
            yield room_of(next((f for f in found if f in KNOWN), "__init__")), line


def allowed_to(own: str) -> frozenset[str]:
    """The rooms that a module of this room may import from. Only the command line reaches the fence."""
    below = frozenset(ORDER[ORDER.index(own) :]) - {FENCE}
    return below | {own} | ({FENCE} if own in MAY_IMPORT_FENCE else frozenset())


def test_rooms_and_parts_are_the_same() -> None:
    """A part without a line has no rule; a line without a part is left over from a move."""
    assert {unit(m) for m in MODULES} | {"texts"} == set(ROOMS)
    assert all(any(within(m, [name]) for m in MODULES) for name in (*PURE, *LEAVES, *MAY_IMPORT_FENCE))


def test_few_modules_stand_loose() -> None:
    loose = {m.stem for m in MODULES if m.parent == PACKAGE} - {"__init__", "__main__"}
    assert len(loose) <= LOOSE, loose


def test_few_file_names_occur_twice() -> None:
    """A command's file bears the command's name, and the words of every room stand in its texts.py."""
    counted = Counter(m.name for m in MODULES if m.parent != PACKAGE / "commands" and not within(m, ["commands"]))
    twice = {name for name, count in counted.items() if count > 1} - {"__init__.py", "texts.py"}
    assert len(twice) <= TWICE, twice


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_imports_point_one_way(path: Path) -> None:
    own = unit(path)
    wrong = {(line, part) for part, line in units_imported(path) if part not in allowed_to(own)}
    assert not wrong, "\n".join(f"{named(path)}:{line}: {own} may not import {part}" for line, part in sorted(wrong))


@pytest.mark.parametrize("path", [m for m in MODULES if within(m, PURE)], ids=named)
def test_what_computes_touches_nothing(path: Path) -> None:
    """plan may name observe's types; what it may not do is look for itself."""
    looks = TOUCHING | {"reloader.observe.pipeline.observe"}
    wrong = {name for name, _ in imports(path) if name in looks or name.split(".")[0] in looks}
    calls = [n.func for n in ast.walk(tree(path)) if isinstance(n, ast.Call)]
    opened = [f.lineno for f in calls if isinstance(f, ast.Name) and f.id == "open"]
    assert not wrong, f"{named(path)} imports {wrong}"
    assert not opened, f"{named(path)} opens a file at lines {opened}"


def test_the_leaves_import_nothing_of_the_package() -> None:
    """Except @frozen, which stands in for the standard library's dataclass, and the words of `wording`."""
    for path in (m for m in MODULES if within(m, LEAVES)):
        assert {part for part, _ in units_imported(path)} <= LEAVES_MAY | {unit(path)}, named(path)


@pytest.mark.parametrize("path", [*MODULES, *SCRIPTS], ids=named)
def test_ctypes_stays_behind_the_fence(path: Path) -> None:
    if path.is_relative_to(PACKAGE / FENCE):
        return
    assert not [line for name, line in imports(path) if name.split(".")[0] in {"ctypes", "_ctypes", "cffi"}]


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_only_paths_knows_paths(path: Path) -> None:
    if path == PACKAGE / "paths.py":
        return
    wrong = sorted({*path_literals(tree(path)), *joined_paths(tree(path))})
    assert not wrong, f"{named(path)} writes a path of paths.py at lines {wrong}"


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
        'monkeypatch.setattr("reloader.engine.transaction.execute", print)',
        'from reloader.engine import execute as engine\npatched.setattr(engine, "execute", print)',
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
        ("engine/execute.py", "bpf", False),
        ("bpf/maps.py", "kernel", True),
        ("bpf/maps.py", "disk", False),
        ("plan/planner.py", "engine", False),
        ("plan/state/conversion.py", "plan/map_choices", False),
        ("pipeline/model.py", "pipeline", False),
        ("pipeline/check.py", "texts", True),
        ("lifecycle/apply.py", "trial", False),
        ("engine/execute.py", "plan/ops", True),
        ("errors.py", "pipeline", False),
    ],
)
def test_the_rule_itself(importer: str, imported: str, allowed: bool) -> None:
    """Sabotage: a forbidden import is seen as one."""
    assert (imported in allowed_to(unit(PACKAGE / importer))) is allowed


@pytest.mark.parametrize("words", [("check", "."), ("format", "--check", ".")], ids=" ".join)
def test_the_linter_is_content(words: tuple[str, ...]) -> None:
    """Types are checked by `make check`, which takes longer."""
    done = subprocess.run([sys.executable, "-m", "ruff", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


PLACES_STAND_IN = ("places", "bpf", "kernel", "structs")
NAMES_A_PLACE = {
    "pipeline/health": "a health check may read an interface's counter or connect in a namespace, whatever is attached",
    "pipeline/checks": "the same checks as values",
    "trial/look": "reads the counter that a check names",
    "trial/network_checks": "connects in the namespace that a check names",
    "verifier": "explains the kernel's own words for XDP programs and their context",
}
"""Rooms outside the places that may name an interface or a hook, and why. All others ask place.Place."""
OF_A_PLACE = re.compile(r"(?<![a-z])(ifindex|netns)(?![a-z])|XdpMode|^(xdp|tcx)(?![a-z ])")


def words_of_places(module: ast.Module) -> Iterator[tuple[int, str]]:
    """Names and texts in a module, but for docstrings, that speak of one kind of place; and imports of its module."""
    skipped = {id(node) for node in docstring_nodes(module)}
    for node in ast.walk(module):
        if id(node) in skipped:
            continue
        said = [
            value for name in ("id", "attr", "arg", "value", "name") if isinstance(value := getattr(node, name, 0), str)
        ]
        yield from ((getattr(node, "lineno", 0), text) for text in said if OF_A_PLACE.search(text))
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("reloader.places.interface"):
            yield node.lineno, f"import {node.module}"


@pytest.mark.parametrize("path", [m for m in MODULES if not within(m, [*PLACES_STAND_IN, *NAMES_A_PLACE])], ids=named)
def test_only_places_name_interfaces_and_hooks(path: Path) -> None:
    wrong = list(words_of_places(tree(path)))
    assert not wrong, f"{named(path)}: {wrong}: ask place.Place"


@pytest.mark.parametrize("name", NAMES_A_PLACE)
def test_an_exception_is_still_needed(name: str) -> None:
    assert any(list(words_of_places(tree(m))) for m in MODULES if within(m, [name]))


@pytest.mark.parametrize(
    "source",
    [
        "info.ifindex",
        "def f(netns): pass",
        "f(netns=1)",
        'target["netns"]',
        'kind == "xdp"',
        'f"tcx_{stance}"',
        "from reloader.kernel import XdpMode",
        "from reloader.places.interface.fields import At",
    ],
)
def test_a_word_of_a_place_is_seen(source: str) -> None:
    """Sabotage."""
    assert list(words_of_places(ast.parse(source)))
    assert not list(words_of_places(ast.parse('def f():\n    "info.ifindex of a netns"\nlinks.attached')))


def test_the_page_shows_the_rooms() -> None:
    page = (ROOT / "ARCHITECTURE.md").read_text()
    shown = page.split("```\n__main__", 1)[1].split("```", 1)[0]
    lines = dict(line.split(maxsplit=1) for line in f"__main__{shown}".splitlines())
    assert lines == ROOMS


@functools.cache
def named_files() -> frozenset[str]:
    """Every file by its name, and by its path from the root and from the package."""
    paths = [p for d in ("reloader", "tests", "tools", "lab", "bench") for p in (ROOT / d).rglob("*.py")]
    inside = [p.relative_to(PACKAGE) for p in paths if p.is_relative_to(PACKAGE)]
    return frozenset({str(p.relative_to(ROOT)) for p in paths} | {str(p) for p in inside})


def missing_files(text: str, folder: Path) -> Iterator[str]:
    """Python files that a text names and that do not exist, seen from a folder or from the root."""
    for name in re.findall(r"(?<![\w/.<-])(?:[a-z_]+/)*[a-z_]+\.py\b", text):
        if name not in named_files() and not (folder / name).exists() and name != "texts.py":
            yield name


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_docstrings_name_files_that_exist(path: Path) -> None:
    words = [ast.get_docstring(n) or "" for n in ast.walk(tree(path)) if isinstance(n, (ast.Module, ast.ClassDef))]
    assert not list(missing_files("\n".join(words), path.parent))


@pytest.mark.parametrize("path", [ROOT / "ARCHITECTURE.md", *sorted((ROOT / "docs").rglob("*.md"))], ids=named)
def test_pages_name_files_that_exist(path: Path) -> None:
    assert not list(missing_files(path.read_text(), path.parent))


def test_sabotage_a_file_that_is_missing_is_named() -> None:
    assert list(missing_files("see txn/apply.py and engine/execute.py", PACKAGE)) == ["txn/apply.py"]
