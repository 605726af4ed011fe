"""``python -m diag`` is ``diag``."""

from diag.cli import main

main()
