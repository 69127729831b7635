"""The command line: each file defines one command or a part that commands share."""
