"""First-Block-Cache, decided for each image of a pass by itself.

Where the first block of a transformer adds to its image's tokens almost what it added when all
blocks were last computed, so do the others: what they added then is added again. diffusers' own
hooks (https://huggingface.co/docs/diffusers/optimization/cache), whose formulas these are, decide
for all rows of a call and keep one state for them, and `cache-dit` does the same; here each image
has a state of its own. The rows of those that need the other blocks go through them together.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

import torch
from diffusers.hooks._helpers import TransformerBlockRegistry
from diffusers.utils.torch_utils import unwrap_module

from queue_agent_diffusers.torch.architectures.architecture import Blocks
from queue_agent_diffusers.torch.step_cache import StepCache
from queue_agent_diffusers.torch.suspended import NetworkCall, parameter_names

Tokens = Sequence[torch.Tensor]
"""Of the rows of one call, each without what pads it."""


class FirstBlockCache(StepCache):
    """Of one question of one sample."""

    def __init__(self, threshold: float) -> None:
        """`threshold` is the relative change above which all blocks are computed."""
        self.threshold = threshold
        self.others: Tokens = ()
        """What all blocks but the first added, when they were computed."""
        self.computed: tuple[Tokens, Tokens] | None = None
        """What the first block and what the others added in the pass at hand."""
        self._first: Tokens = ()

    @property
    def skips(self) -> bool:
        """All blocks but the first."""
        return self.computed is None

    def foreseen(self) -> None:
        """Only the first block can tell."""

    def answered(self, prediction: Any) -> bool:
        """Keep what was computed for it."""
        del prediction
        if self.computed is None:
            return False
        (self._first, self.others), self.computed = self.computed, None
        return True

    def change(self, first: Tokens) -> torch.Tensor | None:
        """How far this is from what the first block added then, relatively; None: none is kept."""
        if not self._first:
            return None
        pairs = list(zip(first, self._first, strict=True))
        changed = [_sum(new - kept) for new, kept in pairs]
        return torch.stack(changed).sum() / torch.stack([_sum(kept) for _, kept in pairs]).sum()


@contextmanager
def first_block_caching(
    network: Any, blocks: Blocks, calls: Sequence[NetworkCall]
) -> Iterator[None]:
    """Within it, a pass of the network for these calls uses and fills their caches.

    Calls without a `FirstBlockCache` go through all blocks. Each block is called as it is, compiled
    or not.
    """
    lists = {name: list(getattr(network, name)) for name in blocks.lists}
    count = sum(map(len, lists.values()))
    one = _Pass(blocks, calls)
    forms = {name: _Form(*form) for name, form in zip(blocks.lists, blocks.forms, strict=False)}
    places = iter(range(count))
    try:
        for name, own in lists.items():
            # Found before the module's own, which stay as they are.
            form = forms.get(name)
            network.__dict__[name] = [
                _Block(block, one.runner(next(places), count), form or _Form.of(block))
                for block in own
            ]
        yield
    finally:
        for name in lists:
            network.__dict__.pop(name, None)


@dataclass(frozen=True)
class _Form:
    """Where a block's output has the image's tokens, and the text's, if they are apart."""

    image: int
    text: int | None

    @classmethod
    def of(cls, block: Any) -> Self:
        known = TransformerBlockRegistry.get(type(unwrap_module(block)))
        return cls(known.return_hidden_states_index, known.return_encoder_hidden_states_index)

    def given(self, output: Any) -> list[Any]:
        return [output] if self.text is None else list(output)

    def taken(self, named: Mapping[str, Any]) -> list[Any]:
        """What of the arguments becomes what is given."""
        image = named["hidden_states"] if "hidden_states" in named else next(iter(named.values()))
        if self.text is None:
            return [image]
        both = {self.image: image, self.text: named["encoder_hidden_states"]}
        return [both[0], both[1]]

    def output(self, streams: Sequence[Any]) -> Any:
        return streams[0] if self.text is None else tuple(streams)


Run = Callable[[Any, _Form, Mapping[str, Any]], Any]


class _Block:
    """Stands for a block in one pass."""

    def __init__(self, block: Any, run: Run, form: _Form) -> None:
        self._block = block
        self._run = run
        self._form = form
        self._names = parameter_names(type(unwrap_module(block)).forward)

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        by_name = dict(zip(self._names, arguments, strict=False))
        return self._run(self._block, self._form, {**by_name, **named})

    def __getattr__(self, name: str) -> Any:
        return getattr(self._block, name)


