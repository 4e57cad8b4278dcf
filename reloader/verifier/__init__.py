"""Refused loads in plain words: the verifier's log and libbpf's complaints, read and explained.

log.py reads, registers.py and scene.py put it so that rules can speak of it, access.py, calls.py, flow.py and
loading.py are the rules by subject, explain.py applies them. Called by engine/refusal.py. Pure.
"""

from reloader.verifier.explain import Code, Explanation, explain, explain_load
from reloader.verifier.log import VerifierSummary, summarise

__all__ = ["Code", "Explanation", "VerifierSummary", "explain", "explain_load", "summarise"]
