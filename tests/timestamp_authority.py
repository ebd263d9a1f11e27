"""A timestamp authority on this machine: RFC 3161 as `openssl ts` answers it, behind HTTP."""

import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Literal

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from provenance_samples import signing_files

Manner = Literal["answers", "refuses", "babbles", "answers another", "is silent", "talks on"]

_CONFIGURATION = """
[tsa]
default_tsa = here
[here]
serial = {folder}/serial
signer_cert = {folder}/certificate.pem
certs = {folder}/certificate.pem
signer_key = {folder}/key.pem
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256, sha384, sha512
accuracy = secs:1
ess_cert_id_alg = sha256
"""


@dataclass
class TimestampAuthority:
    """One that answers as it is told to."""

    folder: Path
    manner: Manner = "answers"
    url: str = ""
    anchor: bytes = b""
    """Its own authority's certificate."""
    asked: list[bytes] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)
    """After which silence is broken."""

    def reply_to(self, query: bytes) -> bytes:
        """What openssl says of a query."""
        (self.folder / "query").write_bytes(query)
        command = ["openssl", "ts", "-reply"]
        for option, name in (("config", "configuration"), ("queryfile", "query"), ("out", "reply")):
            command += [f"-{option}", str(self.folder / name)]
        subprocess.run(command, check=True, capture_output=True)
        return (self.folder / "reply").read_bytes()


class _Answers(BaseHTTPRequestHandler):
    def __init__(self, authority: TimestampAuthority, *args: object) -> None:
        self.authority = authority
        super().__init__(*args)  # type: ignore[arg-type]

    def do_POST(self) -> None:
        authority = self.authority
        query = self.rfile.read(int(self.headers["content-length"]))
        authority.asked.append(query)
        match authority.manner:
            case "answers":
                self._answer(authority.reply_to(query))
            case "answers another":
                self._answer(authority.reply_to(authority.asked[0]))
            case "babbles":
                self._answer(b"<html>no timestamp</html>" * 40)
            case "refuses":
                self.send_error(503)
            case "is silent":
                authority.ended.wait()
            case "talks on":
                self._talk()

    def _answer(self, data: bytes) -> None:
        self.send_response(200)
        self.send_header("content-type", "application/timestamp-reply")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _talk(self) -> None:
        """Far more than any process may hold, as long as somebody listens."""
        self.send_response(200)
        self.send_header("content-type", "application/timestamp-reply")
        self.end_headers()
        try:
            while not self.authority.ended.is_set():
                self.wfile.write(bytes(2**20))
        except OSError:
            pass

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        del format, args


@contextmanager
def timestamp_authority(folder: Path) -> Iterator[TimestampAuthority]:
    """The authority, as long as the block lasts."""
    key = rsa.generate_private_key(65537, 2048)
    files = signing_files(
        key,
        name="A timestamp authority",
        purposes=[ExtendedKeyUsageOID.TIME_STAMPING],
        is_purpose_critical=True,
    )
    files.written(folder)
    (folder / "serial").write_text("01\n")
    (folder / "configuration").write_text(_CONFIGURATION.format(folder=folder))
    authority = TimestampAuthority(folder, anchor=files.anchor)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Answers, authority))
    authority.url = f"http://127.0.0.1:{server.server_port}/"
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    try:
        yield authority
    finally:
        authority.ended.set()
        server.shutdown()
        serving.join()
        server.server_close()
