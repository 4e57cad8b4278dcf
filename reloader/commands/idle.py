"""`apply` where nothing changed: answered from the cache, the records and a few pins. Imports little, on purpose.

Called by apply.py before it loads the engine. A pipeline that is not plainly in force goes the long way, which also
says what is wrong.
"""

from __future__ import annotations

from typing import Any

from reloader.commands import texts
from reloader.commands.environment import Environment
from reloader.commands.sources import yaml_files


def nothing_to_do(files: list[str], env: Environment) -> bool:
    """Whether every pipeline of the files is in force as written; if so, that is reported."""
    from reloader.pipeline.cache import known

    found: list[tuple[str, str]] = []
    for path in yaml_files(files):
        kept = known(path, env.paths)
        if not kept:
            return False
        found += kept
    return len(dict(found)) == len(found) and _all_in_force(found, env)


def _all_in_force(found: list[tuple[str, str]], env: Environment) -> bool:
    from reloader.disk.record_folder import records_error
    from reloader.observe.in_force import all_in_force

    if records_error(env.paths):  # refused under the lock
        return False
    generations = all_in_force(env.host, dict(found))
    if len(generations) < len(found):
        return False
    for pipeline, generation in generations.items():
        env.output.print(texts.NOTHING_TO_DO(pipeline=pipeline, generation=generation))
    env.output.document("Result", {"pipelines": [_unchanged(p, g) for p, g in generations.items()]})
    return True


def _unchanged(pipeline: str, generation: int) -> dict[str, Any]:
    """As render.result_json."""
    empty: dict[str, Any] = {
        "lines": [],
        "seconds": {},
        "recovered": [],
        "bridge": {},
        "tests": [],
        "outcome": "",
        "outcome_kind": "",
        "left_out": {},
        "unconfirmed": 0.0,
    }
    why = texts.NOTHING_TO_DO_WHY()
    return {"pipeline": pipeline, "changed": False, "generation": generation, "why": why, **empty}
