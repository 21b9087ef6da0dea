"""`python -m guard` is `memguard`."""

from guard.cli.main import main

main()
