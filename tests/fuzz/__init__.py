"""Damaged input of every sort: whatever is read may be refused, but never with a traceback or a hang.

`make test` takes a fixed spread of inputs; `make fuzz` (FUZZ=20) takes so many times more, each time others.
"""
