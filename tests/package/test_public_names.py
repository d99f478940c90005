"""The names of the package itself, and which modules a light import leaves out."""

import subprocess
import sys

import pytest

import attention_atlas

HEAVY = {
    "torch._dynamo",
    "torchvision",
    "torchaudio",
    "transformers",
    "sklearn",
    "scipy",
    "pandas",
    "captum",
    "lightning",
    "matplotlib",
    "hydra",
}


def imported_by(code: str) -> set[str]:
    """The modules that a process of its own has imported after some code."""
    listing = subprocess.run(
        [sys.executable, "-c", f"import sys\n{code}\nprint(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(listing.stdout.split())


def test_every_public_name_is_there() -> None:
    assert set(attention_atlas.__all__) <= set(dir(attention_atlas))
    for name in attention_atlas.__all__:
        assert getattr(attention_atlas, name).__name__ == name


def test_another_name_is_not() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'recrod'"):
        _ = attention_atlas.recrod


def test_record_imports_torch_and_little_else() -> None:
    modules = imported_by("from attention_atlas import Attention, record")
    assert "torch" in modules
    assert not modules & HEAVY


def test_open_atlas_imports_no_torch() -> None:
    modules = imported_by("from attention_atlas import open_atlas")
    assert "attention_atlas.atlas" in modules
    assert not modules & (HEAVY | {"torch"})


def test_the_package_alone_imports_nothing_large() -> None:
    modules = imported_by("import attention_atlas")
    assert "attention_atlas" in modules
    assert not modules & (HEAVY | {"torch", "numpy", "zarr"})
