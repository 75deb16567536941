"""Prompt and answer lengths: drawn from a quantile table, fixed, given in pairs, or recorded."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from toolkit import catalog
from toolkit.scenario.model import Lengths

__all__ = ["TokenCounts", "token_counts"]

Tokens = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float64]

_erf = np.frompyfunc(math.erf, 1, 1)


@dataclass(frozen=True, slots=True)
class TokenCounts:
    """Prompt and generated tokens of each entry, shape (entries,) both."""

    prompt: Tokens
    output: Tokens


def token_counts(lengths: Lengths, entries: int, rng: np.random.Generator) -> TokenCounts:
    """Return the lengths of `entries` entries.

    Both uniforms of an entry are drawn whether or not a side is fixed, so
    fixing the prompts of a workload leaves its answers as they were.
    """
    prompt: Floats
    output: Floats
    if lengths.recording is not None:
        prompt = lengths.recording.prompt_tokens[:entries].astype(np.float64)
        output = lengths.recording.output_tokens[:entries].astype(np.float64)
    elif lengths.kind == "pairs":
        prompt, output = np.asarray(lengths.pairs[:entries], dtype=np.float64).T
    elif lengths.kind == "fixed":
        prompt = np.full(entries, lengths.prompt_tokens, np.float64)
        output = np.full(entries, lengths.output_tokens, np.float64)
    else:
        prompt, output = _from_table(lengths, entries, rng)
    return TokenCounts(
        _clamp(prompt, 1, lengths.max_prompt_tokens),
        _clamp(output, lengths.min_output_tokens, lengths.max_output_tokens),
    )


def _from_table(lengths: Lengths, entries: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Draw (prompt, output) by a Gaussian copula over a table's quantile functions.

    Two normals of correlation rho go through the normal distribution function
    to uniforms, and those through each side's inverse distribution function,
    linear between the table's quantiles.
    """
    assert lengths.name is not None
    table = catalog.length_table(lengths.name)
    first, second = rng.standard_normal((entries, 2)).T
    second = table.copula_rho * first + math.sqrt(1.0 - table.copula_rho**2) * second
    prompt = np.rint(np.interp(_normal_cdf(first), table.quantiles, table.prompt_tokens))
    output = np.rint(np.interp(_normal_cdf(second), table.quantiles, table.output_tokens))
    if lengths.prompt_tokens is not None:
        prompt = np.full(entries, float(lengths.prompt_tokens))
    if lengths.output_tokens is not None:
        output = np.full(entries, float(lengths.output_tokens))
    return prompt, output


def _normal_cdf(z: Floats) -> Floats:
    erf = np.asarray(_erf(z / math.sqrt(2.0)), dtype=np.float64)
    return 0.5 * (1.0 + erf)


def _clamp(tokens: Floats, low: int, high: int | None) -> Tokens:
    clamped: Tokens = np.clip(tokens, low, high).astype(np.int32)
    return clamped
