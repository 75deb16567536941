"""A plan on a terminal, 80 columns wide: what is formula, what is simulation, who wins."""

from __future__ import annotations

from collections.abc import Iterator

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from toolkit.planner.plan import Formula, Memory, Plan, Simulated
from toolkit.report import words

__all__ = ["show", "verdict"]

BOUNDS = {
    "work_colocated": "work",
    "work_prompt": "prompts",
    "work_token": "tokens",
    "longest_entry": "longest",
    "link": "link",
}
"""What sets a lower bound, in a word."""

LAYOUTS = 24
"""Layouts shown; of more, the best."""

NUMBERS = frozenset({"value", "batch", "makespan", "at least", "cost", "TTFT p99"})
"""Columns of numbers, by header."""

NEVER = "never"


def show(plan: Plan, console: Console) -> None:
    """Print a plan."""
    console.print()
    console.print(Text(f"{plan.title}: {plan.machines} machines", style="bold"))
    console.print()
    for sentence in verdict(plan):
        console.print(Text(sentence))
    console.print()
    console.print(_formulas(plan))
    console.print(_simulated(plan))
    for note in _notes(plan):
        console.print(Text(note, style="dim"))


# -- in sentences --------------------------------------------------------------------------------


def verdict(plan: Plan) -> Iterator[str]:
    """Yield who wins by simulation, and what formula and published planner would have had."""
    best, promptest = plan.best, plan.promptest
    if best is None or best.figures is None:
        return
    price = "" if best.figures.cost_usd is None else f", for {words.dollars(best.figures.cost_usd)}"
    yield (
        f"Simulated, {_with_size(best)} is done first: {best.figures.requests:,} requests in "
        f"{words.seconds(best.figures.makespan_s)}{price}."
    )
    if promptest is not None and promptest.figures is not None and promptest != best:
        yield (
            f"Late first tokens (p99) are soonest with {_with_size(promptest)}: "
            f"{words.seconds(promptest.figures.ttft_p99_s)} instead of "
            f"{words.seconds(best.figures.ttft_p99_s)}."
        )
    yield _by_formula(plan.formula)
    yield from _against(plan, best)
    yield from _runner_up(plan, best)


def _by_formula(said: Formula) -> str:
    """Say whether splitting pays by the formula, and how the machines would be split."""
    apart, together = words.seconds(said.disaggregated_s), words.seconds(said.colocated_s)
    threshold = words.amount(said.pays_above) if said.pays_above < float("inf") else NEVER
    if not said.pays:
        return (
            f"By the formula splitting does not pay: {apart} a round, {together} together "
            f"(Y/t {words.amount(said.ratio)}, pays above {threshold})."
        )
    if said.whole is None:
        return "By the formula splitting would pay, but no split into whole machines fits."
    return (
        f"By the formula splitting pays (Y/t {words.amount(said.ratio)}, above {threshold}): "
        f"{apart} a round instead of {together}; in whole machines "
        f"{said.whole.prompt_machines} prompt + {said.whole.token_machines} token, "
        f"{words.seconds(said.whole_s)}."
    )


def _against(plan: Plan, best: Simulated) -> Iterator[str]:
    """Yield how the formula's and the published splits do when simulated."""
    for split, marks in _proposed(plan).items():
        tried = plan.best_of(split=split)
        named = f"The {' and the '.join(marks)} split, {split[0]} prompt + {split[1]} token,"
        if tried is None or tried.figures is None or best.figures is None:
            yield f"{named} is impossible here."
        elif tried.split == best.split:
            yield f"{named} is the simulated winner."
        else:
            times = tried.figures.makespan_s / best.figures.makespan_s
            yield (
                f"{named} takes {words.seconds(tried.figures.makespan_s)} at best, "
                f"{words.ratio(times)} the winner's time; no schedule of it ends before "
                f"{words.seconds(tried.figures.least_makespan_s)} "
                f"({BOUNDS[tried.figures.bound]})."
            )


def _runner_up(plan: Plan, best: Simulated) -> Iterator[str]:
    """Yield what the other way comes to: the best split, or the best where both share."""
    other = plan.best_of(apart=best.split is None)
    if other is None or other.figures is None or best.figures is None:
        return
    if other.split is not None and other.split in _proposed(plan):
        return
    what = "split" if other.split is not None else "without a split"
    times = words.ratio(other.figures.makespan_s / best.figures.makespan_s)
    yield (
        f"The best {what}, {_with_size(other)}, takes {words.seconds(other.figures.makespan_s)}, "
        f"{times} the winner's time."
    )


def _proposed(plan: Plan) -> dict[tuple[int, int], list[str]]:
    """Return the splits that are proposed, and by whom."""
    said: dict[tuple[int, int], list[str]] = {}
    if plan.formula.whole is not None:
        whole = plan.formula.whole
        split = (int(whole.prompt_machines), int(whole.token_machines))
        said.setdefault(split, []).append("formula's")
    answer = plan.published
    if answer and answer.prompt_machines is not None and answer.token_machines is not None:
        split = (answer.prompt_machines, answer.token_machines)
        said.setdefault(split, []).append("published planner's")
    return said


def _with_size(option: Simulated) -> str:
    return f"{option.layout} with microbatches of {option.microbatch_size}"


# -- in tables -----------------------------------------------------------------------------------


