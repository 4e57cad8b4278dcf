"""Rules on loads that fail without a verifier's log: what libbpf or a system call said. Pure."""

from __future__ import annotations

import re

from reloader.verifier.scene import Scene, Words, rule

E2BIG, ENOMEM, EPERM = 7, 12, 1


def _map(_scene: Scene, match: re.Match[str]) -> Words:
    name, number = match["name"], int(match["errno"])
    if number == -E2BIG:
        return f"map {name} is larger than the kernel allows", "look at its max_entries and the size of its value"
    if number == -ENOMEM:
        hint = "is max_entries too large, or does a memory cgroup limit it?"
        return f"the kernel does not have enough memory for map {name}", hint
    if number == -EPERM:
        return f"map {name} may not be created", "run as root, or with CAP_BPF (and CAP_NET_ADMIN for some types)"
    hint = (
        "an LPM trie wants BPF_F_NO_PREALLOC and a key of 5 to 260 bytes, a ring buffer a size that is a power of two "
        "and whole pages; an old kernel may lack the type or a flag"
    )
    return f"the kernel does not accept map {name}: its type, size or flags", hint


RULES = (
    rule(
        "permission",
        r"probe_loading\(\): ?Operation not permitted|Failed to bump RLIMIT_MEMLOCK|"
        r"BPF program load failed: Operation not permitted",
        "this process may not load {programs}",
        "run as root, or with CAP_BPF, CAP_PERFMON (for pointers and tracing) and CAP_NET_ADMIN (for networking)",
    ),
    rule(
        "kernel-function-missing",
        r"extern \(func ksym\) '(?P<name>[^']+)': not found in kernel",
        "this kernel does not have function {name}",
        "declare it `__ksym __weak` and ask bpf_ksym_exists() before the call, or load the module that has it",
    ),
    rule(
        "kernel-function-argument",
        r"extern \(func ksym\) '(?P<name>[^']+)': func_proto .* incompatible",
        "kernel function {name} has another signature in this kernel",
        "take its declaration from the kernel's BTF",
    ),
    rule(
        "variable-missing",
        r"extern \((?:var ksym|kcfg|kconfig)\) '(?P<name>[^']+)'.*not found|"
        r"extern \(kcfg\) '(?P<option>[^']+)': value|extern '(?P<strong>[^']+)' \(strong\): not resolved",
        "this kernel does not have variable or option {name}{option}{strong}",
        "declare it __weak, and test it before use",
    ),
    rule("map-refused", r"map '(?P<name>[^']+)': failed to create: .*?\((?P<errno>-\d+)\)", _map),
    rule(
        "target-missing",
        r"failed to find kernel BTF type ID of '(?P<name>[^']+)'",
        "this kernel does not have function {name} to attach to",
        "it may be inlined or renamed: look it up in /proc/kallsyms",
    ),
    rule(
        "btf-missing",
        r"kernel BTF is missing|failed to find valid kernel BTF|Error loading vmlinux BTF",
        "this kernel does not have BTF, which the program's CO-RE relocations need",
        "use a kernel with CONFIG_DEBUG_INFO_BTF; /sys/kernel/btf/vmlinux shows it",
    ),
    rule(
        "btf-refused",
        r"Error loading \.BTF into kernel: (?P<errno>-\d+)",
        "the kernel refuses the object's BTF",
        "compile with the clang that fits libbpf, and without editing the object",
    ),
)
