"""Places: their names, what they say of a look, and that the tables of types agree."""

from __future__ import annotations

import errno
from collections.abc import Collection
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from reloader.errors import AttachRefused, MissingFeature
from reloader.kernel import Interface, LinkInfo, XdpMode
from reloader.kernel.traffic_control import Filter
from reloader.places import MOVED, first_moved, place_of, place_with_program, places, type_of
from reloader.places.interface import neighbours, texts
from reloader.places.interface.refused import Attempt, explanation
from reloader.places.interface.tcx import Tcx
from reloader.places.interface.xdp import Xdp
from reloader.places.place import ClearsOthers, Fact, Foreign, Sight, TakesOver
from reloader.places.programs import Program

BLUE = "/run/netns/blue"
ETH0 = Interface(name="eth0", ifindex=7, netns="4:1", mtu=1500, xdp_prog_id=10, xdp_mode=XdpMode.NATIVE)
OURS = LinkInfo(id=50, type=6, prog_id=10, ifindex=7)
XDP = Xdp.of({"interface": "eth0", "mode": "native"})
TCX = Tcx.of({"interface": "eth0", "direction": "ingress"})


def test_both_tables_hold_every_type() -> None:
    assert MOVED.keys() == places().keys()
    assert all(name == kind.TYPE for name, kind in places().items())
    assert all(place_with_program(hints.program_type) is kind for kind in places().values() for hints in kind.LOADS)
    assert place_with_program("trace_fentry") is None


@pytest.mark.parametrize(
    ("kind", "options", "target", "name"),
    [
        ("xdp", {"interface": "eth0"}, {"interface": "eth0", "mode": "native"}, "xdp:eth0"),
        (
            "xdp",
            {"interface": "eth0", "mode": "skb", "netns": "blue"},
            {"interface": "eth0", "netns": BLUE, "mode": "skb"},
            "xdp:eth0@blue",
        ),
        ("tcx", {"interface": "eth0"}, {"interface": "eth0", "direction": "ingress"}, "tcx-ingress:eth0"),
        (
            "tcx",
            {"interface": "eth0", "direction": "egress", "netns": "/var/run/netns/blue"},
            {"interface": "eth0", "netns": BLUE, "direction": "egress"},
            "tcx-egress:eth0@blue",
        ),
        (
            "xdp",
            {"interface": "eth0", "netns": "/proc/1/ns/net"},
            {"interface": "eth0", "netns": "/proc/1/ns/net", "mode": "native"},
            "xdp:eth0@/proc/1/ns/net",
        ),
    ],
)
def test_names_and_targets(kind: str, options: dict[str, str], target: dict[str, str], name: str) -> None:
    """Records and pins are named by them: they stay as they are, the order of a target's words too."""
    place = places()[kind].parse(options)
    assert list(place.target.items()) == list(target.items())
    assert (place.id, type_of(place.id)) == (name, kind)
    assert place_of(kind, target) == place


def test_fields_that_name_nothing() -> None:
    found = dict(Xdp.faults({"interface": "eth*", "netns": "CHANGE-ME-2"}, "CHANGE-ME"))
    assert {field: message.code for field, message in found.items()} == {
        "interface": "pattern",
        "netns": "placeholder",
    }
    assert found["netns"].values["netns"] == "CHANGE-ME-2"
    assert not list(Tcx.faults({"interface": "eth0", "direction": "egress"}, "CHANGE-ME"))


@pytest.mark.parametrize(
    ("interface", "link", "xdp", "tcx"),
    [
        (None, None, Sight.VANISHED, Sight.VANISHED),
        (None, OURS, Sight.VANISHED, Sight.VANISHED),
        (ETH0, None, Sight.FREE, Sight.FREE),
        (ETH0, OURS, Sight.OURS, Sight.OURS),
        (ETH0, LinkInfo(id=50, type=6, prog_id=10, ifindex=8), Sight.ELSEWHERE, Sight.ELSEWHERE),
        (ETH0, LinkInfo(id=50, type=6, prog_id=11, ifindex=7), Sight.ELSEWHERE, Sight.OURS),
        (ETH0, LinkInfo(id=50, type=6, prog_id=10, attached=False), Sight.DETACHED, Sight.DETACHED),
    ],
)
def test_where_our_link_is(interface: Interface | None, link: LinkInfo | None, xdp: Sight, tcx: Sight) -> None:
    """On XDP, where ours is alone, another namespace's interface of the same index has another program."""
    seen = XDP.assembled(interface, link), TCX.assembled(interface, link)
    assert tuple(one.sight for one in seen) == (xdp, tcx)
    assert all(bool(one.trouble) is (one.sight not in (Sight.OURS, Sight.FREE)) for one in seen)
    assert all(bool(one.spot) is bool(interface) for one in seen)
    assert all(one.blocked == (one.trouble if one.sight is Sight.ELSEWHERE else None) for one in seen)


