"""The command line: one file a command. Parses, calls one use case of `app`, prints. Imports nothing heavy."""
