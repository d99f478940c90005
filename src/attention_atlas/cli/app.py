"""The command line as a whole: its commands, and how bad input ends."""

import os
import sys
from collections.abc import Callable
from typing import Any

import typer
from typer.core import TyperGroup

from attention_atlas.cli.commands.compare import compare
from attention_atlas.cli.commands.export import export
from attention_atlas.cli.commands.faithfulness import faithfulness
from attention_atlas.cli.commands.gallery import gallery
from attention_atlas.cli.commands.info import info
from attention_atlas.cli.commands.list_runs import list_runs
from attention_atlas.cli.commands.predict import predict
from attention_atlas.cli.commands.record import record
from attention_atlas.cli.commands.show import show
from attention_atlas.cli.commands.stats import stats
from attention_atlas.cli.commands.sweep import sweep
from attention_atlas.cli.safe_output import Shown
from attention_atlas.errors import InputError

BAD_INPUT = 2  # exit code


class _Group(TyperGroup):
    """Ends bad input in one sentence; HYDRA_FULL_ERROR=1 shows where it was found."""

    def invoke(self, ctx: Any) -> Any:
        if os.environ.get("HYDRA_FULL_ERROR") == "1":
            return super().invoke(ctx)
        try:
            return super().invoke(ctx)
        except InputError as error:
            print(str(error), file=Shown(sys.stderr))
        except OSError as error:
            if error.filename is None:  # such as a closed pipe, which is no bad input
                raise
            typer.echo(f"{error.filename}: {error.strerror}.", err=True)
        raise typer.Exit(BAD_INPUT)


app = typer.Typer(
    help="Look at the attention maps that runs have recorded.",
    cls=_Group,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
COMMANDS: dict[Callable[..., None], str] = {
    list_runs: "atlas list outputs/nlp",
    info: "atlas info outputs/nlp/2026-01-31_12-00-00",
    show: "atlas show outputs/nlp/2026-01-31_12-00-00 3 --layer 0 --head 1",
    stats: "atlas stats outputs/nlp/2026-01-31_12-00-00 --by layer",
    predict: "atlas predict outputs/nlp/2026-01-31_12-00-00 'It was great.'",
    record: "atlas record minilm --data reviews.csv --out outputs/minilm",
    faithfulness: "atlas faithfulness outputs/nlp/2026-01-31_12-00-00 --num-samples 200",
    compare: "atlas compare outputs/nlp/A outputs/nlp/B --save comparison.png",
    sweep: "atlas sweep outputs/sweeps/2026-01-31_12-00-00 --metric test/accuracy",
    export: "atlas export outputs/nlp/2026-01-31_12-00-00 3 --out page.html",
    gallery: "atlas gallery outputs/nlp/A outputs/vision/B --save maps.png",
}
"""Every command with an example, in the order of the help."""

for command, example in COMMANDS.items():
    name = "list" if command is list_runs else command.__name__
    app.command(name, epilog=f"Example: {example}")(command)


def main() -> None:
    """Run the command; bad input ends in one sentence and exit code 2."""
    for stream in (sys.stdout, sys.stderr):
        # A sign that the terminal cannot show is no reason to stop.
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    sys.stdout = Shown(sys.stdout)
    app()
