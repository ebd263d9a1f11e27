"""``python -m fakes.http_apis --port 8000 torchserve``."""

import argparse
import re
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

from fakes.http_apis.engine import Engine
from fakes.http_apis.tables import TABLES, Answer, Asked

engine = Engine()


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64


class Exchange(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Quiet."""

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        url = urlsplit(self.path)
        answer = self.answer_to(url.path, dict(parse_qsl(url.query)), body)
        self.send_response(answer.status)
        self.send_header("content-type", answer.media_type)
        self.send_header("content-length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body)

    def answer_to(self, path: str, query: dict[str, str], body: bytes) -> Answer:
        if path == "/end":
            engine.end()
        if path in {"/held", "/end"}:
            return Answer(engine.held)
        headers = {name.lower(): value for name, value in self.headers.items()}
        for method, pattern, handler in TABLES[arguments.api]:
            if method == self.command and (found := re.fullmatch(pattern, path)):
                return handler(Asked(engine, found, query, headers, body))
        return Answer({"detail": "Not Found"}, 404)

    do_GET = do_POST = do_PUT = do_DELETE = answer  # noqa: N815  the library's names


parser = argparse.ArgumentParser()
parser.add_argument("api", choices=sorted(TABLES))
parser.add_argument("--port", type=int, required=True)
arguments = parser.parse_args()
Server(("127.0.0.1", arguments.port), Exchange).serve_forever()
