"""What a misspelt word of the YAML may have been meant to be. A leaf of this folder."""

from __future__ import annotations

from collections.abc import Iterable


def suggestion(word: str, known: Iterable[str]) -> str:
    """A did-you-mean for a misspelt word, or what there is to choose from; empty when there is nothing."""
    import difflib

    known = sorted(known)
    folded = {k.lower(): k for k in known}
    short = word.lower() if len(word) <= 100 else ""  # it takes time by the square of the length
    close = difflib.get_close_matches(short, folded, n=1, cutoff=0.6)
    if close:
        return f"did you mean {folded[close[0]]!r}?"
    if not known:
        return ""
    return "there is " + ", ".join(known[:12]) + (", …" if len(known) > 12 else "")
