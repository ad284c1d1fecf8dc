"""Tools for testing Trainyard and extensions of it.

`contracts`: test suites to subclass for your own layout. `faults`: failing system calls, full disks,
damaged files, killed processes. `tiny` and `data`: models and data that train quickly. Production code
does not import this package; `contracts` needs pytest.
"""
