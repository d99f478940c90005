"""Format the faithfulness of recipes over their trainings as Markdown."""

from collections.abc import Sequence

from attention_atlas.analysis.comparison.compare_runs import Group
from attention_atlas.analysis.comparison.markdown import markdown_table
from attention_atlas.analysis.faithfulness import read_faithfulness
from attention_atlas.analysis.faithfulness.trainings import (
    LEGEND,
    trainings_table,
    verdict_over_trainings,
)


def evidence_markdown(groups: Sequence[Group]) -> str:
    """Return a table and a sentence for each group of runs that differ in their seed alone.

    Raises:
        InputError: A group has one run, or its runs were measured with different options.
    """
    parts = []
    for group in groups:
        runs = group.one_per_seed
        measured = [found for run in runs if (found := read_faithfulness(run.run)) is not None]
        headings, rows = trainings_table(measured, [f"seed {run.seed}" for run in runs])
        parts += [
            f"**{group.task}, {group.data}** ({group.label})",
            markdown_table(headings, rows),
            verdict_over_trainings(measured),
        ]
    return "\n\n".join([*parts, LEGEND]) + "\n"
