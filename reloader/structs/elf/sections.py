"""Section names to attach types: what SEC("…") says a program is for.

The names are libbpf's (include/uapi/linux/bpf.h without the BPF_), which hooks are keyed by too.
A leaf: imports nothing of the package.
"""

from __future__ import annotations

_TYPES = {
    "xdp": "xdp",
    "xdp/devmap": "xdp_devmap",
    "xdp/cpumap": "xdp_cpumap",
    "tc": "tc",
    "tc/ingress": "tcx_ingress",
    "tc/egress": "tcx_egress",
    "tcx/ingress": "tcx_ingress",
    "tcx/egress": "tcx_egress",
    "netkit/primary": "netkit_primary",
    "netkit/peer": "netkit_peer",
    "classifier": "tc",
    "action": "tc_action",
    "cgroup_skb/ingress": "cgroup_inet_ingress",
    "cgroup_skb/egress": "cgroup_inet_egress",
    "cgroup/skb": "cgroup_skb",
    "cgroup/sock": "cgroup_inet_sock_create",
    "cgroup/sock_create": "cgroup_inet_sock_create",
    "cgroup/sock_release": "cgroup_inet_sock_release",
    "cgroup/post_bind4": "cgroup_inet4_post_bind",
    "cgroup/post_bind6": "cgroup_inet6_post_bind",
    "cgroup/bind4": "cgroup_inet4_bind",
    "cgroup/bind6": "cgroup_inet6_bind",
    "cgroup/connect4": "cgroup_inet4_connect",
    "cgroup/connect6": "cgroup_inet6_connect",
    "cgroup/connect_unix": "cgroup_unix_connect",
    "cgroup/sendmsg4": "cgroup_udp4_sendmsg",
    "cgroup/sendmsg6": "cgroup_udp6_sendmsg",
    "cgroup/recvmsg4": "cgroup_udp4_recvmsg",
    "cgroup/recvmsg6": "cgroup_udp6_recvmsg",
    "cgroup/getpeername4": "cgroup_inet4_getpeername",
    "cgroup/getpeername6": "cgroup_inet6_getpeername",
    "cgroup/getsockname4": "cgroup_inet4_getsockname",
    "cgroup/getsockname6": "cgroup_inet6_getsockname",
    "cgroup/sysctl": "cgroup_sysctl",
    "cgroup/getsockopt": "cgroup_getsockopt",
    "cgroup/setsockopt": "cgroup_setsockopt",
    "cgroup/dev": "cgroup_device",
    "sockops": "cgroup_sock_ops",
    "sk_skb": "sk_skb_verdict",
    "sk_skb/stream_parser": "sk_skb_stream_parser",
    "sk_skb/stream_verdict": "sk_skb_stream_verdict",
    "sk_skb/verdict": "sk_skb_verdict",
    "sk_msg": "sk_msg_verdict",
    "sk_lookup": "sk_lookup",
    "sk_reuseport": "sk_reuseport_select",
    "sk_reuseport/migrate": "sk_reuseport_select_or_migrate",
    "socket": "socket_filter",
    "flow_dissector": "flow_dissector",
    "netfilter": "netfilter",
    "lwt_in": "lwt_in",
    "lwt_out": "lwt_out",
    "lwt_xmit": "lwt_xmit",
    "lwt_seg6local": "lwt_seg6local",
    "lirc_mode2": "lirc_mode2",
    "syscall": "syscall",
    "iter": "trace_iter",
    "fentry": "trace_fentry",
    "fexit": "trace_fexit",
    "fmod_ret": "modify_return",
    "tp_btf": "trace_raw_tp",
    "freplace": "freplace",
    "lsm": "lsm_mac",
    "lsm_cgroup": "lsm_cgroup",
    "kprobe": "kprobe",
    "kretprobe": "kprobe",
    "ksyscall": "kprobe",
    "kretsyscall": "kprobe",
    "kprobe.multi": "trace_kprobe_multi",
    "kretprobe.multi": "trace_kprobe_multi",
    "uprobe": "uprobe",
    "uretprobe": "uprobe",
    "usdt": "uprobe",
    "tracepoint": "tracepoint",
    "tp": "tracepoint",
    "raw_tracepoint": "raw_tracepoint",
    "raw_tp": "raw_tracepoint",
    "perf_event": "perf_event",
    "struct_ops": "struct_ops",
}


def section_type(section: str) -> tuple[str, bool]:
    """(attach type, takes fragmented packets); the type is empty for names that say nothing.

    What follows the last known part is the author's own: `xdp/count` is an xdp program.
    """
    first, slash, rest = section.removeprefix("?").partition("/")
    frags = first == "xdp.frags"
    for suffix in (".frags", ".s"):
        first = first.removesuffix(suffix)
    name = first + slash + rest
    while name not in _TYPES and "/" in name:
        name = name.rpartition("/")[0]
    return _TYPES.get(name, ""), frags


_WHOLE = frozenset({"xdp", "xdp_devmap", "xdp_cpumap", "tc", "tc_action", "tcx_ingress", "tcx_egress"})


def loadable(section: str) -> bool:
    """Whether every libbpf from 1.1 on takes the section for what it says. Of the types in _WHOLE nothing of the
    author's own may follow, and the names with tcx came later (1.3)."""
    kind, _ = section_type(section)
    name = section.removeprefix("?").replace(".frags", "", 1)
    return kind not in _WHOLE or (name in _TYPES and kind not in ("tcx_ingress", "tcx_egress"))
