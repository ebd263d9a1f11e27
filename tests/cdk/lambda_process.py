"""The function as Lambda runs it: its package, Lambda's own SDK, its environment, nothing else."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from assembly import Assembly, JsonObject

SDK = ("botocore", "dateutil", "jmespath", "six", "urllib3")
"""What the function finds beside its package: https://docs.aws.amazon.com/lambda/latest/dg/lambda-python.html"""

_HOST = """
import importlib, json, sys
package, sdk, handler = sys.argv[1:]
sys.path[:0] = [package, sdk]
module, _, name = handler.rpartition(".")
handle = getattr(importlib.import_module(module), name)
print("{}", flush=True)
for line in sys.stdin:
    print(json.dumps(handle(json.loads(line), None)), flush=True)
"""


@dataclass(frozen=True)
class LambdaFunction:
    """A function that has started."""

    _process: asyncio.subprocess.Process

    async def invoke(self, event: JsonObject) -> JsonObject:
        """The answer to an event; its body is parsed."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(event).encode() + b"\n")
        await self._process.stdin.drain()
        answer = await _read(self._process)
        return {**answer, "body": json.loads(answer["body"])}

    async def post(self, body: str, *, resource: str = "/task", **headers: str) -> JsonObject:
        """The answer to an HTTP request, whose event is as API Gateway makes it."""
        return await self.invoke(
            {
                "resource": resource,
                "path": resource,
                "httpMethod": "POST",
                "headers": {"Content-Type": "application/json", **headers},
                "requestContext": {"requestId": "request-1", "stage": "prod"},
                "body": body,
                "isBase64Encoded": False,
            }
        )


def package_of(assembly: Assembly) -> Path:
    """The folder that is deployed as the function's package."""
    function = assembly.named("AWS::Lambda::Function", Handler="intake.handler.handle")
    name = function.properties["Code"]["S3Key"].removesuffix(".zip")
    return assembly.folder / f"asset.{name}"


def sdk_folder(folder: Path) -> Path:
    """Lambda's own libraries and no others."""
    for name in SDK:
        spec = find_spec(name)
        assert spec is not None
        assert spec.origin is not None
        origin = Path(spec.origin)
        source = origin.parent if origin.name == "__init__.py" else origin
        (folder / source.name).symlink_to(source)
    return folder


@asynccontextmanager
async def started(
    package: Path, sdk: Path, environment: Mapping[str, str]
) -> AsyncIterator[LambdaFunction]:
    """The function in a process of its own."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-S", "-B", "-c", _HOST),
        *(str(package), str(sdk), "intake.handler.handle"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env=dict(environment),
        limit=4 * 2**20,
    )
    try:
        await _read(process)
        yield LambdaFunction(process)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        await process.wait()


async def _read(process: asyncio.subprocess.Process) -> JsonObject:
    assert process.stdout is not None
    line = await process.stdout.readline()
    assert line, "the function ended"
    value: JsonObject = json.loads(line)
    return value
