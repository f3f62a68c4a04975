"""`python -m services.cli`: `longview`, where no console script is at hand."""

from services.cli import main

main()
