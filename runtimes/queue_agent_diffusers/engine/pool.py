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
from typing import Final, Literal, TypeVar

from queue_agent_diffusers.engine.loading import LoadProgress
from queue_agent_diffusers.engine.model import Model, Observer
from queue_agent_diffusers.engine.requests import ImageRequest
from queue_agent_diffusers.errors import WeightsTooLarge

_Made = TypeVar("_Made")
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
    """About how many bytes its weights take; 0 where nobody knows before they are loaded.

    Called in a thread of its own, since it may look at files far away."""
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
        self._measuring: tuple[str, Future[int]] | None = None
        self._sizes: dict[str, int] = {}
        """Bytes of weights, as they were when the model was last loaded, or as was said before."""
        self._ahead: set[str] = set()
        """Those that are to be loaded if they turn out to fit."""
        self._alone: set[str] = set()
        """Those that did not fit beside others when it came to it."""

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
        """Whether a model is being loaded, or looked at how large it is."""
        return self._loading is not None or self._measuring is not None

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
        """Take note of a load, or a look, that has ended; whether one has."""
        return self._settle_look() or self._settle_load()

    def load(self, name: str, in_use: Callable[[Model], bool] = lambda _: False) -> bool:
        """Begin to load, making room by letting idle models go, longest unused first.

        False when what is in use leaves no room, or another model is being loaded, or while it is
        looked at how much room it needs: to be asked for again.
        """
        if self.state(name) in {"loaded", "loading"}:
            return True
        if self.loading:
            return False
        if self._loaded and name not in self._sizes:
            self._look(name)
            return False
        if not self._make_room(name, in_use):
            return False
        self._failures.pop(name, None)
        result: Future[Model] = Future()
        self._loading = (name, time.monotonic(), result)
        self._begin(self._served[name].load, result, "loader")
        return True

    def preload(self, name: str) -> None:
        """Have it loaded where it is sure to fit beside those that are loaded."""
        if self.failure(name) or self.loading or self.state(name) == "loaded":
            return
        self._ahead.add(name)
        if self._sizes.get(name):
            self._load_ahead(name)
        else:
            self._look(name)

    def _settle_look(self) -> bool:
        if self._measuring is None or not self._measuring[1].done():
            return False
        name, result = self._measuring
        self._measuring = None
        if (error := result.exception()) is not None:
            _log.warning("model %s: how large it is cannot be told: %s", name, error)
        self._sizes[name] = 0 if error else result.result()
        self._load_ahead(name)
        return True

    def _settle_load(self) -> bool:
        if self._loading is None or not self._loading[2].done():
            return False
        name, began, result = self._loading
        self._loading = None
        error = result.exception()
        if error is None:
            model = self._loaded[name] = result.result()
            self._alone.discard(name)
            self._sizes[name] = model.memory
            self._used_at[name] = time.monotonic()
            self.largest_batch = max(one.max_batch for one in self._loaded.values())
            seconds = time.monotonic() - began
            _log.info("model %s: loaded in %.1f s, %d bytes", name, seconds, model.memory)
            self._observer.loaded(name, seconds, model.memory)
        elif isinstance(error, WeightsTooLarge) and self._loaded:
            _log.warning("model %s does not fit beside others, which make way: %s", name, error)
            self._alone.add(name)
        elif isinstance(error, Exception):
            _log.error("model %s cannot be loaded: %s", name, error)
            self._failures[name] = (time.monotonic(), error)
        else:
            raise error
        return True

    def _load_ahead(self, name: str) -> None:
        if name not in self._ahead:
            return
        self._ahead.discard(name)
        budget, size = self._budget(), self._sizes[name]
        if budget is None or 0 < size <= budget - self._used:
            self.load(name, lambda _: True)

    def _look(self, name: str) -> None:
        result: Future[int] = Future()
        self._measuring = (name, result)
        self._begin(self._served[name].size, result, "looker")

    def _begin(self, work: Callable[[], _Made], result: "Future[_Made]", thread: str) -> None:
        result.add_done_callback(lambda _: self.on_change())
        # A daemon, since a model that is being loaded cannot be interrupted.
        threading.Thread(target=_call, args=(work, result), name=thread, daemon=True).start()

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
        if budget is None and name in self._alone:
            budget = 0
        if budget is None:
            return True
        size = self._sizes.get(name, 0) if name else 0
        if name in self._alone:
            size = budget
        for other, model in list(self._loaded.items()):
            if self._used + size <= budget:
                return True
            if not in_use(model):
                self.unload(other)
        return self._used + size <= budget or not self._loaded

    @property
    def _used(self) -> int:
        return sum(model.memory for model in self._loaded.values())


def _call(work: Callable[[], _Made], result: "Future[_Made]") -> None:
    """The edge of the loader's thread: whatever happens is the result."""
    try:
        result.set_result(work())
    except Exception as error:
        result.set_exception(error)
