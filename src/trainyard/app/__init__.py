"""Use cases: what a command or a library call does, put together from the parts below. Prints through a console."""
