"""Doing it, or undoing it: journal, ops on the kernel, commit, rollback, recovery."""
