"""`python -m reloader` and the console script. Until the handlers stand, ^C ends the process without a traceback:
the imports below take most of the time of a short command."""

import signal

if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from reloader.cli import entry

if __name__ == "__main__":
    entry()
