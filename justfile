set positional-arguments

# List the recipes.
default:
    @just --list --unsorted

# Run scenarios: simulate every variant, write its traces, report.
run *ARGS:
    @toolkit run "$@"

# Compile the loops of simulation and rendering now, not at first use.
compile *ARGS:
    @toolkit compile "$@"

# Check scenarios, or the invariants of traces.
check *ARGS:
    @toolkit check "$@"

# Say where a value of a scenario comes from: just explain scenarios/opt66.toml hardware.machines
explain *ARGS:
    @toolkit explain "$@"

# Query a trace: just sql traces/opt66-baseline "SELECT ..."
sql *ARGS:
    @toolkit sql "$@"

# Make the report of one or several traces again.
report *ARGS:
    @toolkit report "$@"

# What TTFT, TPOT, ITL and the rest mean, here and in other tools.
terms *ARGS:
    @toolkit terms "$@"

# Open a trace in the Perfetto UI, offline.
view *ARGS:
    @toolkit view "$@"

# How much load deployments hold: just capacity scenarios/capacity-llama8b.toml --rate 12
capacity *ARGS:
    @toolkit capacity "$@"

# Say why requests were late: just why traces/opt66-baseline --slowest 5
why *ARGS:
    @toolkit why "$@"

# Say what changed between runs: just compare traces/a traces/b
compare *ARGS:
    @toolkit compare "$@"

# Write a window, some machines or some requests of a trace as one file.
export *ARGS:
    @toolkit export "$@"

# Make a trace out of a file from elsewhere: a profile, a benchmark's result, a table.
import *ARGS:
    @toolkit import "$@"

# Show what will arrive: just workload scenarios/two-tenants.toml
workload *ARGS:
    @toolkit workload "$@"

# Show the catalog, or one entry of it with its sources.
catalog *ARGS:
    @toolkit catalog "$@"

# Install the toolkit and what its development needs into the active environment.
setup:
    pip install -e '.[dev]'

# Run the tests.
test *ARGS:
    python -m pytest -q -n 2 "$@"

# Check style and types.
lint:
    ruff check . && ruff format --check . && mypy

# Measure spans per second beside plain-Python baselines.
bench *ARGS:
    @python benchmarks/bench.py "$@"

# Write the generated parts of the documentation.
docs:
    @python docs/reference.py

# What every change must pass.
all: lint test
