"""Why now: a changed file leads to an attempt. Stands above trial/ and lifecycle/, below commands/."""
