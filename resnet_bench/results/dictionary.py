"""The data dictionary: every column of every table, with unit and meaning."""

from __future__ import annotations

import typing
from dataclasses import fields

from resnet_bench.results.rows import SCHEMA_VERSION
from resnet_bench.results.tables import TABLES
from resnet_bench.terminal import say


def data_dictionary() -> str:
    """`results/README.md`: what each file and column of a study holds."""
    parts = [_DICTIONARY_HEAD]
    for table in TABLES:
        parts.append(f"## `{table.file}`\n\n{(table.row.__doc__ or '').strip()} Key: {', '.join(table.key)}.\n")
        parts.append("| column | type | unit | meaning |\n| --- | --- | --- | --- |")
        hints = typing.get_type_hints(table.row)
        for f in fields(table.row):
            kind = str(getattr(hints[f.name], "__name__", hints[f.name])).replace(" | None", ", may be empty")
            parts.append(f"| `{f.name}` | {kind} | {f.metadata['unit']} | {f.metadata['meaning']} |")
        parts.append("")
    return "\n".join(parts)


_DICTIONARY_HEAD = f"""\
# Results: what each file holds

Generated from the schema (version {SCHEMA_VERSION}) by `python -m resnet_bench.results.dictionary`: do not edit it.

One folder is one study. Its figures and tables are drawn from its CSV files alone (`resnet-bench report <study>`):

    <study>/
      runs/<run_id>/     what one run wrote: config.json, environment.json, result.json and its rows of the tables below
      plan.csv           the runs that the study consists of
      split.csv          which images were kept for the test, where a folder of images was split here
      runs.csv           one row per finished run, collected from runs/
      curves.csv         the error curves of all runs, collected from runs/
      signals.csv        responses, gradients and weights by layer at some steps, collected from runs/
      confusion.csv      which classes are taken for which, collected from runs/
      complexity.csv     the size of its networks (resnet-bench complexity); layers.csv the same by layer
      throughput.csv     the speed of its networks on one or more machines (resnet-bench throughput)
      claims.csv         what the runs say of the paper's claims (made by the report)
      transfer.csv       in a folder of studies of transfer learning: their finished runs side by side
      figures/ tables/   rendered

Values are raw: errors are percent from 0 to 100, seconds and steps are cumulative, MACs are multiply-adds per image
(1 MAC = 2 FLOPs). An empty cell means not measured. The headline error is the one at the last step.
"""

if __name__ == "__main__":
    say(data_dictionary(), end="")
