"""The loop that trains any network on any data, and its parts; knows no command line, and no place of a run."""