def test_what_is_in_the_way() -> None:
    """Whether --take-over can replace it depends on how it is attached."""
    held = texts.BY_NETLINK(holders=("a pin",))
    by_netlink = XDP.assembled(ETH0, None, owner="x", foreign=Foreign(prog_id=10, link_id=0, held=held, how="native"))
    by_link = XDP.assembled(ETH0, None, owner="x", foreign=Foreign(prog_id=10, link_id=3, held=held))
    assert by_netlink.blocked
    assert by_link.blocked
    assert [one.blocked.code for one in (by_netlink, by_link) if one.blocked] == ["occupied", "occupied-by-link"]


def test_the_mode_of_a_living_link_stays() -> None:
    skb = Xdp.of({"interface": "eth0", "mode": "skb"})
    assert skb.assembled(ETH0, OURS).fixed
    assert not XDP.assembled(ETH0, OURS).fixed
    assert not skb.assembled(ETH0, None).fixed


def test_two_names_of_one_interface_are_one_spot() -> None:
    other = Xdp.of({"interface": "eth0", "netns": "/proc/self/ns/net", "mode": "native"})
    assert other.assembled(ETH0, None).spot == XDP.assembled(ETH0, OURS).spot
    assert (
        Tcx.of({"interface": "eth0", "direction": "egress"}).assembled(ETH0, None).spot
        != TCX.assembled(ETH0, None).spot
    )


class Namespaces:
    """The one question that `moved` asks of a kernel."""

    def __init__(self, **interfaces: dict[str, int]) -> None:
        self.interfaces, self.asked = interfaces, list[object]()

    @property
    def kernel(self) -> Any:
        return SimpleNamespace(net=self)

    def indices(self, names: Collection[str], netns: str | None) -> tuple[str, dict[str, int]]:
        self.asked.append(netns)
        if netns not in (None, *self.interfaces):
            raise MissingFeature("no namespace")
        there = self.interfaces[netns or "own"]
        return netns or "own", {name: there[name] for name in names if name in there}


def recorded(interface: str, ifindex: int, netns: str | None = None, whose: str = "") -> dict[str, Fact]:
    return {"interface": interface, "ifindex": ifindex, "netns": netns, "netns_id": whose or netns or "own"}


def on(ifindex: int) -> LinkInfo:
    return LinkInfo(id=1, type=6, prog_id=2, ifindex=ifindex, attached=ifindex > 0)


def test_what_moved_is_found_with_one_look_into_each_namespace() -> None:
    net = Namespaces(own={"eth0": 7, "eth1": 8}, blue={"eth0": 2})
    links = [
        ("xdp:eth0", recorded("eth0", 7), on(7)),
        ("tcx-ingress:eth1", recorded("eth1", 8), on(8)),
        ("xdp:eth0@blue", recorded("eth0", 2, "blue"), on(2)),
    ]
    assert first_moved(net.kernel, links) is None
    assert net.asked == [None, "blue"]


@pytest.mark.parametrize(
    ("record", "ifindex"),
    [
        (recorded("eth0", 7), 9),  # the link's interface was moved
        (recorded("eth0", 6), 6),  # the name is another interface's now
        (recorded("eth9", 9), 9),
        (recorded("eth0", 2, "blue", "another"), 2),  # the namespace was made again
        (recorded("eth0", 2, "red"), 2),
    ],
)
def test_another_interface_is_noticed(record: dict[str, Fact], ifindex: int) -> None:
    net = Namespaces(own={"eth0": 7}, blue={"eth0": 2})
    found = first_moved(net.kernel, [("xdp:eth0", record, on(ifindex))])
    assert found
    assert found.values == {"interface": (record["interface"],)}


def test_a_record_of_an_unknown_interface_says_nothing() -> None:
    assert first_moved(Namespaces(own={}).kernel, [("xdp:", recorded("", 0), on(3))]) is None


