"""Faster ways to run a network make the same images, and where they fail no job is lost."""

import copy
import logging
from collections.abc import Sequence
from typing import Any

import pytest

from diffusers_servers import tiny_model
from queue_agent_diffusers.engine.requests import ImageRequest
from queue_agent_diffusers.options import Options
from step_batches import TOLERANCE, alone, stepped_together

MIX = [
    (ImageRequest("a cat", seed=1, width=64, height=64, steps=2), 0),
    (ImageRequest("light on a river", seed=2, width=64, height=64, steps=2), 1),
    (ImageRequest("", seed=3, width=64, height=64, steps=1), 1),
]


def fresh(name: str) -> Any:
    """A pipeline of its own, since its networks are changed."""
    from queue_agent_diffusers.torch.loader import load_pipeline  # noqa: PLC0415  loads torch
    from tiny_transformers import tiny_transformer  # noqa: PLC0415

    if name == "UNet":
        return load_pipeline(str(tiny_model()), Options(device="cpu"))
    pipeline = copy.deepcopy(tiny_transformer(name))
    pipeline.default_sample_size = 64 // pipeline.vae_scale_factor  # what warm-ups take
    return pipeline


def model_of(pipeline: Any, options: Options, backend: Any) -> Any:
    from queue_agent_diffusers.torch.architectures import architecture_of  # noqa: PLC0415
    from queue_agent_diffusers.torch.loader import batched_model  # noqa: PLC0415

    return batched_model(pipeline, architecture_of(pipeline), options, backend=backend)[0]


def assert_as_plain(model: Any, plain: Any) -> None:
    made = stepped_together(model, [request for request, _ in MIX], [when for _, when in MIX])
    for (request, _), samples in zip(MIX, made, strict=True):
        for sample, wanted in zip(samples, alone(plain, request), strict=True):
            assert (tensor_of(model, sample) - wanted).abs().max() <= TOLERANCE


def tensor_of(model: Any, sample: Any) -> Any:
    if hasattr(model, "tensor"):
        return model.tensor(sample)
    return (model.decoder.tensors(sample.result[0])[0] / 2 + 0.5).clamp(0, 1)


class Counting:
    """Stands for a compiler: counts the graphs that it is given, and changes nothing."""

    def __init__(self) -> None:
        self.graphs = 0

    def __call__(self, graph: Any, examples: Sequence[Any]) -> Any:
        del examples
        self.graphs += 1
        return graph.forward


@pytest.mark.parametrize("name", ["UNet", "Flux", "Z-Image"])
def test_compiled_blocks_make_the_same_images(name: str) -> None:
    compiler = Counting()
    pipeline = fresh(name)
    plain = copy.deepcopy(pipeline)
    model = model_of(pipeline, Options(device="cpu", speed="compile", max_batch=2), compiler)
    assert_as_plain(model, plain)
    assert compiler.graphs > 0


