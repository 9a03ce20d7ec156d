"""Training: chance from labels, exact resumption, early stopping, faults."""

from __future__ import annotations

import errno
import math
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import toys
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import fieldsight
from fieldsight import progress
from fieldsight.config import Config, setting
from fieldsight.data.loader import Loader, collate
from fieldsight.data.splits import Row, check_leakage, folds, read_manifest, split_groups, write_manifest
from fieldsight.engine.checkpoint import State, load_checkpoint, same_tree, save_checkpoint
from fieldsight.engine.fit import EarlyStop, Epochs, Steps, fit
from fieldsight.engine.seed import digest, rng_for, torch_seed
from fieldsight.engine.steps import one_loss
from fieldsight.errors import ConfigError, DataError, RunError
from fieldsight.run import Devices, Run

toys.register()


@dataclass(frozen=True)
class Nothing(Config):
    n: int = setting(1, "a number", ge=0)


class Numbers:
    def __init__(self, count: int = 23) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def item(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        return {"x": rng.standard_normal(4).astype(np.float32), "index": index, "name": f"n{index}"}


def make(lr: float = 0.01) -> State:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 1))
    return State(net=net, opt=torch.optim.Adam(net.parameters(), lr), count=0)


def train(run: Run | None, *, steps: int = 40, die: int | None = None, accumulate: int = 3, **options: Any) -> State:
    state = make()
    plain = one_loss(lambda s, b: (s.net(b["x"]) - 1).pow(2).mean(), accumulate=accumulate, clip=5.0)

    def step(fabric: Any, s: State, batch: dict[str, Any], number: int) -> Any:
        s.count += 1
        if number == die:
            os.kill(os.getpid(), signal.SIGINT)
        return plain(fabric, s, batch, number)

    fit(state, step, Loader(Numbers(), 5, seed=1), stage="a", until=Steps(steps), run=run, **options)
    return state


# ------------------------------------------------------------------------------------------------- chance


@given(st.lists(st.one_of(st.integers(), st.text(max_size=5)), min_size=1, max_size=4))
def test_chance_is_a_function_of_labels(labels: list[Any]) -> None:
    assert rng_for(*labels).random() == rng_for(*labels).random()
    assert digest(*labels) != digest(*labels, 0)
    assert 0 <= torch_seed(*labels) < 2**63


def test_numbers_and_texts_are_different_labels() -> None:
    assert digest(1, "2") != digest("1", 2)
    assert digest("ab", "c") != digest("a", "bc")


def test_batches_do_not_depend_on_workers_or_on_where_one_starts() -> None:
    loader = Loader(Numbers(), 5, seed=3)
    whole = list(loader.batches("s", 1))
    assert len(whole) == len(loader) == 5
    late = list(loader.batches("s", 1, start=2))
    with_workers = list(Loader(Numbers(), 5, seed=3, workers=2).batches("s", 1))
    for a, b in [*zip(whole[2:], late, strict=True), *zip(whole, with_workers, strict=True)]:
        assert torch.equal(a["x"], b["x"])
        assert a["name"] == b["name"]
    seen = sorted(int(i) for b in whole for i in b["index"])
    assert seen == list(range(23))
    assert not torch.equal(whole[0]["index"], next(loader.batches("s", 2))["index"])
    assert not torch.equal(whole[0]["index"], next(loader.batches("t", 1))["index"])


def test_devices_share_a_batch_without_overlap() -> None:
    loader = Loader(Numbers(24), 6, seed=0)
    parts = [list(loader.batches("s", 0, rank=r, world=3)) for r in range(3)]
    for whole, *split in zip(loader.batches("s", 0), *parts, strict=True):
        together = sorted(int(i) for b in split for i in b["index"])
        assert together == sorted(int(i) for i in whole["index"])
    with pytest.raises(ConfigError, match="Use a multiple of 4"):
        next(loader.batches("s", 0, rank=0, world=4))


