"""A generation as a shell script that attaches it again with bpftool, nsenter and coreutils, without Python.

Written beside each generation's record at its commit, for the day on which reloader itself is what fails. The ops
that write the record call it.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping

from reloader.break_glass import texts
from reloader.disk.atomic_files import write_atomic
from reloader.errors import NeedsHuman
from reloader.kernel import MapType
from reloader.paths import RESCUE_MAPS, RESCUE_PROGRAMS, Paths, pin_name
from reloader.pipeline.model import Role
from reloader.pipeline.wish import Wish, WishMap
from reloader.places import place_of
from reloader.store import records
from reloader.store.records import Generation
from reloader.structs.elf.file import ElfFile
from reloader.wording.printable import printable

HEAD = """#!/bin/sh
# {pipeline}, generation {number} of {created}: attaches this version again.
# Needs root, bpftool, nsenter and coreutils, and tc for traffic control; neither Python nor reloader. Written by
# reloader at the commit.
#
# The script detaches the link of reloader, then attaches this program: for some milliseconds no program runs. A
# program that is attached without a link, for example by an earlier run of this script, is replaced in one step.
# Pinned state maps of the same layout are reused; other state maps, .bss and .data start empty.
# Once reloader works again, `reloader apply FILE` replaces this program; `reloader remove {pipeline}` detaches it.
set -eu
PATH="$PATH:/usr/sbin:/sbin"
pins=${{RELOADER_BPFFS:-{bpffs}}}
records=${{RELOADER_RECORDS:-{records}}}
at="$pins{rescue}"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# set_bytes FILE OFFSET OCTAL: write a constant of this generation into .rodata.
set_bytes() {{ printf "$3" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none; }}

# newest PIN...: set $found to the existing pin with the highest number behind its last dash.
newest() {{
	found= highest=-1
	for pin; do
		[ -e "$pin" ] || continue
		number=${{pin##*-}}
		case $number in *[!0-9]*|"") number=0 ;; esac
		[ "$number" -le "$highest" ] || {{ found=$pin highest=$number; }}
	done
}}

# fill MAP KEY_BYTES VALUE_BYTES DIGEST: write the stored entries to the map.
fill() {{
	od -An -v -tx1 -w$(($2 + $3)) "$records{entries}/$4" | awk -v k="$2" -v m="$1" '{{
		printf "map update pinned ./%s key hex", m
		for (i = 1; i <= k; i++) printf " %s", $i
		printf " value hex"
		for (; i <= NF; i++) printf " %s", $i
		print ""
	}}' | (cd "$at{maps}" && bpftool batch file -) >/dev/null
}}

# again COMMAND...: retry, because the kernel detaches an old program some time after its link is removed. Prints the
# errors of the last try only.
again() {{
	tries=50
	until "$@" 2>/dev/null; do
		tries=$((tries - 1))
		if [ "$tries" -le 0 ]; then
			"$@" || exit 1
			return
		fi
		sleep 0.1
	done
}}

# put_aside PIN...: rename pins of an earlier run. Their programs stay known until reloader removes them.
put_aside() {{
	for pin; do
		case $pin in *~*) continue ;; esac
		[ ! -e "$pin" ] || mv "$pin" "$pin~$$"
	done
}}

