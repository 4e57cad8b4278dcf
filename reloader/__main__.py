"""`python -m reloader`: the same as the console script."""

from reloader.cli import entry

if __name__ == "__main__":
    entry()
