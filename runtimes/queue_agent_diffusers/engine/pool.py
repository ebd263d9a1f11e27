"""The models that are served: loaded in the background, let go when memory is short.

Used in the engine's thread only, except for `state`, `find` and `names`.
"""

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Final, Literal

from queue_agent_diffusers.engine.loading import LoadProgress
from queue_agent_diffusers.engine.model import Model, Observer
from queue_agent_diffusers.engine.requests import ImageRequest

ModelState = Literal["unloaded", "loading", "loaded", "failed"]

RETRY_AFTER: Final = 30.0
"""Seconds after which a model that could not be loaded is tried again."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Served:
    """A model that may be loaded."""

    load: Callable[[], Model]
    """Called in the loader's thread; raises `ModelError`."""
    size: Callable[[], int] = lambda: 0
    """About how many bytes its weights take; 0 where nobody knows before they are loaded."""
    progress: LoadProgress = field(default_factory=LoadProgress)
    """What `load` tells while it works."""


class ModelPool:
    """Loads one model at a time, keeps as many as the budget allows."""

    def __init__(
        self,
        served: Mapping[str, Served],
        *,
        budget: Callable[[], int | None] = lambda: None,
        observer: Observer | None = None,
    ) -> None:
        """`budget` is in bytes, asked for after the first load; None for no limit."""
        if not served:
            raise ValueError("at least one model is to be served")
        self.names = tuple(served)
        self.on_change: Callable[[], None] = lambda: None
        """Called in the loader's thread when a load has ended."""
        self._served = served
        self._budget = budget
        self._observer = observer or Observer()
        self._loaded: OrderedDict[str, Model] = OrderedDict()
        """The one used longest ago first."""
        self._used_at: dict[str, float] = {}
        """When each model was last asked for or seen to work."""
        self.largest_batch = 1
        """The most images of a step that any model shared when one was last loaded."""
        self._failures: dict[str, tuple[float, Exception]] = {}
        self._loading: tuple[str, float, Future[Model]] | None = None

    def state(self, name: str) -> ModelState:
        """How it stands with a model."""
        if name in self._loaded:
            return "loaded"
        if self._loading is not None and self._loading[0] == name:
            return "loading"
        return "failed" if self.failure(name) else "unloaded"

    def progress(self, name: str) -> LoadProgress:
        """How far its load is, and what is known of the last one."""
        return self._served[name].progress

    @property
    def loading(self) -> bool:
        """Whether a model is being loaded."""
        return self._loading is not None

    @property
    def loaded(self) -> frozenset[str]:
        """The names of those that are loaded."""
        return frozenset(self._loaded)

    def name_of(self, request: ImageRequest) -> str:
        """The model that a request is for."""
        return request.model or self.names[0]

    def find(self, name: str) -> Model | None:
        """The model, if it is loaded."""
        return self._loaded.get(name)

    def use(self, name: str) -> Model | None:
        """The model, if it is loaded, as the one used last."""
        if name in self._loaded:
            self._loaded.move_to_end(name)
            self._used_at[name] = time.monotonic()
        return self._loaded.get(name)

    def failure(self, name: str) -> Exception | None:
        """Why it could not be loaded, until it is time to try again."""
        moment, error = self._failures.get(name, (0.0, None))
        return error if time.monotonic() - moment < RETRY_AFTER else None

    def settle(self) -> bool:
        """Take note of a load that has ended; whether one has."""
        if self._loading is None or not self._loading[2].done():
            return False
        name, began, result = self._loading
        self._loading = None
        error = result.exception()
        if error is None:
            model = self._loaded[name] = result.result()
            self._used_at[name] = time.monotonic()
            self.largest_batch = max(one.max_batch for one in self._loaded.values())
            seconds = time.monotonic() - began
            _log.info("model %s: loaded in %.1f s, %d bytes", name, seconds, model.memory)
            self._observer.loaded(name, seconds, model.memory)
        elif isinstance(error, Exception):
            _log.error("model %s cannot be loaded: %s", name, error)
            self._failures[name] = (time.monotonic(), error)
        else:
            raise error
        return True

    def load(self, name: str, in_use: Callable[[Model], bool] = lambda _: False) -> bool:
        """Begin to load, making room by letting idle models go, longest unused first.

        False when what is in use leaves no room, or another model is being loaded.
        """
        if self.state(name) in {"loaded", "loading"}:
            return True
        if self._loading is not None or not self._make_room(name, in_use):
            return False
        self._failures.pop(name, None)
        result: Future[Model] = Future()
        self._loading = (name, time.monotonic(), result)
        result.add_done_callback(lambda _: self.on_change())
        # A daemon, since a model that is being loaded cannot be interrupted.
        threading.Thread(
            target=_call, args=(self._served[name].load, result), name="loader", daemon=True
        ).start()
        return True

    def preload(self, name: str) -> bool:
        """Begin to load where it is sure to fit beside those that are loaded; whether it does."""
        if self.failure(name):
            return False
        budget, size = self._budget(), self._served[name].size()
        if budget is not None and not 0 < size <= budget - self._used:
            return False
        return self.load(name, lambda _: True)

    def unload(self, name: str) -> None:
        """Let a model go that is not in use; harmless if it is not loaded."""
        model = self._loaded.pop(name, None)
        if model is not None:
            model.close()
            self._observer.unloaded(name)

    def unload_idle(self, after: float, in_use: Callable[[Model], bool]) -> float | None:
        """Let go of models that were not in use for so many seconds.

        The seconds until the next may be due; None where no model is loaded.
        """
        now = time.monotonic()
        for name, model in list(self._loaded.items()):
            if in_use(model):
                self._used_at[name] = now
            elif now - self._used_at[name] >= after:
                _log.info("model %s: let go after %g s without a request", name, after)
                self.unload(name)
        return min((self._used_at[name] + after - now for name in self._loaded), default=None)

    def trim(self, in_use: Callable[[Model], bool]) -> None:
        """Let idle models go, as far as those loaded turned out to exceed the budget."""
        if len(self._loaded) > 1:
            self._make_room(None, in_use)

    def _make_room(self, name: str | None, in_use: Callable[[Model], bool]) -> bool:
        budget = self._budget() if self._loaded else None
        if budget is None:
            return True
        size = self._served[name].size() if name else 0
        for other, model in list(self._loaded.items()):
            if self._used + size <= budget:
                return True
            if not in_use(model):
                self.unload(other)
        return self._used + size <= budget or not self._loaded

    @property
    def _used(self) -> int:
        return sum(model.memory for model in self._loaded.values())


def _call(load: Callable[[], Model], result: "Future[Model]") -> None:
    """The edge of the loader's thread: whatever happens is the result."""
    try:
        result.set_result(load())
    except Exception as error:
        result.set_exception(error)
