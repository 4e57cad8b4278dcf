"""Plans for state maps: comparison of layouts, conversion, imports."""
