"""What a process is among those that train together, which MXNet reads from the environment."""

from __future__ import annotations

import os

ROLE = "DMLC_ROLE"
ROLES = ("scheduler", "server", "worker")
ADDRESS = "DMLC_PS_ROOT_URI"
NUMBERS = ("DMLC_PS_ROOT_PORT", "DMLC_NUM_WORKER", "DMLC_NUM_SERVER")


def check() -> None:
    """Refuse a role that MXNet could not play: it would abort, or wait for ever.

    Raises
    ------
    ValueError
        If there is no such role, or one of the variables that it needs is missing or no positive number.
    """
    role = os.environ.get(ROLE)
    if role is None:
        return
    if role not in ROLES:
        raise ValueError(f"{ROLE} must be unset or one of {', '.join(ROLES)}; got {role!r}")
    wrong = [name for name in NUMBERS if not _is_positive(os.environ.get(name, ""))]
    if not os.environ.get(ADDRESS):
        wrong.insert(0, ADDRESS)
    if wrong:
        raise ValueError(
            f"{ROLE}={role} needs the scheduler's address in {ADDRESS} and positive numbers in {', '.join(NUMBERS)}, "
            f"which {', '.join(wrong)} {'is' if len(wrong) == 1 else 'are'} not: set what is missing, or unset {ROLE}"
        )


def _is_positive(text: str) -> bool:
    return text.isascii() and text.isdigit() and int(text) > 0
