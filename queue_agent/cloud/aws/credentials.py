"""How long credentials last, which is how long the links last that they sign."""

from datetime import UTC, datetime
from typing import Any, Final

_LONGEST_ROLE: Final = 43_200.0
"""Seconds: https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_manage-assume.html"""


async def life_of(credentials: Any) -> float | None:
    """Seconds until the SDK's credentials end; None: they do not, or there are none.

    Those of a role end, and the SDK gets new ones a quarter of an hour before; of those that
    come from the environment nobody knows when.
    """
    if credentials is None:
        return None
    frozen = await credentials.get_frozen_credentials()
    if not frozen.token:
        return None
    end: datetime | None = getattr(credentials, "_expiry_time", None)
    if end is None:
        return _LONGEST_ROLE
    return max(0.0, (end - datetime.now(UTC)).total_seconds())
