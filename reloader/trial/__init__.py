"""A version on trial: start, guard process, looks at health, the verdict."""
