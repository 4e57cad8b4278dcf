"""One module per group of commands; each command takes the parsed words and the environment, returns an exit code.

Part of the top layer, beside cli.py: may import everything below, but not reloader.bpf.
"""