@pytest.mark.parametrize("name", ["UNet", "Qwen-Image"])
def test_what_cannot_be_compiled_runs_as_it_is_and_that_is_told_once(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(graph: Any, examples: Sequence[Any]) -> Any:
        raise RuntimeError("no kernel for this")

    pipeline = fresh(name)
    plain = copy.deepcopy(pipeline)
    with caplog.at_level(logging.WARNING, "queue_agent_diffusers"):
        model = model_of(pipeline, Options(device="cpu", speed="compile", max_batch=2), broken)
        assert_as_plain(model, plain)
    told = [record.getMessage() for record in caplog.records if "Compiling" in record.getMessage()]
    assert len(told) == 1
    assert "is not used from now on" in told[0]


def test_compiled_code_that_breaks_while_jobs_run_costs_no_job(
    caplog: pytest.LogCaptureFixture,
) -> None:
    works = True

    def breaking(graph: Any, examples: Sequence[Any]) -> Any:
        def run(*arguments: Any) -> Any:
            if not works:
                raise RuntimeError("an illegal instruction")
            return graph.forward(*arguments)

        return run

    pipeline = fresh("Flux")
    plain = copy.deepcopy(pipeline)
    with caplog.at_level(logging.WARNING, "queue_agent_diffusers"):
        model = model_of(pipeline, Options(device="cpu", speed="compile", max_batch=2), breaking)
        assert not caplog.records
        works = False
        assert_as_plain(model, plain)
    assert "an illegal instruction" in caplog.text


def test_running_out_of_memory_is_no_fault_of_the_compiler() -> None:
    import torch  # noqa: PLC0415

    from queue_agent_diffusers.torch.compiled import Fallback, GuardedForward  # noqa: PLC0415

    def full(*_: Any) -> Any:
        raise torch.OutOfMemoryError

    fallback = Fallback("Compiling")
    with pytest.raises(torch.OutOfMemoryError):
        GuardedForward(full, lambda *_: "made", fallback)()
    assert fallback.failure is None


@pytest.mark.parametrize("name", ["UNet", "Flux", "PixArt"])
def test_fused_projections_in_channels_last_make_the_same_images(name: str) -> None:
    pipeline = fresh(name)
    plain = copy.deepcopy(pipeline)
    options = Options(device="cpu", channels_last=True, fuse_projections=True)
    model = model_of(pipeline, options, None)
    network = getattr(pipeline, "unet", None) or pipeline.transformer
    names = [part for part, _ in network.named_parameters()]
    assert any("to_qkv" in part or "to_kv" in part for part in names)
    assert_as_plain(model, plain)


class Recorded:
    """Stands for a captured CUDA graph: its inputs lie in fixed places, as in one."""

    made = 0

    def __init__(self, network: Any, arguments: Any, options: Any) -> None:
        from queue_agent_diffusers.torch.graphs import leaves  # noqa: PLC0415

        type(self).made += 1
        self._network = network
        self._given = copy.deepcopy((arguments, options))
        self._inputs = leaves(self._given)

    def replay(self, values: Sequence[Any]) -> Any:
        for place, value in zip(self._inputs, values, strict=True):
            place.copy_(value)
        arguments, options = self._given
        return self._network(*arguments, **options)


@pytest.mark.parametrize("name", ["Flux", "Qwen-Image"])
def test_captured_passes_are_few_and_make_the_same_images(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from queue_agent_diffusers.torch.architectures import architecture_of  # noqa: PLC0415
    from queue_agent_diffusers.torch.compiled import Fallback  # noqa: PLC0415
    from queue_agent_diffusers.torch.graphs import GraphedNetwork  # noqa: PLC0415
    from queue_agent_diffusers.torch.transformer import TransformerModel  # noqa: PLC0415

    pipeline = fresh(name)
    architecture = architecture_of(pipeline)
    assert architecture is not None
    monkeypatch.setattr(Recorded, "made", 0)
    fallback = Fallback("Capturing")
    graphed = GraphedNetwork(pipeline.transformer, fallback, Recorded)
    model = TransformerModel(
        pipeline, architecture, max_batch=8, networks={"transformer": graphed}, buckets=(8,)
    )
    assert_as_plain(model, pipeline)
    assert fallback.failure is None
    assert 1 <= Recorded.made < sum(request.steps or 0 for request, _ in MIX)


def test_captured_passes_give_all_that_a_network_gives() -> None:
    import torch  # noqa: PLC0415

    from queue_agent_diffusers.torch.compiled import Fallback  # noqa: PLC0415
    from queue_agent_diffusers.torch.graphs import GraphedNetwork  # noqa: PLC0415

    fallback = Fallback("Capturing CUDA graphs")
    graphed = GraphedNetwork(lambda x, **_: (x + 1, x + 2), fallback, Recorded)
    pictures, sounds = graphed(torch.zeros(1), return_dict=False)
    assert (pictures.item(), sounds.item()) == (1, 2)
    assert fallback.failure is None


def test_where_memory_runs_out_captured_passes_give_theirs_back() -> None:
    import torch  # noqa: PLC0415

    from queue_agent_diffusers.torch.compiled import Fallback  # noqa: PLC0415
    from queue_agent_diffusers.torch.graphs import GraphedNetwork  # noqa: PLC0415

    made: list[int] = []

    def capture(network: Any, arguments: Any, options: Any) -> Any:
        made.append(len(arguments[0]))
        if len(arguments[0]) > 1:
            raise torch.OutOfMemoryError
        return Recorded(network, arguments, options)

    fallback = Fallback("Capturing CUDA graphs")
    graphed = GraphedNetwork(lambda x, **_: (x + 1,), fallback, capture)
    for _ in range(2):
        graphed(torch.zeros(1))
    with pytest.raises(torch.OutOfMemoryError):
        graphed(torch.zeros(2))
    graphed(torch.zeros(1))
    assert made == [1, 2, 1]
    assert fallback.failure is None


def test_a_pass_that_cannot_be_captured_is_run_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    import torch  # noqa: PLC0415

    from queue_agent_diffusers.torch.compiled import Fallback  # noqa: PLC0415
    from queue_agent_diffusers.torch.graphs import GraphedNetwork  # noqa: PLC0415

    def refuse(*_: Any) -> Any:
        raise RuntimeError("operation not permitted when stream is capturing")

    graphed = GraphedNetwork(lambda x, **_: (x + 1,), Fallback("Capturing CUDA graphs"), refuse)
    with caplog.at_level(logging.WARNING, "queue_agent_diffusers"):
        for _ in range(2):
            assert graphed(torch.zeros(1), return_dict=False)[0].item() == 1
    assert len(caplog.records) == 1


def test_the_start_says_in_one_line_what_it_chose_and_why_not_the_rest(
    caplog: pytest.LogCaptureFixture,
) -> None:
    from queue_agent_diffusers.engine.loading import LoadProgress  # noqa: PLC0415
    from queue_agent_diffusers.torch.loader import load_model  # noqa: PLC0415

    progress = LoadProgress("tiny")
    options = Options(device="cpu", speed="graphs", quantize="fp8", attention="sage")
    with caplog.at_level(logging.INFO, "queue_agent_diffusers.torch.speed"):
        load_model("tiny", options, progress)
    [line] = [record.getMessage() for record in caplog.records if "speed" in record.name]
    assert "speed eager (graphs: only on cuda)" in line
    assert "quantize none (fp8: only on cuda)" in line
    assert "attention native (sage: this network has torch's alone)" in line
    assert progress.told["speed"] == "eager (graphs: only on cuda)"


def test_eight_bits_that_fail_here_are_told_once_and_the_weights_stay_whole(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torchao")
    from queue_agent_diffusers.torch import speed  # noqa: PLC0415  loads torch
    from queue_agent_diffusers.torch.speed_plan import DeviceFacts  # noqa: PLC0415

    pipeline = fresh("Flux")
    plain = copy.deepcopy(pipeline)
    # The plan takes this for a card that can; torchao finds out that it is none.
    card = DeviceFacts("cuda", (9, 0), packages=frozenset({"torchao"}))
    monkeypatch.setattr(speed, "device_facts", lambda _: card)
    with caplog.at_level(logging.WARNING, "queue_agent_diffusers"):
        made = speed.accelerate(
            pipeline, Options(quantize="fp8", channels_last=False), names=("transformer",)
        )
    [line] = [record.getMessage() for record in caplog.records]
    assert line.startswith("quantize is not used: AssertionError: Float8 dynamic quantization")
    assert made.told["quantize"].startswith("none (failed: Float8 dynamic quantization")
    request = MIX[0][0]
    [seen], [wanted] = alone(pipeline, request), alone(plain, request)
    assert (seen == wanted).all()


def test_eight_bit_weights_are_close_to_the_whole_ones() -> None:
    pytest.importorskip("torchao")
    import torch  # noqa: PLC0415

    from queue_agent_diffusers.torch.quantized import quantize_blocks  # noqa: PLC0415

    pipeline = fresh("Flux")
    plain = copy.deepcopy(pipeline)
    assert quantize_blocks(pipeline.transformer, "fp8-weights") > 4
    request = MIX[0][0]
    [seen], [wanted] = alone(pipeline, request), alone(plain, request)
    assert not torch.equal(seen, wanted), "nothing was quantised"
    assert (seen - wanted).abs().mean() < 0.02
