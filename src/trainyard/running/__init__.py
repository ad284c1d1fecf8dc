"""Doing things with a run: train, resume, evaluate, predict and export, with every record they leave."""
