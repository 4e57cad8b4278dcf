"""What a script does to change an XDP program: detach the old one, load the new with fresh maps, attach.

For the demo and the bench, beside reloader in the same run. May import reloader.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from lab.sandbox import Sandbox
from lab.traffic import Generator, Seen, read_seen
from reloader.kernel import Fd, Kernel, Loaded, LoadRequest, XdpMode

DROP = (1).to_bytes(4, "little")  # XDP_DROP


def attach(kernel: Kernel, sandbox: Sandbox, loaded: Loaded) -> Fd:
    """A bpf_link on the sandbox's receiving end."""
    interface = kernel.net.interface(sandbox.rx.interface, sandbox.rx.netns)
    assert interface is not None
    prog = loaded.progs["count_flows"]
    return kernel.links.create_xdp(prog, ifindex=interface.ifindex, mode=XdpMode.NATIVE, netns=sandbox.rx.netns)


def load(kernel: Kernel, path: Path) -> Loaded:
    request = LoadRequest(
        objects=(path.read_bytes(),), name="naive", programs=("count_flows",), rodata={"default_verdict": DROP}
    )
    return kernel.progs.load(request)


def counts(kernel: Kernel, loaded: Loaded) -> Seen:
    return read_seen(kernel.maps, loaded.maps["flows"], loaded.maps["counters"])


def naive_swaps(
    kernel: Kernel, sandbox: Sandbox, generator: Generator, path: Path, swaps: int, *, pause: float = 0.2
) -> dict[str, Any]:
    """Swap so often under full traffic; what no program saw, and what the last flow table does not hold."""
    loaded = load(kernel, path)
    link = attach(kernel, sandbox, loaded)
    before = generator.traffic()
    generator.start()
    seen, forgotten, unknown = 0, 0, 0
    for _ in range(swaps):
        time.sleep(pause)
        link.close()
        gone = counts(kernel, loaded)
        seen, forgotten, unknown = seen + gone.packets, forgotten + gone.in_flows, unknown + gone.flows
        loaded.close()
        loaded = load(kernel, path)
        link = attach(kernel, sandbox, loaded)
    time.sleep(pause)
    generator.stop()
    time.sleep(0.2)
    last = counts(kernel, loaded)
    link.close()
    loaded.close()
    sent = generator.traffic().delivered - before.delivered
    return {
        "swaps": swaps,
        "packets_sent": sent,
        "packets_lost": sent - seen - last.packets,
        "state_expected": sent,
        "state_lost": sent - last.in_flows,
        "unknown_established": unknown,
    }