def test_empty_loaders_and_ragged_items() -> None:
    with pytest.raises(DataError, match="no items"):
        Loader(Numbers(0), 2, seed=0)
    assert len(Loader(Numbers(7), 3, 0, drop_last=True)) == 2
    with pytest.raises(ValueError, match="same shape"):
        collate([{"x": np.zeros(3)}, {"x": np.zeros(4)}])


# ---------------------------------------------------------------------------------------------- checkpoints


def test_a_checkpoint_holds_every_kind_of_value(tmp_path: Path) -> None:
    state = make()
    state.net(torch.randn(8, 4)).sum().backward()
    state.opt.step()
    tree = {"state": state.capture(), "odd": {1: [1.5, None, True, "x", (2, torch.arange(3))], "inf": float("inf")}}
    save_checkpoint(tmp_path / "c", tree, {"step": 3})
    found, loop = load_checkpoint(tmp_path / "c")
    assert same_tree(tree, found)
    assert loop == {"step": 3}
    with pytest.raises(RunError, match="can't store"):
        save_checkpoint(tmp_path / "d", {"f": print}, {})
    assert not (tmp_path / "d").exists()


def test_damaged_checkpoints_say_so(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "c", make().capture(), {})
    text = (tmp_path / "c" / "state.json").read_text()
    for change in (lambda t: t[:50], lambda t: t.replace('"format": 1', '"format": 9'), lambda t: "[]"):
        (tmp_path / "c" / "state.json").write_text(change(text))
        with pytest.raises(RunError, match=r"can't be read|has format 9"):
            load_checkpoint(tmp_path / "c")
    with pytest.raises(RunError, match="The checkpoint holds"):
        make().restore({"other": 1})
    wrong = make().capture()
    wrong["net"] = {"0.weight": torch.zeros(1)}
    with pytest.raises(RunError, match="'net' does not fit"):
        make().restore(wrong)


# --------------------------------------------------------------------------------------------------- fitting


@pytest.mark.parametrize("die", [0, 1, 4, 5, 16, 38, 39])
def test_resume_gives_the_same_bits_wherever_it_stopped(tmp_path: Path, die: int) -> None:
    def validate(s: State) -> dict[str, float]:
        return {"v": float(s.net(torch.ones(2, 4)).sum()), "chance": float(torch.rand(1))}

    options: dict[str, Any] = {"validate": validate, "stop": EarlyStop("v", patience=100, restore_best=False)}
    with Run.create(tmp_path / "a", "x", Nothing()) as run:
        straight = train(run, **options)
        expected = run.history()
    with pytest.raises(KeyboardInterrupt), Run.create(tmp_path / "b", "x", Nothing()) as run:
        train(run, die=die, **options)
    assert run.info["state"] == "interrupted"
    with Run.resume(tmp_path / "b", Nothing()) as run:
        resumed = train(run, **options)
        assert run.history() == expected
    assert same_tree(straight.capture(), resumed.capture())
    assert straight.count == resumed.count == 40


def test_the_adversarial_pair_resumes_at_step_17_of_40(tmp_path: Path) -> None:
    straight = fieldsight.train("toygan", preset="tiny", run=tmp_path / "a")
    count = 0

    def watch(label: str, done: int, total: int | None, remark: str) -> None:
        nonlocal count
        count += label.startswith("training")
        if count == 17:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt), progress.watching(watch):
        fieldsight.train("toygan", preset="tiny", run=tmp_path / "b")
    tree, loop = load_checkpoint(tmp_path / "b" / "checkpoints" / "pair" / "last")
    assert loop["step"] == 17
    assert tree["state"]["seen"] == 17 * 8
    resumed = fieldsight.train("toygan", resume=tmp_path / "b")
    final = [load_checkpoint(r.path / "checkpoints" / "pair" / "final")[0] for r in (straight, resumed)]
    assert set(final[0]["state"]) == {"G", "D", "opt_G", "opt_D", "seen"}
    assert same_tree(final[0], final[1])


