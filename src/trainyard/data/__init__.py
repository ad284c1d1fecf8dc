"""From files and arrays to batches: what is trained on, how it is split, in which order.

`sources` read one dataset family each and return a `Dataset`; `splits` decides who is held out
and finds leaks; `batches` gives the items in an order that depends on a seed and an epoch alone.
Everything here takes plain arguments: no configuration object, no run, no yard.
"""
