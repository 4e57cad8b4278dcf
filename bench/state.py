"""state.*: a state map moves to another layout: what is lost, how fast it goes, and what it costs others.

The figures are taken in state_fire (under traffic), state_naive (by hand), state_speed and state_cost.
"""

from __future__ import annotations

from bench import state_cost, state_fire, state_naive, state_speed
from bench.rows import Aim, Row, median, note
from bench.state_fire import Fire
from lab.sandbox import LabError


def rows() -> list[Row]:
    fire, by_hand = state_fire.measure(), state_naive.by_hand()
    return [*losses(fire, by_hand), *naive(fire, by_hand), *state_speed.rows(), *state_cost.rows()]


def losses(fire: Fire, by_hand: dict[str, float]) -> list[Row]:
    """All of these must be zero."""
    note(f"state: {fire.total('packets'):,} packets met the conversions; a deletion's fate unclear in "
         f"{fire.total('uncertain')}")  # fmt: skip
    text, lost = next(iter(by_hand.items()))
    seconds = [*fire.there.seconds, *fire.back.seconds]
    judged = fire.conversions - fire.total("uncertain")
    if judged <= 0:
        raise LabError("deleting packets were dropped in every conversion: nothing is known of what comes back")
    there, back, worst = fire.conversions, fire.back.conversions, fire.newborn.conversions
    foreign = f"without the header, flows born just before the swap, {worst} conversions"
    return [
        _lost(
            "conserved",
            fire.total("updates"),
            "updates lost",
            fire.conversions,
            f"{text}; scaled",
            lost * fire.conversions,
        ),
        _lost("rollback_conserved", fire.back.updates, "updates lost", back, f"{text}; scaled", lost * back),
        _lost("unknown_established", fire.total("unknown"), "packets", there + worst, foreign, fire.foreign.unknown),
        _lost("resurrected", fire.total("resurrected"), "flows", judged),
        Row(name="state.reload_under_fire", value=median(seconds) * 1000, unit="ms", n=len(seconds)),
    ]


def _lost(name: str, value: float, unit: str, n: int, text: str = "", beside: float | None = None) -> Row:
    return Row(
        name=f"state.{name}", value=value, unit=unit, n=n, baseline=text, baseline_value=beside,
        aim=Aim(of="value", most=0),
    )  # fmt: skip


def naive(fire: Fire, by_hand: dict[str, float]) -> list[Row]:
    """What the same number of packets a second loses otherwise."""
    ours = fire.total("updates") / fire.conversions
    return [
        Row(
            name=f"state.naive_lost{suffix}", value=lost, unit="updates a conversion", n=state_naive.CONVERSIONS,
            baseline=f"reloader; here {text}", baseline_value=ours,
        )
        for suffix, (text, lost) in zip(("", ".merge"), by_hand.items(), strict=True)
    ]  # fmt: skip
