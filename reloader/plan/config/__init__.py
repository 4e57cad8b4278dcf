"""Plans for config maps: how a change goes, the map flip, entries that reloader did not write."""
