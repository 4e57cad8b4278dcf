"""`test:` of the YAML: packets, captures, and what a test expects of them."""
