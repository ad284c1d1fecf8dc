"""What tests of Trainyard and of its extensions need, shipped with it.

`contracts`: suites to subclass for your own layout, checkpoint format or executor. `faults`: failing
system calls, full disks, damaged files, killed processes. `tiny` and `data`: models and data that
train in a moment. Production code imports none of it; `contracts` needs pytest.
"""
