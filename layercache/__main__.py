"""``python -m layercache``: the command line, without the script that an installation makes."""

from layercache.cli import main

main()
