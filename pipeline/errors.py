"""What can go wrong, named in one place: each is said in one line where it ends a command."""

from __future__ import annotations


class InputError(Exception):
    """Something the user gave is wrong: one clear line, exit code 2, before any work."""


class MissingRawDataError(InputError):
    """A raw file is neither in the raw folder nor to be fetched; the text says where it comes from.

    The dataset becomes a labelled gap; the others go on.
    """


class DamagedFileError(Exception):
    """A data file is torn, altered or of another recipe: it is built again."""


class LockedError(Exception):
    """Another process holds the lock; the text says which."""


class StoreError(Exception):
    """MLflow's store cannot be read or written; the text says why, and what to do."""


class TrainingDivergedError(Exception):
    """The loss is no longer a finite number."""
