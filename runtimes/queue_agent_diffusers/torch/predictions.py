"""The predictions of a model's network, kept so that a pipeline's call can be run again by them.

A pipeline's call asks nothing but its network (and, at the end, its autoencoder) for what takes
long. Given the same predictions, the same code with the same seed comes to the same step, whatever
its scheduler remembers or draws.
"""

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from queue_agent_diffusers.engine.checkpoint import CheckpointHead, CheckpointUnusable, read_head
from queue_agent_diffusers.torch.step_cache import Question

Prediction = torch.Tensor | list[torch.Tensor]
Passes = dict[Question, int]
"""By question, the call whose pass left what a step cache keeps of it."""


@dataclass
class KeptPredictions:
    """Those of one sample, in the host's memory; none where they take more than `limit` bytes."""

    limit: int
    predictions: list[Prediction] = field(default_factory=list)
    passes: Passes = field(default_factory=dict)
    """The calls that are made again though their predictions are here: what the step caches keep
    is large, and comes by the same passes again."""
    whole: bool = True
    """Whether all of the call so far are here."""
    _size: int = 0

    def add(self, prediction: object) -> None:
        """Keep one more, unless it is too much or of a kind that is not known."""
        if not self.whole:
            return
        parts = _parts(prediction)
        self._size += sum(part.nbytes for part in parts)
        if not parts or self._size > self.limit:
            self.forget()
            return
        held = [_on_host(part) for part in parts]
        self.predictions.append(held if isinstance(prediction, list) else held[0])

    def given(self, call: int) -> Prediction | None:
        """What answers the call of that number without a pass, if anything does."""
        if call >= len(self.predictions) or call in self.passes.values():
            return None
        return self.predictions[call]

    def put(self, predictions: Sequence[Prediction], passes: Passes) -> None:
        """Have these be the ones so far."""
        self.predictions, self.passes = list(predictions), dict(passes)
        self._size = sum(part.nbytes for one in predictions for part in _parts(one))

    def clear(self) -> None:
        """Begin anew."""
        self.predictions, self.passes, self._size, self.whole = [], {}, 0, True

    def forget(self) -> None:
        """Keep none of this call."""
        self.predictions, self.whole = [], False


def write_checkpoint(
    kept: Sequence[KeptPredictions], fingerprint: str, seed: int, device: torch.device
) -> Callable[[], bytes] | None:
    """What makes the file, in any thread; None where there is nothing to write."""
    if not all(one.whole for one in kept) or not any(one.predictions for one in kept):
        return None
    tensors = dict(_named([list(one.predictions) for one in kept]))
    predictions = sum(len(one.predictions) for one in kept)
    passes = json.dumps([[[*asked, call] for asked, call in one.passes.items()] for one in kept])
    copied = None
    if device.type == "cuda":
        copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
        copied.record()

    def make() -> bytes:
        if copied is not None:
            copied.synchronize()
        head = CheckpointHead(fingerprint, seed, predictions, passes, _digest(tensors))
        return save(tensors, metadata=head.metadata())

    return make


def read_checkpoint(
    data: bytes, fingerprint: str, count: int
) -> list[tuple[list[Prediction], Passes]]:
    """The predictions for each of so many samples, and the calls that are to be made again.

    Raises:
        CheckpointUnusable: it is damaged, or of another fingerprint.
    """
    head = read_head(data)
    if head.fingerprint != fingerprint:
        raise CheckpointUnusable("it is of another request, or of another model")
    try:
        tensors = load(data)
    except (SafetensorError, ValueError, KeyError) as error:
        raise CheckpointUnusable(f"its tensors cannot be read: {error}") from error
    if _digest(tensors) != head.sha256:
        raise CheckpointUnusable("its tensors are damaged")
    found = [_of_sample(tensors, number) for number in range(count)]
    return list(zip(found, _passes(head.passes, found), strict=True))


def on_device(prediction: Prediction, device: torch.device) -> Prediction:
    """The prediction as the network would have made it."""
    if isinstance(prediction, list):
        return [part.to(device) for part in prediction]
    return prediction.to(device)


def _parts(prediction: object) -> list[torch.Tensor]:
    """Its tensors; none where it is of a kind that is not known."""
    parts = prediction if isinstance(prediction, list) else [prediction]
    tensors = [part for part in parts if isinstance(part, torch.Tensor)]
    return tensors if len(tensors) == len(parts) else []


def _on_host(tensor: torch.Tensor) -> torch.Tensor:
    if tensor.device.type != "cuda":
        return tensor.detach().to("cpu", copy=True).contiguous()
    # Pinned, so that the copy goes beside the next steps, and the device's memory is free.
    host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    return host.copy_(tensor.detach(), non_blocking=True)


def _named(samples: Sequence[Sequence[Prediction]]) -> list[tuple[str, torch.Tensor]]:
    named = []
    for number, predictions in enumerate(samples):
        for call, prediction in enumerate(predictions):
            if isinstance(prediction, list):
                parts = enumerate(prediction)
                named += [(f"{number}.{call}.{part}", tensor) for part, tensor in parts]
            else:
                named.append((f"{number}.{call}", prediction))
    return named


def _of_sample(tensors: Mapping[str, torch.Tensor], number: int) -> list[Prediction]:
    found: list[Prediction] = []
    for call in itertools.count():
        name = f"{number}.{call}"
        parts = itertools.takewhile(
            tensors.__contains__, (f"{name}.{part}" for part in itertools.count())
        )
        listed = [tensors[part] for part in parts]
        if name in tensors:
            found.append(tensors[name])
        elif listed:
            found.append(listed)
        else:
            break
    return found


def _passes(text: str, found: Sequence[Sequence[Prediction]]) -> list[Passes]:
    try:
        told = [
            {(str(network), int(number)): int(call) for network, number, call in one}
            for one in json.loads(text)
        ]
    except (ValueError, TypeError, RecursionError) as error:
        raise CheckpointUnusable(f"its passes cannot be read: {error!r}") from error
    counts = [len(predictions) for predictions in found]
    if len(told) != len(counts) or any(
        not 0 <= call < count
        for passes, count in zip(told, counts, strict=True)
        for call in passes.values()
    ):
        raise CheckpointUnusable("its passes are not those of its predictions")
    return told


def _digest(tensors: Mapping[str, torch.Tensor]) -> str:
    digest = sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
