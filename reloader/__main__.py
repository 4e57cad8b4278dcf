"""`python -m reloader` and the console script. Until the handlers stand, ^C ends the process without a traceback:
the imports below take most of the time of a short command.
"""

import _signal  # type: ignore[import-not-found]  # the built-in part of `signal`, imported in no time

if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
    _signal.signal(_signal.SIGINT, _signal.SIG_DFL)

from reloader.cli import entry

if __name__ == "__main__":
    entry()
