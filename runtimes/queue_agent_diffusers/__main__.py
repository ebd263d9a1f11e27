"""`python -m queue_agent_diffusers --model PATH_OR_ID`: serve models."""

import typer

from queue_agent_diffusers.command import serve_diffusers

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
app.command()(serve_diffusers)

if __name__ == "__main__":
    app(prog_name="python -m queue_agent_diffusers")
