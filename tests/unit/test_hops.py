"""What tools/hops.py counts, on calls made by hand."""

from __future__ import annotations

from pathlib import Path

from tools.hops import Call, hops_of, loose_modules, names_used_twice, numbers


def call(file: str, function: str, *calls: Call, acts: bool = False, of_value: bool = False) -> Call:
    return Call(file, function, of_value=of_value, acts=acts, calls=list(calls))


def test_each_function_of_another_file_is_one_hop() -> None:
    write = call("b.py", "write", acts=True)
    entry = call("a.py", "apply", write, call("c.py", "sync", write, acts=True), call("b.py", "end", acts=True))
    assert [(h.origin, h.file, h.function) for h in hops_of(entry)] == [
        ("", "a.py", "apply"), ("a.py", "b.py", "write"), ("a.py", "c.py", "sync"), ("a.py", "b.py", "end"),
    ]  # fmt: skip
    assert numbers(hops_of(entry)) == {"files": 3, "hops": 4, "returns": 1, "detours": 1}


def test_a_leaf_is_passed_through() -> None:
    entry = call("a.py", "apply", call("files.py", "read", call("b.py", "parse", acts=True), acts=True))
    assert [(h.origin, h.file) for h in hops_of(entry)] == [("", "a.py"), ("a.py", "b.py")]


def test_what_computes_counts_to_a_depth_and_values_do_not() -> None:
    deep = call(
        "b.py", "plan", call("c.py", "choose", call("d.py", "compare")), call("e.py", "Wish.map", of_value=True)
    )
    entry = call("a.py", "apply", deep, acts=True)
    assert [h.file for h in hops_of(entry, 2)] == ["a.py", "b.py", "c.py"]
    assert [h.file for h in hops_of(entry, 0)] == ["a.py"]


def test_names_and_loose_modules(tmp_path: Path) -> None:
    for name in ("one.py", "__init__.py", "x/one.py", "x/two.py", "x/texts.py", "y/texts.py", "commands/two.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert names_used_twice(tmp_path) == {"one.py": ["one.py", "x/one.py"]}
    assert loose_modules(tmp_path) == ["one.py"]
