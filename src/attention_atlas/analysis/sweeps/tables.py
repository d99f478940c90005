"""Tables of the trials of a sweep, their seeds and parameters, and messages on problems."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from attention_atlas.analysis.sweeps.importance import Importance
from attention_atlas.analysis.sweeps.sweep import Setting, Sweep
from attention_atlas.analysis.sweeps.trial import State, Value
from attention_atlas.errors import first_names

MAX_WIDTH = 10_000  # of a printed table, which is never wrapped
MAX_NAMES = 5  # of unfinished trials


@dataclass(frozen=True)
class SweepTable:
    """A table with a title and a foot.

    Attributes:
        title: Sentence above it.
        headings: Names of the columns.
        rows: Cells in the order of the headings.
        numbers: Headings of right-aligned columns.
        foot: Sentences below it.
    """

    title: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers: Collection[str]
    foot: Sequence[str] = ()


def print_sweep(sweep: Sweep) -> None:
    """Print the tables and notes of a sweep on stdout, without its problems."""
    console = Console(width=MAX_WIDTH, markup=False, emoji=False, highlight=False)
    for table in sweep_tables(sweep):
        grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        for name in table.headings:
            grid.add_column(name, justify="right" if name in table.numbers else "left")
        for row in table.rows:
            grid.add_row(*row)
        print(table.title)
        console.print(grid)
        print("\n".join([*table.foot, ""]))
    for note in sweep_notes(sweep):
        print(note)


def sweep_tables(sweep: Sweep, limit: int | None = None) -> list[SweepTable]:
    """Return tables of the ranked trials, the means over seeds, and the importances, if known.

    Each has at most `limit` rows.
    """
    tables = [_trials(sweep, limit)]
    if sweep.settings and sweep.spread_of_seeds is not None:
        tables.append(_settings(sweep, sweep.settings, sweep.spread_of_seeds, limit))
    if isinstance(sweep.importance, Importance):
        tables.append(_importance(sweep.importance))
    return tables


def sweep_notes(sweep: Sweep) -> list[str]:
    """Return sentences on what is unknown, and why."""
    notes = []
    if sweep.settings is not None and sweep.spread_of_seeds is None:
        notes.append(
            "How much the seed alone changes is not known: no two finished trials differ in "
            "nothing else."
        )
    if isinstance(sweep.importance, str):
        notes.append(sweep.importance)
    return notes


def sweep_problems(sweep: Sweep) -> list[str]:
    """Return a sentence on unfinished trials, and one for each failed trial."""
    problems = []
    unfinished = [_one_line(trial.name) for trial in sweep.of_state(State.UNFINISHED)]
    if unfinished:
        names = first_names(unfinished, MAX_NAMES)
        problems.append(f"{len(unfinished)} unfinished, still running or interrupted: {names}.")
    failed = [trial for trial in sweep.trials if trial.failure is not None]
    return [*problems, *(_one_line(f"{trial.folder}: {trial.failure}") for trial in failed)]


def format_value(value: Value | None) -> str:
    """Format a value of a parameter for tables and figures."""
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else _one_line(str(value))


def format_counts(sweep: Sweep) -> str:
    """Format the number of trials in each state, such as `3 finished, 1 failed`."""
    states = Counter(trial.state for trial in sweep.trials)
    return ", ".join(f"{states[state]} {state.value}" for state in State if states[state])


def _one_line(text: str) -> str:
    """Return a text without characters that would move a cursor."""
    text = " ".join(text.split())
    return "".join(each if each.isprintable() else "?" for each in text)


def _trials(sweep: Sweep, limit: int | None) -> SweepTable:
    trials = sweep.trials[:limit]
    costs = [] if sweep.metric.name == "cpu_seconds" else ["CPU time (s)"]
    headings = ["rank", sweep.metric.title, *sweep.parameters, *costs, "state", "trial"]
    rows = [
        [
            str(rank) if rank <= len(sweep.ranked) else "-",
            sweep.metric.format(trial.value),
            *map(format_value, trial.parameters.values()),
            *("-" if trial.cpu_seconds is None else f"{trial.cpu_seconds:.0f}" for _ in costs),
            trial.state.value,
            _one_line(trial.name),
        ]
        for rank, trial in enumerate(trials, start=1)
    ]
    return SweepTable(
        f"{_one_line(str(sweep.folder))}: {format_counts(sweep)}; {sweep.metric.name}, "
        f"{sweep.metric.better} is better",
        headings,
        rows,
        {"rank", sweep.metric.title, "CPU time (s)", *_numeric(sweep)},
        _more(len(sweep.trials) - len(trials)),
    )


def _more(count: int) -> list[str]:
    return [f"and {count} more"] if count else []


def _numeric(sweep: Sweep) -> list[str]:
    """Return the parameters whose values are all numbers."""
    return [
        name
        for name in sweep.parameters
        if not any(isinstance(trial.parameters[name], str) for trial in sweep.trials)
    ]


def _settings(
    sweep: Sweep, everything: list[Setting], spread: float, limit: int | None
) -> SweepTable:
    settings = everything[:limit]
    formatted = sweep.metric.format
    rows = [
        [
            str(rank),
            formatted(setting.mean),
            formatted(setting.deviation),
            str(setting.num_seeds),
            *map(format_value, setting.parameters.values()),
        ]
        for rank, setting in enumerate(settings, start=1)
    ]
    headings = ["rank", f"mean {sweep.metric.title}", "standard deviation", "seeds"]
    foot = (
        f"Trials that differ in nothing but their seed spread by {formatted(spread)} (standard "
        "deviation, all settings together): compare settings by their means."
    )
    return SweepTable(
        "Means over seeds:",
        [*headings, *settings[0].parameters],
        rows,
        {*headings, *_numeric(sweep)},
        [*_more(len(everything) - len(settings)), foot],
    )


def _importance(importance: Importance) -> SweepTable:
    rows = [[name, f"{100 * fraction:.1f}"] for name, fraction in importance.fractions.items()]
    return SweepTable(
        "How much each parameter matters:",
        ["parameter", "importance (%)"],
        rows,
        {"importance (%)"},
        [
            f"By a random forest of {importance.num_trials} trials, which predicts trials that it "
            f"has not seen with an R2 of {importance.r2:.2f} (1: exactly; 0: as their mean does)."
        ],
    )
