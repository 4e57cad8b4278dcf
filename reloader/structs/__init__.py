"""Bytes and values: layouts of types, values to bytes and back, numbers and addresses in words."""
