"""The published planner, exactly: from thirteen numbers to a split of the machines.

It takes whole numbers, rounds the token machines up and leaves the rest to the
prompts.  Where that leaves a side with less than memory needs it gives up, and
it never asks whether one pipeline of all machines would be faster;
:mod:`toolkit.planner.plan` does both.

Source: msr-fiddle/dejavu at 07e76be, scripts/planner.py.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields

from toolkit.errors import InputError, Problem

__all__ = ["Answer", "Question", "answer"]

GB = 1e9

PROGRAM = "toolkit dejavu planner"

MOST = 10**12
"""Largest number any flag may have; products of several stay far inside a float's range."""

MAY_BE_ZERO = frozenset({"num_extra_tokens", "token_time", "prompt_time"})


@dataclass(frozen=True, slots=True)
class Question:
    """The published flags, by their names and with their defaults."""

    num_machines: int = 1
    memory_per_gpu: int = 1
    """GB of 1e9 bytes."""
    num_machines_per_node: int = 1
    """GPUs of a machine: their memory counts as one."""
    prompt_len: int = 1
    num_extra_tokens: int = 1
    """Tokens generated after the prompt."""
    fp_size: int = 4
    """Bytes of a weight and of a cached value."""
    batch_size: int = 1
    token_time: int = 1
    """Of a microbatch through the whole model; any unit, the same as `prompt_time`."""
    prompt_stream_overhead: float = 1.0
    """By how much streaming stretches a prompt, m."""
    prompt_time: int = 1
    num_layers: int = 1
    attention_size: int = 1
    """Values of a key, or of a value, in one layer: the hidden size."""
    layer_size: int = 1
    """Parameters of one layer."""

    @property
    def memory_gb(self) -> int:
        """Memory of a machine."""
        return self.num_machines_per_node * self.memory_per_gpu

    @property
    def weights_gb(self) -> float:
        """W0: weights of one layer."""
        return (self.layer_size * self.fp_size) / GB

    def cache_gb(self, tokens: int) -> float:
        """Return the KV cache of one microbatch of `tokens` tokens in one layer, GB."""
        return (tokens * self.batch_size * self.attention_size * self.fp_size * 2) / GB

    def flags(self) -> str:
        """Return the question as flags on a command line."""
        return " ".join(f"--{field.name} {getattr(self, field.name)}" for field in fields(self))


@dataclass(frozen=True, slots=True)
class Answer:
    """The split, and what is to be said about it."""

    prompt_machines: int
    token_machines: int
    note: str = ""
    """Why the answer is not to be trusted; empty where nothing speaks against it."""


def answer(question: Question) -> Answer:
    """Return the published planner's split.

    Raises:
        InputError: where the published program stops with an assertion or a
            division by zero: a layer or its cache larger than a machine, more
            machines needed than there are, a split by times that leaves a side
            too few; or flags that are no sizes.
    """
    wrong = list(_wrong(question))
    if wrong:
        raise InputError(PROGRAM, wrong)
    least_prompt = _least_prompt_machines(question)
    least_token = _least_token_machines(question)
    machines = question.num_machines
    for least, side in ((least_prompt, "prompts"), (least_token, "tokens")):
        if least > machines:
            expected = f"expected at least the {least} that memory needs for {side}"
            raise _refused("--num_machines", expected, f"{machines}")

    token_work = machines * question.num_extra_tokens * question.token_time
    round_work = (
        question.prompt_stream_overhead * question.prompt_time
        + question.num_extra_tokens * question.token_time
    )
    token = math.ceil(token_work / round_work)
    prompt = machines - token
    if token < least_token or prompt < least_prompt:
        raise _refused(
            "--num_machines",
            "expected a split by times that leaves each side what its memory needs, "
            f"{least_prompt} for prompts and {least_token} for tokens",
            f"{prompt} for prompts and {token} for tokens",
            "the published planner shifts no machine to the other side"
            if least_prompt + least_token <= machines
            else "use more machines, or machines with more memory",
        )
    return Answer(prompt, token, _note(question, least_token))


def _wrong(question: Question) -> Iterator[Problem]:
    """Yield the flags that are no sizes, times or factors."""
    for field in fields(question):
        value, flag = getattr(question, field.name), f"--{field.name}"
        least = 0 if field.name in MAY_BE_ZERO else 1
        if field.name == "prompt_stream_overhead":
            if not 0 < value <= MOST:
                yield Problem(flag, "expected a factor above 0", f"{value:g}")
        elif not least <= value <= MOST:
            yield Problem(flag, f"expected a whole number from {least} to {MOST:.0e}", f"{value}")
    if question.prompt_time == 0 and question.num_extra_tokens * question.token_time == 0:
        yield Problem("--prompt_time", "expected a prompt or tokens that take time", "0")


def _least_prompt_machines(question: Question) -> int:
    cache_gb, weights_gb = question.cache_gb(question.prompt_len), question.weights_gb
    a_machine_holds = math.floor(question.memory_gb / (cache_gb + weights_gb))
    if a_machine_holds == 0:
        raise _refused(
            "--memory_per_gpu",
            f"expected room for a layer, {weights_gb:.3g} GB, and a prompt's cache in it, "
            f"{cache_gb:.3g} GB",
            f"{question.memory_gb} GB in a machine",
        )
    return math.ceil(question.num_layers / a_machine_holds)


def _least_token_machines(question: Question) -> int:
    """Return the published minimum, which is 0 where caches exceed a machine by far enough."""
    left_gb = question.memory_gb - _caches_gb(question)
    a_machine_holds = math.floor(left_gb / question.weights_gb)
    least = math.ceil(question.num_layers / a_machine_holds) if a_machine_holds else -1
    if least < 0:
        raise _refused(
            "--memory_per_gpu",
            f"expected room for the caches, {_caches_gb(question):.4g} GB, and a layer, "
            f"{question.weights_gb:.3g} GB",
            f"{question.memory_gb} GB in a machine",
            "use smaller batches, fewer tokens, or machines with more memory",
        )
    return least


def _caches_gb(question: Question) -> float:
    """Return what a token machine holds of caches: one microbatch's, prompt and answer, in full."""
    each = question.cache_gb(question.prompt_len + question.num_extra_tokens)
    return each * question.num_layers


def _note(question: Question, least_token: int) -> str:
    if least_token > 0:
        return ""
    return (
        f"the caches cannot fit: they need {_caches_gb(question):.4g} GB of a machine's "
        f"{question.memory_gb} GB; the published planner takes room far below zero for no "
        "machine needed"
    )


def _refused(where: str, expected: str, got: str, way_out: str = "") -> InputError:
    return InputError.one(PROGRAM, where, expected, got, way_out)
