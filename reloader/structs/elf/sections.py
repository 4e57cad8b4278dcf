"""Section names to program types: what SEC("…") says a program is for.

The tables are libbpf's (section_defs in libbpf.c). The names of types are the kernel's (include/uapi/linux/bpf.h, lower
case, without the BPF_), which places and bpf/attach_types.py use too. Imports nothing of the package.
"""

from __future__ import annotations

from typing import NamedTuple

_SINCE_1_1 = """
socket                    socket_filter            -
sk_reuseport/migrate      sk_reuseport             sk_reuseport_select_or_migrate
sk_reuseport              sk_reuseport             sk_reuseport_select
kprobe+                   kprobe                   -
uprobe+                   kprobe                   -                               uprobe
uprobe.s+                 kprobe                   -                               uprobe
kretprobe+                kprobe                   -
uretprobe+                kprobe                   -                               uprobe
uretprobe.s+              kprobe                   -                               uprobe
kprobe.multi+             kprobe                   trace_kprobe_multi
kretprobe.multi+          kprobe                   trace_kprobe_multi
ksyscall+                 kprobe                   -
kretsyscall+              kprobe                   -
usdt+                     kprobe                   -                               uprobe
tc                        sched_cls                -                               tc
classifier                sched_cls                -                               tc
action                    sched_act                -                               tc_action
tracepoint+               tracepoint               -
tp+                       tracepoint               -
raw_tracepoint+           raw_tracepoint           -
raw_tp+                   raw_tracepoint           -
raw_tracepoint.w+         raw_tracepoint_writable  -
raw_tp.w+                 raw_tracepoint_writable  -
tp_btf+                   tracing                  trace_raw_tp
fentry+                   tracing                  trace_fentry
fmod_ret+                 tracing                  modify_return
fexit+                    tracing                  trace_fexit
fentry.s+                 tracing                  trace_fentry
fmod_ret.s+               tracing                  modify_return
fexit.s+                  tracing                  trace_fexit
freplace+                 ext                      -                               freplace
lsm+                      lsm                      lsm_mac
lsm.s+                    lsm                      lsm_mac
lsm_cgroup+               lsm                      lsm_cgroup
iter+                     tracing                  trace_iter
iter.s+                   tracing                  trace_iter
syscall                   syscall                  -
xdp.frags/devmap          xdp                      xdp_devmap
xdp/devmap                xdp                      xdp_devmap
xdp.frags/cpumap          xdp                      xdp_cpumap
xdp/cpumap                xdp                      xdp_cpumap
xdp.frags                 xdp                      xdp
xdp                       xdp                      xdp
perf_event                perf_event               -
lwt_in                    lwt_in                   -
lwt_out                   lwt_out                  -
lwt_xmit                  lwt_xmit                 -
lwt_seg6local             lwt_seg6local            -
sockops                   sock_ops                 cgroup_sock_ops
sk_skb/stream_parser      sk_skb                   sk_skb_stream_parser
sk_skb/stream_verdict     sk_skb                   sk_skb_stream_verdict
sk_skb                    sk_skb                   -                               sk_skb_verdict
sk_msg                    sk_msg                   sk_msg_verdict
lirc_mode2                lirc_mode2               lirc_mode2
flow_dissector            flow_dissector           flow_dissector
cgroup_skb/ingress        cgroup_skb               cgroup_inet_ingress
cgroup_skb/egress         cgroup_skb               cgroup_inet_egress
cgroup/skb                cgroup_skb               -
cgroup/sock_create        cgroup_sock              cgroup_inet_sock_create
cgroup/sock_release       cgroup_sock              cgroup_inet_sock_release
cgroup/sock               cgroup_sock              cgroup_inet_sock_create
cgroup/post_bind4         cgroup_sock              cgroup_inet4_post_bind
cgroup/post_bind6         cgroup_sock              cgroup_inet6_post_bind
cgroup/bind4              cgroup_sock_addr         cgroup_inet4_bind
cgroup/bind6              cgroup_sock_addr         cgroup_inet6_bind
cgroup/connect4           cgroup_sock_addr         cgroup_inet4_connect
cgroup/connect6           cgroup_sock_addr         cgroup_inet6_connect
cgroup/sendmsg4           cgroup_sock_addr         cgroup_udp4_sendmsg
cgroup/sendmsg6           cgroup_sock_addr         cgroup_udp6_sendmsg
cgroup/recvmsg4           cgroup_sock_addr         cgroup_udp4_recvmsg
cgroup/recvmsg6           cgroup_sock_addr         cgroup_udp6_recvmsg
cgroup/getpeername4       cgroup_sock_addr         cgroup_inet4_getpeername
cgroup/getpeername6       cgroup_sock_addr         cgroup_inet6_getpeername
cgroup/getsockname4       cgroup_sock_addr         cgroup_inet4_getsockname
cgroup/getsockname6       cgroup_sock_addr         cgroup_inet6_getsockname
cgroup/sysctl             cgroup_sysctl            cgroup_sysctl
cgroup/getsockopt         cgroup_sockopt           cgroup_getsockopt
cgroup/setsockopt         cgroup_sockopt           cgroup_setsockopt
cgroup/dev                cgroup_device            cgroup_device
struct_ops+               struct_ops               -
sk_lookup                 sk_lookup                sk_lookup
"""
_LATER = """
kprobe.session+           kprobe                   trace_kprobe_session
uprobe.multi+             kprobe                   trace_uprobe_multi
uretprobe.multi+          kprobe                   trace_uprobe_multi
uprobe.session+           kprobe                   trace_uprobe_session
uprobe.multi.s+           kprobe                   trace_uprobe_multi
uretprobe.multi.s+        kprobe                   trace_uprobe_multi
uprobe.session.s+         kprobe                   trace_uprobe_session
usdt.s+                   kprobe                   -                               uprobe
tc/ingress                sched_cls                tcx_ingress
tc/egress                 sched_cls                tcx_egress
tcx/ingress               sched_cls                tcx_ingress
tcx/egress                sched_cls                tcx_egress
netkit/primary            sched_cls                netkit_primary
netkit/peer               sched_cls                netkit_peer
tracepoint.s+             tracepoint               -
tp.s+                     tracepoint               -
raw_tracepoint.s+         raw_tracepoint           -
raw_tp.s+                 raw_tracepoint           -
tp_btf.s+                 tracing                  trace_raw_tp
sk_skb/verdict            sk_skb                   sk_skb_verdict
cgroup/connect_unix       cgroup_sock_addr         cgroup_unix_connect
cgroup/sendmsg_unix       cgroup_sock_addr         cgroup_unix_sendmsg
cgroup/recvmsg_unix       cgroup_sock_addr         cgroup_unix_recvmsg
cgroup/getpeername_unix   cgroup_sock_addr         cgroup_unix_getpeername
cgroup/getsockname_unix   cgroup_sock_addr         cgroup_unix_getsockname
struct_ops.s+             struct_ops               -
netfilter                 netfilter                netfilter
"""
"""Each line: section, program type, expected attach type (-: none), and our name for the two where it is neither. More
may follow a `+` behind a slash. _LATER: sections that libbpf 1.1 does not know, up to those for Linux 6.18."""


