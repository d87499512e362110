"""The report's figures, its look on three media, and that it needs no network."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest

from patchline import targets
from patchline.config import Params, SearchParams
from patchline.errors import UserError
from patchline.search import Cost, Limits
from patchline.tracking import charts, report, runs
from patchline.tracking.results import constraints_of, load_results
from patchline.tracking.svg import Scale, kb, render

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def test_constraints_are_judged_one_by_one(project: Path, change) -> None:
    good = load_results(project).targets[0]
    assert good.holds
    assert [c.metric for c in good.constraints] == [
        "sram_peak_bytes", "flash_bytes", "executed_macs", "extra_macs_ratio", "bit_exact_outputs",
    ]  # fmt: skip
    change(project, bit_exact=0.9995)
    bad = load_results(project).targets[0]
    assert [c.metric for c in bad.constraints if not c.holds] == ["bit_exact_outputs"]
    change(project, sram_extra=2048)
    assert [c.metric for c in load_results(project).targets[0].constraints if not c.holds] == ["sram_peak_bytes"]


def test_an_accuracy_near_a_constant_answer_is_warned_of(project: Path, change) -> None:
    def shown() -> tuple[str, str]:
        results = load_results(project)
        return report.render_report(results), runs.description(results, "s")

    for text in shown():
        assert "hardly better" not in text
    assert "one and the same answer: 50.0 %" in shown()[0]
    change(project, accuracy=0.6)
    for text in shown():
        assert "an accuracy of 0.6000 is hardly better than one and the same answer" in text
        assert "0.5000 of these 200" in text


@pytest.mark.parametrize(("extra", "holds"), [(0.0, True), (0.0099, True), (0.0101, False)])
def test_the_limit_on_macs_counts_those_computed_twice(extra: float, holds: bool) -> None:
    """As the search does: 7.92 M MACs keep the limit of 8 M with 1 % of them again, not with more."""
    params, metrics = Params(search=SearchParams(max_macs=8_000_000)), {"macs": 7_920_792, "extra_macs_ratio": extra}
    board = targets.load("stm32f412")
    found = next(c for c in constraints_of(params, board, metrics) if c.metric == "executed_macs")
    assert (found.limit, found.holds) == (8_000_000, holds)
    cost = Cost(1, 1, 7_920_792, round(found.value), 0.0)
    assert (cost.violations(Limits.of(params.search, board))["executed_macs"] <= 0) == holds


def test_a_metric_that_is_missing_breaks_its_constraint(project: Path) -> None:
    (project / "metrics/stm32f412/generate.json").write_text('{"sram_peak_bytes": 100}')
    broken = [c.metric for c in load_results(project).targets[0].constraints if not c.holds]
    assert broken == ["flash_bytes", "executed_macs", "extra_macs_ratio"]


def test_missing_results_name_the_file(project: Path) -> None:
    (project / "metrics/stm32f746/benchmark.json").unlink()
    with pytest.raises(UserError, match=r"stm32f746/benchmark\.json is missing.*dvc repro"):
        load_results(project)


def test_block_peaks_are_the_plans_maxima(project: Path) -> None:
    result = load_results(project).targets[0]
    peaks = charts.block_peaks(result.plan, result.blocks)
    assert [p.block for p in peaks] == ["stem", "block1", "block2", "block3", "block4", "block5", "head"]
    assert max(p.after for p in peaks) == result.plan.activation_peak_bytes
    assert max(p.before for p in peaks) == result.plan.layer_peak_bytes
    assert [p.kind for p in peaks[:2]] == ["stream", "stream"]
    assert peaks[-1].kind == "layer"


def test_a_peer_is_shown_with_what_it_computes_twice(project: Path) -> None:
    path = project / "metrics/stm32f412/generate.json"
    figures = json.loads(path.read_text()) | {"sram_patch_bytes": 22_540, "patch_extra_macs_ratio": 0.268}
    path.write_text(json.dumps(figures))
    result = load_results(project).targets[0]
    assert (result.metrics["sram_patch_bytes"], result.metrics["patch_extra_macs_ratio"]) == (22_540, 0.268)
    ways = {part.label: part.text for part in report._memory_ways(result)}
    assert ways["Patches as in MCUNetV2 (+26.8% MACs)"] == kb(22_540)
    assert f"This firmware (+{result.metrics['extra_macs_ratio']:.1%} MACs)" in ways


def test_flash_parts_add_up_to_the_linked_size(project: Path) -> None:
    result = load_results(project).targets[0]
    assert sum(p.share for p in report._flash_parts(result)) == pytest.approx(1.0)


def test_the_picture_is_well_formed_and_carries_the_peaks(project: Path) -> None:
    results = load_results(project)
    picture = report.memory_picture(results, results.targets[0])
    ElementTree.fromstring(picture)
    assert kb(results.targets[0].plan.layer_peak_bytes) in picture
    assert "budget 32 KB" in picture


def test_markup_in_names_is_escaped() -> None:
    chart = charts.Chart(10, 10, 'a "<b>"')
    chart.add(charts.Label(1, 1, "<script>"))
    assert "<script>" not in render(chart)
    ElementTree.fromstring(render(chart))


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0, 263.4), (0.81, 0.93), (12, 12), (0, 7e6)])
def test_ticks_are_inside_and_few(low: float, high: float) -> None:
    ticks = Scale(low, high, 0, 100).ticks(5)
    assert 1 <= len(ticks) <= 7
    assert all(low - 1e-9 <= t <= high + 1e-9 for t in ticks)


class References(HTMLParser):
    """Collects what a browser would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [v for k, v in attrs if k in ("src", "href", "srcset", "data") and v and not v.startswith("#")]


