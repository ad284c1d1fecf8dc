"""The YAML that ships with Trainyard: one folder a group, one file a choice.

`config/compose.py` reads it through Hydra, so `model=mlp` on a command line means the file
`model/mlp.yaml`. A choice names only what makes it that choice; every other default, with its
meaning, is a field of `config/schema.py`.
"""
