"""The YAML that ships with Trainyard: one folder a group, one file a choice.

It is a configuration tree of Hydra; `config/recipes.py` composes it, so `model=mlp` on a command line
means the file `model/mlp.yaml`. A choice names only what makes it that choice; every other default, with its
meaning, is a field of `config/schema.py`.
"""
