"""The fence: the only package that imports ctypes. It implements the Protocols of kernel/ on the running kernel.

live.py      LiveKernel, put together from maps.py, progs.py, links.py, pins.py and net.py
loader.py    what runs in the child process (child.py) that opens and loads objects with libbpf (libbpf.py)
metadata.py  who-am-I strings in the .rodata of every program
features.py  what this kernel has, by trying; probes.py, vmlinux.py below it
syscall.py   bpf(2), command by command; libc.py below it
netlink.py   interfaces and their changes
"""
