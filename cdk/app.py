"""Synthesise the image service: `cdk deploy --all`, or `python app.py` to look at templates.

Context: `config` (a file; default `config.yaml` beside this one) and `libraries` (`lambda`, which
`cdk.json` asks for: download what runs in Lambda; `installed`: copy this environment's, offline).
"""

import sys
from pathlib import Path

from aws_cdk import App
from image_service.config import Config, ConfigError
from image_service.stacks import ImageService

HERE = Path(__file__).resolve().parent


def main() -> None:
    app = App()
    path = Path(app.node.try_get_context("config") or HERE / "config.yaml")
    try:
        config = Config.load(path)
    except ConfigError as error:
        sys.exit(str(error))
    wanted = app.node.try_get_context("libraries")
    ImageService(app, config).build("lambda" if wanted == "lambda" else "installed")
    app.synth()


if __name__ == "__main__":
    main()
