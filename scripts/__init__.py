"""One file per sub-command of the `faces` command."""
