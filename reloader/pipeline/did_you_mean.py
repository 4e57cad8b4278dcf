"""Words that are close to a misspelt one."""

from __future__ import annotations

from collections.abc import Iterable

from reloader.pipeline import texts


def suggestion(word: str, known: Iterable[str]) -> str:
    """A did-you-mean for a misspelt word, or what there is to choose from; empty when there is nothing."""
    import difflib

    known = sorted(known)
    folded = {k.lower(): k for k in known}
    short = word.lower() if len(word) <= 100 else ""  # it takes time by the square of the length
    close = difflib.get_close_matches(short, folded, n=1, cutoff=0.6)
    if close:
        return texts.DID_YOU_MEAN(name=folded[close[0]])
    if not known:
        return ""
    return texts.CHOOSE_ONE(names=known[:12] + (["…"] if len(known) > 12 else []))
