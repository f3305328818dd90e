from pathlib import Path

import pytest
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils.launch import prepare_multi_gpu_env

from training.config import LoopConfig
from training.processes import (
    is_sharded,
    join_processes,
    locked,
    make_accelerator,
    require_shardable,
)

LOOP = LoopConfig(max_steps=1, batch_size=4, learning_rate=1e-3, crop_px=64, warmup_steps=0)


@pytest.mark.parametrize(
    "environment",
    [
        {"WORLD_SIZE": "2", "RANK": "0"},
        # What `accelerate launch --num_processes 2` gives the one process that it starts.
        {"ACCELERATE_MIXED_PRECISION": "no", "MASTER_ADDR": "127.0.0.1"},
    ],
)
def test_fewer_processes_than_asked_for_are_refused(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]
) -> None:
    assert join_processes().num_processes == 1
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match="processes were asked for, and 1 was started; on CPUs"):
        join_processes()


def test_batches_that_cannot_be_shared_equally_are_refused() -> None:
    with pytest.raises(ValueError, match=r"divisible by .* = 3, got 4"):
        make_accelerator(LOOP.replace(gradient_accumulation_steps=3))
    with pytest.raises(ValueError, match="needs a GPU"):
        make_accelerator(LOOP.replace(mixed_precision="fp16"))


def test_second_training_in_a_folder_is_refused(tmp_path: Path) -> None:
    with (
        locked(tmp_path / "run"),
        pytest.raises(ValueError, match="another training writes to"),
        locked(tmp_path / "run"),
    ):
        pass
    with locked(tmp_path / "run"):
        pass


@pytest.mark.parametrize(
    ("variables", "changes", "message"),
    [
        ({"FSDP_OFFLOAD_PARAMS": "true"}, {}, "fsdp_offload_params is not supported"),
        ({}, {"mixed_precision": "fp16"}, '"fp16" is not supported with FSDP'),
        ({}, {"optimizer": "adamw-8bit"}, '"adamw-8bit" is not supported with FSDP'),
    ],
)
def test_what_cannot_be_sharded_is_refused(
    monkeypatch: pytest.MonkeyPatch,
    variables: dict[str, str],
    changes: dict[str, str],
    message: str,
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=message):
        require_shardable(LOOP.replace(**changes))
    monkeypatch.delenv("FSDP_OFFLOAD_PARAMS", raising=False)
    require_shardable(LOOP)


def test_sharding_is_of_several_processes_that_were_asked_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    assert not is_sharded()
    accelerator = make_accelerator(LOOP)
    assert accelerator.distributed_type.name == "NO"


@pytest.mark.parametrize("name", ["ddp", "fsdp"])
def test_config_files_of_the_launcher_ask_for_one_process_a_gpu(name: str) -> None:
    path = Path(__file__).parents[3] / "training" / "launch" / f"{name}.yaml"
    arguments = ["--config_file", str(path), "--num_processes", "4", "-m", "training"]
    options, _, _ = _validate_launch_command(launch_command_parser().parse_args(arguments))
    assert (options.multi_gpu, options.use_fsdp) == (name == "ddp", name == "fsdp")
    assert (options.num_processes, options.mixed_precision) == (4, "bf16")
    variables = prepare_multi_gpu_env(options)
    assert (variables.get("ACCELERATE_USE_FSDP") == "true") == (name == "fsdp")


def test_steps_of_one_recipe_may_have_number_formats_of_their_own() -> None:
    formats = ("bf16", "no", "bf16")
    made = [make_accelerator(LOOP.replace(mixed_precision=name)) for name in formats]
    assert [accelerator.mixed_precision for accelerator in made][-1] == "bf16"
    assert make_accelerator(LOOP.replace(mixed_precision="no")).mixed_precision == "no"
