"""The SDK's descriptions of its services, without what only people and other services need.

Whole, they are most of what a client keeps in memory: prose, and the endpoints of some four
hundred services.
"""

import gzip
from collections.abc import Collection, Mapping
from pathlib import Path

from botocore.loaders import JSONFileLoader
from pydantic import JsonValue
from pydantic_core import from_json


class BriefFileLoader(JSONFileLoader):  # type: ignore[misc]  # botocore has no types
    """Reads the files of botocore's data loader; of the endpoints, those of `services` alone."""

    def __init__(self, services: Collection[str]) -> None:
        self._services = services

    def load_file(self, file_path: str) -> JsonValue:
        """The content of the file with ``.json`` or ``.json.gz``; None where there is neither."""
        plain, packed = Path(f"{file_path}.json"), Path(f"{file_path}.json.gz")
        if plain.is_file():
            content: JsonValue = from_json(plain.read_bytes())
        elif packed.is_file():
            content = from_json(gzip.decompress(packed.read_bytes()))
        else:
            return None
        if plain.stem == "endpoints" and isinstance(content, dict):
            self._keep_services(content)
        return _without_prose(content)

    def _keep_services(self, endpoints: Mapping[str, JsonValue]) -> None:
        partitions = endpoints.get("partitions")
        for partition in partitions if isinstance(partitions, list) else ():
            if isinstance(partition, dict) and isinstance(known := partition.get("services"), dict):
                partition["services"] = {
                    name: known[name] for name in known.keys() & set(self._services)
                }


def _without_prose(value: JsonValue) -> JsonValue:
    """The same with empty texts of documentation: the SDK counts on their keys."""
    if isinstance(value, dict):
        return {
            key: "" if key == "documentation" and isinstance(part, str) else _without_prose(part)
            for key, part in value.items()
        }
    if isinstance(value, list):
        return [_without_prose(part) for part in value]
    return value
