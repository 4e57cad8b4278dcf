"""What an operator reads: status, drift, contents, history, as values."""
