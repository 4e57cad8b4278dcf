"""State layouts and the rules that carry entries from one version to another; state files."""
