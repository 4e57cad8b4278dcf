"""Pure: what is wanted and what is there become ops as data and lines for people. No I/O, no descriptors."""
