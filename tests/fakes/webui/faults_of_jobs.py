"""What 1.10.1 says of jobs that it cannot do: Python's classes and words, as they were recorded."""

from typing import Final

from fakes.webui.models import ForgeTextToImage, Generation, ImageToImage, TextToImage
from fakes.webui.options import Options
from fakes.webui.recorded import names_in

MAX_SEED: Final = 2**64 - 1


def check_numbers(asked: Generation) -> None:
    """In the order in which the real one stumbles."""
    if asked.prompt is None:
        raise AssertionError
    _check_nulls(asked)
    if not asked.batch_size or not asked.n_iter or asked.batch_size < 0 or asked.n_iter < 0:
        raise IndexError("list index out of range")
    if asked.seed is not None and asked.seed > MAX_SEED:
        raise ValueError("Overflow when unpacking long long")
    if isinstance(asked, TextToImage):
        _check_hires(asked)
    _check_size(asked)
    if asked.steps == 0:
        raise ZeroDivisionError("integer division or modulo by zero")
    if asked.steps is not None and asked.steps < 0:
        raise RuntimeError("number of steps must be non-negative")


def _check_nulls(asked: Generation) -> None:
    none = "'NoneType'"
    if asked.n_iter is None:
        raise TypeError(f"unsupported operand type(s) for *: 'int' and {none}")
    if asked.batch_size is None:
        raise TypeError(f"unsupported operand type(s) for *: {none} and 'int'")
    if asked.negative_prompt is None:
        raise TypeError(f"{none} object is not iterable")
    if asked.width is None or asked.height is None:
        raise TypeError(f"unsupported operand type(s) for //: {none} and 'int'")
    if asked.steps is None:
        raise TypeError(f"unsupported operand type(s) for //: {none} and {none}")
    if asked.cfg_scale is None:
        raise TypeError(f"unsupported operand type(s) for *: {none} and 'float'")


def _check_hires(asked: TextToImage) -> None:
    if not asked.enable_hr:
        return
    if asked.firstpass_image is not None:
        raise ValueError(f"could not convert string to float: '{asked.firstpass_image}'")
    if asked.denoising_strength is None:
        raise TypeError("'>' not supported between instances of 'NoneType' and 'int'")
    known = names_in("lists", "upscalers") + names_in("lists", "latent-upscale-modes")
    if asked.hr_upscaler is not None and asked.hr_upscaler not in known:
        raise Exception(f"could not find upscaler named {asked.hr_upscaler}")  # noqa: TRY002


def _check_size(asked: Generation) -> None:
    width, height = (asked.width or 0) // 8, (asked.height or 0) // 8
    if min(width, height) < 0:
        raise RuntimeError(
            f"Trying to create tensor with negative dimension {min(width, height)}: "
            f"[4, {height}, {width}]"
        )
    if not width or not height:
        raise RuntimeError(
            f"Calculated padded input size per channel: ({height + 2} x {width + 2}). "
            "Kernel size: (3 x 3). Kernel size can't be greater than actual input size"
        )


def check_by_forge(asked: Generation) -> None:
    """What Forge f2.0.1 stumbles over, as it was recorded."""
    if asked.infotext:
        raise TypeError("isinstance() argument 2 cannot be a parameterized generic")
    if not isinstance(asked, ForgeTextToImage) or not asked.enable_hr:
        return
    if asked.hr_additional_modules is None:
        raise TypeError("argument of type 'NoneType' is not iterable")


def check_options(options: Options) -> None:
    """Options of a wrong type, set by whomever."""
    layers = options["CLIP_stop_at_last_layers"]
    if not isinstance(layers, int | float):
        raise TypeError(f"bad operand type for unary -: '{type(layers).__name__}'")


def check_init_images(asked: ImageToImage) -> None:
    """Before they are decoded."""
    given = len(asked.init_images or [])
    if not given:
        raise RuntimeError(
            "Expected 3D (unbatched) or 4D (batched) input to conv2d, but got input of size: [0]"
        )
    if given > (asked.batch_size or 0):
        raise RuntimeError(
            f"bad number of images passed: {given}; expecting {asked.batch_size} or less"
        )
