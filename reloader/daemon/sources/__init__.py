"""Where the daemon's wishes come from."""