def test_a_finished_stage_is_loaded_not_repeated(tmp_path: Path) -> None:
    with Run.create(tmp_path / "a", "x", Nothing()) as run:
        first = train(run)
        again = train(run)
        assert same_tree(first.capture(), again.capture())
        assert again.count == 40


def test_early_stopping_ends_and_restores_the_best(tmp_path: Path) -> None:
    for run in (None, Run.create(tmp_path / "a", "x", Nothing())):
        values = iter([3.0, 1.0, 2.0, 2.0, 2.0, 2.0])
        seen: list[Any] = []

        def validate(s: State, values: Any = values, seen: list[Any] = seen) -> dict[str, float]:
            seen.append({k: v.clone() for k, v in s.net.state_dict().items()})
            return {"v": next(values)}

        state = make()
        ended = fit(
            state, one_loss(lambda s, b: s.net(b["x"]).pow(2).mean()), Loader(Numbers(), 5, 0), stage="e",
            until=Epochs(50), run=run, validate=validate, stop=EarlyStop("v", patience=3),
        )  # fmt: skip
        assert ended.epoch == 5
        assert ended.best == 1.0
        assert same_tree(dict(state.net.state_dict()), seen[1])
    with pytest.raises(ConfigError, match="watches 'w', which is not among"):
        train(None, stop=EarlyStop("w"))


def test_min_delta_and_mode() -> None:
    stop = EarlyStop("x", min_delta=0.1)
    assert stop.better(1.0, None)
    assert stop.better(0.85, 1.0)
    assert not stop.better(0.95, 1.0)
    assert not stop.better(float("nan"), None)
    assert EarlyStop("x", mode="max").better(2.0, 1.0)


def test_a_loss_that_is_no_number_stops_the_run() -> None:
    state = make()
    bad = one_loss(lambda s, b: s.net(b["x"]).sum() * float("nan"))
    with pytest.raises(RunError, match="'loss' became nan at step 0 of stage 'n'"):
        fit(state, bad, Loader(Numbers(), 5, 0), stage="n", until=Steps(3))


def test_frozen_parts_do_not_move_and_training_leaves_torchs_chance_alone() -> None:
    state = make()
    for parameter in state.net[0].parameters():
        parameter.requires_grad_(False)
    state.opt = torch.optim.Adam([p for p in state.net.parameters() if p.requires_grad], 0.01)
    before = state.net[0].weight.clone()
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    fit(state, one_loss(lambda s, b: s.net(b["x"]).pow(2).mean()), Loader(Numbers(), 5, 0), stage="f", until=Steps(5))
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(before, state.net[0].weight)


def test_half_precision_on_a_cpu_is_refused() -> None:
    with pytest.raises(ConfigError, match="many times slower"):
        train(None, devices=Devices(accelerator="cpu", precision="bf16-mixed"))