class LoadType(NamedTuple):
    """What libbpf loads a program as."""

    program_type: str
    attach_type: str  # expected at load; empty: none
    name: str  # ElfProgram.type


def _read(table: str) -> dict[str, LoadType]:
    rows = (line.split() for line in table.strip().splitlines())
    return {
        section: LoadType(program, attach.strip("-"), (*named, attach.strip("-") or program)[0])
        for section, program, attach, *named in rows
    }


KNOWN = _read(_SINCE_1_1)
_TYPES = {**KNOWN, **_read(_LATER)}
_NAMES = {section.removesuffix("+"): kind.name for section, kind in _TYPES.items()}


def section_type(section: str) -> tuple[str, bool]:
    """(attach type, takes fragmented packets); the type is empty for names that say nothing.

    What follows the last known part is the author's own: `xdp/count` is an xdp program.
    """
    first, slash, rest = section.removeprefix("?").partition("/")
    frags = first == "xdp.frags"
    for suffix in (".frags", ".s"):
        first = first.removesuffix(suffix)
    name = first + slash + rest
    while name not in _NAMES and "/" in name:
        name = name.rpartition("/")[0]
    return _NAMES.get(name, ""), frags


def load_type(section: str) -> LoadType | None:
    """Return what every libbpf from 1.1 on loads programs of a section as; None: nothing, or not the same."""
    name = section.removeprefix("?")
    return KNOWN.get(name) or KNOWN.get(name + "+") or KNOWN.get(name.partition("/")[0] + "+")


def loadable(section: str) -> bool:
    """Return whether every libbpf from 1.1 on takes the section for what it says."""
    return load_type(section) is not None


def loadable_section(section: str) -> str:
    """Return a loadable name for the same kind of program, for hints: what the section's name begins with, or what
    programs of that type are called otherwise."""
    name = section.removeprefix("?")
    kind = _TYPES.get(name)
    while name and not loadable(name):
        name = name.rpartition("/")[0]
    others = (known for known, other in KNOWN.items() if kind and other.program_type == kind.program_type)
    return name or next(others, "xdp").removesuffix("+")
