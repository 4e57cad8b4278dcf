"""Why now: a changed file leads to an attempt. Stands above txn/, below commands/."""
