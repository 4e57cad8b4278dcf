"""The strings that every program carries: what `bpftool prog show` prints of it, and what lost records are rebuilt
from. Pure.

Lists are written with commas, so names are escaped as in a URL where they hold one.
"""

from __future__ import annotations

import re

from reloader.pipeline.model import Role
from reloader.pipeline.wish import Wish, WishAttachment
from reloader.structs.btf import layout_digest


def metadata(wish: Wish, *, load: int, generation: int) -> dict[str, str]:
    """Who the programs of one load are."""
    return {
        "pipeline": wish.pipeline,
        "load": str(load),
        "generation": str(generation),
        "objects": ",".join(o.digest[:12] for o in wish.objects),
        "source": wish.source_revision,
        "layouts": ",".join(f"{m.name}={layout_digest(m.key, m.value)}" for m in wish.maps if m.role is Role.STATE),
        "roles": ",".join(f"{m.name}={m.role}" for m in wish.maps),
        "attach": " ".join(map(_attachment_text, wish.attachments)),
    }


def roles(words: dict[str, str]) -> dict[str, Role]:
    """Map → role, as far as the strings say; an older program's do not."""
    pairs = (item.split("=", 1) for item in words.get("roles", "").split(",") if "=" in item)
    known = set(Role)
    return {name: Role(role) for name, role in pairs if role in known}


def attachments(words: dict[str, str]) -> list[WishAttachment]:
    """The attachments that the load was made for."""
    found = []
    for text in words.get("attach", "").split():
        name, kind, program, *target = text.split(",")
        pairs = [part.split("=", 1) for part in target]
        found.append(
            WishAttachment(id=_plain(name), type=kind, program=program, target={k: _plain(v) for k, v in pairs})
        )
    return found


def _attachment_text(attachment: WishAttachment) -> str:
    target = (f"{key}={_escaped(value)}" for key, value in sorted(attachment.target.items()))
    return ",".join([_escaped(attachment.id), attachment.type, attachment.program, *target])


def _escaped(text: str) -> str:
    return re.sub(r"[^!-~]|[%,]", lambda m: "".join(f"%{b:02x}" for b in m[0].encode()), text)


def _plain(text: str) -> str:
    raw = re.sub(rb"%([0-9a-f]{2})", lambda m: bytes.fromhex(m[1].decode()), text.encode())
    return raw.decode(errors="replace")
