"""The place where reloader is tried on a real kernel: sandboxes, traffic and a demo; no part of the package.

May import reloader, reloader.bpf included; nothing in reloader imports it.
"""
