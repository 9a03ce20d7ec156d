"""The timing model: the paper's tables come out of it, frames are dropped and not queued, chance is by label."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldsight.errors import ConfigError, DataError
from fieldsight.systems.edge import profiles
from fieldsight.systems.edge.network import PAYLOADS, Delay, Network, Payload, needed_mbit_s, payload, wire_ms
from fieldsight.systems.edge.profiles import Device, measured_device, paper_device
from fieldsight.systems.edge.simulate import LoopConfig, break_even_ms, simulate, sweep, table5, table6

QUICK = LoopConfig(frames=300)
NOTHING = Network.round_trip("none", 0.0)


# ------------------------------------------------------------------------------------------------------ networks


@settings(max_examples=40, deadline=None)
@given(st.floats(0.01, 1000), st.floats(0, 3))
def test_the_lognormal_has_the_mean_and_sd_it_was_fitted_to(mean: float, cv: float) -> None:
    mu, sigma = Delay(mean, cv * mean).lognormal()
    assert math.exp(mu + sigma**2 / 2) == pytest.approx(mean, rel=1e-9)
    assert math.sqrt(math.expm1(sigma**2)) * mean == pytest.approx(cv * mean, rel=1e-6, abs=1e-9)


@settings(max_examples=40, deadline=None)
@given(st.floats(0.01, 1000), st.floats(0, 3), st.lists(st.floats(0.01, 10), min_size=1, max_size=4))
def test_parts_add_up(mean: float, cv: float, shares: list[float]) -> None:
    parts = Delay(mean, cv * mean).parts(shares)
    assert sum(p.mean for p in parts) == pytest.approx(mean)
    assert sum(p.sd**2 for p in parts) == pytest.approx((cv * mean) ** 2, rel=1e-9, abs=1e-12)


def test_draws_follow_the_distribution() -> None:
    drawn = Delay(170.7, 49.4).draw(np.random.default_rng(0), 100_000)
    assert drawn.mean() == pytest.approx(170.7, rel=0.01)
    assert drawn.std() == pytest.approx(49.4, rel=0.02)
    assert drawn.min() > 0
    assert set(Delay.measured([1, 2, 4]).draw(np.random.default_rng(0), 500)) == {1.0, 2.0, 4.0}
    assert (Delay(3.0).draw(np.random.default_rng(0), 5) == 3.0).all()


@pytest.mark.parametrize("bad", [[], [1, math.nan], [-1.0], ["a"], [math.inf], [None], "x"])
def test_measured_times_that_are_none(bad: object) -> None:
    with pytest.raises(DataError, match="Measured times"):
        Delay.measured(bad)  # type: ignore[arg-type]


def test_bad_networks_are_refused() -> None:
    for wrong in (
        lambda: Delay(-1.0), lambda: Delay(math.nan), lambda: Delay(0.0, 1.0), lambda: Delay(0.0).lognormal(),
        lambda: Network.round_trip("x", 1.0, loss=1.0), lambda: Network.round_trip("x", 1.0, mbit_s=0.0),
        lambda: replace(NOTHING, retry_ms=-1.0), lambda: Payload("x", 2, 1), lambda: payload("jpg"),
        lambda: needed_mbit_s(1, 0), lambda: Device("x", Delay(1), power_w=-1), lambda: break_even_ms(math.nan, 1),
    ):  # fmt: skip
        with pytest.raises(ConfigError):
            wrong()


def test_payloads() -> None:
    assert PAYLOADS["raw"].mean == 1_228_800
    assert PAYLOADS["float32"].mean == 4_915_200
    assert (PAYLOADS["jpeg"].low, PAYLOADS["jpeg"].high) == (60e3, 120e3)
    assert wire_ms(4_915_200, 115.2) == pytest.approx(341.33, abs=0.01)
    assert needed_mbit_s(4_915_200, 341.41) == pytest.approx(115.2, abs=0.05)
    drawn = PAYLOADS["jpeg"].draw(np.random.default_rng(0), 1000)
    assert 60e3 <= drawn.min() < 62e3 < 118e3 < drawn.max() <= 120e3


# ------------------------------------------------------------------------------------------------------ profiles


def test_profiles_of_table_5_add_up_to_its_rtt() -> None:
    for device, table in profiles.printed()["table5"].items():
        for key, (rtt, sd, processing, *_) in table.items():
            made = paper_device(device, *key.split("-"))
            assert made.service.mean == pytest.approx(processing)
            assert made.mean_ms + 2.50 == pytest.approx(rtt)
            assert math.hypot(made.service.sd, made.overhead.sd, 0.34) == pytest.approx(sd)
            assert made.power_w == profiles.printed()["table4"][device][key][3]


def test_the_raspberry_pi_has_iteration_times_only() -> None:
    pi = paper_device("RPi5", "s", "fp32")
    assert (pi.service.mean, pi.service.sd) == (211.0, 0.0)
    assert pi.mean_ms == pytest.approx(60_000 / 217)
    assert len(profiles.paper_devices()) == 14


def test_unknown_configurations_are_named() -> None:
    with pytest.raises(ConfigError, match=r"Orin Nan'.*Did you mean 'Orin Nano'"):
        paper_device("Orin Nan", "n", "FP32")
    with pytest.raises(ConfigError, match="n-INT4"):
        paper_device("Orin NX", "n", "INT4")
    with pytest.raises(ConfigError, match="bench"):
        profiles.device_of(profiles.BenchRow("host", "n", "FP32"))


# ---------------------------------------------------------------------------------------------------- acceptance


def test_table_6_from_its_means() -> None:
    for device, network, rtt in (
        (profiles.table6_edge(), profiles.edge_network(), 35.09),
        (profiles.table6_cloud(), profiles.cloud_network(), 348.23),
    ):
        found = simulate(device.fixed(), network.fixed(), QUICK)
        assert found.rtt_ms == pytest.approx(np.full(300, rtt), abs=1e-9)
        assert found.throughput == pytest.approx(1000 / rtt)


def test_table_6_with_its_spread() -> None:
    edge, cloud = table6(LoopConfig(frames=4000)).rows
    assert edge["rtt_mean"] == pytest.approx(35.09, rel=0.01)
    assert edge["rtt_sd"] == pytest.approx(4.28, rel=0.05)
    assert cloud["rtt_mean"] == pytest.approx(348.23, rel=0.01)
    assert cloud["rtt_sd"] == pytest.approx(69.89, rel=0.05)
    assert cloud["rtt_p50"] < cloud["rtt_mean"] < cloud["rtt_p95"] < cloud["rtt_p99"]


def test_table_5_within_one_percent() -> None:
    made = table5(LoopConfig(frames=2000))
    assert len(made.rows) == 12
    for row in made.rows:
        assert row["throughput"] == pytest.approx(row["throughput_printed"], rel=0.01), row["configuration"]
        assert row["rtt_sd"] == pytest.approx(row["sd_printed"], rel=0.06), row["configuration"]
        assert row["dropped"] == row["lost"] == 0


def test_frames_are_dropped_and_not_queued_when_the_camera_is_faster() -> None:
    slow = Device("slow", Delay(50.0))
    short, long = (simulate(slow, NOTHING, LoopConfig(frames=n, fps=60)) for n in (300, 1200))
    for found in (short, long):
        assert found.dropped / found.sent == pytest.approx(1 - 20 / 60, abs=0.02)
        assert found.throughput == pytest.approx(20, rel=0.02)
        assert found.rtt_ms.max() <= 2 * 50.0 + 1e-6  # one that waits, and itself
        assert found.busy == pytest.approx(1.0, abs=0.02)
        assert len(found.rtt_ms) + found.dropped + found.lost == found.sent
    assert long.rtt_ms.max() <= short.rtt_ms.max() + 1e-6


def test_drop_oldest_answers_fresher_frames_than_drop_newest() -> None:
    slow = Device("slow", Delay(50.0))
    oldest, newest = (
        simulate(slow, NOTHING, LoopConfig(frames=900, fps=60, queue=3, drop=d)) for d in ("oldest", "newest")
    )
    assert oldest.rtt_ms.mean() < newest.rtt_ms.mean() - 50
    assert oldest.throughput == pytest.approx(newest.throughput, rel=0.02)


def test_a_link_that_is_too_thin_drops_before_it() -> None:
    thin = Network.round_trip("thin", 2.0, mbit_s=10.0)
    found = simulate(Device("quick", Delay(1.0)), thin, LoopConfig(frames=300, fps=30, payload="raw"))
    per_frame = wire_ms(1_228_800, 10.0)
    assert found.throughput == pytest.approx(1000 / per_frame, rel=0.02)
    assert found.dropped > 250
    assert found.rtt_ms.max() < 2 * per_frame + 10


def test_pipelined_overhead_raises_the_rate_and_not_the_latency() -> None:
    device = Device("x", Delay(20.0), Delay(20.0))
    serial, beside = (simulate(device, NOTHING, LoopConfig(frames=400, fps=45, pipelined=p)) for p in (False, True))
    assert serial.throughput == pytest.approx(25, rel=0.02)
    assert beside.throughput == pytest.approx(45, rel=0.02)
    assert beside.rtt_ms == pytest.approx(np.full(400, 40.0))
    two = simulate(device, NOTHING, LoopConfig(frames=400, fps=45, workers=2))
    assert two.throughput == pytest.approx(45, rel=0.02)


def test_losses_cost_time_with_retries_and_frames_without() -> None:
    device, link = Device("x", Delay(10.0)), Network.round_trip("far", 20.0, loss=0.1)
    again = simulate(device, link, LoopConfig(frames=3000))
    assert again.lost == 0
    assert again.rtt_ms.mean() == pytest.approx(10 + link.mean_ms(0, 0), rel=0.05)
    gone = simulate(device, replace(link, retry_ms=None), LoopConfig(frames=3000, timeout=100))
    assert gone.lost / 3000 == pytest.approx(1 - 0.9**2, abs=0.02)
    assert gone.rtt_ms == pytest.approx(np.full(len(gone.rtt_ms), 30.0))
    assert gone.seconds == pytest.approx((len(gone.rtt_ms) * 30 + gone.lost * 100) / 1000, rel=0.01)
    none = simulate(device, replace(link, loss=0.999999, retry_ms=None), LoopConfig(frames=5))
    assert none.lost == 5
    assert none.row()["rtt_mean"] is None
    assert none.throughput == 0


@settings(max_examples=25, deadline=None)
@given(
    st.floats(0.1, 50), st.floats(0, 20), st.one_of(st.none(), st.floats(1, 200)), st.integers(0, 3), st.integers(1, 3),
    st.sampled_from(["oldest", "newest"]), st.booleans(), st.floats(0, 0.3), st.integers(0, 9),
)  # fmt: skip
def test_every_frame_is_answered_dropped_or_lost(
    service: float,
    trip: float,
    fps: float | None,
    queue: int,
    workers: int,
    drop: str,
    piped: bool,
    loss: float,
    seed: int,
) -> None:
    loop = LoopConfig.parse({"frames": 60, "fps": fps, "queue": queue, "workers": workers, "drop": drop,
                             "pipelined": piped, "seed": seed})  # fmt: skip
    link = replace(Network.round_trip("x", trip, trip / 4, loss=loss), retry_ms=None)
    found = simulate(Device("x", Delay(service, service / 5), Delay(1.0), 5.0, 1.0), link, loop)
    assert len(found.rtt_ms) + found.dropped + found.lost == 60
    assert fps is not None or found.dropped == 0
    assert (found.rtt_ms >= 0).all()
    assert 0 <= found.busy <= 1
    assert found.energy_j is not None
    assert found.seconds * 1.0 - 1e-9 <= found.energy_j <= found.seconds * 5.0 + 1e-9


def test_the_same_seed_gives_the_same_loop() -> None:
    device, link = paper_device("Orin NX", "n", "INT8"), profiles.edge_network()
    a, b, c = (simulate(device, link, LoopConfig(frames=50, seed=s)).rtt_ms for s in (0, 0, 1))
    assert (a == b).all()
    assert (a != c).any()


# -------------------------------------------------------------------------------------------------------- energy


def test_energy_of_a_frame() -> None:
    device, link = Device("x", Delay(10.0), power_w=10.0, idle_w=2.0), Network.round_trip("x", 30.0)
    found = simulate(device, link, QUICK)
    assert found.busy == pytest.approx(0.25)
    assert found.energy_per_frame_j == pytest.approx(0.010 * 10 + 0.030 * 2)
    bound = simulate(replace(device, idle_w=None), link, QUICK)
    assert bound.energy_per_frame_j == pytest.approx(0.040 * 10)
    assert "upper bound" in bound.energy_method
    unknown = simulate(replace(device, power_w=None), link, QUICK)
    assert unknown.energy_j is None
    assert unknown.row()["energy_per_frame"] is None
    assert "not measured" in unknown.energy_method


def test_a_measured_host_can_be_plugged_in() -> None:
    times = np.random.default_rng(0).gamma(9.0, 4.0, 500)
    host = measured_device("host", times, [2.0], power_w=None)
    found = simulate(host, profiles.edge_network().fixed(), LoopConfig(frames=4000))
    assert found.rtt_ms.mean() == pytest.approx(times.mean() + 2.0 + 2.5, rel=0.02)
    assert found.rtt_ms.std() == pytest.approx(times.std(), rel=0.05)
    row = profiles.BenchRow("host", "p", "FP32", mis_fps=50.0, ipm=2400.0, latency_sd_ms=1.0)
    made = profiles.device_of(row)
    assert (made.service.mean, made.overhead.mean, made.service.sd) == pytest.approx((20.0, 5.0, 1.0))


# ------------------------------------------------------------------------------------------------- edge or cloud


def test_break_even() -> None:
    assert break_even_ms(35.09, 6.82) == pytest.approx(28.27)
    assert break_even_ms(49.44, 6.82) == pytest.approx(42.62)
    assert break_even_ms(5.0, 6.82) < 0


def test_the_sweep_turns_at_the_break_even() -> None:
    made = sweep([1, 28.2, 28.3, 400], loop=LoopConfig(frames=200))
    assert made.facts["break_even_ms"] == pytest.approx(28.27)
    assert [row["faster"] for row in made.rows] == ["cloud", "cloud", "edge", "edge"]
    assert made.rows[0]["cloud_rtt"] == pytest.approx(7.82, rel=0.02)
    nano = sweep([42.6, 42.7], edge=paper_device("Orin Nano", "s", "FP16"), loop=LoopConfig(frames=50))
    assert nano.facts["break_even_ms"] == pytest.approx(42.62)
    assert [row["faster"] for row in nano.rows] == ["cloud", "edge"]
    assert "network_rtt [ms]" in made.to_csv().split("\n")[0]


def test_the_payload_moves_the_break_even() -> None:
    thin = sweep([5.0], mbit_s=100.0, sent=PAYLOADS["float32"], loop=LoopConfig(frames=50))
    light = sweep([5.0], mbit_s=100.0, sent=PAYLOADS["jpeg"], loop=LoopConfig(frames=50))
    assert thin.rows[0]["faster"] == "edge"
    assert thin.facts["wire_ms"] == pytest.approx(393.3, abs=0.1)
    assert light.rows[0]["faster"] == "cloud"
    crowd = sweep([5.0], mbit_s=100.0, sent=PAYLOADS["jpeg"], loop=LoopConfig(frames=50, fps=20))
    assert crowd.rows[0]["faster"] == "cloud"


@pytest.mark.parametrize("bad", [[], [0.0], [-1.0], [math.inf], [math.nan]])
def test_bad_round_trips(bad: list[float]) -> None:
    with pytest.raises(ConfigError, match="round trips"):
        sweep(bad)
