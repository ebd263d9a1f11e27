"""The models that the fake has, and the kinds of which there could be some."""

from typing import Final

from pydantic import JsonValue

LISTED: Final = frozenset({".bin", ".ckpt", ".pkl", ".pt", ".pt2", ".pth", ".safetensors", ".sft"})
"""What ends the names of files that the real one lists; others are passed over."""
CHECKPOINTS: Final[list[JsonValue]] = [
    "sd_xl_turbo_1.0.safetensors",
    "v1-5-pruned-emaonly.safetensors",
]
LORAS: Final[list[JsonValue]] = ["details.safetensors", "styles/ink.safetensors"]
UPSCALERS: Final[list[JsonValue]] = ["RealESRGAN_x4plus.pth", "4x-UltraSharp.pth"]
MODELS: Final = {"checkpoints": CHECKPOINTS, "loras": LORAS, "upscale_models": UPSCALERS}
MODEL_FOLDERS: Final = (
    *("checkpoints", "configs", "loras", "vae", "text_encoders", "diffusion_models"),
    *("clip_vision", "style_models", "embeddings", "diffusers", "vae_approx", "controlnet"),
    *("gligen", "upscale_models", "latent_upscale_models", "custom_nodes", "datasets"),
    *("hypernetworks", "photomaker", "classifiers", "model_patches", "audio_encoders"),
    *("background_removal", "frame_interpolation", "geometry_estimation", "optical_flow"),
    "detection",
)
