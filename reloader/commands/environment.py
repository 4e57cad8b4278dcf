"""What every command works in: paths, kernel, and where its words go.

Tables have colour on a terminal and none in a pipe or under NO_COLOR; `-o json` prints one document.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from reloader.commands import texts
from reloader.errors import InputError, ReloaderError
from reloader.kernel import Kernel
from reloader.kernel.host import Host
from reloader.paths import HOST_FILE, Paths
from reloader.wording.printable import lines_of, printable

COLOURS = {"red": "31", "green": "32", "yellow": "33", "blue": "34", "dim": "2", "bold": "1"}


@dataclass(slots=True)
class Output:
    """Words to stdout, everything else to stderr. All text is masked here, line by line; JSON keeps it as it is.
    Printing never fails: what stdout did not take is told by `lost` once the command is over, and what stderr does not
    take is dropped."""

    json: bool = False
    quiet: bool = False
    colour: bool = False
    lost: OSError | ValueError | None = None  # why (a part of) the report could not be written; ValueError: closed

    def _line(self, *parts: str | tuple[str, str]) -> str:
        """One line of texts and (text, colour) pairs."""
        pairs = [(part, "") if isinstance(part, str) else part for part in parts]
        painted = self.colour and any(colour for _, colour in pairs)
        if not painted:
            return printable("".join(text for text, _ in pairs))
        shown = [(printable(text), colour) for text, colour in pairs]
        return "".join(f"\033[{COLOURS[colour]}m{text}\033[0m" if colour else text for text, colour in shown)

    def print(self, *parts: str | tuple[str, str]) -> None:
        """One line to stdout."""
        if not self.json:
            self._write(self._line(*parts))

    def _write(self, text: str) -> None:
        if self.lost is None:
            try:
                print(text)
            except (OSError, ValueError) as error:
                self.lost = error

    def line(self, text: str) -> None:
        """At once, of a command that goes on although this line may be lost: a full disk has room again one day."""
        try:
            print(printable(text), flush=True)
        except (OSError, ValueError) as error:
            if self.lost is None:
                self.note(texts.OUTPUT_LOST(why=error))
            self.lost = error

    def flush(self) -> None:
        """Hand over what is buffered; afterwards `lost` is final."""
        if self.lost is None:
            try:
                sys.stdout.flush()
            except (OSError, ValueError) as error:
                self.lost = error

    def document(self, kind: str, body: dict[str, Any]) -> None:
        """The one JSON document of a command; nothing in text mode."""
        if self.json:
            self._write(json.dumps({"apiVersion": "reloader/v1", "kind": kind, **body}, indent=2, sort_keys=True))

    def note(self, text: str) -> None:
        if not self.quiet:
            self._aside(printable(text))

    def _aside(self, text: str) -> None:
        """To stderr, behind what stdout was given before: both may lead to one file."""
        self.flush()
        _say(text)

    def error(self, error: ReloaderError) -> None:
        """The error a command ends with: in words on stderr; as JSON also on stdout."""
        self.document("Error", {"error": error.to_json()})
        self.tell(error)

    def tell(self, error: ReloaderError) -> None:
        """An error's message, detail and hint on stderr."""
        word = ("error:", "red") if sys.stderr.isatty() else "error:"
        lines = [self._line(word, f" {error.message}")] if not (isinstance(error, InputError) and error.lines) else []
        hint, *more = lines_of(error.hint)
        rest = [*error.lines, *([f"hint: {hint}", *more] if hint else [])]
        self._aside("\n".join([*lines, *map(printable, rest)]))

    def table(self, header: Sequence[str], rows: Sequence[Sequence[object]], *, colours: Sequence[str] = ()) -> None:
        """Columns as wide as their widest cell; `colours` paints whole rows."""
        if self.json or not rows:
            return
        cells = [["-" if c is None else printable(str(c)) for c in row] for row in rows]
        widths = [max(len(r[i]) for r in [list(header), *cells]) for i in range(len(header))]
        self.print(("  ".join(h.ljust(w) for h, w in zip(header, widths, strict=True)).rstrip(), "bold"))
        for number, row in enumerate(cells):
            text = "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip()
            self.print((text, colours[number] if colours else ""))


def _say(text: str, stream: TextIO | None = None) -> None:
    """A line on stderr; dropped where it cannot be written."""
    with suppress(OSError, ValueError):
        print(text, file=stream or sys.stderr, flush=True)


@dataclass(slots=True)
class Environment:
    paths: Paths
    output: Output
    make_kernel: Callable[[], Kernel]
    targets: list[str] = field(default_factory=list)  # pipelines that the command is about, as far as is known yet
    not_started: list[str] = field(default_factory=list)  # those of `apply` whose turn has not come
    _kernel: list[Kernel] = field(default_factory=list)

    @classmethod
    def of(cls, args: argparse.Namespace, make_kernel: Callable[[], Kernel]) -> Environment:
        tty = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        output = Output(json=getattr(args, "output", "text") == "json", quiet=args.quiet, colour=tty)
        host = Path(os.environ.get("RELOADER_HOST", HOST_FILE))
        run = os.environ.get("RELOADER_RUN", "").rstrip("/")
        paths = Paths(bpffs=args.bpffs.rstrip("/"), records=Path(args.records), host_file=host, run_dir=run)
        named = getattr(args, "pipelines", None) or [getattr(args, "pipeline", None)]
        return cls(paths, output, make_kernel, targets=[name for name in named if name])

    @property
    def kernel(self) -> Kernel:
        """Made at the first use, so that commands without a kernel do not pay for one."""
        if not self._kernel:
            self._kernel.append(self.make_kernel())
        return self._kernel[0]

    @property
    def host(self) -> Host:
        return Host(kernel=self.kernel, paths=self.paths)


class SlowSteps:
    """Progress on stderr for steps that last over half a second; faster ones stay silent.

    One thread looks now and then at which step it is: a timer for each would cost more than most of the steps.
    """

    PATIENCE = 0.5  # seconds
    LOOK = 0.1  # seconds between two looks

    def __init__(self, output: Output, stream: TextIO | None = None) -> None:
        self._quiet = output.quiet
        self._stream = stream or sys.stderr
        self._step: tuple[str, float] | None = None  # label, and when it began
        self._over: Any = None  # threading.Event, while the thread looks
        self._thread: Any = None

    def __call__(self, label: str) -> None:
        if self._quiet:
            return
        self._step = (label, time.monotonic())
        if self._over is None:
            import threading

            self._over = threading.Event()
            self._thread = threading.Thread(target=self._look, args=[self._over], daemon=True)
            try:
                self._thread.start()
            except RuntimeError:  # a limit on processes: it goes on without words on how far it is
                self._thread = None

    def _look(self, over: Any) -> None:
        said = None
        while not over.wait(self.LOOK):
            step = self._step
            if step and step is not said and time.monotonic() - step[1] >= self.PATIENCE:
                _say(f"… {printable(step[0])}", self._stream)
                said = step

    def reading(self, files: Sequence[str]) -> None:
        """The first step of most commands; bulk files can make it a long one."""
        self(f"reading {os.path.basename(files[0]) or files[0]}" if len(files) == 1 else f"reading {len(files)} files")

    def done(self) -> None:
        """The thread has ended once this returns, so that no line of progress comes behind the result."""
        if self._over is not None:
            self._over.set()
            if self._thread is not None:
                self._thread.join(timeout=1)  # a stderr that takes nothing must not hold back the result
            self._over = self._thread = self._step = None
