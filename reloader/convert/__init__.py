"""Entries on their way from map to map in the kernel, counts exactly once."""
