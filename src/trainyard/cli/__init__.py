"""The command line: one file a command. Parses, calls one use case, prints. Imports nothing heavy."""
