from __future__ import annotations

from pathlib import Path

import faults
import pytest
import torch

from trainyard.errors import DiskFullError
from trainyard.models.tensor_files import safetensors_file, torch_file
from trainyard.objects import Objects


@pytest.mark.parametrize("saver", ["torch", "safetensors", "object"])
def test_a_disk_that_fills_up_under_a_library_is_called_full(tmp_path: Path, saver: str) -> None:
    """torch and safetensors write by themselves, and wrap what the system says."""
    (tmp_path / "disk").mkdir()
    tensors = {"w": torch.zeros(3 << 18)}
    save = {
        "torch": lambda disk: torch_file(tensors)(disk / "w.pt"),
        "safetensors": lambda disk: safetensors_file(tensors)(disk / "w.safetensors"),
        "object": lambda disk: Objects(disk).create(safetensors_file(tensors)),
    }[saver]
    try:
        with faults.tmpfs(tmp_path / "disk", 1) as disk, pytest.raises(DiskFullError, match="disk is full"):
            save(disk)
    except faults.NotPermittedError as error:
        pytest.skip(str(error))


def test_other_errors_of_the_savers_stay_as_they_are(tmp_path: Path) -> None:
    with pytest.raises(AttributeError):
        torch_file(lambda: None)(tmp_path / "x.pt")
    with pytest.raises(FileNotFoundError):
        torch_file(1)(tmp_path / "none" / "x.pt")
