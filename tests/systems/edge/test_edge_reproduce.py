"""The paper's numbers against each other: every known contradiction is found from them, and only from them."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from fieldsight.report.paper import PaperTable, Row
from fieldsight.systems.edge import profiles, reproduce


@pytest.fixture
def printed() -> dict[str, Any]:
    return copy.deepcopy(profiles.printed())


def ids(printed: dict[str, Any]) -> set[str]:
    return {f.id for f in reproduce.findings(printed)}


def rows(table: PaperTable) -> dict[str, Row]:
    return {row.name: row for row in table.rows}


def wrong(table: PaperTable) -> list[str]:
    return [row.name for row in table.rows if row.verdict == "contradicts"]


def test_the_printed_file_has_the_shape_of_the_paper(printed: dict[str, Any]) -> None:
    assert [len(t) for t in printed["table4"].values()] == [6, 6, 2]
    assert [len(t) for t in printed["table5"].values()] == [6, 6]
    assert {len(v) for t in printed["table4"].values() for v in t.values()} == {6}
    assert {len(v) for t in printed["table5"].values() for v in t.values()} == {5}
    assert [len(t) for t in printed["table2"].values()] == [7, 7, 7]
    assert len(printed["table7"]) == 5
    assert sum(len(t) for t in printed["iteration"].values()) == 10
    assert printed["table4"]["Orin NX"]["n-INT8"] == [0.7190, 0.8276, 65.83, 10.305, 3443, 0.179]


def test_all_epi_and_throughput_cells_agree(printed: dict[str, Any]) -> None:
    epi = [r for r in reproduce.table4(printed).rows if r.name.endswith("EPI [J]")]
    assert len(epi) == 14
    for (_, values), row in zip(reproduce.cells(printed["table4"]), epi, strict=True):
        assert abs(values[5] - values[3] * 60 / values[4]) <= 0.0013
        assert row.verdict == "reproduced"
    rate = [r for r in reproduce.table5(printed).rows if r.name.endswith("throughput [1/s]")]
    assert len(rate) == 12
    for (_, values), row in zip(reproduce.cells(printed["table5"]), rate, strict=True):
        assert abs(values[4] - 1000 / values[0]) <= 0.01
        assert row.verdict == "reproduced"


def test_one_wrong_cell_is_seen(printed: dict[str, Any]) -> None:
    printed["table4"]["Orin NX"]["s-FP16"][5] = 0.289
    printed["table5"]["Orin NX"]["s-FP16"][4] = 28.6
    assert "Orin NX, s FP16, EPI [J]" in wrong(reproduce.table4(printed))
    assert "Orin NX, s FP16, throughput [1/s]" in wrong(reproduce.table5(printed))
    assert "energy-is-power" not in ids(printed)  # it is power only if every row says so
    assert reproduce.facts(printed)["rows with EPI = power x 60 / IPM within 0.0013"] == "13 of 14"


def test_every_contradiction_is_named(printed: dict[str, Any]) -> None:
    assert [f.id for f in reproduce.findings(printed)] == [
        "energy-is-power", "power-reversed", "mis-iteration", "ipm-above-mis", "rpi5-rows", "lost-sd", "table-6-device",
        "small-not-faster", "wrong-fps", "table-7", "table-7-rules", "nx-efficiency", "orin-nx",
    ]  # fmt: skip


def test_findings_say_what_is_right(printed: dict[str, Any]) -> None:
    said = {f.id: f.text for f in reproduce.findings(printed)}
    for id, words in {
        "energy-is-power": ("14 rows", "mean power in W"),
        "power-reversed": ("7.4", "8.7", "8.345 to 8.79 W", "7.257 to 7.483 W"),
        "mis-iteration": ("23.27", "35.4", "37.45", "43.18", "4.74"),
        "ipm-above-mis": ("Orin NX, n FP32, 53.03 > 52.19",),
        "rpi5-rows": ("0.9621", "0.978", "7.37", "4.74", "FP16"),
        "lost-sd": ("12 rows",),
        "table-6-device": ("Orin NX, s FP16", "49.44", "18.5", "2.7 times"),
        "wrong-fps": ("35.65", "s FP32", "52.19", "48.24", "slower"),
        "table-7": ("5 of 6", "58.82", "10.853", "48.24", "12.815", "Table 6"),
        "nx-efficiency": ("4 of 6", "0.399 against 0.379", "0.233 against 0.223"),
        "orin-nx": ("1024-core", "32 Tensor Cores", "AGX Orin"),
    }.items():
        for word in words:
            assert word in said[id], (id, word)


@pytest.mark.parametrize(
    ("finding", "path", "value"),
    [
        ("ipm-above-mis", ("table4", "Orin NX", "n-FP32", 2), 53.04),
        ("power-reversed", ("text", "nano_power_fp32"), 8.8),
        ("table-6-device", ("table6", "device"), "Orin NX"),
        ("wrong-fps", ("text", "nx_n_fp32_fps"), 52.19),
        ("orin-nx", ("table2", "Orin NX", "gpu"), "1024-core Ampere + 32 Tensor Cores"),
    ],
)
def test_a_mended_number_takes_its_finding_away(printed: dict[str, Any], finding: str, path: Any, value: Any) -> None:
    place: Any = printed
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    assert ids(profiles.printed()) - ids(printed) == {finding}


def test_mended_columns_take_their_findings_away(printed: dict[str, Any]) -> None:
    for table in printed["table5"].values():
        for values in table.values():
            values[3] = 1.0
    for device, table in printed["iteration"].items():
        for key in table:
            table[key] = 1000 / printed["table4"][device][key][2]
    for row in printed["table7"]:
        own = [printed["table4"][row["device"]][key] for key in row["models"]]
        row["map50"], row["fps"], row["energy"] = ([v[k] for v in own] for k in (1, 2, 3))
    printed["text"] |= {"coverage_device": "Orin Nano", "recommendations_table": 7}
    assert {"lost-sd", "mis-iteration", "table-7"} == ids(profiles.printed()) - ids(printed)


def test_exactly_these_cells_contradict(printed: dict[str, Any]) -> None:
    found = {t.title: wrong(t) for t in reproduce.tables(printed)}
    assert found["Table 2"] == ["Orin NX, gpu"]
    assert found["Table 4"] == [
        "Orin Nano, s FP32, MIS [1/s]", "Orin Nano, s INT8, MIS [1/s]", "Orin Nano, n FP16, MIS [1/s]",
        "Orin Nano, n INT8, MIS [1/s]", "Orin NX, n FP32, IPM", "RPi5, s FP32, mAP50", "RPi5, s FP32, MIS [1/s]",
    ]  # fmt: skip
    assert len(found["Table 5"]) == 12
    assert all(name.endswith("processing sd [ms]") for name in found["Table 5"])
    assert found["Table 6"] == [
        "edge, RTT of Orin Nano, s FP16 [ms]", "edge, RTT sd of Orin Nano, s FP16 [ms]", "edge, processing [ms]",
    ]  # fmt: skip
    assert [n.rsplit(", ", 1)[1] for n in found["Table 7"]] == [
        "mAP50",
        "mAP50",
        "FPS",
        "'energy' [W]",
        "mAP50",
        "mAP50",
        "mAP50",
    ]
    assert found["Text"] == [
        "power of the Nano in FP32 [W]", "power of the Nano in INT8 [W]", "NX, n FP32 in the discussion [FPS]",
        "models of the Nano that take less time than NX s FP32", "the recommendations' table in the conclusion",
    ]  # fmt: skip


def test_recomputed_values(printed: dict[str, Any]) -> None:
    four, six = rows(reproduce.table4(printed)), rows(reproduce.table6(printed))
    assert four["Orin Nano, s FP32, MIS [1/s]"].recomputed == 23.27
    assert four["RPi5, s FP32, MIS [1/s]"].recomputed == 4.74
    assert four["RPi5, s FP32, mAP50"].recomputed == pytest.approx(0.9775, abs=5e-4)
    assert four["Orin Nano, s FP32, EPI [J]"].recomputed == 0.3792
    assert (six["edge, RTT [ms]"].recomputed, six["cloud, RTT [ms]"].recomputed) == (35.09, 348.23)


def test_facts(printed: dict[str, Any]) -> None:
    facts = reproduce.facts(printed)
    assert facts["break-even communication [ms]"] == 28.27
    assert facts["break-even against the Nano [ms]"] == 42.62
    assert facts["inferences per Wh at 0.185, 0.302 and 1.498 J"] == [19459, 11921, 2403]
    assert facts["ms outside the model in Table 5"] == "15.7 to 31.8"
    assert facts["share of RTT outside the model"] == "36% to 58%"
    assert facts["Mbit/s of a float32 frame in the cloud's communication time"] == pytest.approx(115, abs=0.5)


def test_run_gives_what_a_page_shows(printed: dict[str, Any]) -> None:
    from fieldsight import registry

    made = reproduce.run(registry.get("energy"))  # any system: only its words are used
    assert made.verdicts().keys() <= {"reproduced", "contradicts", "not comparable", "open"}
    assert len(made.errors) == len(reproduce.findings(printed)) + len(reproduce.GAPS)
    assert made.to_dict()["facts"]["cloud RTT over edge RTT"] == 9.92
    assert any("is reversed" in line for line in made.lines())
    assert not [row for table in made.tables for row in table.rows if row.ours is not None]
