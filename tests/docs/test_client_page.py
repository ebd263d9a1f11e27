"""The test that the client's page proposes is one that passes."""

import re
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[2] / "docs" / "client.md"


async def test_the_proposed_test_of_a_publisher_passes() -> None:
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    (proposed,) = (block for block in blocks if "MemoryCloud" in block)
    names: dict[str, Any] = {}
    exec(proposed, names)  # noqa: S102  our own page
    await names["test_an_order_becomes_a_job"]()
