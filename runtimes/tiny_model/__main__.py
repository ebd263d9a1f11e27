"""`python -m tiny_model`: train the tiny model and write it where the bundled runtime has it."""

import argparse
from pathlib import Path

import torch

from queue_agent_diffusers.tiny import FOLDER
from tiny_model.training import TrainingPlan, train


def main() -> None:
    """Train by what the command line says."""
    plan = TrainingPlan()
    parser = argparse.ArgumentParser(prog="python -m tiny_model", description=__doc__)
    parser.add_argument("--output", type=Path, default=FOLDER, help="folder for the model")
    parser.add_argument("--seed", type=int, default=plan.seed)
    parser.add_argument("--decoder-steps", type=int, default=plan.decoder_steps)
    parser.add_argument("--unet-steps", type=int, default=plan.unet_steps)
    parser.add_argument("--guided-steps", type=int, default=plan.guided_steps)
    given = parser.parse_args()
    torch.set_num_threads(1)  # more would only wait for each other, and add up in another order
    train(
        given.output,
        TrainingPlan(
            decoder_steps=given.decoder_steps,
            unet_steps=given.unet_steps,
            guided_steps=given.guided_steps,
            seed=given.seed,
        ),
    )


if __name__ == "__main__":
    main()
