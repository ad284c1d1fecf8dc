"""Augmentations of the training split, drawn again every epoch.

Every random number comes from the seed of its item, which depends only on the run's seed, the epoch and
the item's position: neither the batch nor the number of workers changes it, and a resume inside an epoch
repeats it. Knows nothing of files, datasets or batches.
"""
