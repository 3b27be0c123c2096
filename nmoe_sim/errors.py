"""Errors a user can act on, and the exit status each one means."""

from __future__ import annotations


class NmoeSimError(Exception):
    """Base of every error this package raises on purpose."""

    exit_status = 1


class InputError(NmoeSimError):
    """The input is wrong: a scenario, a setting or a data file.

    Parameters
    ----------
    message : str
        The value, the rule it breaks and the remedy, in one line.
    where : str, optional
        ``file:line:column``, or the command-line option that set the value.
    key : str, optional
        Dotted path of the setting, such as ``radio.bandwidth_hz``.
    """

    exit_status = 2

    def __init__(self, message: str, *, where: str | None = None, key: str | None = None) -> None:
        self.message = message
        self.where = where
        self.key = key
        super().__init__(": ".join(part for part in (where, key, message) if part))


class RunError(NmoeSimError):
    """A run failed after it had started."""
