"""Cases of the planner as data, one a file, and what turns them into wishes and observations."""
