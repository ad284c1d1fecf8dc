"""What a run is asked to do: frozen dataclasses, and how Hydra's YAML becomes them."""
