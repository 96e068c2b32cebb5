"""What can go wrong, named in one place: each is said in one line where it ends a command."""

from __future__ import annotations

import os
import re
from urllib.parse import unquote

#: From `://` to the last @ where a colon says that a password is in between, as it was written: an
#: unquoted password may hold anything. Else to an @ that comes before the path: a token.
USERINFO = re.compile(r"://(?:[^\s/@:]*:\S*|[^\s/@]*)@")
PAIR = re.compile(r"\b(password|passwd|pwd|token)=[^\s&;'\"]+", re.IGNORECASE)
#: A password of fewer letters is not looked for by itself: it would be found in any word.
SHORTEST = 4


def masked(text: str) -> str:
    """A text without the passwords of its addresses, or of MLFLOW_TRACKING_URI's parts."""
    text = PAIR.sub(r"\1=***", USERINFO.sub("://***@", text))
    user, found, host = os.environ.get("MLFLOW_TRACKING_URI", "").rpartition("@")
    if not found:
        return text
    password = user.partition("://")[2].partition(":")[2]
    for secret in {password, unquote(password)}:
        if len(secret) >= SHORTEST:
            text = text.replace(secret, "***")
    # An unquoted @ in it: the rest is taken for a part of the host's name.
    if server := re.split(r"[:/?]", host)[0]:
        text = re.sub(rf"[^\s'\"(/@]+@{re.escape(server)}", f"***@{server}", text)
    return text


class _ToldError(Exception):
    """Its text is shown to the user: without passwords."""

    def __init__(self, text: str = "") -> None:
        super().__init__(masked(text))


class InputError(_ToldError):
    """Something the user gave is wrong: one clear line, exit code 2, before any work.

    >>> import equigrid
    >>> equigrid.open_experiment("nothing")
    Traceback (most recent call last):
    equigrid.errors.InputError: no search space 'nothing'; there are: ...
    """


class NameTakenError(InputError):
    """A file of the user's own has the name of a module that is imported in its place."""


class MissingRawDataError(InputError):
    """A raw file is neither in the raw folder nor to be fetched; the text says where it comes from.

    The dataset becomes a labelled gap; the others go on.
    """


class DamagedFileError(Exception):
    """A data file is torn, altered or of another recipe: it is built again."""


class LockedError(Exception):
    """Another process holds the lock; the text says which."""


class StoreError(_ToldError):
    """MLflow's store cannot be read or written; the text says why, and what to do."""


class EndedEarlyError(_ToldError):
    """What runs the trials has given up; nothing is wrong with them: the same command goes on."""


class TrainingDivergedError(Exception):
    """The loss is no longer a finite number."""
