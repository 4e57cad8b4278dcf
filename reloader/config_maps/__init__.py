"""Maps whose entries the YAML owns: the difference of entries, counters that stay, writing."""
