"""Places on cgroups: what a program decides about the sockets of a cgroup's processes."""
