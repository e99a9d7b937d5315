"""One module per command, imported when the command is called. The list is in `cli/program.py`."""