def _formulas(plan: Plan) -> Table:
    """Return what was computed, each beside its formula."""
    said = plan.formula
    table = _table(f"formula (microbatches of {said.microbatch_size})", "", "value")
    rows: list[tuple[str, str, str]] = [
        ("prompt pass Y", "whole model", words.seconds(said.prompt_s)),
        ("token pass t", "whole model", words.seconds(said.token_s)),
        ("token passes N", "mean", words.amount(said.tokens)),
        *_memory(said.memory),
        ("pays where Y/t is above", "(D-1) / (D(2-m)-1)", _finite(said.pays_above)),
        ("Y/t", "", words.amount(said.ratio)),
        ("round of D, together", "Y + Nt + (D-1)(Y-t)/D", words.seconds(said.colocated_s)),
    ]
    if said.split is not None:
        rows += [
            ("prompt machines", "D m Y / (mY + Nt)", words.amount(said.split.prompt_machines)),
            ("token machines", "D N t / (mY + Nt)", words.amount(said.split.token_machines)),
            ("round of D, apart", "max(I_p, I_t)", words.seconds(said.disaggregated_s)),
        ]
    if said.whole is not None:
        whole = f"{said.whole.prompt_machines} + {said.whole.token_machines}"
        rows += [
            ("in whole machines", "least max(I_p, I_t)", whole),
            ("  prompt side", "I_p = m D Y / D_p", words.seconds(said.whole_prompt_s)),
            ("  token side", "I_t = N D t / D_t", words.seconds(said.whole_token_s)),
        ]
    answer = plan.published
    if answer is not None:
        has = answer.prompt_machines is not None
        split = f"{answer.prompt_machines} + {answer.token_machines}" if has else "none"
        rows.append(("published planner", "tokens rounded up", split))
    for row in rows:
        table.add_row(*row)
    return table


def _memory(memory: Memory | None) -> Iterator[tuple[str, str, str]]:
    if memory is None:
        yield ("memory bounds", "", "not stated")
        return
    for name, formula, least in (
        ("memory: prompt machines", "ceil(L / floor(M / (C0+W0)))", memory.least_prompt_machines),
        (
            "memory: token machines",
            "ceil(L / floor((M - L(C0+K0)) / W0))",
            memory.least_token_machines,
        ),
    ):
        yield name, formula, "none is enough" if least is None else f"at least {least}"


def _simulated(plan: Plan) -> Table:
    """Return a row for each layout, with the microbatch size that does best there."""
    table = _table("simulation", "batch", "makespan", "at least", "held by", "cost", "TTFT p99", "")
    proposed = _proposed(plan)
    for option in _shown(plan):
        figures = option.figures
        marks = ["best"] if option == plan.best else []
        if option.split is not None:
            marks += [mark.split("'")[0].split()[0] for mark in proposed.get(option.split, [])]
        style = "bold green" if option == plan.best else ""
        if figures is None:
            table.add_row(option.layout, *["–"] * 6, ", ".join(["impossible", *marks]))
            continue
        table.add_row(
            Text(option.layout, style),
            f"{option.microbatch_size}",
            Text(words.seconds(figures.makespan_s), style),
            words.seconds(figures.least_makespan_s),
            BOUNDS[figures.bound],
            words.dollars(figures.cost_usd),
            words.seconds(figures.ttft_p99_s),
            ", ".join(marks),
        )
    return table


def _by_layout(plan: Plan) -> list[Simulated]:
    """Return the best of each layout, an impossible one where none is possible."""
    by_layout: dict[str, list[Simulated]] = {}
    for option in plan.simulated:
        by_layout.setdefault(option.layout, []).append(option)
    return [min(options, key=_time) for options in by_layout.values()]


def _shown(plan: Plan) -> list[Simulated]:
    layouts = _by_layout(plan)
    kept = sorted(layouts, key=_time)[:LAYOUTS]
    proposed = _proposed(plan)
    return [each for each in layouts if each in kept or each.split in proposed]


def _time(option: Simulated) -> float:
    return float("inf") if option.figures is None else option.figures.makespan_s


def _notes(plan: Plan) -> Iterator[str]:
    yield (
        f"D = {plan.machines}, m = {words.amount(plan.formula.slowdown)}; a round serves D "
        "microbatches. Formulas: mean lengths, no queue, no link; memory by the longest request."
    )
    yield (
        f"Simulation: discipline {plan.discipline}, every layout with its best microbatch size "
        f"({len(plan.ran)} of {len(plan.simulated)} options are possible; --json has all)."
    )
    impossible = next((each for each in _by_layout(plan) if each.reason), None)
    if impossible is not None:
        yield f"{impossible.layout}: {impossible.reason}."
    if plan.published is not None and plan.published.words:
        yield f"Published planner: {plan.published.words}."
    hidden = len(_by_layout(plan)) - len(_shown(plan))
    if hidden:
        yield f"{hidden} slower layouts are not shown."
    yield from plan.notes


def _finite(value: float) -> str:
    return words.amount(value) if value < float("inf") else NEVER


def _table(*headers: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=0, header_style="bold")
    for number, header in enumerate(headers):
        marks = number == 7
        table.add_column(
            header,
            justify="right" if header in NUMBERS else "left",
            no_wrap=0 < number < 7,
            min_width=len("impossible") if marks else None,
            overflow="fold",
        )
    return table
