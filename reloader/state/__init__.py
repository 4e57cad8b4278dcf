"""How state of one layout becomes state of another: rules, and the registry that records them. Pure."""
