"""What reloader costs, beside what the same work costs otherwise in the same run: `make bench`.

One module per subject, each with `rows()`; __main__.py prints their rows as one table and as build/bench.json.
May import reloader, reloader.bpf included, and lab. Figures belong here, never into a timed test.
"""
