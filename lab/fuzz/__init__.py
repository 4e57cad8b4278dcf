"""Damaged input of every sort and the loops that offer it: for `make fuzz`, the tests and the bench."""
