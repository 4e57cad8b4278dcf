"""What works without the engine: panic, and the rescue script of each generation."""