def test_a_full_disk_loses_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import safetensors.torch as st_torch

    with Run.create(tmp_path / "a", "x", Nothing()) as run:
        expected = train(run)
    saved = st_torch.save_file
    calls = 0

    def full(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        return saved(*args, **kwargs)

    monkeypatch.setattr(st_torch, "save_file", full)
    with pytest.raises(DataError, match="No space left"), Run.create(tmp_path / "b", "x", Nothing()) as run:
        train(run, save_steps=7)
    assert run.info["state"] == "failed"
    assert not [p for p in (tmp_path / "b").rglob(".*") if p.name != ".lock"]
    monkeypatch.undo()
    with Run.resume(tmp_path / "b") as run:
        resumed = train(run, save_steps=7)
    assert same_tree(expected.capture(), resumed.capture())


def test_states_name_their_parts() -> None:
    with pytest.raises(AttributeError, match="no part 'optimiser'; it has net, opt, count"):
        _ = make().optimiser


# ------------------------------------------------------------------------------------------------------ runs


def test_run_folders_lock_refuse_and_explain(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "a", "x", Nothing())
    with pytest.raises(RunError, match="not empty"):
        Run.create(tmp_path / "a", "x", Nothing())
    code = f"from fieldsight.run import Run; Run.resume({str(tmp_path / 'a')!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "is being written by another process" in done.stderr
    run.close()
    with pytest.raises(RunError, match="n: 1 -> 2"):
        Run.resume(tmp_path / "a", Nothing(n=2))
    resumed = Run.resume(tmp_path / "a", Nothing())
    resumed.close()
    info = (tmp_path / "a" / "run.json").read_text()
    (tmp_path / "a" / "run.json").write_text(info.replace('"format": 1', '"format": 7'))
    with pytest.raises(RunError, match="Upgrade it"):
        Run.open(tmp_path / "a")
    (tmp_path / "a" / "run.json").write_text(info[:40])
    with pytest.raises(RunError, match="damaged"):
        Run.open(tmp_path / "a")
    with pytest.raises(RunError, match="no run folder"):
        Run.open(tmp_path)


def test_a_run_records_what_made_it_and_no_path_of_the_machine(tmp_path: Path) -> None:
    run = fieldsight.train("toygan", preset="tiny", run=tmp_path / "a")
    text = (run.path / "run.json").read_text()
    for key in ("system", "command", "seed", "versions", "machine", "commit", "stages", "metrics"):
        assert f'"{key}"' in text
    assert run.info["state"] == "done"
    page = (run.path / "report.html").read_text()
    assert "stage pair" in page
    assert {p.name for p in run.path.iterdir()} >= {"run.json", "config.toml", "metrics.jsonl", "model", "report.html"}


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.05, 0.4, 0.9])
def test_a_killed_run_resumes_to_the_same_weights(tmp_path: Path, seconds: float) -> None:
    """SIGKILL at no chosen moment: nothing gets a chance to save."""
    code = textwrap.dedent(
        f"""
        import sys; sys.path.insert(0, {str(Path(toys.__file__).parents[1])!r})
        import toys; toys.register()
        import torch; torch.set_num_threads(1)
        import fieldsight, fieldsight.engine.fit
        print("ready", flush=True)
        fieldsight.train("toygan", preset="tiny", steps=400, run={str(tmp_path / "b")!r})
        """
    )
    straight = fieldsight.train("toygan", preset="tiny", steps=400, run=tmp_path / "a")
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, stderr=subprocess.DEVNULL)
    assert child.stdout is not None
    assert child.stdout.readline().strip() == "ready"
    last = tmp_path / "b" / "checkpoints" / "pair" / "last" / "state.json"
    for _ in range(600):
        if last.exists() or child.poll() is not None:
            break
        import time

        time.sleep(0.05)
    import time

    time.sleep(seconds)
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    resumed = fieldsight.train("toygan", resume=tmp_path / "b") if child.returncode != 0 else None
    if resumed is not None:
        assert resumed.model.fingerprint() == straight.model.fingerprint()


@pytest.mark.slow
def test_two_processes_train_as_one(tmp_path: Path) -> None:
    """torchrun with two CPU processes ends with the weights of one process, up to the order of a sum."""
    script = tmp_path / "go.py"
    script.write_text(
        textwrap.dedent(
            f"""
            import torch; torch.set_num_threads(1)
            import fieldsight
            fieldsight.train("sem", preset="tiny", run={str(tmp_path / "two")!r}, accelerator="cpu", devices=2,
                             epochs=2)
            """
        )
    )
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--master-port=29517", str(script)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=200, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr[-8000:]
    one = fieldsight.train("sem", preset="tiny", run=tmp_path / "one", epochs=2)
    two = fieldsight.load("sem", tmp_path / "two")
    for a, b in zip(one.model.networks["net"].parameters(), two.networks["net"].parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=2e-4, rtol=2e-3)


# ----------------------------------------------------------------------------------------------------- splits