def write_report(project: Path, path: Path) -> str:
    results = load_results(project)
    champion = report.Champion("3", {"accuracy_device": 0.93, "sram_peak_bytes": 35000.0}, "t0")
    page = report.render_report(results, {"stm32f412": champion}, commit="abcdef0123456789", state="f" * 64)
    path.write_text(page, encoding="utf-8")
    return page


def test_the_report_says_what_a_manager_asks_and_needs_no_network(project: Path, tmp_path: Path, change) -> None:
    page = write_report(project, tmp_path / "report.html")
    references = References()
    references.feed(page)
    assert references.found == []
    assert "url(" not in page
    assert "Every constraint holds on all 2 boards." in page
    assert "The data set is composed" in page
    assert "-2.00 points" in page  # against the champion
    change(project, targets=("stm32f412",), sram_extra=2048)
    page = write_report(project, tmp_path / "report.html")
    assert "Constraints are broken on 1 of 1 boards." in page
    assert "✗ SRAM" in page


def test_the_report_does_without_what_is_optional(project: Path) -> None:
    for name in ("plots/train_supernet.csv", "plots/stm32f412/per_op.csv", "models/stm32f412/pareto.csv"):
        (project / name).unlink()
    for split in ("fp32", "int8", "device"):
        stage = "benchmark" if split == "device" else "quantize"
        path = project / f"metrics/stm32f412/{stage}.json"
        metrics = json.loads(path.read_text())
        del metrics[f"confusion_{split}"]
        path.write_text(json.dumps(metrics))
    page = report.render_report(load_results(project))
    first = page.split('<section class="board"')[1]
    assert "Where the time goes" not in first
    assert 'class="matrix"' not in first


PROBE = """
<script>
addEventListener('load', () => {
  const wide = [...document.querySelectorAll('svg')].filter(e => e.getBoundingClientRect().width > 0);
  document.body.setAttribute('data-probe', JSON.stringify({
    overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
    charts: wide.length, all: document.querySelectorAll('svg').length,
    flat: wide.filter(e => e.getBoundingClientRect().height < 60).length,
    small: [...document.querySelectorAll('svg text')].filter(
        e => e.getBoundingClientRect().height > 0 && e.getBoundingClientRect().height < 8).length,
  }));
});
</script>
"""


@pytest.mark.skipif(BROWSER is None, reason="no chromium on PATH")
@pytest.mark.parametrize("width", [1000, 500])
def test_the_report_in_a_browser(project: Path, tmp_path: Path, width: int) -> None:
    page = write_report(project, tmp_path / "report.html")
    (tmp_path / "probe.html").write_text(page.replace("</body>", PROBE + "</body>"), encoding="utf-8")
    assert BROWSER is not None
    flags = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
             "--disable-component-update", "--disable-sync", f"--user-data-dir={tmp_path / 'browser'}")  # fmt: skip
    command = [BROWSER, *flags, f"--window-size={width},1200", "--dump-dom", (tmp_path / "probe.html").as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    found = re.search(r'data-probe="([^"]*)"', done.stdout)
    assert found, done.stderr[-2000:]
    probe = json.loads(found[1].replace("&quot;", '"'))
    assert probe["overflow"] <= 0  # nothing makes the page scroll sideways
    assert probe["charts"] == probe["all"] / 2 == 9  # each chart once: four per board and the training curve
    assert probe["flat"] == 0
    assert probe["small"] == 0  # text stays readable
