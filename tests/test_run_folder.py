"""The files of a run folder are named and read in one place, with the same checks."""

import ast
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from omegaconf import OmegaConf

import attention_atlas
from attention_atlas import run_folder
from attention_atlas.errors import InputError
from attention_atlas.run_folder import (
    CONFIG,
    RESULT,
    read_classes,
    read_json,
    read_result,
    read_yaml,
)

SOURCE = Path(attention_atlas.__file__).parent
OWNERS = {SOURCE / "run_folder.py", SOURCE / "atlas" / "locations.py"}
CONSTANTS = [value for name, value in vars(run_folder).items() if name.isupper()]
NAMES = {value for value in CONSTANTS if isinstance(value, str)}


def path_like_texts(module: Path) -> Iterator[tuple[int, str]]:
    """String constants without a space: no docstrings, messages or help."""
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " not in node.value:
            yield node.lineno, node.value


def test_nobody_else_spells_the_files_of_a_run() -> None:
    assert {"result.json", ".hydra", "checkpoints", "atlas.zarr", "last.ckpt"} <= NAMES
    spelled = [
        f"{module.relative_to(SOURCE)}:{line} {text}"
        for module in sorted(SOURCE.rglob("*.py"))
        if module not in OWNERS
        for line, text in path_like_texts(module)
        if NAMES & {text, *text.split("/")}
    ]
    assert spelled == []


DAMAGED = {
    "not JSON": b'{"seed": 0',
    "not text": b"\x80\x04.",
    "a list": b"[]",
    "nested": b"[" * 100_000,
}


@pytest.mark.parametrize("written", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_json_file_is_named(written: bytes, tmp_path: Path) -> None:
    (tmp_path / RESULT).write_bytes(written)
    with pytest.raises(InputError, match=r"result\.json cannot be read: it (is not|holds no) JSON"):
        read_json(tmp_path, RESULT)


def test_a_huge_file_is_refused_unread(tmp_path: Path) -> None:
    for name, limit in ((RESULT, 2**26), ("config.yaml", 2**20)):
        with (tmp_path / name).open("wb") as file:
            file.truncate(limit + 1)  # takes no room on the disk
    with pytest.raises(InputError, match=f"{RESULT} is larger than {2**26} bytes"):
        read_json(tmp_path, RESULT)
    with pytest.raises(InputError, match=rf"config\.yaml is larger than {2**20} bytes"):
        read_yaml(tmp_path, "config.yaml")


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may read every file")
def test_a_file_without_permission_is_named(tmp_path: Path) -> None:
    (tmp_path / RESULT).write_text("{}")
    (tmp_path / RESULT).chmod(0)
    with pytest.raises(InputError, match=r"result\.json cannot be read: Permission denied"):
        read_json(tmp_path, RESULT)


def test_a_run_without_a_result_is_not_finished(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has no result\.json, so it is not a finished run"):
        read_result(tmp_path)
    with pytest.raises(InputError, match="There is no run"):
        read_result(tmp_path / "nowhere")


@pytest.mark.parametrize("written", ["{}", '{"classes": 2}', '{"classes": ["a", 2]}'])
def test_a_result_without_classes_is_refused(written: str, tmp_path: Path) -> None:
    (tmp_path / RESULT).write_text(written)
    with pytest.raises(InputError, match="it names no classes"):
        read_classes(tmp_path)


def test_the_config_is_read_as_hydra_wrote_it(tmp_path: Path) -> None:
    config = OmegaConf.create({"optimizer": {"lr": 1e-3}, "path": "${hydra:runtime.output_dir}"})
    assert read_yaml(tmp_path, CONFIG) is None
    (tmp_path / CONFIG).parent.mkdir()
    OmegaConf.save(config, tmp_path / CONFIG)
    assert read_yaml(tmp_path, CONFIG) == config
