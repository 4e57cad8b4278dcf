"""The words of what tries a version out: test."""

from __future__ import annotations

from reloader.commands.words.parts import Commands, command, files


def test(commands: Commands) -> None:
    parser = command(
        commands,
        "test",
        "prove",
        "run the tests in the YAML on scratch maps",
        """Loads each pipeline's objects on this kernel with maps of their own, its listed entries and constants, and
runs what stands under `test:` by BPF_PROG_RUN: packets in, verdicts, bytes and map contents out. Touches no
interface, no pin and no live map; nothing has to be attached. `apply` runs the same tests before it swaps.

  test:
    - name: DNS passes                      # program: where several are attached
      seed: {blocklist: [{key: 192.0.2.9, value: {action: XDP_DROP}}]}
      packet: {udp: {src: 192.0.2.1, dport: 53, payload: hello}}
      repeat: 3
      expect:
        verdict: XDP_PASS
        output: same                        # or {hex: "45 ??", at: 14}, {ipv4: {ttl: 63}}
        maps: {counters: [{key: 0, value: {packets: 3, blocked: 0..1}}], flows: {count: 1}}
      budget: {ns_max_vs_active: 1.1, insns_max_vs_active: 1.2}

A packet is `hex: …`, frames of a `pcap: FILE`, or layers: eth, vlan, ipv4, ipv6, udp, tcp, icmp, with checksums
and all that is left out filled in. `steps:` makes a scenario of several packets over the same maps.

A budget is measured against the version that serves, where one does; else it is skipped, and that is said.
Exit 1 when a test fails or the verifier refuses a program.""",
    )
    files(parser)
    parser.add_argument("--junit", metavar="FILE", help="write the results as JUnit XML too")
