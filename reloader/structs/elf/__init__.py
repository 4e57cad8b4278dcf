"""Object files: sections, symbols, maps, programs, and what libbpf would refuse in them."""
