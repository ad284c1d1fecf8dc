"""What is changed in the items of the training split, drawn anew every epoch.

Every draw comes from the seed of its item, and that from the run's seed, the epoch and the item's
position alone: neither the batch an item is in nor the number of workers changes it, and a resume
inside an epoch repeats it. Knows nothing of files, datasets or batches.
"""
