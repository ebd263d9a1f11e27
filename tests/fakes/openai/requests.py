"""What was asked, by form or in JSON."""

import base64
from typing import Any

from fastapi import Request
from starlette.datastructures import UploadFile

Fields = dict[str, Any]
Files = list[tuple[str, bytes]]


class Requests:
    """The latest requests, for tests to look at."""

    def __init__(self) -> None:
        self.seen: list[Fields] = []

    async def form(self, request: Request) -> tuple[Fields, Files]:
        """The fields and files of a form."""
        form = await request.form()
        fields = {name: value for name, value in form.items() if isinstance(value, str)}
        files = [
            (name, await value.read())
            for name, value in form.multi_items()
            if isinstance(value, UploadFile)
        ]
        self.note(fields, files)
        return fields, files

    async def json(self, request: Request) -> tuple[Fields, Files]:
        """The fields of an object, and the image in it."""
        fields: Fields = await request.json()
        files = []
        if reference := fields.pop("input_reference", None):
            encoded = reference.partition("base64,")[2] or reference
            files.append(("input_reference", base64.b64decode(encoded, validate=True)))
            self.seen.append({"prefix": reference[: len(reference) - len(encoded)]})
        self.note(fields, files)
        return fields, files

    def note(self, fields: Fields, files: Files) -> None:
        self.seen.append({**fields, "files": [[name, len(data)] for name, data in files]})
        del self.seen[:-50]
