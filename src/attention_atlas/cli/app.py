"""The command line as a whole: its commands, and how bad input ends."""

import os
import sys
from collections.abc import Callable
from contextlib import redirect_stdout, suppress
from functools import wraps
from typing import Annotated, Any, TextIO, cast

import typer

from attention_atlas import __version__
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
from attention_atlas.console import SafeOutput, checked_output, print_error, print_line
from attention_atlas.errors import INPUT_ERROR_EXIT_CODE, InputError
from attention_atlas.interrupts import Interrupted, interrupt_behind, raising_signals
from attention_atlas.run_folder import find_run

RUN_ARGUMENTS = ("run", "runs", "model")
"""Arguments that name a run, or several."""

APPLICATIONS = {
    "train": "Train a model, test it, and save its attention maps.",
    "evaluate": "Test a finished run again, also on other data.",
    "baseline": "Measure what a classical model reaches on the same split.",
}
"""Commands whose arguments are read by Hydra."""

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
"""All other commands, each with an example, in the order of the help."""

HELP = """Train Transformers on text, images and sound, and look at what they attend to.

atlas train task=nlp, task=vision or task=speech trains on data that comes with the package; all
other commands look at the runs that this makes. Where a command takes a run folder, `last` is the
newest finished run, `last:nlp` the newest of the task.
"""


def _reporting_bad_input(command: Callable[..., None]) -> Callable[..., None]:
    """Make bad input end in a one-line error; HYDRA_FULL_ERROR=1 shows the traceback."""

    @wraps(command)
    def run(**arguments: Any) -> None:
        with redirect_stdout(cast("TextIO", SafeOutput(sys.stdout))):
            try:
                command(**_with_runs_found(arguments))
            except (InputError, OSError) as error:
                if (interrupt := interrupt_behind(error)) is not None:
                    raise interrupt from None
                message = _user_message(error)
                if message is None or os.environ.get("HYDRA_FULL_ERROR") == "1":
                    raise
                print_error(message)
                raise typer.Exit(INPUT_ERROR_EXIT_CODE) from error

    return run


def _with_runs_found(arguments: dict[str, Any]) -> dict[str, Any]:
    """Replace `last` by the newest finished run."""
    found = {
        name: find_run(runs) if isinstance(runs, str) else [find_run(run) for run in runs]
        for name, runs in arguments.items()
        if name in RUN_ARGUMENTS
    }
    return arguments | found


def _user_message(error: InputError | OSError) -> str | None:
    """Return one line for the user; None for what is not bad input, such as a closed pipe."""
    if isinstance(error, InputError):
        return str(error)
    return None if error.filename is None else f"{error.filename}: {error.strerror}."


def _run_application(context: typer.Context) -> None:
    """Run a Hydra application, with all arguments behind its name."""
    from attention_atlas.pipeline import commands

    sys.argv = [f"{sys.argv[0]} {context.info_name}", *context.args]
    getattr(commands, str(context.info_name))()


app = typer.Typer(
    help=HELP,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

for application, meaning in APPLICATIONS.items():
    app.command(
        application,
        help=meaning,
        context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
        add_help_option=False,
    )(_run_application)
for command, example in COMMANDS.items():
    name = "list" if command is list_runs else command.__name__
    app.command(name, epilog=f"Example: {example}")(_reporting_bad_input(command))


def _show_version(wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _options(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", callback=_show_version, is_eager=True),
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        print(context.get_help())


def main() -> None:
    """Run the command; bad input ends in a one-line error and exit code 2."""
    with checked_output():
        for stream in (sys.stdout, sys.stderr):
            # A character that the terminal cannot show does not end the command.
            stream.reconfigure(errors="replace")  # type: ignore[union-attr]
        try:
            with raising_signals():
                app()
        except Interrupted as end:
            with suppress(OSError):  # the terminal was closed
                print_line(end.message, on_stderr=True)
            sys.exit(end.exit_code)
