"""The one exception that is meant for the person at the keyboard."""

from __future__ import annotations


class RunError(Exception):
    """Something outside the program is not as it must be: a file, an option, a device.

    The message says what is wrong and what to do about it. The command line prints it without a
    traceback and leaves with exit code 1; any other exception is a bug and keeps its traceback.
    """
