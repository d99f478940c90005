"""From the command line to a composed and checked config; imports neither torch nor lightning."""

import os
import sys
from collections.abc import Callable

from attention_atlas.errors import InputError

INPUT_ERROR_EXIT_CODE = 2


def run_command(command: Callable[[], None]) -> None:
    """Run a Hydra application; what the user got wrong ends in a sentence, not in a traceback.

    With HYDRA_FULL_ERROR=1 the traceback is shown all the same.
    """
    if os.environ.get("HYDRA_FULL_ERROR") == "1":
        command()
        return
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises instead of printing its own summary
    try:
        command()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(INPUT_ERROR_EXIT_CODE)
