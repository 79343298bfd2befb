"""The ledger for people: a page in Markdown, and tables for the terminal."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .claims import Claim
from .ledger import Outcome


def to_list(claims: Iterable[Claim]) -> str:
    """List claims with what was published and the estimated cost of a run.

    Parameters
    ----------
    claims : iterable of Claim

    Returns
    -------
    str

    Examples
    --------
    >>> from forgetless.benchmarks.replication.claims import choose, load_claims
    >>> print(to_list(choose(load_claims(), ["closed_form/ncm"])))
    claim                  published  seconds a run
    closed_form/NCM/class  82.0                   1
    """
    return _columns(
        ["claim", "published", "seconds a run"],
        [[claim.name, claim.target, f"{claim.number.seconds:.0f}"] for claim in claims],
    )


def to_text(found: Iterable[Outcome]) -> str:
    """Put outcomes into a table for the terminal.

    Parameters
    ----------
    found : iterable of Outcome

    Returns
    -------
    str
    """
    rows = [[each.claim.name, each.claim.target, each.measured, str(each.n_seeds), _verdict(each)] for each in found]
    return _columns(["claim", "published", "measured", "seeds", "verdict"], rows)


def _verdict(found: Outcome) -> str:
    if found.error:
        return f"error: {found.error}"
    return "fail, explained" if found.verdict == "fail" and found.holds else found.verdict


def _columns(head: list[str], rows: list[list[str]]) -> str:
    """Align columns: numbers alone in a column to the right."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    right = [all(text.isdecimal() for text in column) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            f"{text:{'>' if r else '<'}{width}}" for text, width, r in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in [head, *rows]
    )


_INTRODUCTION = """
Published numbers, run again by `forgetless verify`, which also writes this page: nothing here is written by hand but
what the claims in `benchmarks/replication` say. Numbers that do not come out stay.

Numbers are the average accuracy over all experiences after the last one, in percent. Where experiences follow the name
of the stream, counted from 0, they are the accuracy on the rows of those, each predicted before it is learned, or, with
*since*, by how much that is more than on others. *Published* is a mean, with its standard deviation over runs where the
source has one, or the bounds that we promise ourselves. *Accepted* is what passes: those bounds, or what is no further
from the published mean than the tolerance of the source (2 points, say) or, if that is larger, the published standard
deviation. *Measured* is a mean over seeds with the half-width of its 95 % interval (Student's t; wide for few seeds);
it is the mean that is judged, where there are as many seeds as the claim demands: 3, and 10 where pairs of digits are
the domains, whose accuracy depends much on which. With fewer the verdict is *not enough seeds*. No coefficient was
tuned here: they are those of the source, brought to our definitions, as *Settings* says.
"""


def to_page(found: Sequence[Outcome]) -> str:
    """Write the ledger as a page in Markdown.

    Parameters
    ----------
    found : sequence of Outcome
        Of all claims.

    Returns
    -------
    str
    """
    verdicts = ("pass", "fail", "error", "not enough seeds", "not run")
    counts = {verdict: sum(each.verdict == verdict for each in found) for verdict in verdicts}
    versions = max((each.versions for each in found), default="")
    tally = ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)
    lines = ["# Replication", "", *_INTRODUCTION.strip().splitlines(), "", f"**{tally}.**"]
    if versions:
        named = ", ".join(f"{name} {version}" for name, version in json.loads(versions).items())
        lines += ["", f"Measured on the CPU with {named}."]
    for _, group in itertools.groupby(found, key=lambda each: each.claim.key):
        lines += ["", *_section(list(group))]
    return "\n".join(lines) + "\n"


def _section(found: list[Outcome]) -> list[str]:
    source = found[0].claim.source
    lines = [
        *(f"## {source.title}", "", source.reference.strip(), "", source.settings.strip(), ""),
        "| method | stream | published | accepted | measured | seeds | verdict |",
        "|---|---|---:|---:|---:|---:|---|",
    ]
    notes = list(dict.fromkeys(each.claim.note for each in found if each.claim.note))
    for each in found:
        claim, note = each.claim, each.claim.note
        verdict = each.verdict if each.verdict not in ("fail", "error") else f"**{each.verdict}**"
        cells = [claim.method.name, claim.number.place, claim.target, claim.accepted]
        cells += [each.measured if each.n_seeds else "–", str(each.n_seeds)]
        cells += [f"{verdict} ({notes.index(note) + 1})" if note else verdict]
        lines.append(f"| {' | '.join(cells)} |")
    for number, note in enumerate(notes, 1):
        lines += ["", f"({number}) {' '.join(note.split())}"]
    lines += ["", "Settings:", ""]
    for _, group in itertools.groupby(found, key=lambda each: each.claim.method.name):
        lines.append(_settings([each.claim for each in group]))
    return lines


def _settings(claims: list[Claim]) -> str:
    """One item: the estimator with shared parameters, those that differ, and where they come from."""
    method = claims[0].method
    net = method.net.model_dump(exclude_none=True)
    shared = {**method.params, **{f"net__{name}": value for name, value in net.items()}}
    text = f"- **{method.name}**: `{method.estimator}({_call(shared)})`"
    text += "".join(f"; {c.number.stream}: `{_call(c.number.params)}`" for c in claims if c.number.params)
    if method.preprocess:
        text += f", after {', '.join(f'`{path}`' for path in method.preprocess)}"
    return f"{text}. {' '.join(method.derivation.split())}".rstrip()


def _call(params: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in params.items())
