"""`python -m loopwright.cli` is `loopwright`."""

from loopwright.cli.app import main

main()
