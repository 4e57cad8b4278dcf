"""The registry of state layouts: one reviewed file for each version of a map, and how the next one is written."""
