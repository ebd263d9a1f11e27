"""Answers that no adapter may take for whole ones."""

from typing import Final

from queue_agent.testing.fault_proxy import Fault, LoseAnswer, Oversized, Reset, Status, Truncate

BROKEN_ANSWERS: Final[dict[str, Fault]] = {
    "a 500": Status.of_json(500, {"detail": "boom"}),
    "a 502 in HTML": Status(502, b"<html>Bad Gateway</html>", {"content-type": "text/html"}),
    "a 503": Status(503, b"", {"retry-after": "1"}),
    "no JSON": Status(200, b"\x89 not JSON", {"content-type": "application/json"}),
    "JSON of another shape": Status.of_json(200, ["surprise"]),
    "a truncated answer": Truncate(),
    "an oversized answer": Oversized(),
    "a reset connection": Reset(),
    "a connection lost before the answer": LoseAnswer(),
}
