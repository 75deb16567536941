"""One module per verb of the command line: what it is for, what it takes, what it does.

Each has ``ABOUT``, ``add_arguments(parser)`` and ``execute(arguments)``, and
imports what is heavy only when executed.  :mod:`toolkit.cli` lists them.
"""
