"""`toolkit explain`: where a value of a scenario comes from."""

from __future__ import annotations

import argparse

__all__ = ["ABOUT", "add_arguments", "execute"]

ABOUT = "say where a value of a scenario comes from"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("scenario", metavar="SCENARIO", help="a .toml file")
    parser.add_argument("key", metavar="KEY", help="a key path such as hardware.machines")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="override a key"
    )
    parser.add_argument("--variant", metavar="NAME", help="of this variant")
    parser.add_argument("--json", action="store_true", help="print an object")


def execute(arguments: argparse.Namespace) -> int:
    """Print the value and every value that it overrode."""
    from toolkit import scenario, tables

    explanation = scenario.explain(
        arguments.scenario, arguments.key, sets=arguments.set, variant=arguments.variant
    )
    if arguments.json:
        tables.print_json(explanation.as_dict())
    else:
        print(explanation)
    return 0
