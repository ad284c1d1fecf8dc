"""The loop that trains a network, and what it is made of: tasks, losses, steps, stopping and state.

One loop serves every kind of data; what differs is passed in as a task. Nothing here knows of the command
line, or of where a run is stored.
"""
