"""Files that say that their manifest is elsewhere: nobody goes there."""

import io
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import c2pa
import pytest
from typer.testing import CliRunner

from output_samples import gradient, saved
from provenance_samples import usual_files
from queue_agent.cli.app import app
from queue_agent.outputs.cleaning.mark import C2PA_STORE
from queue_agent.outputs.provenance import Ingredient, OriginClaim, SigningCredentials, facts_in
from queue_agent.outputs.provenance.signing import Signature, sign

CLAIM = OriginClaim("webui", datetime.now(UTC), ["sdxl"])
PLAIN = saved(gradient("RGB"), "PNG")


@dataclass
class Elsewhere:
    """A server with a manifest, which tells who came."""

    url: str = ""
    manifest: bytes = b""
    file: bytes = b""
    """One that points there."""
    asked: list[str] = field(default_factory=list)


@pytest.fixture
def elsewhere() -> Iterator[Elsewhere]:
    place = Elsewhere()

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            place.asked.append(self.path)
            self.send_response(200)
            self.send_header("content-length", str(len(place.manifest)))
            self.end_headers()
            self.wfile.write(place.manifest)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            del format, args

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    place.url = f"http://127.0.0.1:{server.server_port}/manifest"
    place.file, place.manifest = pointing_to(place.url)
    try:
        yield place
    finally:
        server.shutdown()
        serving.join()
        server.server_close()


def pointing_to(url: str) -> tuple[bytes, bytes]:
    """A picture without a manifest, and the manifest, which is at the URL."""
    files, target = usual_files(), io.BytesIO()
    signer = c2pa.C2paSignerInfo(b"es256", files.certificate, files.key, None)
    with (
        c2pa.Builder(json.dumps(CLAIM.definition())) as builder,
        c2pa.Signer.from_info(signer) as signing,
    ):
        builder.set_remote_url(url)
        builder.set_no_embed()
        manifest = builder.sign(signing, "image/png", io.BytesIO(PLAIN), target)
    return target.getvalue(), bytes(manifest)


def credentials() -> SigningCredentials:
    files = usual_files()
    return SigningCredentials.of(files.certificate, files.key, datetime.now(UTC))


def test_the_library_would_go_there(elsewhere: Elsewhere) -> None:
    """Left to itself: what the others show is not for want of a manifest there."""
    with c2pa.Reader("image/png", io.BytesIO(elsewhere.file)) as reader:
        assert reader.get_validation_state() == "Valid"
    assert elsewhere.asked == ["/manifest"]


def test_verify_says_where_and_does_not_go_there(elsewhere: Elsewhere, tmp_path: Path) -> None:
    file = tmp_path / "file.png"
    file.write_bytes(elsewhere.file)
    ended = CliRunner().invoke(app, ["verify", str(file)])
    assert (ended.exit_code, elsewhere.asked) == (2, [])
    assert f"not in the file, and not fetched: {elsewhere.url}" in ended.output


def test_a_file_that_also_has_something_of_a_manifest_leads_nowhere(elsewhere: Elsewhere) -> None:
    found = facts_in(io.BytesIO(elsewhere.file + C2PA_STORE), "image/png")
    assert (found.has_manifest, elsewhere.asked) == (True, [])


def test_an_output_that_points_elsewhere_is_signed_here(elsewhere: Elsewhere) -> None:
    target = io.BytesIO()
    assert sign(io.BytesIO(elsewhere.file), target, "image/png", CLAIM, Signature(credentials()))
    target.seek(0)
    found = facts_in(target, "image/png").manifest
    assert found is not None
    assert (found.holds, elsewhere.asked) == (True, [])


def test_an_input_that_points_elsewhere_is_an_ingredient_without_its_manifest(
    elsewhere: Elsewhere, tmp_path: Path
) -> None:
    copy, target = tmp_path / "input", io.BytesIO()
    copy.write_bytes(elsewhere.file)
    claim = OriginClaim("webui", datetime.now(UTC), ingredients=[Ingredient("image/png", "0" * 64)])
    assert sign(io.BytesIO(PLAIN), target, "image/png", claim, Signature(credentials()), [copy])
    target.seek(0)
    found = facts_in(target, "image/png").manifest
    assert found is not None
    assert (found.holds, found.ingredients, elsewhere.asked) == (True, ("input 1",), [])
