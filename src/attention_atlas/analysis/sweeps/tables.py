"""A sweep in words: tables of its trials, their seeds and parameters, and what went wrong."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from attention_atlas.analysis.sweeps.importance import Importance
from attention_atlas.analysis.sweeps.jobs import State, Value
from attention_atlas.analysis.sweeps.seeds import Seeds
from attention_atlas.analysis.sweeps.sweep import Sweep, Trial

GAP = 2  # columns between two columns of a table


@dataclass(frozen=True)
class SweepTable:
    """A table with what stands above and below it.

    Attributes:
        title: A sentence above it.
        headings: Names of the columns.
        rows: Cells in the order of the headings.
        numbers: Headings of columns that are aligned to the right.
        foot: A sentence below it, or nothing.
    """

    title: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers: Collection[str]
    foot: str = ""


def print_sweep(sweep: Sweep, limit: int | None = None) -> None:
    """Print a sweep on stdout, its tables as wide as they are.

    Args:
        sweep: From `read_sweep` or `write_sweep`.
        limit: How many rows a table has at most; None prints all.
    """
    for table in sweep_tables(sweep, limit):
        print(table.title)
        lines = [table.headings, *table.rows]
        widths = [max(cell_len(line[place]) for line in lines) for place in range(len(lines[0]))]
        grid = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="")
        for name in table.headings:
            grid.add_column(
                name, no_wrap=True, justify="right" if name in table.numbers else "left"
            )
        for row in table.rows:
            grid.add_row(*map(Text, row))
        console = Console(width=sum(widths) + GAP * len(widths), markup=False, highlight=False)
        with console.capture() as printed:
            console.print(grid)
        print("\n".join(line.rstrip() for line in printed.get().splitlines()))
        print(f"{table.foot}\n" if table.foot else "")
    for note in sweep_notes(sweep):
        print(note)


def sweep_tables(sweep: Sweep, limit: int | None = None) -> list[SweepTable]:
    """Return the ranked trials, where the seed was swept their means, and what matters."""
    tables = [_trials(sweep, limit)]
    if sweep.seeds is not None and sweep.seeds.settings:
        tables.append(_settings(sweep, sweep.seeds, limit))
    if isinstance(sweep.importance, Importance):
        tables.append(_importance(sweep.importance))
    return tables


def sweep_notes(sweep: Sweep) -> list[str]:
    """Return sentences: why importance is not known, what is unfinished, and each failure."""
    notes = [sweep.importance] if isinstance(sweep.importance, str) else []
    unfinished = sweep.of_state(State.UNFINISHED)
    if unfinished:
        names = ", ".join(trial.name for trial in unfinished)
        notes.append(f"Unfinished, still running or interrupted: {names}.")
    notes += [f"{t.folder}: {t.failure}" for t in sweep.trials if t.failure is not None]
    return notes


def shown(value: Value | None) -> str:
    """Return a value of a parameter as it stands in tables and figures."""
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _trials(sweep: Sweep, limit: int | None) -> SweepTable:
    trials = sweep.trials[:limit]
    headings = ["rank", sweep.metric.title, *sweep.parameters, "CPU time (s)", "state", "trial"]
    rows = [_row(sweep, place, trial) for place, trial in enumerate(trials, start=1)]
    numbers = {"rank", sweep.metric.title, "CPU time (s)", *_numeric(sweep)}
    more = len(sweep.trials) - len(trials)
    states = Counter(trial.state for trial in sweep.trials)
    count = ", ".join(f"{states[state]} {state.value}" for state in State if states[state])
    return SweepTable(
        f"{sweep.folder}: {count}; {sweep.metric.name}, {sweep.metric.better} is better",
        headings,
        rows,
        numbers,
        f"and {more} more" if more else "",
    )


def _row(sweep: Sweep, place: int, trial: Trial) -> list[str]:
    return [
        str(place) if place <= len(sweep.ranked) else "-",
        sweep.metric.in_words(trial.value),
        *map(shown, trial.parameters.values()),
        "-" if trial.cpu_seconds is None else f"{trial.cpu_seconds:.0f}",
        trial.state.value,
        trial.name,
    ]


def _numeric(sweep: Sweep) -> list[str]:
    """Return the parameters that have numbers only."""
    return [
        name
        for name in sweep.parameters
        if not any(isinstance(trial.parameters[name], str) for trial in sweep.trials)
    ]


def _settings(sweep: Sweep, seeds: Seeds, limit: int | None) -> SweepTable:
    settings = seeds.settings[:limit]
    names = list(settings[0].parameters)
    in_words = sweep.metric.in_words
    rows = [
        [
            str(rank),
            in_words(setting.mean),
            "-" if setting.deviation is None else in_words(setting.deviation),
            str(setting.num_seeds),
            *map(shown, setting.parameters.values()),
        ]
        for rank, setting in enumerate(settings, start=1)
    ]
    headings = ["rank", f"mean {sweep.metric.title}", "standard deviation", "seeds"]
    foot = (
        "No setting has two seeds that finished, so chance is not known."
        if seeds.spread is None
        else f"Seeds of one setting spread by {in_words(seeds.spread)} (standard deviation, all "
        "settings together): single trials that differ by about that much may be as good as each "
        "other."
    )
    more = len(seeds.settings) - len(settings)
    return SweepTable(
        "Means over seeds:",
        [*headings, *names],
        rows,
        {*headings, *_numeric(sweep)},
        f"and {more} more\n{foot}" if more else foot,
    )


def _importance(importance: Importance) -> SweepTable:
    rows = [[name, f"{100 * share:.1f}"] for name, share in importance.shares.items()]
    return SweepTable(
        "How much each parameter matters:",
        ["parameter", "importance (%)"],
        rows,
        {"importance (%)"},
        f"By a random forest of {importance.num_trials} trials, which predicts trials that it has "
        f"not seen with R2 {importance.r2:.2f} (1: exactly, 0: as well as their mean).",
    )
