"""`atlas train`, `atlas evaluate`, `atlas baseline`: Hydra reads their arguments."""

import sys
from collections.abc import Callable

import typer


def train(context: typer.Context) -> None:
    """Train a model, test it, and save its attention maps."""
    from attention_atlas.pipeline import commands

    _run(commands.train, context)


def evaluate(context: typer.Context) -> None:
    """Test a finished run again, also on other data."""
    from attention_atlas.pipeline import commands

    _run(commands.evaluate, context)


def baseline(context: typer.Context) -> None:
    """Measure what a classical model reaches on the same split."""
    from attention_atlas.pipeline import commands

    _run(commands.baseline, context)


def _run(application: Callable[[], None], context: typer.Context) -> None:
    sys.argv = [f"{sys.argv[0]} {context.info_name}", *context.args]
    application()
