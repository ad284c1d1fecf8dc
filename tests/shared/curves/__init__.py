"""A kind of data for tests, as a package: curves of numbers, and a network made for them."""
