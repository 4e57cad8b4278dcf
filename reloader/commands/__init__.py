"""One file a command: its arguments, its work, its rendering. `run` takes the parsed arguments and the environment,
and returns an exit code.

Imports stay late: the arguments of one command must not import the work of any command. May import everything below,
but not reloader.bpf.
"""
