"""A ComfyUI without models: the same API, small deterministic images, faults on demand.

``python -m fakes.comfyui --port 8188`` serves it on the loopback
interface. `GET /fake/state` tells what it did, `POST /fake/faults` (see `Faults`) makes it
misbehave.
"""
