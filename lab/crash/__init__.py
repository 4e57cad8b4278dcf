"""Reloader killed, or failed, at every lasting effect: the loop of `make crash`, which the bench counts."""
