"""Models on a device: the only part that imports torch."""

import logging

# diffusers imports it where it is there, and it tells which of its kernels are for other builds.
logging.getLogger("torchao").setLevel(logging.ERROR)