@dataclass(frozen=True, eq=False)
class _CallRows:
    """Where the rows of a call are."""

    places: range
    lengths: Sequence[int | None]
    """Of each row's own tokens, where others pad it; None: all."""
    cache: FirstBlockCache | None

    def of(self, tokens: torch.Tensor) -> list[torch.Tensor]:
        rows = zip(self.places, self.lengths, strict=True)
        return [tokens[place, :length] for place, length in rows]


class _Pass:
    """All rows through the first block, and some through the others."""

    def __init__(self, blocks: Blocks, calls: Sequence[NetworkCall]) -> None:
        self._shared, self._halves = blocks.shared, blocks.halves
        self._calls: list[_CallRows] = []
        end = 0
        for call in calls:
            places = range(end, end + call.rows)
            lengths = blocks.lengths(call) if blocks.lengths else [None] * call.rows
            cache = call.cache if isinstance(call.cache, FirstBlockCache) else None
            self._calls.append(_CallRows(places, lengths, cache))
            end = places.stop
        self._added: dict[_CallRows, Tokens] = {}
        """By the first block, of calls that are to be kept."""
        self._after_first: list[Any] = []
        self._total = end
        self._through: list[int] = []
        """Rows that go through the others."""
        self._picked: torch.Tensor | None = None
        """The same, where they are not all."""

    def runner(self, place: int, count: int) -> Run:
        """What the block at this place of so many does."""
        if place == 0:
            return self._first
        return self._last if place == count - 1 else self._other

    def _first(self, block: Any, form: _Form, named: Mapping[str, Any]) -> Any:
        output = block(**named)
        streams = form.given(output)
        came = form.taken(named)[form.image]
        added = streams[form.image] - came
        self._after_first = streams
        self._decide(added)
        return output

    def _decide(self, added: torch.Tensor) -> None:
        """The host waits here for the device, once for all rows."""
        first = {call: call.of(added) for call in self._calls if call.cache}
        changes = {
            call: change
            for call, rows in first.items()
            if call.cache and (change := call.cache.change(rows)) is not None
        }
        found = torch.stack(list(changes.values())).tolist() if changes else []
        skipped = {
            call
            for call, change in zip(changes, found, strict=True)
            if call.cache and not change > call.cache.threshold
        }
        for call in self._calls:
            if call not in skipped:
                self._through += call.places
                if call.cache:
                    self._added[call] = [row.clone() for row in first[call]]
        if skipped:
            self._picked = torch.tensor(self._through, device=added.device)

    def _other(self, block: Any, form: _Form, named: Mapping[str, Any]) -> Any:
        if self._picked is None:
            return block(**named)
        streams = form.taken(named)
        if not self._through:
            return form.output(streams)
        options = {
            name: value if name in self._shared else self._argument(name, value)
            for name, value in named.items()
        }
        made = form.given(block(**options))
        merged = [
            None if old is None or new is None else old.index_copy(0, self._picked, new)
            for old, new in zip(streams, made, strict=True)
        ]
        return form.output(merged)

    def _last(self, block: Any, form: _Form, named: Mapping[str, Any]) -> Any:
        streams = form.given(self._other(block, form, named))
        image = streams[form.image]
        began = self._before_others(form)
        skipped = []
        for call in self._calls:
            if call in self._added and call.cache:
                pairs = zip(call.of(image), call.of(began), strict=True)
                call.cache.computed = self._added[call], [after - before for after, before in pairs]
            elif call.cache:
                call.cache.computed = None
                skipped.append((call, call.cache.others))
        if skipped:
            image = image.clone()
            for call, others in skipped:
                rows = zip(call.of(image), call.of(began), others, strict=True)
                for row, before, added in rows:
                    torch.add(before, added, out=row)
        streams[form.image] = image
        return form.output(streams)

    def _before_others(self, form: _Form) -> torch.Tensor:
        """What the first block gave, as the last one gives it: text and image may be joined."""
        if form.text is None and len(self._after_first) > 1:
            return torch.cat(self._after_first, dim=1)
        before: torch.Tensor = self._after_first[form.image]
        return before

    def _argument(self, name: str, value: Any) -> Any:
        if name in self._halves and len(value) == 2 * self._total:
            return torch.cat([self._rows_of(half) for half in value.chunk(2)])
        return self._rows_of(value)

    def _rows_of(self, value: Any) -> Any:
        """Those that go through, of whatever has an entry for each row."""
        if isinstance(value, torch.Tensor):
            return value[self._picked] if value.dim() and len(value) == self._total else value
        if isinstance(value, Mapping):
            return {name: self._rows_of(part) for name, part in value.items()}
        if isinstance(value, list | tuple):
            return type(value)([self._rows_of(part) for part in value])
        return value


def _sum(tokens: torch.Tensor) -> torch.Tensor:
    """Of the sizes; in single precision, which holds it."""
    return tokens.abs().sum(dtype=torch.float32)