def test_a_record_of_another_version_counts_as_moved() -> None:
    """A type that is not known, or a record without a field: said, not a KeyError."""
    kernel = Namespaces(own={}).kernel
    found = first_moved(kernel, [("later:x", {}, on(3))])
    assert found
    assert "later:x" in found
    assert first_moved(kernel, [("xdp:eth0", {"interface": "eth0"}, on(3))])


def test_what_is_recorded_of_an_interface() -> None:
    blue = Xdp.of({"interface": "eth0", "netns": BLUE, "mode": "native"})
    spot = blue.assembled(ETH0, OURS).spot
    assert blue.record(OURS, spot) == {"interface": "eth0", "ifindex": 7, "netns": BLUE, "netns_id": "4:1"}
    assert XDP.record(OURS, None) == {"interface": "eth0", "ifindex": 7, "netns": None, "netns_id": ""}


def test_neighbours_are_told_apart() -> None:
    """A filter that is known whole can be removed and made again; what removes it is JSON."""
    program = Program(id=7, name="guard", pipeline="edge")
    whole = Filter(kind="bpf", pref=7, handle=1, prog_id=7, exact=True)
    listed, filtered = neighbours._listed(program, 3, before=True), neighbours._classic(program, whole)
    assert (listed.takes, listed.take_over.code) == (None, "not-a-filter")
    assert filtered.takes
    assert Filter(**filtered.takes) == whole
    assert neighbours._classic(program, Filter(kind="flower", pref=1, handle=1)).takes is None
    assert listed.effect("ours").code == "runs-before"
    assert list(listed.to_json()) == ["hook", "effect", "prog_id", "program", "pipeline", "link_id", "filter"]
    assert filtered.to_json(removed=True)["effect"] == "removed"
    assert filtered.to_json()["filter"] == {"kind": "bpf", "pref": 7, "handle": 1, "chain": 0}


@pytest.mark.parametrize(
    ("mode", "number", "reason", "skb"),
    [
        ("native", errno.ERANGE, "mtu_too_large", True),
        ("skb", errno.ERANGE, "mtu_too_large", False),
        ("native", errno.EOPNOTSUPP, "mode_unsupported", True),
        ("skb", 524, "mode_unsupported", False),
        ("native", errno.EBUSY, "hook_busy", False),
        ("native", errno.ENOMEM, "no_memory", False),
        ("native", errno.ENODEV, "interface_missing", False),
        ("native", errno.EINVAL, "attach_refused", True),
        ("skb", errno.EINVAL, "attach_refused", False),
        ("", errno.ERANGE, "hook_full", False),
        ("", errno.ENODEV, "interface_missing", False),
        ("", errno.EINVAL, "attach_refused", False),
    ],
)
def test_a_refusal_has_a_meaning(mode: str, number: int, reason: str, skb: bool) -> None:
    attempt = Attempt(attachment="xdp:eth0", at=XDP.at, program="main", mode=mode)
    found = explanation(AttachRefused("BPF_LINK_CREATE", number, "eth0", said="no"), attempt, ETH0)
    assert (found.reason, "mode: skb" in found.hint) == (reason, skb)
    assert found.hint
    assert found.values == {
        "attachment": "xdp:eth0", "program": "main", "interface": "eth0", "netns": "", "mtu": 1500, "mode": mode,
        "errno": found.errno_name, "kernel": "no",
    }  # fmt: skip


def test_only_what_can_give_way_is_taken_over() -> None:
    assert isinstance(XDP, TakesOver)
    assert not isinstance(XDP, ClearsOthers)
    assert isinstance(TCX, ClearsOthers)
    assert not isinstance(TCX, TakesOver)


def test_lines_of_a_rescue_script() -> None:
    there = {"interface": "-q", "netns": "/run/netns/a b", "mode": "skb"}
    (line,) = Xdp.of(there).rescue("P")
    assert line == (
        "again nsenter --net='/run/netns/a b' -- bpftool -- net attach xdpgeneric pinned P dev -q overwrite"
    )
    assert TCX.rescue("P") == (
        "again tc qdisc replace dev eth0 clsact",
        "again tc filter replace dev eth0 ingress pref 1 handle 1 bpf direct-action object-pinned P",
    )


def test_neighbours_that_do_not_keep_each_other_from_running() -> None:
    beside = neighbours._listed(Program(id=7, name="guard"), 3, before=True)
    for before, code in ((True, "both-run-before"), (False, "both-run-after")):
        assert replace(beside, before=before, verdict="").effect("ours").code == code
