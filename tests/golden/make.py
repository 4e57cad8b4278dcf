"""The texts of all rooms as golden files: one file a room, one block a code.

`python -m tests.golden.make` writes them anew; read the difference before you commit it.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path

from reloader.wording.message import Text

HERE = Path(__file__).resolve().parent
PACKAGE = HERE.parents[1] / "reloader"


def text_modules() -> Iterator[tuple[str, dict[str, Text]]]:
    """Every room that has a `texts.py` below reloader/, with the names and texts in it."""
    for path in sorted(PACKAGE.rglob("texts.py")):
        room = ".".join(path.relative_to(PACKAGE).parent.parts)
        module = importlib.import_module(f"reloader.{room}.texts" if room else "reloader.texts")
        yield room, {name: text for name, text in vars(module).items() if isinstance(text, Text)}


def golden(texts: dict[str, Text]) -> str:
    """The texts of one room, sorted by code."""
    blocks = []
    for text in sorted(texts.values(), key=lambda t: (t.code, t.message)):
        hint = f"\n    hint: {text.hint}" if text.hint else ""
        blocks.append(f"{text.code}\n    {text.message}{hint}\n")
    return "\n".join(blocks)


def main() -> None:
    for old in HERE.glob("*.txt"):
        old.unlink()
    for room, texts in text_modules():
        (HERE / f"{room}.txt").write_text(golden(texts))


if __name__ == "__main__":
    main()
