"""The predictions of a model's network, kept so that a pipeline's call can be run again by them.

A pipeline's call asks nothing but its network (and, at the end, its autoencoder) for what takes
long. Given the same predictions, the same code with the same seed comes to the same step, whatever
its scheduler remembers or draws.
"""

import itertools
import json
import time
from bisect import bisect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from queue_agent_diffusers.engine.checkpoint import CheckpointHead, CheckpointUnusable, read_head
from queue_agent_diffusers.torch.step_cache import Question
from queue_agent_diffusers.torch.suspended import NetworkCall

Prediction = torch.Tensor | list[torch.Tensor]
Passes = dict[Question, int]
"""By question, the call whose pass left what a step cache keeps of it."""
UNFIT: Final = (
    RuntimeError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    AssertionError,
)
"""What a pipeline's own code raises at predictions that are not its network's."""
_PATIENCE: Final = 1.0
"""Seconds for which the last predictions are waited for, on their way from the device."""
_PAUSE: Final = 0.002
_HEAD: Final = 4096
"""Bytes of a file's head, at most, and `_TENSOR` what each tensor takes of it."""
_TENSOR: Final = 160


@dataclass(frozen=True)
class _Answer:
    """What the network answered in one call, on the host."""

    prediction: Prediction
    question: Question | None
    """Whose step cache keeps something of this call's pass."""
    copied: Callable[[], bool] | None = None
    """Whether the prediction is there; None: it is."""


class KeptPredictions:
    """Those of one sample, from its first call on, as many as `limit` bytes hold.

    Its methods are for the engine's thread, but for `answers`.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._answers: list[_Answer] = []
        self._again: frozenset[int] = frozenset()
        self._size = 0
        self._full = False

    def __len__(self) -> int:
        return len(self._answers)

    def __getitem__(self, call: int) -> Prediction:
        return self._answers[call].prediction

    def add(self, prediction: object, question: Question | None) -> None:
        """Keep one more, unless it is too much or of a kind that is not known."""
        parts = _parts(prediction)
        self._size += sum(part.nbytes for part in parts)
        self._full = self._full or not parts or self._size > self._limit
        if self._full:
            return
        held = [_on_host(part) for part in parts]
        made = held if isinstance(prediction, list) else held[0]
        self._answers.append(_Answer(made, question, _copied(parts[0].device)))

    def given(self, call: int) -> Prediction | None:
        """What answers the call of that number without a pass, if anything does."""
        if call >= len(self._answers) or call in self._again:
            return None
        return self._answers[call].prediction

    def put(self, predictions: Sequence[Prediction], passes: Passes) -> None:
        """Have these be the ones so far."""
        questions = {call: question for question, call in passes.items()}
        self._again = frozenset(questions)
        """The calls that are made again though their predictions are here: what the step caches
        keep is large, and comes by the same passes again."""
        self._answers = [_Answer(one, questions.get(call)) for call, one in enumerate(predictions)]
        self._size = sum(part.nbytes for one in predictions for part in _parts(one))

    def clear(self) -> None:
        """Begin anew."""
        self._answers, self._again, self._size, self._full = [], frozenset(), 0, False

    def answers(self) -> "KeptAnswers":
        """Those so far; in any thread."""
        return KeptAnswers(list(self._answers), 1 + max(self._again, default=-1))


@dataclass(frozen=True)
class KeptAnswers:
    """The first ones of one sample."""

    given: Sequence[_Answer]
    _least: int = 0
    """So many, or none: what the caches kept before is not known."""

    def first(self, count: int) -> "KeptAnswers":
        """So many of them at most."""
        return KeptAnswers(self.given[: count if count >= self._least else 0], self._least)

    def copied(self, patience: float) -> "KeptAnswers":
        """Those that are there in so many seconds; others come as late as the step under way."""
        late = time.monotonic() + patience
        for count, answer in enumerate(self.given):
            while answer.copied is not None and not answer.copied():
                if time.monotonic() > late:
                    return self.first(count)
                time.sleep(_PAUSE)
        return self

    @property
    def passes(self) -> Passes:
        """By question, the last call whose pass left something in its cache."""
        asked = ((answer.question, call) for call, answer in enumerate(self.given))
        return {question: call for question, call in asked if question is not None}

    @property
    def predictions(self) -> list[Prediction]:
        return [answer.prediction for answer in self.given]


def write_checkpoint(
    kept: Sequence[KeptAnswers], fingerprint: str, seed: int, limit: int
) -> bytes | None:
    """The file, of so many bytes at most; None where there is nothing to write. Any thread."""
    kept = _fitting([one.copied(_PATIENCE) for one in kept], limit)
    predictions = sum(len(one.given) for one in kept)
    if not predictions:
        return None
    tensors = dict(_named([one.predictions for one in kept]))
    passes = json.dumps([[[*asked, call] for asked, call in one.passes.items()] for one in kept])
    head = CheckpointHead(fingerprint, seed, predictions, passes, digest_of(tensors))
    return save(tensors, metadata=head.metadata())


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
    if digest_of(tensors) != head.sha256:
        raise CheckpointUnusable("its tensors are damaged")
    found = [_of_sample(tensors, number) for number in range(count)]
    return list(zip(found, _passes(head.passes, found), strict=True))


def on_device(prediction: Prediction, device: torch.device) -> Prediction:
    """The prediction as the network would have made it."""
    if isinstance(prediction, list):
        return [part.to(device) for part in prediction]
    return prediction.to(device)


def check_alike(one: NetworkCall | None, other: NetworkCall | None) -> None:
    """Raise `ValueError` where a network is asked of something else than it was before."""
    if one is None or other is None or one.network != other.network:
        return
    rows, others = (next(iter(call.arguments.values())) for call in (one, other))
    if isinstance(rows, torch.Tensor) and isinstance(others, torch.Tensor):
        alike = rows.dtype == others.dtype and rows.shape[1:] == others.shape[1:]
        if not alike or not len(others):
            raise ValueError(f"{others.dtype} of {tuple(others.shape)}")


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


def _copied(device: torch.device) -> Callable[[], bool] | None:
    """Whether all that was begun on the device is done; None: it is."""
    if device.type != "cuda":
        return None
    event: Any = torch.cuda.Event()  # type: ignore[no-untyped-call]
    event.record(torch.cuda.current_stream(device))
    query: Callable[[], bool] = event.query
    return query


def _fitting(kept: Sequence[KeptAnswers], limit: int) -> list[KeptAnswers]:
    """As many calls of each as go into a file of so many bytes."""
    sizes = [list(itertools.accumulate(_sizes(one), initial=0)) for one in kept]

    def size(count: int) -> int:
        return _HEAD + sum(some[min(count, len(some) - 1)] for some in sizes)

    most = max((len(one.given) for one in kept), default=0)
    return [one.first(bisect(range(1, most + 1), limit, key=size)) for one in kept]


def _sizes(answers: KeptAnswers) -> Iterator[int]:
    for answer in answers.given:
        yield sum(part.nbytes + _TENSOR for part in _parts(answer.prediction))


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
    except (ValueError, TypeError, ArithmeticError, RecursionError) as error:
        raise CheckpointUnusable(f"its passes cannot be read: {error!r}") from error
    counts = [len(predictions) for predictions in found]
    if len(told) != len(counts) or any(
        not 0 <= call < count
        for passes, count in zip(told, counts, strict=True)
        for call in passes.values()
    ):
        raise CheckpointUnusable("its passes are not those of its predictions")
    return told


def digest_of(tensors: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 of the tensors' bytes, in the order of their names."""
    digest = sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
