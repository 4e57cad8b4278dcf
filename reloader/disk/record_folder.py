"""Whether other users could change the records: the record directory, the way to it, and all that is in it.

A user who could write there once may have left folders, links and files. Judged by the writer lock, before an answer
without a lock, and by doctor.
"""

from __future__ import annotations

import os
import shlex

from reloader.disk import texts
from reloader.disk.trust import Judge, open_trusted_folder
from reloader.errors import PermissionRefused
from reloader.paths import Paths


def records_error(paths: Paths) -> PermissionRefused | None:
    """What other users could change; None when nothing, or the directory is missing. OSError as the system gives it."""
    path = str(paths.records)
    try:
        folder = open_trusted_folder(path, what=texts.RECORD_DIRECTORY())
    except FileNotFoundError:
        return None
    except PermissionRefused as error:
        return error
    try:
        require_own_contents(folder, path)
    except PermissionRefused as error:
        return error
    finally:
        os.close(folder)
    return None


def require_own_contents(folder: int, path: str) -> None:
    """PermissionRefused (77) with what other users could change in the open record directory `path`."""
    judge, quoted = Judge(), shlex.quote(path)
    judge.judge_contents(folder, path)
    judge.refuse(texts.RECORDS(), hint=texts.RESTORE_RECORDS(user=os.geteuid(), folder=quoted))