# detach_earlier CGROUP HOOK: detach the programs that earlier runs attached, once this one is attached.
detach_earlier() {{
	for pin in "$at{programs}"/*~*; do
		[ ! -e "$pin" ] || bpftool cgroup detach "$1" "$2" pinned "$pin" 2>/dev/null || :
	done
}}

# skip TEXT: go on with the other attachments; the script fails at its end.
skip() {{
	echo "$1" >&2
	skipped=1
}}

# judge DIR...: refuse folders of pins that other users can change, up to the root of the bpf filesystem.
judge() {{
	for dir; do
		[ -d "$dir" ] || continue
		while [ "$(stat -f -c %t "$dir")" = cafe4a11 ]; do
			above=$(stat -f -c %t "$dir/..")
			case $(stat -c '%u %A' "$dir") in
			"0 d"????-??-?*|"$user d"????-??-?*) ;;
			"0 d"????????[tT]|"$user d"????????[tT])
				[ "$above" != cafe4a11 ] || refuse "$dir" ;;
			*) refuse "$dir" ;;
			esac
			dir="$dir/.."
		done
	done
}}
refuse() {{
	echo "other users can change $1: run chown root $1 && chmod go-w $1" >&2
	exit 77
}}

umask 077
user=$(stat -c %u /proc/self/.)
judge "$pins/." "$pins/{pipeline}" "$pins/{pipeline}"/* "$pins/{pipeline}"/*/* "$pins/{pipeline}"/*/*/*
rm -rf "$at{maps}"
mkdir -p -m 0700 "$at"
judge "$at"
[ "$(stat -f -c %t "$at")" = cafe4a11 ] || {{
	echo "$pins is not on a bpf filesystem: run mount -t bpf bpf /sys/fs/bpf" >&2
	exit 1
}}
skipped=0
put_aside "$at{programs}"/*
"""


def write_script(paths: Paths, generation: Generation) -> None:
    """Write the script beside the generation's record.

    Without its objects there is no script, and what was committed stands all the same: `doctor` names the file.
    """
    path = paths.rescue_file(generation.wish.pipeline, generation.number)
    try:
        objects = {o.digest: records.read_blob(paths, "objects", o.digest) for o in generation.wish.objects}
    except NeedsHuman as error:
        told = texts.SCRIPT_NOT_WRITTEN(pipeline=generation.wish.pipeline, why=error.message)
        import logging  # late: it takes 4 ms

        logging.getLogger(__name__).warning("%s", printable(told))
        return
    write_atomic(path, script(generation, paths, objects).encode(errors="surrogateescape"), mode=0o700)


def script(generation: Generation, paths: Paths, objects: Mapping[str, bytes]) -> str:
    """The whole script; `objects` holds the bytes of every object of the generation, by digest."""
    wish = generation.wish
    head = HEAD.format(
        pipeline=wish.pipeline,
        number=generation.number,
        created=generation.created,
        bpffs=shlex.quote(os.path.abspath(paths.bpffs)),
        records=shlex.quote(os.path.abspath(paths.records)),
        rescue=paths.below_bpffs(paths.rescue_pins(wish.pipeline)),
        entries=paths.below_records(paths.blob_dir("entries")),
        maps=paths.below_rescue(RESCUE_MAPS),
        programs=paths.below_rescue(RESCUE_PROGRAMS),
    )
    parts = [
        *_objects(wish, paths, objects), *_maps(generation, paths), _load(paths), *_entries(wish),
        *_attach(wish, paths), 'exit "$skipped"',
    ]  # fmt: skip
    return head + "\n".join(parts) + "\n"


def _objects(wish: Wish, paths: Paths, objects: Mapping[str, bytes]) -> Iterator[str]:
    names = []
    for index, found in enumerate(wish.objects):
        name = f'"$work/{index}.o"'
        names.append(name)
        yield f'cp "$records{paths.below_records(paths.blob_file("objects", found.digest))}" {name}'
        for at, value in _constants(objects[found.digest], wish.rodata):
            yield f"set_bytes {name} {at} '{_octal(value)}'"
    if len(names) > 1:
        yield f'bpftool gen object "$work/all.o" {" ".join(names)}'
    yield f"object={names[0] if len(names) == 1 else chr(34) + '$work/all.o' + chr(34)}"


def _constants(data: bytes, rodata: Mapping[str, bytes]) -> Iterator[tuple[int, bytes]]:
    """Where in the file each constant lies that this object defines."""
    elf = ElfFile.parse(data) if rodata else None
    for section in (s for s in elf.sections if s.name.startswith(".rodata")) if elf else ():
        assert elf is not None
        symbols = elf.global_objects(section)
        for name, value in rodata.items():
            if name in symbols:
                yield section.offset + symbols[name].value, value


def _octal(value: bytes) -> str:
    return "".join(f"\\{byte:03o}" for byte in value)


def _maps(generation: Generation, paths: Paths) -> Iterator[str]:
    yield "set --  # arguments of bpftool: the pinned map to reuse for each map of the object"
    for wanted in generation.wish.maps:
        if wanted.name.startswith(".") or wanted.type == MapType.PROG_ARRAY:
            continue  # bpftool knows no pin for the first; the second must not hold another load's programs
        if wanted.role in (Role.STATE, Role.STREAM, Role.LIVE):
            yield from _reuse(wanted.name, _where(generation, wanted, paths))
        elif wanted.role is Role.EXTERNAL and wanted.pin:
            yield from _reuse(wanted.name, shlex.quote(wanted.pin))


def _reuse(name: str, pins: str) -> tuple[str, str]:
    """`pins` are words of shell already."""
    return f"newest {pins}", f'[ -z "$found" ] || set -- "$@" map name {shlex.quote(name)} pinned "$found"'


def _where(generation: Generation, wanted: WishMap, paths: Paths) -> str:
    """Return the map's pin, below $pins, as words of shell. Another conversion may have raised a state map's serial."""
    pin = paths.below_bpffs(generation.maps[wanted.name].pin)
    if wanted.role is not Role.STATE:
        return f'"$pins"{shlex.quote(pin)}'
    return f'"$pins"{shlex.quote(pin.rsplit("-", 1)[0])}-*'


def _load(paths: Paths) -> str:
    programs, maps = (paths.below_rescue(folder) for folder in (RESCUE_PROGRAMS, RESCUE_MAPS))
    return f'bpftool prog loadall "$object" "$at{programs}" "$@" pinmaps "$at{maps}"'


def _entries(wish: Wish) -> Iterator[str]:
    for wanted in wish.maps:
        if wanted.role is Role.CONFIG and wanted.entries and wanted.entries.count:
            sizes = f"{wanted.key_size} {wanted.value_size}"
            yield f"fill {shlex.quote(pin_name(wanted.name))} {sizes} {wanted.entries.digest}"


def _attach(wish: Wish, paths: Paths) -> Iterator[str]:
    at = f'"$at"{paths.below_rescue(RESCUE_PROGRAMS)}'
    for attachment in wish.attachments:
        pin = paths.below_bpffs(paths.link_pin(wish.pipeline, attachment.id))
        place = place_of(attachment.type, attachment.target)
        lines = place.rescue(f"{at}/{shlex.quote(attachment.program)}")
        if lines is None:
            yield f"# {printable(attachment.id)}: plain tools cannot attach it; its link stays as it is"
        else:
            yield from (f'rm -f "$pins"{shlex.quote(pin)}', *lines)
