"""A content check that withholds pictures that are too dark to see, and passes everything else.

    python examples/content_check/checker.py 8090
    QUEUE_AGENT_CONTENT_CHECK=http://127.0.0.1:8090/ queue-agent run

The facts and the file come as two parts of a form (docs/content-check.md). It needs Pillow.
"""

import io
import json
import sys
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from PIL import Image, ImageStat

DARKEST = 8
"""Mean brightness, of 255."""


def verdict(facts: dict[str, object], file: bytes) -> dict[str, str]:
    """What becomes of a file."""
    if str(facts["media_type"]).startswith("image/"):
        with Image.open(io.BytesIO(file)) as picture:
            brightness = ImageStat.Stat(picture.convert("L")).mean[0]
        if brightness < DARKEST:
            return {"verdict": "withhold", "reason": "There is nothing to be seen in it."}
    return {"verdict": "pass"}


class Handler(BaseHTTPRequestHandler):
    """Answers the agent."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """One file."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        form = message_from_bytes(
            f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode() + body
        )
        facts, file = (part.get_payload(decode=True) for part in form.get_payload())
        answer = json.dumps(verdict(json.loads(facts), file)).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