@given(st.integers(4, 60), st.integers(0, 1000))
def test_splits_hold_whole_groups_and_every_split_gets_one(count: int, seed: int) -> None:
    groups = [f"g{n % count}" for n in range(3 * count)]
    shares = {"train": 60.0, "val": 18.0, "calibration": 12.0, "test": 10.0}
    assigned = split_groups(groups, shares, seed)
    assert set(assigned) == set(groups)
    assert set(assigned.values()) == set(shares)
    assert assigned == split_groups(groups[::-1], shares, seed)
    sizes = [list(assigned.values()).count(s) for s in shares]
    assert sum(sizes) == count


def test_too_few_groups() -> None:
    with pytest.raises(DataError, match="3 groups can't fill 4 splits"):
        split_groups(["a", "b", "c"], dict.fromkeys("wxyz", 1.0), 0)
    with pytest.raises(DataError, match="can't make 5 folds"):
        folds(["a", "b"], 5, 0)
    found = folds([f"g{n}" for n in range(11)], 3, 0)
    assert sorted(len(f) for f in found) == [3, 4, 4]
    assert len({g for f in found for g in f}) == 11


def test_leaks_by_group_and_by_content_are_found(tmp_path: Path) -> None:
    rows = [Row("a", "1", "train", {}), Row("b", "1", "test", {}), Row("c", "2", "test", {}), Row("d", "3", "val", {})]
    with pytest.raises(DataError, match="group '1' is in test and train"):
        check_leakage(rows)
    same = np.ones(3)
    with pytest.raises(DataError, match="the same content is in test as 'c' and val as 'd'"):
        check_leakage(rows[2:], {"c": same, "d": same.copy()})
    check_leakage(rows[1:], {"c": same, "d": same + 1})
    path = write_manifest(tmp_path / "m.csv", [Row("a,1", "g", "train", {"family": "x"}), Row("b", "h", "val", {})])
    found = read_manifest(path)
    assert found[0] == Row("a,1", "g", "train", {"family": "x"})
    path.write_text("id,group\n1,2\n")
    with pytest.raises(DataError, match="lacks the columns split"):
        read_manifest(path)
    path.write_text("id,group,split\n1,2,train\n1,3,val\n")
    with pytest.raises(DataError, match="'1' more than once"):
        read_manifest(path)
    shutil.rmtree(tmp_path)
    with pytest.raises(DataError, match="Can't read the manifest"):
        read_manifest(path)


# ------------------------------------------------------------------------------------------------ running mean


def test_a_running_mean_by_hand() -> None:
    from fieldsight.engine.ema import Ema

    network = nn.BatchNorm1d(1)
    ema = Ema(network, decay=0.9, ramp=2.0)
    mean = 1.0
    for step, value in enumerate((2.0, 5.0, -1.0), 1):
        with torch.no_grad():
            network.weight.fill_(value)
        network.num_batches_tracked += 1
        ema.update(network)
        keep = 0.9 * (1 - math.exp(-step / 2.0))
        mean = keep * mean + (1 - keep) * value
        assert float(ema.network.weight) == pytest.approx(mean, abs=1e-6)  # type: ignore[arg-type]
    assert int(ema.network.num_batches_tracked) == 3  # type: ignore[arg-type]
    assert not any(p.requires_grad for p in ema.network.parameters())
    assert not ema.network.training


def test_a_running_mean_goes_on_from_its_checkpoint() -> None:
    from fieldsight.engine.ema import Ema

    network = nn.Linear(3, 2)
    one, other = Ema(network, 0.99, 3.0), Ema(nn.Linear(3, 2), 0.99, 3.0)
    for _ in range(2):
        with torch.no_grad():
            network.weight.add_(1.0)
        one.update(network)
    other.load_state_dict(one.state_dict())
    one.update(network)
    other.update(network)
    assert torch.equal(one.network.weight, other.network.weight)  # type: ignore[arg-type]
