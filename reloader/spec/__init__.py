"""What is wanted: YAML text to typed, frozen values (text → schema → model → wish). Pure but for reading files."""
