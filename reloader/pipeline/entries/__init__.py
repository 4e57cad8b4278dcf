"""Entries of maps: listed in the YAML, or in a CSV or JSON Lines file beside it."""
