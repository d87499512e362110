"""params.yaml: what is read, and what a wrong entry is answered with."""

from __future__ import annotations

from pathlib import Path

import pytest

from patchline.config import Params, check_complete, load_params, parse_bytes, parse_count
from patchline.errors import UserError

ROOT = Path(__file__).parents[2]


def _load(folder: Path, text: str) -> Params:
    path = folder / "params.yaml"
    path.write_text(text)
    return load_params(path)


def _error(folder: Path, text: str) -> str:
    with pytest.raises(UserError) as caught:
        _load(folder, text)
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_repository_file_is_valid_and_complete() -> None:
    from ruamel.yaml import YAML

    path = ROOT / "params.yaml"
    params = load_params(path)
    content = YAML(typ="safe").load(path)
    assert set(content) == set(Params.model_fields)
    for name, section in content.items():
        if isinstance(section, dict):
            assert set(section) == set(type(getattr(params, name)).model_fields), name


@pytest.mark.parametrize(
    ("text", "expected"),
    [("30KB", 30720), ("48 KiB", 49152), ("1MB", 1 << 20), ("1.5KB", 1536), (4096, 4096), ("512", 512)],
)
def test_bytes_have_units_of_1024(text: object, expected: int) -> None:
    assert parse_bytes(text) == expected


@pytest.mark.parametrize(("text", "expected"), [("8M", 8_000_000), ("1.2G", 1_200_000_000), ("500k", 500_000)])
def test_counts_have_units_of_1000(text: str, expected: int) -> None:
    assert parse_count(text) == expected


@pytest.mark.parametrize("text", ["30kk", "KB", "-1KB", "1e3KB", "0.3B"])
def test_text_that_is_no_size_is_left_for_the_type_to_refuse(tmp_path: Path, text: str) -> None:
    assert repr(text) in _error(tmp_path, f"search: {{sram_budget: '{text}'}}")


def test_values_reach_the_models(tmp_path: Path) -> None:
    params = _load(tmp_path, "search: {sram_budget: 48KB, max_macs: 8M, max_latency_ms: 20}\ntargets: [stm32f412]")
    assert (params.search.sram_budget, params.search.max_macs) == (48 * 1024, 8_000_000)
    assert params.search.max_latency_ms == 20.0
    assert params.targets == ("stm32f412",)
    assert params.experiment == "patchline-scenes"


def test_exponents_are_read_as_dvc_reads_them(tmp_path: Path) -> None:
    assert _load(tmp_path, "train_supernet: {weight_decay: 2e-5}").train_supernet.weight_decay == 2e-5


@pytest.mark.parametrize(
    ("text", "fragments"),
    [
        ("search: {sram_bugdet: 30KB}", ["search.sram_bugdet", "'30KB'", "did you mean 'sram_budget'"]),
        ("serach: {}", ["serach", "did you mean 'search'"]),
        ("data: {counts: {trian: 3}}", ["data.counts.trian", "did you mean 'train'"]),
        ("search: {schedule: strem}", ["search.schedule", "'strem'", "layer, patch, stream, auto"]),
        ("search: {trials: many}", ["search.trials", "'many'", "whole number from 1"]),
        ("seed: true", ["seed", "True", "whole number"]),
        ("data: {counts: {train: 0}}", ["data.counts.train", "0", "whole number from 1"]),
        ("data: null", ["data", "None", "a section with source, folder"]),
        ("data: {source: fashion-mnist, counts: {train: 60000, val: 1, test: 1}}", ["at most 60000"]),
        ("train_supernet: {learning_rate: .nan}", ["train_supernet.learning_rate", "a number above 0"]),
        ("train_supernet: {epochs: 0}", ["train_supernet.epochs: 0 is", "a whole number from 1 to 10000, or auto"]),
        ("search: {finetune_epochs: some}", ["search.finetune_epochs: 'some' is", "from 0 to 10000, or auto"]),
        ("project: ../x", ["project", "'../x'", "letters"]),
        ("targets: stm32f412", ["targets", "'stm32f412'", "a list"]),
        ("targets: []", ["targets", "one or more"]),
        ("targets: [stm32f412, stm32f412]", ["targets", "twice"]),
        ("targets: [stm32f999]", ["targets", "'stm32f999'", "stm32f412"]),
    ],
)
def test_a_wrong_entry_names_key_value_and_what_is_allowed(tmp_path: Path, text: str, fragments: list[str]) -> None:
    message = _error(tmp_path, text)
    assert "one wrong entry" in message
    for fragment in fragments:
        assert fragment in message


def test_all_wrong_entries_are_told_at_once(tmp_path: Path) -> None:
    message = _error(tmp_path, "seed: -1\nsearch: {trials: 0, population: x}")
    assert "3 wrong entries" in message
    assert all(key in message for key in ("seed", "search.trials", "search.population"))


@pytest.mark.parametrize(
    ("text", "fragment"), [("a: [", "not valid YAML"), ("- a", "must hold sections"), ("seed: 1\nseed: 2", "seed")]
)
def test_a_file_that_is_no_mapping(tmp_path: Path, text: str, fragment: str) -> None:
    assert fragment in _error(tmp_path, text)


def test_a_missing_file_says_where_to_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="patchline init"):
        load_params(tmp_path / "params.yaml")


def test_keys_that_dvc_would_miss_are_named_with_their_defaults(tmp_path: Path) -> None:
    text = (ROOT / "params.yaml").read_text()
    path = tmp_path / "params.yaml"
    path.write_text(text)
    check_complete(path, ROOT / "dvc.yaml")
    for gone in ("targets: ", "  trials: ", "  folder: ", "  tolerance: "):
        text = "".join(line for line in text.splitlines(keepends=True) if not line.startswith(gone))
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        check_complete(path, ROOT / "dvc.yaml")
    assert str(caught.value).splitlines()[1:] == [  # not promote.tolerance: no stage reads it, so its default holds
        '  data.folder: "data/raw"',
        "  search.trials: 100",
        '  targets: ["stm32f412", "stm32f746"]',
    ]


def test_a_wrong_name_in_the_middle_is_no_other_error(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text("search: 7\n")
    with pytest.raises(UserError, match=r"search\.trials: 100"):
        check_complete(path, ROOT / "dvc.yaml")
