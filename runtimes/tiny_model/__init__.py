"""How the tiny model that comes with the bundled runtime is made: drawn shapes, and the training.

    make tiny-model

Not part of the wheel: the bundled runtime carries the weights.
"""
